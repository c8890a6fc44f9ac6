"""Pictures for people: coloured masks, overlays, a contact sheet of results, and the curves of a training.

Images are RGB. Train ids are 0..18; everything else counts as ignored: black in a mask, see-through in an overlay.
"""
import csv
import math
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from src.data.labels import CLASS_NAMES, NUM_CLASSES, PALETTE
from src.utils.atomic_file import replacing
from src.utils.errors import DataError

SheetRow = Tuple[np.ndarray, np.ndarray, Optional[np.ndarray]]

# Sizes of a contact sheet in pixels.
_CELL_WIDTH = 512
_GAP = 8
_FONT_SIZE = 15
_LINE = 24

_CURVE_COLUMNS = ("epoch", "loss", "lr", "pix_acc", "miou")


def colorize(train_ids: np.ndarray) -> np.ndarray:
    """Colours train ids, integers (H, W) in 0..255, by the Cityscapes palette: uint8 (H, W, 3) RGB.

    Raises:
        DataError: `train_ids` is of another shape, type or range.
    """
    train_ids = np.asarray(train_ids)
    if train_ids.ndim != 2 or train_ids.dtype.kind not in "iu":
        raise DataError(f"train ids must be integers of shape (H, W), got {train_ids.dtype} {train_ids.shape}")
    if train_ids.dtype != np.uint8 and train_ids.size and (train_ids.min() < 0 or train_ids.max() > 255):
        raise DataError(f"train ids must be in 0..255, found {train_ids.min()}..{train_ids.max()}")
    return np.take(PALETTE, train_ids, axis=0)


