"""Images and videos that a user names for prediction: files, folders and patterns. No MindSpore."""
import glob
import os
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np
from PIL import Image

from rtseg.data.dataset import walk_once
from rtseg.data.image_io import read_image
from rtseg.utils.errors import ConfigError

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".webm", ".mpg", ".mpeg")
_MOST_NAME_BYTES = 180  # leaves room for what results and temporary files have around it
_ORIENTATION = 0x0112
# Value of EXIF's orientation -> what turns the image upright.
_TO_UPRIGHT = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
               5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
               8: Image.Transpose.ROTATE_90}


class InputFile(NamedTuple):
    """An image or video; its results are written under `name`, which no other input has."""

    path: Path
    name: str
    key: str = ""  # that its results carry, see rtseg.inference.finished

    @property
    def is_video(self) -> bool:
        """Going by the suffix."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES


def find_inputs(inputs: Sequence[str], results: Sequence[Path] = ()) -> Tuple[List[InputFile], List[str]]:
    """What `inputs` name, each file once, in an order that does not depend on the file system.

    Args:
        inputs: files, of which any name counts; folders, searched to the bottom for known suffixes, links to folders
            included; patterns with *, ? and ** as in a shell. Hidden files count only if they are named.
        results: files and folders that no folder or pattern means: what an earlier prediction has left there.

    Returns:
        the files; and a sentence for each of `inputs` that names none.
    """
    paths: Dict[str, Path] = {}
    problems: List[str] = []
    left_out = {os.path.realpath(path) for path in results}
    for text in inputs:
        found = list(_files(text, left_out))
        if not found:
            problems.append(f"{text}: expected an image, a video, or a folder or pattern of some "
                            f"({', '.join(PICTURE_SUFFIXES + VIDEO_SUFFIXES)}), found none")
        paths.update((os.path.abspath(path), Path(path)) for path in found)
    return _named(list(paths.values())), problems


def read_upright(path: Path) -> np.ndarray:
    """The image, uint8 (H, W, 3) RGB, turned as the camera has noted in it. Raises DataError when it is damaged."""
    image = read_image(path)
    try:
        with Image.open(path) as file:
            turn = _TO_UPRIGHT.get(file.getexif().get(_ORIENTATION))
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, Image.DecompressionBombError):
        turn = None  # such a note is no image data
    return image if turn is None else np.asarray(Image.fromarray(image).transpose(turn))


def camera_of(inputs: Sequence[str]) -> Optional[int]:
    """The index of the camera that `inputs` mean: one word of digits that names no file. None: no camera.

    Raises:
        ConfigError: a camera is not the only input.
    """
    indices = [text for text in inputs if text.isascii() and text.isdigit() and not os.path.exists(text)]
    if indices and len(inputs) > 1:
        raise ConfigError(f"camera {indices[0]}: expected a camera to be the only input, found {len(inputs)}; if a "
                          "file was meant, it is not there")
    return int(indices[0]) if indices else None


def shard_of(files: Sequence[InputFile], shard: Tuple[int, int]) -> List[InputFile]:
    """Part i of n, counted from 1: every n-th file from the i-th on."""
    number, count = shard
    return list(files[number - 1::count])


def for_submission(files: Sequence[InputFile], image_suffix: str) -> Tuple[List[InputFile], List[str]]:
    """The same files by the names that the test server knows them by: their own without `image_suffix`.

    Returns:
        the files; and a sentence for each that is called otherwise, or as another one.
    """
    named: Dict[str, InputFile] = {}
    problems: List[str] = []
    for file in files:
        name = file.path.name[:-len(image_suffix)] if image_suffix else file.path.stem
        if not file.path.name.endswith(image_suffix) or not name or file.is_video:
            problems.append(f"{file.path}: expected an image with the data set's own name, *{image_suffix}, for a "
                            "submission")
        elif name in named:
            problems.append(f"{file.path}: has the same name as {named[name].path}; expected each image once in a "
                            "submission")
        else:
            named[name] = file._replace(name=name)
    return list(named.values()), problems


def _files(text: str, left_out: Set[str]) -> Iterator[str]:
    """The files that one input names; `left_out` has real paths."""
    if os.path.isfile(text):
        yield text
        return
    for path in [text] if os.path.isdir(text) else sorted(glob.glob(text, recursive=True)):
        real = Path(os.path.realpath(path))
        if any(str(folder) in left_out for folder in (real, *real.parents)):
            continue
        if os.path.isdir(path):
            yield from _in_folder(path, left_out)
        elif _is_known(path):
            yield path


def _in_folder(folder: str, left_out: Set[str]) -> Iterator[str]:
    for here, names in walk_once(folder, left_out=left_out):
        real = os.path.realpath(here)
        yield from (os.path.join(here, name) for name in names
                    if _is_known(name) and os.path.join(real, name) not in left_out)


def _is_known(name: str) -> bool:
    return name.lower().endswith(PICTURE_SUFFIXES + VIDEO_SUFFIXES)


def _named(paths: Sequence[Path]) -> List[InputFile]:
    """Names each file by its stem; where stems are equal, all but the first get numbers."""
    stems = [os.fsdecode(os.fsencode(path.stem)[:_MOST_NAME_BYTES]) for path in paths]
    # Where letters' cases do not count, the results of a.png and A.png would be one file.
    reserved, taken, files = {stem.lower() for stem in stems}, set(), []
    for path, stem in zip(paths, stems):
        name, number = stem, 2
        while name.lower() in taken or (name != stem and name.lower() in reserved):
            name, number = f"{stem}_{number}", number + 1
        taken.add(name.lower())
        files.append(InputFile(path, name))
    return files
