"""Cityscapes on disk: finds image and label pairs, reads them, and finds bad files before a long run does.

This file imports nothing of MindSpore, so the doors that run without it can use it.
"""
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import cv2
import numpy as np

from src.data.labels import ID_TO_TRAIN_ID, TRAIN_ID_TO_TRAIN_ID, UNKNOWN_ID
from src.utils.errors import ConfigError, DataError

IMAGE_FOLDER = "leftImg8bit"
LABEL_FOLDER = "gtFine"
IMAGE_SUFFIX = "_leftImg8bit.png"
LABEL_ID_SUFFIX = "_gtFine_labelIds.png"
LABEL_TRAIN_ID_SUFFIX = "_gtFine_labelTrainIds.png"

SPLIT_FOLDERS = {"train": ("train",), "val": ("val",), "trainval": ("train", "val"), "test": ("test",)}

_LAYOUT = f"""expected
  <dataset>/{IMAGE_FOLDER}/<split>/<city>/<name>{IMAGE_SUFFIX}
  <dataset>/{LABEL_FOLDER}/<split>/<city>/<name>{LABEL_ID_SUFFIX} (or {LABEL_TRAIN_ID_SUFFIX})"""

_MAX_PROBLEMS_LISTED = 20
# The scan waits for the disk, not for the processor, so more threads than cores pay off (network disks above all).
_SCAN_THREADS = 16

_PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_PNG_GRAYSCALE = 0


class Sample(NamedTuple):
    """One picture of the data set; `name` is its stem, such as aachen_000000_000019."""

    name: str
    city: str
    image: Path
    label: Optional[Path]


class Cityscapes:
    """The pictures of one split, in an order that does not depend on the file system.

    `split` is train, val, trainval or test. With `require_labels=False` a picture may lack its label (test split).
    A `labelIds` file is preferred to a `labelTrainIds` file of the same picture.

    Raises:
        ConfigError: unknown split.
        DataError: `root` is not laid out as Cityscapes or holds no picture.
    """

    def __init__(self, root: Union[str, Path], split: str, require_labels: bool = True):
        if split not in SPLIT_FOLDERS:
            raise ConfigError(f"unknown split '{split}': expected one of {', '.join(SPLIT_FOLDERS)}")
        self.root = Path(os.path.abspath(Path(root).expanduser()))
        self.require_labels = require_labels
        kinds = (IMAGE_FOLDER, LABEL_FOLDER) if require_labels else (IMAGE_FOLDER,)
        _check_layout(self.root, [f"{kind}/{folder}" for kind in kinds for folder in SPLIT_FOLDERS[split]])
        samples = [sample for folder in SPLIT_FOLDERS[split] for sample in _find_samples(self.root, folder)]
        if not samples:
            raise DataError(f"no picture of split '{split}' found in {self.root}: {_LAYOUT}")
        self.samples = sorted(samples, key=lambda sample: (sample.name, sample.city))

    def __len__(self) -> int:
        return len(self.samples)

    def load(self, index: int) -> Tuple[np.ndarray, Optional[np.ndarray]]:
        """Returns the image, uint8 (H, W, 3) RGB, and its train ids, uint8 (H, W), or None if it has no label.

        Raises:
            DataError: a file is missing, unreadable, damaged or holds unknown ids, or the two sizes differ.
        """
        sample = self.samples[index]
        image = read_image(sample.image)
        if sample.label is None:
            if self.require_labels:
                raise DataError(_missing_label(sample))
            return image, None
        label = read_label(sample.label)
        if image.shape[:2] != label.shape:
            raise DataError(_different_sizes(sample, image.shape[:2], label.shape))
        return image, label

    def check(self) -> None:
        """Looks at the start and the end of every file, without decoding any (about 0.1 ms a file on a local disk).

        Raises:
            DataError: lists all missing labels, truncated files, non-PNGs, colour labels and sizes that differ.
        """
        with ThreadPoolExecutor(_SCAN_THREADS) as executor:
            problems = [problem for found in executor.map(self._problems, self.samples) for problem in found]
        if problems:
            listed = problems[:_MAX_PROBLEMS_LISTED]
            if len(problems) > len(listed):
                listed.append(f"and {len(problems) - len(listed)} more")
            raise DataError(f"{len(problems)} problem(s) in the dataset {self.root}:\n  " + "\n  ".join(listed))

    def _problems(self, sample: Sample) -> List[str]:
        problems = [_missing_label(sample)] if sample.label is None and self.require_labels else []
        sizes = []
        for path, read_size in ((sample.image, _image_size), (sample.label, _label_size)):
            try:
                if path is not None:
                    sizes.append(read_size(path))
            except DataError as error:
                problems.append(str(error))
        if len(sizes) == 2 and sizes[0] != sizes[1]:
            problems.append(_different_sizes(sample, *sizes))
        return problems


