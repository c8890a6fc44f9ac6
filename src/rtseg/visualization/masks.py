"""Images for people: coloured masks, overlays, error maps, a legend, and a contact sheet of results.

Images are RGB. A palette has the (R, G, B) of each train id; what is not in it counts as ignored: black in a mask,
see-through in an overlay.
"""
import math
from functools import lru_cache
from pathlib import Path
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from rtseg.data.dataset_spec import IGNORE_LABEL
from rtseg.utils.atomic import atomic_write
from rtseg.utils.errors import DataError
from rtseg.visualization.fonts import drawable

_WRONG = (230, 25, 25)
_NOT_SCORED = (0, 0, 0)

# Sizes of a contact sheet in pixels.
_CELL_WIDTH = 512
_GAP = 8
_FONT_SIZE = 15
_LINE = 24
_LEGEND_BOX = _LINE - 10

Palette = Union[Sequence[Sequence[int]], np.ndarray]  # (R, G, B) of each class
LegendEntry = Tuple[str, Sequence[int]]  # name, RGB


class SheetRow(NamedTuple):
    """A line of a contact sheet: `image` and train ids as for `overlay`."""

    image: np.ndarray
    prediction: np.ndarray
    label: Optional[np.ndarray] = None
    caption: str = ""


def colorize(train_ids: np.ndarray, palette: Palette) -> np.ndarray:
    """Colours train ids, integers (H, W) in 0..255, by a palette, (classes, 3): uint8 (H, W, 3) RGB.

    Raises:
        DataError: `train_ids` is of another shape, type or range.
    """
    train_ids = np.asarray(train_ids)
    if train_ids.ndim != 2 or train_ids.dtype.kind not in "iu":
        raise DataError(f"train ids must be integers of shape (H, W), got {train_ids.dtype} {train_ids.shape}")
    if train_ids.dtype != np.uint8 and train_ids.size and (train_ids.min() < 0 or train_ids.max() > 255):
        raise DataError(f"train ids must be in 0..255, found {train_ids.min()}..{train_ids.max()}")
    colors = np.zeros((256, 3), np.uint8)
    colors[:len(palette)] = palette
    return np.take(colors, train_ids, axis=0)


def overlay(image: np.ndarray, train_ids: np.ndarray, *, palette: Palette, alpha: float = 0.5) -> np.ndarray:
    """Lays the colours of `train_ids` (H, W) over `image`, uint8 (H, W, 3) RGB; ignored pixels show the image alone.

    Args:
        palette: (R, G, B) of each train id.
        alpha: weight of the colours, 0 (image only) to 1 (colours only).

    Returns:
        uint8 (H, W, 3) RGB.

    Raises:
        DataError: an array is of another shape, type or range.
    """
    colors = colorize(train_ids, palette)
    if image.dtype != np.uint8 or image.shape != colors.shape:
        raise DataError(f"the image must be uint8 of shape {colors.shape}, as its train ids, "
                        f"got {image.dtype} {image.shape}")
    np.copyto(colors, image, where=(np.asarray(train_ids) >= len(palette))[..., None])
    return np.array(Image.blend(Image.fromarray(image), Image.fromarray(colors), alpha))


def save_png(path: Union[str, Path], rgb: np.ndarray, *, text: Optional[Tuple[str, str]] = None) -> None:
    """Writes uint8 (H, W, 3) RGB, or (H, W) grey such as label ids, to a PNG file, atomically.

    Args:
        text: keyword and value of a text chunk.

    Raises:
        DataError: the array is of another shape or type.
        OSError: the file cannot be written.
    """
    if rgb.dtype != np.uint8 or rgb.ndim not in (2, 3) or rgb.shape[2:] not in ((), (3,)):
        raise DataError(f"a PNG needs uint8 of shape (H, W, 3) or (H, W), got {rgb.dtype} {rgb.shape} for {path}")
    chunks = PngImagePlugin.PngInfo()
    if text is not None:
        chunks.add_text(*text)
    with atomic_write(path) as temporary:
        # Level 1 writes a photo five times faster than the default and 15 % larger.
        Image.fromarray(rgb).save(temporary, format="PNG", compress_level=1, pnginfo=chunks)


