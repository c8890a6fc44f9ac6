"""Diagrams for people, drawn with Matplotlib: curves of a training, IoU of each class, confusion matrix."""
import csv
import math
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple, Union

import numpy as np

from rtseg.utils.atomic import atomic_write
from rtseg.utils.errors import DataError
from rtseg.utils.text import text_width
from rtseg.visualization.fonts import drawable

_CURVE_COLUMNS = ("epoch", "loss", "lr", "pix_acc", "miou")


def plot_curves(metrics_csv_path: Union[str, Path], output_path: Union[str, Path]) -> None:
    """Draws loss, learning rate and scores by epoch from a run's metrics.csv into an image, such as curves.png.

    The file has the columns epoch, step, loss, lr, images_per_second, pix_acc, miou and one row for each epoch.
    The scores are shares 0..1, drawn in per cent, and empty for an epoch without evaluation. Values that are
    empty or not finite are left out.

    Raises:
        DataError: the file is missing, lacks a column, has no row or holds text where a number belongs.
        OSError: the image cannot be written.
    """
    from matplotlib.ticker import MaxNLocator

    metrics = _read_metrics(Path(metrics_csv_path))
    figure = _new_figure(8, 9)
    loss_axes, lr_axes, score_axes = figure.subplots(3, sharex=True)
    _plot(loss_axes, metrics, name="loss", color="tab:red", label="loss")
    _plot(lr_axes, metrics, name="lr", color="tab:green", label="learning rate")
    _plot(score_axes, metrics, name="pix_acc", color="tab:gray", label="pixAcc", scale=100)
    _plot(score_axes, metrics, name="miou", color="tab:blue", label="mIoU", scale=100)

    loss_axes.set(title="Training loss", ylabel="loss")
    lr_axes.set(title="Learning rate", ylabel="learning rate")
    lr_axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4))
    score_axes.set(title=_score_title(metrics), ylabel="per cent", xlabel="epoch", ylim=(0, 100))
    if score_axes.lines:
        score_axes.legend()
    score_axes.set_xlim(left=0)
    score_axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (loss_axes, lr_axes, score_axes):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    _save(figure, output_path)


def plot_class_iou(iou: Union[Sequence[float], np.ndarray], class_names: Sequence[str], *,
                   palette: Sequence[Sequence[int]], output_path: Union[str, Path]) -> None:
    """Draws a bar for the IoU of each class, in its colour, and a line for their mean, into an image.

    Args:
        iou: 0..1 by class, NaN for a class that is not there; it has no bar and is not in the mean.
        class_names, palette: by class, RGB 0..255.
        output_path: such as class_iou.png.

    Raises:
        OSError: the image cannot be written.
    """
    scores = 100 * np.asarray(iou, np.float64)
    figure = _new_figure(8, 1.4 + 0.26 * len(scores))
    axes = figure.subplots()
    axes.barh(range(len(scores)), np.nan_to_num(scores), color=np.asarray(palette) / 255, edgecolor="0.3",
              linewidth=0.5)
    for row, score in enumerate(scores):
        axes.text(np.nan_to_num(score) + 0.8, row, "n/a" if np.isnan(score) else f"{score:.1f}", va="center",
                  fontsize=9, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
    title = "IoU of each class: no class was there"
    if not np.isnan(scores).all():
        mean = np.nanmean(scores)
        title = f"IoU of each class: mean {mean:.2f}"
        axes.axvline(mean, color="0.2", linestyle="--", linewidth=1)
    axes.set(title=title, xlabel="per cent", xlim=(0, 100), ylim=(len(scores) - 0.4, -0.6))
    _set_tick_names(axes.yaxis, class_names)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, output_path)


def plot_confusion_matrix(matrix: np.ndarray, class_names: Sequence[str], *, output_path: Union[str, Path]) -> None:
    """Draws which part of each class's pixels was predicted as which class, in per cent, into an image.

    Args:
        matrix: counts [label, prediction]; columns beyond the classes are predictions that are no class and only count
            for the sums. The row of a class without pixels is empty.
        class_names: by class.
        output_path: such as confusion_matrix.png.

    Raises:
        OSError: the image cannot be written.
    """
    _save(_confusion_figure(matrix, class_names), output_path)


def draw_confusion_matrix(matrix: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """What `plot_confusion_matrix` draws, uint8 RGB (H, W, 3)."""
    figure = _confusion_figure(matrix, class_names)
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()


def _confusion_figure(matrix: np.ndarray, class_names: Sequence[str]) -> Any:
    count = len(class_names)
    totals = matrix.sum(axis=1, keepdims=True)
    shares = 100 * matrix[:, :count] / np.maximum(totals, 1)
    longest = max(text_width(drawable(name)[0]) for name in class_names)
    names_beyond = 0.085 * (min(max(longest, 14), 200) - 14)  # inches; the first 14 letters are in the sizes below
    figure = _new_figure(max(4, 2.2 + 0.42 * count + names_beyond), 1.4 + 0.38 * count + names_beyond)
    figure.suptitle("Pixels of each class by prediction, per cent")  # over the axes it would be cut off
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for row, column in zip(*np.nonzero(shares >= 0.5)):  # smaller ones would be a 0
        value = shares[row, column]
        axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8,
                  color="white" if value > 60 else "black")
    axes.set(xlabel="prediction", ylabel="label")
    _set_tick_names(axes.xaxis, class_names, rotation=60, ha="right", rotation_mode="anchor")
    _set_tick_names(axes.yaxis, class_names)
    return figure


def _set_tick_names(axis: Any, names: Sequence[str], **looks: Any) -> None:
    """Ticks at 0, 1, 2... of an axis, with names in fonts that have their letters."""
    texts, files = zip(*map(drawable, names))
    axis.set_ticks(range(len(names)), labels=[text.replace("$", r"\$") for text in texts], **looks)
    for label, file in zip(axis.get_ticklabels(), files):
        if file:
            label.set_fontproperties(Path(file))


def _new_figure(width: float, height: float) -> Any:
    """An empty figure of that many inches."""
    # Imported here because it is slow; Figure and not pyplot, which is global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Union[str, Path]) -> None:
    with atomic_write(path) as temporary:
        figure.canvas.print_figure(temporary, dpi=100)


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


def _plot(axes: Any, metrics: Dict[str, List[float]], *, name: str, color: str, label: str, scale: float = 1) -> None:
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
