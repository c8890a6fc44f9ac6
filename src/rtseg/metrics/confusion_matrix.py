"""Confusion matrix of semantic segmentation, and the scores read from it: pixel accuracy, IoU and accuracy per class.

The scores equal those of the Cityscapes benchmark (cityscapesscripts, evalPixelLevelSemanticLabeling): one matrix over
all images, pixels whose label is ignored are left out, a prediction that is no class counts against the label's class,
and a class found neither in the labels nor in the predictions is left out of the mean. No MindSpore.
"""
from typing import Sequence, Tuple

import cv2
import numpy as np

from rtseg.data.dataset_spec import IGNORE_LABEL
from rtseg.utils.errors import ConfigError, DataError
from rtseg.utils.text import pad, text_width

# Pixels counted at a time: OpenCV gives the counts as float32, which is exact up to here.
_CHUNK = 1 << 24


class ConfusionMatrix:
    """Counts how often each label was predicted as each class.

    `matrix` is int64 of shape (num_classes, num_classes + 1), indexed [label, prediction]. Its last column counts the
    predictions that are no class (255, -1, ...): they lower the scores but belong to no class. Matrices of several
    processes may be summed element by element and given to `add`.

    Args:
        num_classes: 1..255.
        ignore_label: value in num_classes..255; pixels with this label are not counted.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(self, num_classes: int, ignore_label: int = IGNORE_LABEL) -> None:
        if not 1 <= num_classes <= ignore_label <= 255:
            raise ConfigError(
                "a confusion matrix needs 1 <= num_classes <= ignore_label <= 255, "
                f"got num_classes={num_classes}, ignore_label={ignore_label}"
            )
        self.num_classes = num_classes
        self.ignore_label = ignore_label
        self.reset()

    def reset(self) -> None:
        """Forgets everything counted so far."""
        self.matrix = np.zeros((self.num_classes, self.num_classes + 1), np.int64)

    def update(self, prediction: np.ndarray, label: np.ndarray) -> None:
        """Counts the pixels of one image or batch; uint8 is the fast path.

        Args:
            prediction: integers of any shape; what is not in 0..num_classes-1 counts as wrong.
            label: integers of the same shape, each in 0..num_classes-1 or ignore_label.

        Raises:
            DataError: shapes differ, values are not integers, or a label is unknown; nothing is counted then.
        """
        prediction = _integers("prediction", prediction)
        label = _integers("label", label)
        if prediction.shape != label.shape:
            raise DataError(
                f"prediction and label must have the same shape, got {prediction.shape} and {label.shape}; "
                "resize the prediction to the label's size"
            )
        if label.dtype != np.uint8 and label.size and (label.min() < 0 or label.max() > 255):
            raise self._unknown_label(label)
        counts = _count_pairs(prediction.reshape(-1), label.reshape(-1))

        label_counts = counts.sum(axis=1)
        if label_counts[self.num_classes:].sum() != label_counts[self.ignore_label]:
            raise self._unknown_label(label)
        self.matrix[:, :-1] += counts[:self.num_classes, :self.num_classes]
        self.matrix[:, -1] += counts[:self.num_classes, self.num_classes:].sum(axis=1)

    def add(self, matrix: np.ndarray) -> None:
        """Adds the `matrix` of another ConfusionMatrix, for instance of another process.

        Raises:
            DataError: the shape is another or the values are not integers.
        """
        matrix = _integers("a confusion matrix", matrix)
        if matrix.shape != self.matrix.shape:
            raise DataError(
                f"only matrices of shape {self.matrix.shape} can be added, got {matrix.shape}; "
                "use the same num_classes everywhere"
            )
        self.matrix += matrix

    def summary(self, class_names: Sequence[str], more: Sequence[Tuple[str, float]] = ()) -> str:
        """Text table in per cent: the IoU of each class ("n/a" if absent), then mIoU, pixAcc, mAcc and fwIoU; ends in a
        newline.

        Args:
            more: names and scores, 0..1, of lines at the end.

        Raises:
            ConfigError: there is not exactly one name for each class.
        """
        if len(class_names) != self.num_classes:
            raise ConfigError(f"summary needs {self.num_classes} class names, got {len(class_names)}")
        scores = list(zip(class_names, iou_per_class(self.matrix)))
        totals = [("mIoU", mean_iou(self.matrix)), ("pixAcc", pixel_accuracy(self.matrix)),
                  ("mAcc", mean_accuracy(self.matrix)), ("fwIoU", frequency_weighted_iou(self.matrix)), *more]
        width = max(text_width(name) for name, _ in scores + totals)
        rows = [_table_row(name, score, width=width) for name, score in scores + totals]
        rows.insert(self.num_classes, "-" * (width + 9))
        return "\n".join([f"{'class':<{width}} {'IoU (%)':>8}"] + rows) + "\n"

    def _unknown_label(self, label: np.ndarray) -> DataError:
        values = np.unique(label)
        unknown = values[((values < 0) | (values >= self.num_classes)) & (values != self.ignore_label)]
        found = ", ".join(str(value) for value in unknown[:5]) + (", ..." if unknown.size > 5 else "")
        return DataError(
            f"labels must be 0..{self.num_classes - 1} or {self.ignore_label} (ignored), found {found}; "
            "map label ids to train ids first, or check the label file"
        )


def pixel_accuracy(matrix: np.ndarray) -> float:
    """Share of the counted pixels that are right, 0..1; NaN if nothing was counted.

    Args:
        matrix: integers (num_classes, num_classes) or (num_classes, num_classes + 1), [label, prediction].
    """
    total = matrix.sum()
    return float(np.trace(matrix) / total) if total else float("nan")


def iou_per_class(matrix: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, 0..1.

    Args:
        matrix: integers (num_classes, num_classes) or (num_classes, num_classes + 1), [label, prediction].

    Returns:
        float64 (num_classes,); NaN for a class absent from both labels and predictions.
    """
    intersection = np.diagonal(matrix)
    union = matrix.sum(axis=1) + matrix[:, :len(matrix)].sum(axis=0) - intersection
    with np.errstate(invalid="ignore"):
        return intersection / union


