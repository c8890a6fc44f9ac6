"""Single files of a data set: the size in their header, their pixels, and what is wrong with them. No MindSpore.

Images are PNG or JPEG, labels PNG; what a file is follows from its first bytes, whatever its name says.
"""
import os
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple, Tuple

import cv2
import numpy as np
from PIL import Image

from rtseg.data.dataset_spec import UNKNOWN_ID, DatasetSpec
from rtseg.utils.errors import DataError
from rtseg.utils.files import open_regular_file

_PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_PNG_GRAYSCALE, _PNG_PALETTE = 0, 3
_JPEG_START = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9"
# Cameras and editors may append something to an image.
_MOST_APPENDED = 1 << 16
_MOST_NAMED = 10
_DAMAGED = "{}: cannot be decoded, its compressed data is damaged; copy the file again"
# A few bytes can claim an image that fills all memory, or does once it is scaled to a crop.
_LONGEST_SIDE, _MOST_PIXELS, _LARGEST_RATIO = 16384, 1 << 27, 64


class _Header(NamedTuple):
    height: int
    width: int
    bits: int        # per channel
    color_type: int  # of PNG; -1 for JPEG


def image_size(path: Path) -> Tuple[int, int]:
    """Returns (height, width) from the file's header. Raises DataError when it is no complete PNG or JPEG."""
    return _read_header(path)[:2]


def label_size(path: Path, spec: DatasetSpec) -> Tuple[int, int]:
    """Returns (height, width) from the header. Raises DataError when it is no complete PNG of the specified form."""
    return _label_header(path, spec)[:2]