def error_map(image: np.ndarray, prediction: np.ndarray, *, label: np.ndarray) -> np.ndarray:
    """Where a prediction is wrong: red; where it is right: the image, pale and grey; what is not scored: black.

    Args:
        image: uint8 (H, W, 3) RGB.
        prediction, label: train ids (H, W); 255 in a label is not scored.

    Returns:
        uint8 (H, W, 3) RGB.
    """
    result = np.array(Image.fromarray(image).convert("L").point(lambda value: 128 + value * 5 // 12).convert("RGB"))
    result[prediction != label] = _WRONG
    result[label == IGNORE_LABEL] = _NOT_SCORED
    return result


def legend(class_names: Sequence[str], palette: Palette) -> np.ndarray:
    """Number, colour and name of each class, by train id, as an image: uint8 (H, W, 3) RGB."""
    lines = min(len(class_names), 20)
    columns = math.ceil(len(class_names) / lines)
    entries = [(f"{i}  {name}", color) for i, (name, color) in enumerate(zip(class_names, palette))]
    return np.array(_draw_legend(columns * _legend_cell(entries) + _GAP, entries))


def contact_sheet(rows: Sequence[SheetRow], *, class_names: Sequence[str], palette: Palette) -> np.ndarray:
    """One image of many results: image, prediction, label and error map, each 512 pixels wide, and a legend beneath.

    Args:
        rows: sizes may differ. If none has a label, there are no columns of labels and errors.
        class_names, palette: of the legend and the colours, by train id.

    Returns:
        uint8 (H, W, 3) RGB.

    Raises:
        DataError: there is no row, or an array is of another shape, type or range.
    """
    if not rows:
        raise DataError("a contact sheet needs at least one row, got none")
    has_labels = any(row.label is not None for row in rows)
    titles = ["image", "prediction"] + ["label", "errors: red is wrong, black is not scored"] * has_labels
    width = _GAP + len(titles) * (_CELL_WIDTH + _GAP)
    heights = [max(1, round(_CELL_WIDTH * row.image.shape[0] / row.image.shape[1])) for row in rows]
    captions = [_LINE if row.caption else 0 for row in rows]
    legend_image = _draw_legend(width, list(zip(class_names, palette)))
    height = _LINE + sum(heights) + sum(captions) + _GAP * len(rows) + legend_image.height
    sheet = Image.new("RGB", (width, height), "white")

    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        _draw_text(draw, (_GAP + column * (_CELL_WIDTH + _GAP), 0), text=title)
    top = _LINE
    for row, height, caption in zip(rows, heights, captions):
        _draw_text(draw, (_GAP, top), text=row.caption)
        for column, cell in enumerate(_cells(row, palette)):
            scaled = Image.fromarray(cell).resize((_CELL_WIDTH, height), Image.Resampling.BILINEAR)
            sheet.paste(scaled, (_GAP + column * (_CELL_WIDTH + _GAP), top + caption))
        top += height + caption + _GAP
    sheet.paste(legend_image, (0, top))
    return np.array(sheet)


def _cells(row: SheetRow, palette: Palette) -> List[np.ndarray]:
    cells = [row.image, overlay(row.image, row.prediction, palette=palette)]
    if row.label is not None:
        cells += [overlay(row.image, row.label, palette=palette), error_map(row.image, row.prediction, label=row.label)]
    return cells


def _draw_text(draw: ImageDraw.ImageDraw, position: Tuple[int, int], *, text: str) -> None:
    """Writes `text` in a line whose upper left corner is `position`, vertically centred."""
    left, top = position
    text, file = drawable(text)
    draw.text((left, top + _LINE // 2), text, fill=(40, 40, 40), font=_font(file), anchor="lm")


def _legend_cell(entries: Sequence[LegendEntry]) -> int:
    """Width of an entry in pixels."""
    texts = [drawable(name) for name, _ in entries]
    return 3 * _GAP + _LEGEND_BOX + math.ceil(max(_font(file).getlength(text) for text, file in texts))


@lru_cache(maxsize=None)
def _font(file: Optional[str]) -> Any:
    """That of a file, or Pillow's own, which has ASCII only."""
    return ImageFont.truetype(file, _FONT_SIZE) if file else ImageFont.load_default(_FONT_SIZE)  # takes milliseconds


def _draw_legend(width: int, entries: Sequence[LegendEntry]) -> Image.Image:
    """The entries from top to bottom in columns of equal width, as many as fit."""
    columns = max(1, (width - _GAP) // _legend_cell(entries))
    lines = math.ceil(len(entries) / columns)
    columns = math.ceil(len(entries) / lines)
    image = Image.new("RGB", (width, lines * _LINE + _GAP), "white")
    draw = ImageDraw.Draw(image)
    for index, (name, color) in enumerate(entries):
        left = _GAP + (index // lines) * ((width - _GAP) // columns)
        top = (index % lines) * _LINE
        draw.rectangle((left, top + 5, left + _LEGEND_BOX, top + 5 + _LEGEND_BOX), fill=tuple(map(int, color)))
        _draw_text(draw, (left + _LEGEND_BOX + _GAP, top), text=name)
    return image
