"""Sends images and videos through a segmenter and writes what it sees. Decoding, the network and writing overlap."""
from contextlib import closing
from functools import partial
from itertools import count, takewhile
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence

import numpy as np

from rtseg.config.sections import SAVE_KINDS
from rtseg.data.dataset_spec import Color
from rtseg.data.image_io import read_image
from rtseg.data.loader import prefetch
from rtseg.inference.finished import KEYWORD
from rtseg.inference.input_files import InputFile, read_upright
from rtseg.inference.predictor import Prediction, equal_batches
from rtseg.inference.segmenter import Segmenter
from rtseg.utils.errors import DataError
from rtseg.visualization.masks import colorize, legend, overlay, save_png
from rtseg.visualization.video import Frames, Video, video_format, writing_video

_SUBMISSION, _LEGEND = "submit", "legend.png"
RESULTS = (*SAVE_KINDS, _SUBMISSION, _LEGEND)  # all that is ever written below the output folder


class ImageInWork(NamedTuple):
    """An image on its way from its file to its results."""

    file: InputFile
    pixels: Optional[np.ndarray] = None  # uint8 (H, W, 3)
    prediction: Optional[Prediction] = None
    error: Optional[DataError] = None


def predict_files(segmenter: Segmenter, files: Sequence[InputFile], *, folder: Path, num_workers: int,
                  label_ids: Optional[np.ndarray] = None, kinds: Sequence[str]) -> Iterator[Optional[DataError]]:
    """Predicts images, then videos, and writes to `folder` what predict.py --help says.

    Args:
        num_workers: threads that read, and as many that write.
        label_ids: uint8[256], the id of each train id; with it nothing but label ids is written, for a test server.
        kinds: of SAVE_KINDS, what to write for images.

    Yields:
        None for each image or frame, as soon as its results are written; what is wrong with each bad file.

    Raises:
        OSError, UserError: the results cannot be written.
    """
    images = [file for file in files if not file.is_video]
    read: Callable[[Path], np.ndarray]
    write: Callable[[ImageInWork], None]
    if label_ids is not None:
        read, write = read_image, partial(_write_label_ids, folder=folder, label_ids=label_ids)
    else:
        save_png(folder / _LEGEND, legend(segmenter.class_names, segmenter.palette))
        read, write = read_upright, partial(_write_images, folder=folder, palette=segmenter.palette, kinds=kinds)
    yield from predict_images(segmenter, images, read=read, write=write, num_workers=num_workers)
    for file in files:
        if file.is_video:
            try:
                yield from predict_video(segmenter, file, folder=folder, palette=segmenter.palette)
            except DataError as error:
                yield error


def predict_images(segmenter: Segmenter, files: Iterable[InputFile], *,
                   read: Callable[[Path], np.ndarray], write: Callable[[ImageInWork], None],
                   num_workers: int) -> Iterator[Optional[DataError]]:
    """Predicts images; the good ones are written whatever is wrong with others.

    Args:
        files: the images.
        read: path -> uint8 (H, W, 3) RGB; may raise DataError.
        write: called with each image that has been predicted.
        num_workers: threads that read, and as many that write; 0 for none next to the calling one.

    Yields:
        for each image, as soon as its results are written, what is wrong with it, or None.
    """
    def read_one(file: InputFile) -> ImageInWork:
        try:
            return ImageInWork(file, read(file.path))
        except DataError as error:
            return ImageInWork(file, error=error)

    def write_one(image: ImageInWork) -> Optional[DataError]:
        if image.error is None:
            write(image)
        return image.error

    with closing(prefetch(read_one, files, num_workers=num_workers)) as images, \
            closing(prefetch(write_one, _predicted(segmenter, images), num_workers=num_workers)) as written:
        yield from written


def result_paths(folder: Path, name: str, *, kinds: Sequence[str], submit: bool) -> List[Path]:
    """The files that are written for an image of that name."""
    if submit:
        return [folder / _SUBMISSION / f"{name}_labelIds.png"]
    return [folder / kind / f"{name}_{kind}.png" for kind in kinds]