def read_image(path: Path) -> np.ndarray:
    """Returns the PNG picture as uint8 (H, W, 3) RGB, contiguous. Raises DataError when it is damaged."""
    _image_size(path)
    image = _decode(path, cv2.IMREAD_COLOR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def read_label(path: Path) -> np.ndarray:
    """Returns the train ids, uint8 (H, W), of a `labelIds` file or, going by its name, a `labelTrainIds` file.

    Raises:
        DataError: the file is damaged, is not 8-bit single-channel or holds ids that Cityscapes does not have.
    """
    _label_size(path)
    ids = _decode(path, cv2.IMREAD_GRAYSCALE)
    table = TRAIN_ID_TO_TRAIN_ID if path.name.endswith(LABEL_TRAIN_ID_SUFFIX) else ID_TO_TRAIN_ID
    label = cv2.LUT(ids, table)
    unknown = label == UNKNOWN_ID
    if unknown.any():
        highest = np.flatnonzero(table != UNKNOWN_ID)[-2]
        raise DataError(f"{path}: holds the ids {np.unique(ids[unknown]).tolist()}, expected only 0..{highest} and "
                        f"255; put back the original label file, or name it as what it holds "
                        f"(*{LABEL_ID_SUFFIX} or *{LABEL_TRAIN_ID_SUFFIX})")
    return label


def _check_layout(root: Path, folders: Sequence[str]) -> None:
    if not os.path.isdir(root):
        problem = f"the dataset folder {root} does not exist"
    else:
        missing = [folder for folder in folders if not os.path.isdir(root / folder)]
        if not missing:
            return
        problem = f"the dataset folder {root} has no folder {' and no '.join(missing)}"
    hint = ""
    # Users often point one level too high (a parent folder) or too low (leftImg8bit itself).
    for candidate in [*sorted(root.glob("*")), *list(root.parents)[:2]]:
        if all(os.path.isdir(candidate / folder) for folder in folders):
            hint = f"\ndid you mean {candidate}?"
            break
    raise DataError(f"{problem}: {_LAYOUT}{hint}")


def _find_samples(root: Path, folder: str) -> List[Sample]:
    images = _find(root / IMAGE_FOLDER / folder, IMAGE_SUFFIX)
    labels = _find(root / LABEL_FOLDER / folder, LABEL_TRAIN_ID_SUFFIX)
    labels.update(_find(root / LABEL_FOLDER / folder, LABEL_ID_SUFFIX))
    return [Sample(name, city, path, labels.get((city, name))) for (city, name), path in images.items()]


def _find(folder: Path, suffix: str) -> Dict[Tuple[str, str], Path]:
    """Files by (city, name)."""
    return {(path.parent.name, path.name[:-len(suffix)]): path for path in folder.glob(f"*/*{suffix}")}


def _missing_label(sample: Sample) -> str:
    expected = f"{LABEL_FOLDER}/{sample.image.parent.parent.name}/{sample.city}/{sample.name}{LABEL_ID_SUFFIX}"
    return f"{sample.image}: has no label, expected {expected}; unpack the labels again or remove the image"


def _different_sizes(sample: Sample, image_size: Sequence[int], label_size: Sequence[int]) -> str:
    (height, width), (label_height, label_width) = image_size, label_size
    return (f"{sample.image}: is {width}x{height} (width x height), but its label {sample.label} is "
            f"{label_width}x{label_height}; expected equal sizes, put back the original files")


def _decode(path: Path, flags: int) -> np.ndarray:
    # A rotation noted in EXIF would turn the image but not its label.
    pixels = cv2.imread(str(path), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise DataError(f"{path}: cannot be decoded, its compressed data is damaged; copy the file again")
    return pixels


def _image_size(path: Path) -> Tuple[int, int]:
    height, width, _, _ = _read_header(path)
    return height, width


def _label_size(path: Path) -> Tuple[int, int]:
    height, width, bits, color_type = _read_header(path)
    if (bits, color_type) != (8, _PNG_GRAYSCALE):
        kind = "grey" if color_type == _PNG_GRAYSCALE else "colour-coded"
        raise DataError(f"{path}: is a {kind} PNG of {bits} bits, expected label ids as one grey channel of 8 bits; "
                        "put back the original *_labelIds.png (not *_color.png or a file that an editor saved)")
    return height, width


def _read_header(path: Path) -> Tuple[int, int, int, int]:
    """Returns height, width, bits per channel and PNG colour type, having seen that the file has its end."""
    try:
        with open(path, "rb") as file:
            header = file.read(26)
            file.seek(max(0, file.seek(0, os.SEEK_END) - len(_PNG_END)))
            end = file.read()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    if len(header) < 26 or not header.startswith(_PNG_START):
        raise DataError(f"{path}: is not a PNG file (starts with {header[:8]!r}); copy the file again")
    if end != _PNG_END:
        raise DataError(f"{path}: is cut short (does not end as a PNG file does); copy the file again")
    width, height, bits, color_type = struct.unpack(">IIBB", header[16:])
    return height, width, bits, color_type