def read_image(path: Path) -> np.ndarray:
    """Returns the image as uint8 (H, W, 3) RGB, contiguous. Raises DataError when it is damaged."""
    image_size(path)
    image = _decode(path, cv2.IMREAD_COLOR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def read_label(path: Path, spec: DatasetSpec) -> np.ndarray:
    """Returns the train ids, uint8 (H, W), of a label file.

    Raises:
        DataError: the file is damaged, not of the specified form, or holds ids or colours that the specification lacks.
    """
    header = _label_header(path, spec)
    if _holds_colors(path, spec):
        # 0xAARRGGBB in each pixel's four bytes, A being 255
        values = cv2.cvtColor(_decode(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2BGRA).view("<u4")[..., 0] & 0xFFFFFF
        table = spec.color_table
        label = np.take(table, values)
    else:
        values = _palette_indices(path) if header.color_type == _PNG_PALETTE else _decode(path, cv2.IMREAD_GRAYSCALE)
        table = spec.train_id_table if spec.holds_train_ids(path.name) else spec.id_table
        label = cv2.LUT(values, table)
    unknown = label == UNKNOWN_ID
    if unknown.any():
        raise DataError(f"{path}: holds {_unknown(values[unknown], table)}; fix the file, or the "
                        f"specification of '{spec.name}'")
    return label


def _holds_colors(path: Path, spec: DatasetSpec) -> bool:
    return spec.label_form == "colors" and not spec.holds_train_ids(path.name)


def _unknown(values: np.ndarray, table: np.ndarray) -> str:
    """Names the most frequent ones; `table` is what they were looked up in."""
    found, counts = np.unique(values, return_counts=True)
    named = np.sort(found[np.argsort(-counts, kind="stable")[:_MOST_NAMED]])
    more = f" and {found.size - named.size} more" if found.size > named.size else ""
    pixels = f"({values.size} pixels)"
    if len(table) == 256:
        return f"the ids {named.tolist()}{more}, expected only {_ranges(np.flatnonzero(table != UNKNOWN_ID))} {pixels}"
    colors = [(value >> 16, value >> 8 & 255, value & 255) for value in named.tolist()]
    return f"the RGB colours {', '.join(map(str, colors))}{more}, expected only those of a class or ignored {pixels}"


def _ranges(values: np.ndarray) -> str:
    """Such as "0..3, 7 and 255"."""
    runs = np.split(values, np.flatnonzero(np.diff(values) != 1) + 1)
    *first, last = [f"{run[0]}..{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs]
    return f"{', '.join(first)} and {last}" if first else last


def _decode(path: Path, flags: int) -> np.ndarray:
    # A rotation noted in EXIF would turn the image but not its label.
    try:
        with open_regular_file(path) as file:
            content = file.read()
        pixels = None
        if _fits_its_chunks(content):
            pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    except cv2.error:  # larger than OpenCV takes, or empty
        pixels = None
    if pixels is None:
        raise DataError(_DAMAGED.format(path))
    return pixels


def _fits_its_chunks(content: bytes) -> bool:
    """Whether the lengths that a PNG file says its chunks have are true; OpenCV takes so much memory, up to 4 GB,
    before it sees that they are not. True for other files; what follows a PNG file's last chunk does not count."""
    if not content.startswith(_PNG_START):
        return True
    position, kind = 8, b""
    while position < len(content) and kind != b"IEND":
        kind = content[position + 4:position + 8]
        position += 12 + int.from_bytes(content[position:position + 4], "big")
    return kind == b"IEND" and position <= len(content)


def _palette_indices(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.array(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise DataError(_DAMAGED.format(path)) from None


def _label_header(path: Path, spec: DatasetSpec) -> _Header:
    header = _read_header(path)
    if header.color_type == -1:
        raise DataError(f"{path}: is a JPEG image, whose pixels are not exact; expected a PNG label")
    is_wrong = header.bits > 8 if _holds_colors(path, spec) else (
        header.color_type != _PNG_PALETTE and (header.bits, header.color_type) != (8, _PNG_GRAYSCALE))
    if is_wrong:
        kind = "grey" if header.color_type == _PNG_GRAYSCALE else "colour-coded"
        wanted = "label colours" if _holds_colors(path, spec) else "label ids as one channel"
        raise DataError(f"{path}: is a {kind} PNG of {header.bits} bits, expected {wanted} of 8 bits, as the "
                        f"specification of '{spec.name}' says; put back the original file (not a coloured one or "
                        "what an editor saved), or change the specification's label_form")
    return header


def _read_header(path: Path) -> _Header:
    """The header of a file that has been seen to have its end."""
    try:
        with open_regular_file(path) as file:
            start = file.read(26)
            if len(start) == 26 and start.startswith(_PNG_START):
                width, height, bits, color_type = struct.unpack(">IIBB", start[16:])
                header, is_complete = _Header(height, width, bits, color_type), _PNG_END in _tail(file, _MOST_APPENDED)
            elif start.startswith(_JPEG_START):
                is_complete = _JPEG_END in _tail(file, _MOST_APPENDED)
                header = _jpeg_header(file)
            else:
                raise DataError(f"{path}: is not a PNG file (starts with {start[:8]!r}), nor JPEG; convert it, or "
                                "copy it again")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    except struct.error:
        is_complete = False
    if not is_complete:
        raise DataError(f"{path}: is cut short (does not end as an image file does); copy the file again")
    short, long = sorted(header[:2])
    if not 0 < short <= long <= _LONGEST_SIDE or long > _LARGEST_RATIO * short or short * long > _MOST_PIXELS:
        raise DataError(f"{path}: says that it is {header.width}x{header.height} (width x height); expected at most "
                        f"{_MOST_PIXELS} pixels, no side over {_LONGEST_SIDE} or {_LARGEST_RATIO} times the other")
    return header


def _tail(file: BinaryIO, count: int) -> bytes:
    file.seek(max(0, file.seek(0, os.SEEK_END) - count))
    return file.read()


def _jpeg_header(file: BinaryIO) -> _Header:
    """Raises struct.error when there is none."""
    file.seek(2)
    while True:
        marker, = struct.unpack(">H", file.read(2))
        while marker == 0xFFFF:  # any number of fill bytes may precede a marker: T.81, B.1.1.2
            marker = 0xFF00 | struct.unpack(">B", file.read(1))[0]
        length, = struct.unpack(">H", file.read(2))
        if 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):  # tables, not frames
            bits, height, width = struct.unpack(">BHH", file.read(5))
            return _Header(height, width, bits, -1)
        if marker < 0xFFC0 or length < 2:
            raise struct.error
        file.seek(length - 2, os.SEEK_CUR)