def predict_video(segmenter: Segmenter, file: InputFile, *, folder: Path,
                  palette: Sequence[Color]) -> Iterator[Optional[DataError]]:
    """Predicts a video and writes overlay/<name>_overlay.mp4 (.avi where OpenCV cannot write .mp4), without sound.

    Yields:
        None for each frame, as soon as it is written; at the end what is wrong with the video, if anything is.

    Raises:
        DataError: it is no video, or the network cannot be computed for its size; nothing is written.
    """
    written = 0
    with closing(Video(file.path)) as video:
        for written, step in enumerate(_overlays(segmenter, video, file=file, folder=folder, palette=palette), 1):
            yield step
    if written + video.rate < video.frames:  # the number in the file may be a guess; a second less is not
        yield DataError(f"{file.path}: is damaged after {written} of {video.frames} frames; only these are done")


def predict_camera(segmenter: Segmenter, camera: Frames, *, file: InputFile, folder: Path,
                   palette: Sequence[Color], max_frames: int = 0,
                   should_stop: Callable[[], bool] = lambda: False) -> Iterator[Optional[DataError]]:
    """Predicts what a camera sees, and writes it as predict_video does.

    Args:
        file: names the camera and the result.
        max_frames: how many; 0: until should_stop() or until the camera gives none.

    Yields:
        None for each frame, as soon as it is written; at the end what is wrong, if the camera gave no more frames.
    """
    written = 0
    for written, step in enumerate(_overlays(segmenter, camera, file=file, folder=folder, palette=palette,
                                             max_frames=max_frames, should_stop=should_stop), 1):
        yield step
    if written != max_frames and not should_stop():
        yield DataError(f"{file.path}: gave no more frames after {written}; these are done. Is it still connected?")


def _overlays(segmenter: Segmenter, video: Frames, *, file: InputFile, folder: Path, palette: Sequence[Color],
              max_frames: int = 0, should_stop: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Writes the overlays of a video's frames; the file is there when the last has been."""
    with writing_video(folder / "overlay" / f"{file.name}_overlay{video_format()[0]}", video.size,
                       rate=video.rate) as add:
        def write_one(image: ImageInWork) -> None:
            if image.error is not None:
                raise image.error
            add(overlay(image.pixels, image.prediction.classes, palette=palette))

        # One thread each, so that the frames stay in order.
        with closing(prefetch(lambda _: video.read(), range(max_frames) if max_frames else count(),
                              num_workers=1)) as frames:
            wanted = takewhile(lambda frame: frame is not None and not should_stop(), frames)
            images = map(partial(ImageInWork, file), wanted)
            with closing(prefetch(write_one, _predicted(segmenter, images), num_workers=1)) as steps:
                yield from steps


def _write_images(image: ImageInWork, *, folder: Path, palette: Sequence[Color], kinds: Sequence[str]) -> None:
    classes = image.prediction.classes
    pixels: Dict[str, Callable[[], Optional[np.ndarray]]] = {
        "overlay": lambda: overlay(image.pixels, classes, palette=palette), "mask": lambda: colorize(classes, palette),
        "class_map": lambda: classes, "confidence": lambda: image.prediction.confidence}
    for kind, path in zip(kinds, result_paths(folder, image.file.name, kinds=kinds, submit=False)):
        save_png(path, pixels[kind](), text=(KEYWORD, image.file.key))


def _write_label_ids(image: ImageInWork, *, folder: Path, label_ids: np.ndarray) -> None:
    path, = result_paths(folder, image.file.name, kinds=(), submit=True)
    save_png(path, label_ids[image.prediction.classes], text=(KEYWORD, image.file.key))


def _predicted(segmenter: Segmenter, images: Iterable[ImageInWork]) -> Iterator[ImageInWork]:
    for batch in equal_batches(images, lambda image: image.error is None, size=segmenter.batch_size):
        if batch[0].error is not None:
            yield from batch
            continue
        try:
            predictions = segmenter.predict([image.pixels for image in batch])
        except DataError as error:
            yield from (image._replace(error=DataError(f"{image.file.path}: {error}")) for image in batch)
            continue
        yield from (image._replace(prediction=prediction) for image, prediction in zip(batch, predictions))
