"""The headerless little-endian .bin files between preprocess.py, the inference program and cal_mIoU.py. No MindSpore.

    <name>_img.bin     float32 (3, H, W), normalised RGB, or uint8 (H, W, 3), RGB as it is
    <name>_label.bin   uint8 (H, W), train ids
    <name>_img_0.bin   float32 (C, H, W) logits, or uint8 (H, W) train ids: the inference program's result
"""
import os
from pathlib import Path
from typing import Dict, Sequence

import numpy as np

from rtseg.data.labels import NUM_CLASSES
from rtseg.utils.atomic import atomic_write
from rtseg.utils.errors import DataError
from rtseg.utils.files import open_regular_file

IMAGE_SUFFIX = "_img.bin"
LABEL_SUFFIX = "_label.bin"
RESULT_SUFFIX = "_img_0.bin"


def list_files(folder: Path, suffix: str) -> Dict[str, Path]:
    """Files by name (the path's last part without `suffix`), in alphabetical order.

    Raises:
        DataError: no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"expected a folder of *{suffix} files, found none at {folder}")
    return {path.name[:-len(suffix)]: path for path in sorted(folder.glob(f"*{suffix}"))}


def normalize(image: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """uint8 RGB (H, W, 3) -> float32 (3, H, W), (x / 255 - mean) / std, with the arithmetic of the networks' graph."""
    result = np.empty((3, *image.shape[:2]), np.float32)
    for channel in range(3):
        scale, shift = np.float32(1 / (255 * std[channel])), np.float32(-mean[channel] / std[channel])
        table = np.arange(256, dtype=np.float32) * scale + shift
        np.take(table, image[:, :, channel], out=result[channel])
    return result


def write_array(path: Path, array: np.ndarray) -> None:
    """Writes a float32 or uint8 array, atomically."""
    with atomic_write(path) as temporary:
        # Not ndarray.tofile, whose error does not say that the disk is full.
        temporary.write_bytes(memoryview(np.ascontiguousarray(array, array.dtype.newbyteorder("<"))).cast("B"))


def read_label(path: Path, height: int, width: int) -> np.ndarray:
    """uint8 (H, W) train ids.

    Raises:
        DataError: unreadable, or another number of bytes.
    """
    return np.frombuffer(_read(path, {"uint8 train ids": height * width}), np.uint8).reshape(height, width)


def read_result(path: Path, height: int, width: int, num_classes: int = NUM_CLASSES) -> np.ndarray:
    """uint8 (H, W): the class of each pixel, from a class map or from logits; the number of bytes tells which.

    Raises:
        DataError: unreadable, a number of bytes that is neither, or logits that are not finite.
    """
    logits_bytes = 4 * num_classes * height * width
    content = _read(path, {"uint8 class map": height * width, "float32 logits": logits_bytes})
    if len(content) != logits_bytes:
        return np.frombuffer(content, np.uint8).reshape(height, width)
    logits = np.frombuffer(content, "<f4").reshape(num_classes, height, width)
    if not np.isfinite(logits).all():
        raise DataError(f"{path}: expected finite logits, found NaN or infinity; is the model's precision too low?")
    return argmax(logits)


def argmax(logits: np.ndarray) -> np.ndarray:
    """Logits (C, H, W) -> uint8 (H, W): the class of each pixel, the first among equal ones."""
    # np.argmax over the first axis takes three times as long.
    best, classes = logits[0].copy(), np.zeros(logits.shape[1:], np.uint8)
    for index in range(1, len(logits)):
        np.putmask(classes, logits[index] > best, np.uint8(index))
        np.maximum(best, logits[index], out=best)
    return classes


def _read(path: Path, expected: Dict[str, int]) -> bytes:
    try:
        with open_regular_file(path) as file:
            found = os.fstat(file.fileno()).st_size
            content = file.read() if found in expected.values() else b""
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    if len(content) not in expected.values():
        wanted = " or ".join(f"{count} bytes ({kind})" for kind, count in expected.items())
        raise DataError(f"{path}: expected {wanted}, found {found}; are --image_height and --image_width right, and "
                        "was it written completely?")
    return content
