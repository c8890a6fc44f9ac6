"""What an evaluation leaves behind: masks, overlays, a contact sheet, the table of scores and a diagram of them."""
import math
from pathlib import Path

from rtseg.inference.evaluator import Evaluation, evaluation_lines
from rtseg.metrics.confusion_matrix import ConfusionMatrix, iou_per_class, mean_iou, pixel_accuracy
from rtseg.utils.atomic import write_text
from rtseg.visualization.masks import SheetRow, colorize, contact_sheet, overlay, save_png
from rtseg.visualization.plots import plot_class_iou, plot_confusion_matrix

RESULTS_NAME = "eval_results.txt"
_SHEET_ROWS = 4


class EvaluationReport:
    """Collects an evaluation's images in `folder`.

    With `save_mask` it writes mask/<name>_mask.png (palette colours), overlay/<name>_overlay.png and contact_sheet.png:
    the four images (of this process's share) with the lowest mIoU, and where they are wrong. `finish` writes
    eval_results.txt, class_iou.png and confusion_matrix.png in any case.
    """

    def __init__(self, folder: Path, dataset, save_mask: bool):
        folder.mkdir(parents=True, exist_ok=True)  # that it cannot be made is better found before the evaluation
        self.folder = folder
        self.dataset = dataset
        self.description = dataset.description
        self.save_mask = save_mask
        self.worst = []  # (mIoU, index, SheetRow)

    def add(self, index, image, label, prediction) -> None:
        """Takes an image: image uint8 (H, W, 3), label and prediction uint8 (H, W) train ids."""
        if not self.save_mask:
            return
        name, palette = self.dataset.samples[index].name, self.description.palette
        save_png(self.folder / "mask" / f"{name}_mask.png", colorize(prediction, palette))
        save_png(self.folder / "overlay" / f"{name}_overlay.png", overlay(image, prediction, palette=palette))
        self._keep_worst(index, SheetRow(image, prediction, label, name))

    def finish(self, evaluation: Evaluation, title: str) -> str:
        """Writes the table and returns it."""
        names, palette = self.description.class_names, self.description.palette
        if self.worst:
            rows = [row for _, _, row in self.worst]
            save_png(self.folder / "contact_sheet.png", contact_sheet(rows, names, palette))
        plot_class_iou(iou_per_class(evaluation.matrix.matrix), names, palette, self.folder / "class_iou.png")
        plot_confusion_matrix(evaluation.matrix.matrix, names, self.folder / "confusion_matrix.png")
        scores = evaluation.matrix.summary(names) if evaluation.images else "no image could be read\n"
        text = f"{title}\n{scores}{evaluation_lines(evaluation)}\n"
        write_text(self.folder / RESULTS_NAME, text)
        return text

    def _keep_worst(self, index: int, row: SheetRow) -> None:
        matrix = ConfusionMatrix(self.description.num_classes)
        matrix.update(row.prediction, row.label)
        miou, accuracy = mean_iou(matrix.matrix), pixel_accuracy(matrix.matrix)
        if math.isnan(miou):  # nothing in it is scored
            return
        caption = f"{row.caption}: mIoU {100 * miou:.2f}, pixAcc {100 * accuracy:.2f}"
        self.worst = sorted(self.worst + [(miou, index, row._replace(caption=caption))], key=lambda entry: entry[:2])
        del self.worst[_SHEET_ROWS:]