def overlay(image: np.ndarray, train_ids: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """Lays the colours of `train_ids` (H, W) over `image`, uint8 (H, W, 3) RGB; ignored pixels show the image alone.

    Args:
        alpha: weight of the colours, 0 (image only) to 1 (colours only).

    Returns:
        uint8 (H, W, 3) RGB.

    Raises:
        DataError: an array is of another shape, type or range.
    """
    colors = colorize(train_ids)
    if image.dtype != np.uint8 or image.shape != colors.shape:
        raise DataError(f"the image must be uint8 of shape {colors.shape}, as its train ids, "
                        f"got {image.dtype} {image.shape}")
    np.copyto(colors, image, where=(np.asarray(train_ids) >= NUM_CLASSES)[..., None])
    return np.array(Image.blend(Image.fromarray(image), Image.fromarray(colors), alpha))


def save_png(path: Union[str, Path], rgb: np.ndarray) -> None:
    """Writes uint8 (H, W, 3) RGB, or (H, W) grey such as label ids, to a PNG file, whole or not at all.

    Raises:
        DataError: the array is of another shape or type.
        OSError: the file cannot be written.
    """
    if rgb.dtype != np.uint8 or rgb.ndim not in (2, 3) or rgb.shape[2:] not in ((), (3,)):
        raise DataError(f"a PNG needs uint8 of shape (H, W, 3) or (H, W), got {rgb.dtype} {rgb.shape} for {path}")
    with replacing(path) as temporary:
        # Level 1 writes a photo five times faster than the default and 15 % larger.
        Image.fromarray(rgb).save(temporary, format="PNG", compress_level=1)


def contact_sheet(rows: Sequence[SheetRow]) -> np.ndarray:
    """One picture of many results: image | prediction | label, each 512 pixels wide, and a legend beneath.

    Args:
        rows: (image, prediction, label) as for `overlay`, sizes may differ from row to row; the label may be None.
            If no row has a label, there is no label column.

    Returns:
        uint8 (H, W, 3) RGB.

    Raises:
        DataError: there is no row, or an array is of another shape, type or range.
    """
    if not rows:
        raise DataError("a contact sheet needs at least one (image, prediction, label) row, got none")
    titles = ["image", "prediction"] + ["label"] * any(label is not None for _, _, label in rows)
    width = _GAP + len(titles) * (_CELL_WIDTH + _GAP)
    heights = [max(1, round(_CELL_WIDTH * image.shape[0] / image.shape[1])) for image, _, _ in rows]
    legend = _draw_legend(width)
    sheet = Image.new("RGB", (width, _LINE + sum(heights) + _GAP * len(rows) + legend.height), "white")

    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        _draw_text(draw, _GAP + column * (_CELL_WIDTH + _GAP), 0, title)
    top = _LINE
    for row, height in zip(rows, heights):
        for column, cell in enumerate(_cells(row)):
            picture = Image.fromarray(cell).resize((_CELL_WIDTH, height), Image.BILINEAR)
            sheet.paste(picture, (_GAP + column * (_CELL_WIDTH + _GAP), top))
        top += height + _GAP
    sheet.paste(legend, (0, top))
    return np.array(sheet)


def plot_curves(metrics_csv_path: Union[str, Path], output_path: Union[str, Path]) -> None:
    """Draws loss, learning rate and scores by epoch from a run's metrics.csv into a picture, such as curves.png.

    The file has the columns epoch, step, loss, lr, images_per_second, pix_acc, miou and one row for each epoch.
    The scores are shares 0..1, drawn in per cent, and empty for an epoch without evaluation. Values that are
    empty or not finite are left out.

    Raises:
        DataError: the file is missing, lacks a column, has no row or holds text where a number belongs.
        OSError: the picture cannot be written.
    """
    # Imported here, because only this function needs it and it is slow; Figure and not pyplot, which is global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    metrics = _read_metrics(Path(metrics_csv_path))
    figure = Figure(figsize=(8, 9), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    loss_axes, lr_axes, score_axes = figure.subplots(3, sharex=True)
    _plot(loss_axes, metrics, "loss", "tab:red", "loss")
    _plot(lr_axes, metrics, "lr", "tab:green", "learning rate")
    _plot(score_axes, metrics, "pix_acc", "tab:gray", "pixAcc", scale=100)
    _plot(score_axes, metrics, "miou", "tab:blue", "mIoU", scale=100)

    loss_axes.set(title="Training loss", ylabel="loss")
    lr_axes.set(title="Learning rate", ylabel="learning rate")
    lr_axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    score_axes.set(title=_score_title(metrics), ylabel="per cent", xlabel="epoch", ylim=(0, 100))
    if score_axes.lines:
        score_axes.legend()
    score_axes.set_xlim(left=0)
    score_axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (loss_axes, lr_axes, score_axes):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    with replacing(output_path) as temporary:
        canvas.print_figure(temporary, dpi=100)


def _cells(row: SheetRow) -> List[np.ndarray]:
    image, prediction, label = row
    overlays = [overlay(image, train_ids) for train_ids in (prediction, label) if train_ids is not None]
    return [image] + overlays


def _draw_text(draw: ImageDraw.ImageDraw, left: int, top: int, text: str) -> None:
    """Writes `text` vertically centred in the line that starts at `top`."""
    font = ImageFont.load_default(_FONT_SIZE)
    draw.text((left, top + _LINE // 2), text, fill=(40, 40, 40), font=font, anchor="lm")


def _draw_legend(width: int) -> Image.Image:
    """Colour and name of each class in columns of equal width, as many as fit."""
    font = ImageFont.load_default(_FONT_SIZE)
    box = _LINE - 10
    cell = 3 * _GAP + box + math.ceil(max(font.getlength(name) for name in CLASS_NAMES))
    columns = (width - _GAP) // cell
    lines = math.ceil(NUM_CLASSES / columns)
    columns = math.ceil(NUM_CLASSES / lines)
    legend = Image.new("RGB", (width, lines * _LINE + _GAP), "white")
    draw = ImageDraw.Draw(legend)
    for index, name in enumerate(CLASS_NAMES):
        left = _GAP + (index % columns) * ((width - _GAP) // columns)
        top = (index // columns) * _LINE
        draw.rectangle((left, top + 5, left + box, top + 5 + box), fill=tuple(PALETTE[index].tolist()))
        _draw_text(draw, left + box + _GAP, top, name)
    return legend


def _read_metrics(path: Path) -> Dict[str, List[float]]:
    """The columns to draw as floats, NaN where the file holds nothing."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in _CURVE_COLUMNS if name not in (reader.fieldnames or [])]
            if missing:
                raise DataError(f"{path}: expected the columns of a metrics.csv, but {', '.join(missing)} is missing; "
                                "give the metrics.csv of a training run")
            rows = [[float(row[name] or "nan") for name in _CURVE_COLUMNS] for row in reader]
    except OSError as error:
        raise DataError(f"expected the metrics.csv of a training run at {path}: {error}") from error
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path}, line {reader.line_num}: expected numbers, {error}; remove that line") from error
    if not rows:
        raise DataError(f"{path}: expected a row for each epoch, found none; train for at least one epoch")
    return dict(zip(_CURVE_COLUMNS, map(list, zip(*rows))))


def _points(metrics: Dict[str, List[float]], name: str) -> List[Tuple[float, float]]:
    pairs = zip(metrics["epoch"], metrics[name])
    return [(x, y) for x, y in pairs if math.isfinite(x) and math.isfinite(y)]


def _plot(axes, metrics: Dict[str, List[float]], name: str, color: str, label: str, scale: float = 1) -> None:
    points = _points(metrics, name)
    if points:
        epochs, values = zip(*points)
        # Few points need marks: a single one has no line at all.
        marker = "o" if len(points) <= 40 else None
        axes.plot(epochs, [scale * value for value in values], color=color, label=label, marker=marker, markersize=4)


def _score_title(metrics: Dict[str, List[float]]) -> str:
    points = _points(metrics, "miou")
    if not points:
        return "Validation scores: no evaluation yet"
    epoch, best = max(points, key=lambda point: point[1])
    return f"Validation scores: best mIoU {100 * best:.2f} at epoch {epoch:.0f}"
