"""Videos, read and written a frame at a time with OpenCV. Frames are uint8 (H, W, 3) RGB."""
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, Optional, Tuple

import cv2
import numpy as np

from rtseg.utils.atomic import atomic_write
from rtseg.utils.errors import DataError, UserError
from rtseg.utils.files import open_regular_file

_USUAL_RATE = 25.0
_LARGEST_INDEX = 2 ** 31 - 1  # of a camera that OpenCV can be asked for


class Frames:
    """The frames of something that OpenCV has opened.

    Args:
        capture: it.
        problem: what to say if it has not a single frame.

    Raises:
        DataError: with `problem`.
    """

    def __init__(self, capture: cv2.VideoCapture, problem: str) -> None:
        self.capture = capture
        self.first: Optional[np.ndarray] = self._decode()
        if self.first is None:
            self.close()
            raise DataError(problem)
        self.size: Tuple[int, int] = (self.first.shape[0], self.first.shape[1])  # height, width
        rate = self.capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate < 1000 else _USUAL_RATE  # frames per second

    def read(self) -> Optional[np.ndarray]:
        """The next frame, or None at the end or where the file is damaged."""
        frame, self.first = self.first, None
        return self._decode() if frame is None else frame

    def _decode(self) -> Optional[np.ndarray]:
        there, frame = self.capture.read()
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) if there else None

    def close(self) -> None:
        """Lets go of the file or camera."""
        self.capture.release()


class Video(Frames):
    """A video file.

    Raises:
        DataError: it cannot be opened, or has not a single frame; or its path is not UTF-8.
    """

    def __init__(self, path: Path) -> None:
        try:
            open_regular_file(path).close()  # OpenCV would wait for a pipe
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from None
        super().__init__(cv2.VideoCapture(_name_for_opencv(path), cv2.CAP_FFMPEG),
                         f"{path}: expected a video, found a file without a frame that OpenCV can decode; copy it "
                         "again, or convert it to .mp4")
        frames = self.capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.frames = int(frames) if 0 < frames < 1e9 else 0  # as the file says, for some formats a guess; 0: unknown


class Camera(Frames):
    """A camera by OpenCV's index, 0 being the first.

    Raises:
        DataError: it cannot be opened, or gives no frame.
    """

    def __init__(self, index: int) -> None:
        super().__init__(cv2.VideoCapture(min(index, _LARGEST_INDEX)),
                         f"camera {index}: expected a camera that gives frames, found none that OpenCV can open; is it "
                         f"connected, free, and may you read it (on Linux /dev/video{index})?")


def _name_for_opencv(path: Path) -> str:
    """An absolute path, which is never taken for an address. Raises DataError where OpenCV would crash."""
    name = os.path.abspath(path)
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DataError(f"{name}: expected a path in UTF-8, which is all that OpenCV takes for a video, found other "
                        "bytes; rename the file or folder") from None
    return name


def video_format() -> Tuple[str, str]:
    """(suffix, codec) of the videos that this OpenCV can write: .mp4 if it has FFmpeg, else .avi."""
    has_ffmpeg = cv2.CAP_FFMPEG in cv2.videoio_registry.getWriterBackends()
    return (".mp4", "mp4v") if has_ffmpeg else (".avi", "MJPG")


@contextmanager
def writing_video(path: Path, size: Tuple[int, int], *, rate: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Yields a function that adds a frame; the video is at `path` when the block ends well, atomically.

    Args:
        path: with the suffix of `video_format`, or .webm, which browsers play.
        size: (height, width) of the frames.
        rate: frames per second; written rounded, since MPEG-4 takes no denominators over 65535, and at least 0.01.

    Raises:
        OSError: the folder cannot be written.
        DataError: the path is not UTF-8, or no video can have that size.
        UserError: not all frames could be written.
    """
    written = 0
    codec = "VP80" if path.suffix == ".webm" else video_format()[1]
    with atomic_write(path) as temporary:
        name = _name_for_opencv(temporary)
        temporary.touch()  # says why the folder cannot be written; OpenCV does not
        writer = cv2.VideoWriter(name, cv2.VideoWriter_fourcc(*codec),
                                 max(0.01, round(rate, 2 if rate < 60 else None)), size[::-1])
        if not writer.isOpened():
            raise DataError(f"{path}: OpenCV cannot write {codec} of {size[1]}x{size[0]} at {rate:g} frames/s; scale "
                            "the video to another size")

        def add(frame: np.ndarray) -> None:
            nonlocal written
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
            written += 1

        try:
            yield add
        finally:
            writer.release()
        # OpenCV says nothing when it cannot write.
        check = cv2.VideoCapture(name)
        found = int(check.get(cv2.CAP_PROP_FRAME_COUNT)) if check.isOpened() else 0
        check.release()
        if found != written:
            raise UserError(f"{path}: expected to write {written} frames, but {found} are in the file; "
                            "is the disk full?")
