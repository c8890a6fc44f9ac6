"""The headerless little-endian .bin files between preprocess.py, the inference program and cal_mIoU.py. No MindSpore.

    <name>_img.bin     float32 (3, H, W), normalised RGB, or uint8 (H, W, 3), RGB as it is
    <name>_label.bin   uint8 (H, W), train ids
    <name>_img_0.bin   the inference program's result: float32 (C, H, W) logits, float32 (C, H / stride, W / stride)
                       head logits, or uint8 (H, W) train ids
"""
import math
import os
from pathlib import Path
from typing import Dict, Optional, Sequence

import numpy as np

from rtseg.data.dataset_spec import IGNORE_LABEL
from rtseg.inference.postprocessing import classes_of
from rtseg.utils.atomic import atomic_write
from rtseg.utils.errors import DataError
from rtseg.utils.files import open_regular_file

IMAGE_SUFFIX = "_img.bin"
LABEL_SUFFIX = "_label.bin"
RESULT_SUFFIX = "_img_0.bin"


def list_files(folder: Path, suffix: str) -> Dict[str, Path]:
    """Files by name (the path's last part without `suffix`), in alphabetical order; hidden ones are left out.

    Raises:
        DataError: no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"expected a folder of *{suffix} files, found none at {folder}")
    return {path.name[:-len(suffix)]: path for path in sorted(folder.glob(f"*{suffix}"))
            if not path.name.startswith(".")}


def write_array(path: Path, array: np.ndarray) -> None:
    """Writes a float32 or uint8 array, atomically."""
    with atomic_write(path) as temporary:
        # Not ndarray.tofile, whose error does not say that the disk is full.
        temporary.write_bytes(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data.cast("B"))


def read_label(path: Path, height: int, *, width: int) -> np.ndarray:
    """uint8 (H, W) train ids.

    Raises:
        DataError: unreadable, or another number of bytes.
    """
    return np.frombuffer(_read(path, {"uint8 train ids": height * width}), np.uint8).reshape(height, width)


def read_image_file(path: Path, shape: Sequence[int], *, dtype: str) -> np.ndarray:
    """A network's input, float32 or uint8, of `shape`.

    Raises:
        DataError: unreadable, or another number of bytes.
    """
    itemsize = np.dtype(dtype).itemsize
    content = _read(path, {f"{dtype} image": math.prod(shape) * itemsize})
    return np.frombuffer(content, np.dtype(dtype).newbyteorder("<")).reshape(tuple(shape))


def read_output(path: Path, height: int, *, width: int, num_classes: int,
                stride: Optional[int] = None) -> np.ndarray:
    """A network's output as it is: uint8 (H, W) class map, float32 (C, H, W) logits, or float32 (C, H / stride,
    W / stride) head logits; the number of bytes tells which, and where it does not, whether all are classes.

    Other engines also write logits in float16, which stay that, and classes as int32 or int64, which become uint8.

    Args:
        stride: of the head logits; None if the output cannot be those.

    Raises:
        DataError: unreadable, or a number of bytes that is none of these.
    """
    shapes = {"uint8 class map": (height, width), "float32 logits": (num_classes, height, width)}
    if stride is not None:
        shapes["float32 head logits"] = (num_classes, height // stride, width // stride)
    forms = [(np.dtype(dtype), shape) for kind, shape in shapes.items()
             for dtype in (("u1", "<i4", "<i8") if kind == "uint8 class map" else ("<f4", "<f2"))]
    sizes = [math.prod(shape) * dtype.itemsize for dtype, shape in forms]
    content = _read(path, {kind: math.prod(shape) * (4 if kind.startswith("float32") else 1)
                           for kind, shape in shapes.items()}, others=sizes)
    outputs = [np.frombuffer(content, dtype).reshape(shape) for (dtype, shape), size in zip(forms, sizes)
               if size == len(content)]
    output = next((array for array in outputs[:-1]  # 16 classes at stride 8 have as many bytes as a class map
                   if (((0 <= array) & (array < num_classes)) | (array == IGNORE_LABEL)).all()), outputs[-1])
    return output.clip(-1, IGNORE_LABEL).astype(np.uint8) if output.dtype.kind == "i" else output


def read_result(path: Path, height: int, *, width: int, num_classes: int, stride: Optional[int] = None,
                align_corners: bool = False) -> np.ndarray:
    """uint8 (H, W): the class of each pixel, from any output that `read_output` reads.

    Args:
        stride, align_corners: of the head logits.

    Raises:
        DataError: see `read_output`; or logits that are not finite.
    """
    output = read_output(path, height, width=width, num_classes=num_classes, stride=stride)
    try:
        return classes_of(output, (height, width), align_corners=align_corners)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _read(path: Path, expected: Dict[str, int], *, others: Sequence[int] = ()) -> bytes:
    """The content, of as many bytes as `expected`, which a message names, or `others` say."""
    sizes = {*expected.values(), *others}
    try:
        with open_regular_file(path) as file:
            found = os.fstat(file.fileno()).st_size
            content = file.read() if found in sizes else b""
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    if len(content) not in sizes:
        wanted = " or ".join(f"{count} bytes ({kind})" for kind, count in expected.items())
        raise DataError(f"{path}: expected {wanted}, found {found}; are --image_height and --image_width right, and "
                        "was it written completely?")
    return content
