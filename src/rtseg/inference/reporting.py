"""What an evaluation leaves behind: masks, overlays, a contact sheet, scores of classes and images, and diagrams."""
import json
import math
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from rtseg.data.cache import CachedDataset
from rtseg.data.dataset import SegmentationDataset
from rtseg.inference.evaluator import Evaluation, evaluation_lines
from rtseg.metrics.confusion_matrix import (ConfusionMatrix, accuracy_per_class, frequency_weighted_iou, iou_per_class,
                                            mean_accuracy, mean_iou, pixel_accuracy)
from rtseg.utils.atomic import write_csv, write_text
from rtseg.visualization.masks import SheetRow, colorize, contact_sheet, overlay, save_png
from rtseg.visualization.plots import plot_class_iou, plot_confusion_matrix

RESULTS_NAME = "eval_results.txt"
JSON_NAME = "eval_results.json"
SCORES_NAME = "scores.csv"
_SHEET_ROWS = 4
# index, name, pixel accuracy and mIoU (0..1) of an image; NaN where nothing in it is scored
ImageScore = Tuple[int, str, float, float]


class EvaluationReport:
    """Collects an evaluation's images in `folder`.

    With `save_mask` it writes mask/<name>_mask.png (palette colours), overlay/<name>_overlay.png and contact_sheet.png:
    the four images (of this process's share) with the lowest mIoU, and where they are wrong. `finish` writes
    eval_results.txt and .json, scores.csv (a row per image), class_iou.png and confusion_matrix.png in any case.
    """

    def __init__(self, folder: Path, dataset: Union[SegmentationDataset, CachedDataset], *, save_mask: bool) -> None:
        self.folder = folder
        self.dataset = dataset
        self.spec = dataset.spec
        self.save_mask = save_mask
        self.worst: List[Tuple[float, int, SheetRow]] = []  # mIoU, index
        self.image_scores: List[ImageScore] = []

    def add(self, index: int, image: np.ndarray, *, label: np.ndarray, prediction: np.ndarray) -> None:
        """Takes an image: image uint8 (H, W, 3), label and prediction uint8 (H, W) train ids."""
        name, palette = self.dataset.samples[index].name, self.spec.palette
        matrix = ConfusionMatrix(self.spec.num_classes)
        matrix.update(prediction, label)
        accuracy, miou = pixel_accuracy(matrix.matrix), mean_iou(matrix.matrix)
        self.image_scores.append((int(index), name, accuracy, miou))
        if not self.save_mask:
            return
        save_png(self.folder / "mask" / f"{name}_mask.png", colorize(prediction, palette))
        save_png(self.folder / "overlay" / f"{name}_overlay.png", overlay(image, prediction, palette=palette))
        if not math.isnan(miou):
            caption = f"{name}: mIoU {100 * miou:.2f}, pixAcc {100 * accuracy:.2f}"
            self.worst.append((miou, index, SheetRow(image, prediction, label, caption)))
            self.worst.sort(key=lambda entry: entry[:2])
            del self.worst[_SHEET_ROWS:]

    def finish(self, evaluation: Evaluation, title: str, *,
               image_scores: Optional[Sequence[ImageScore]] = None) -> str:
        """Writes the tables and returns that of the classes.

        Args:
            image_scores: of all processes; None for those of this one.
        """
        names, palette, matrix = self.spec.class_names, self.spec.palette, evaluation.matrix.matrix
        if self.worst:
            rows = [row for _, _, row in self.worst]
            save_png(self.folder / "contact_sheet.png", contact_sheet(rows, class_names=names, palette=palette))
        plot_class_iou(iou_per_class(matrix), names, palette=palette, output_path=self.folder / "class_iou.png")
        plot_confusion_matrix(matrix, names, output_path=self.folder / "confusion_matrix.png")
        self._write_image_scores(self.image_scores if image_scores is None else image_scores)
        boundary = [("mBIoU", evaluation.boundary.mean())] if evaluation.boundary else []
        scores = evaluation.matrix.summary(names, boundary) if evaluation.images else "no image could be read\n"
        text = f"{title}\n{scores}{evaluation_lines(evaluation)}\n"
        write_text(self.folder / RESULTS_NAME, text)
        write_text(self.folder / JSON_NAME, json.dumps(scores_of(evaluation, names), indent=1) + "\n")
        return text

    def _write_image_scores(self, scores: Sequence[ImageScore]) -> None:
        write_csv(self.folder / SCORES_NAME, ("image", "pix_acc", "miou"), rows=[
            [name, *("" if math.isnan(share) else f"{share:.6f}" for share in shares)]
            for _, name, *shares in sorted(scores)])


def scores_of(evaluation: Evaluation, class_names: Sequence[str]) -> Dict[str, Any]:
    """All scores, 0..1, for JSON; None for a class that is absent."""
    matrix, boundary = evaluation.matrix.matrix, evaluation.boundary
    per_class = {"iou": iou_per_class(matrix), "accuracy": accuracy_per_class(matrix)}
    totals = {"miou": mean_iou(matrix), "pixel_accuracy": pixel_accuracy(matrix),
              "mean_accuracy": mean_accuracy(matrix), "frequency_weighted_iou": frequency_weighted_iou(matrix)}
    if boundary is not None:
        per_class["boundary_iou"], totals["mean_boundary_iou"] = boundary.per_class(), boundary.mean()
    return {"images": evaluation.images, **{name: _rounded(score) for name, score in totals.items()},
            "classes": {class_name: {name: _rounded(scores[i]) for name, scores in per_class.items()}
                        for i, class_name in enumerate(class_names)}}


def _rounded(score: float) -> Optional[float]:
    return None if math.isnan(score) else round(float(score), 6)