def mean_iou(matrix: np.ndarray) -> float:
    """Mean of `iou_per_class` over the classes that are not NaN, 0..1; NaN if nothing was counted."""
    return mean_of_present(iou_per_class(matrix))


def accuracy_per_class(matrix: np.ndarray) -> np.ndarray:
    """Share of each class's labelled pixels that are right (recall), 0..1.

    Args:
        matrix: integers (num_classes, num_classes) or (num_classes, num_classes + 1), [label, prediction].

    Returns:
        float64 (num_classes,); NaN for a class absent from the labels.
    """
    with np.errstate(invalid="ignore"):
        return np.diagonal(matrix) / matrix.sum(axis=1)


def mean_accuracy(matrix: np.ndarray) -> float:
    """Mean of `accuracy_per_class` over the classes that are in a label, 0..1; NaN if nothing was counted."""
    return mean_of_present(accuracy_per_class(matrix))


def frequency_weighted_iou(matrix: np.ndarray) -> float:
    """Mean of `iou_per_class`, weighted with each class's share of the labelled pixels; NaN if nothing was counted."""
    labelled = matrix.sum(axis=1)
    total = labelled.sum()
    return float(np.nansum(labelled * iou_per_class(matrix)) / total) if total else float("nan")


def mean_of_present(scores: np.ndarray) -> float:
    """Mean of the scores that are not NaN, which says that a class is absent; NaN if there is none."""
    present = scores[~np.isnan(scores)]
    return float(present.mean()) if present.size else float("nan")


def _table_row(name: str, score: float, *, width: int) -> str:
    text = "n/a" if np.isnan(score) else f"{100 * score:.2f}"
    return f"{pad(name, width)} {text:>8}"


def _integers(name: str, values: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    if values.dtype.kind not in "iu":
        raise DataError(f"{name} must hold integers, got {values.dtype}; take the argmax of logits over the classes")
    return values


def _count_pairs(prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
    """int64 (256, 256) counts of (label, prediction) for flat integer arrays; labels must be in 0..255."""
    # Faster than np.bincount, which works on a 64-bit index of its own, and other threads run meanwhile.
    counts = np.zeros((256, 256), np.int64)
    for start in range(0, label.size, _CHUNK):
        pair = [label[start:start + _CHUNK].astype(np.uint8, copy=False), _as_bytes(prediction[start:start + _CHUNK])]
        counts += cv2.calcHist(pair, [0, 1], None, counts.shape, [0, 256, 0, 256]).astype(np.int64)
    return counts


def _as_bytes(values: np.ndarray) -> np.ndarray:
    """As uint8; what that cannot hold becomes 255, which is never a class: seen as unsigned, a negative is huge."""
    if values.dtype == np.uint8:
        return values
    return np.minimum(values.astype(np.int64).view(np.uint64), 255).astype(np.uint8)
