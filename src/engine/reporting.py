"""What an evaluation leaves behind: masks, overlays, a contact sheet and the table of scores."""
from pathlib import Path

from src.data.labels import CLASS_NAMES
from src.engine.evaluator import Evaluation, evaluation_lines
from src.utils.atomic_file import write_text
from src.utils.visualize import colorize, contact_sheet, overlay, save_png

RESULTS_NAME = "eval_results.txt"
_SHEET_ROWS = 4


class EvaluationReport:
    """Collects an evaluation's pictures in `folder`.

    With `save_mask` it writes mask/<name>_mask.png (palette colours), overlay/<name>_overlay.png and contact_sheet.png
    (the first four pictures); `finish` writes eval_results.txt in any case.
    """

    def __init__(self, folder: Path, dataset, save_mask: bool):
        self.folder = folder
        self.dataset = dataset
        self.save_mask = save_mask
        self.rows = []

    def add(self, index, image, label, prediction) -> None:
        """Takes a picture: image uint8 (H, W, 3), label and prediction uint8 (H, W) train ids."""
        if not self.save_mask:
            return
        name = self.dataset.samples[index].name
        save_png(self.folder / "mask" / f"{name}_mask.png", colorize(prediction))
        save_png(self.folder / "overlay" / f"{name}_overlay.png", overlay(image, prediction))
        if len(self.rows) < _SHEET_ROWS:
            self.rows.append((image, prediction, label))

    def finish(self, evaluation: Evaluation, title: str) -> str:
        """Writes the table and returns it."""
        if self.rows:
            save_png(self.folder / "contact_sheet.png", contact_sheet(self.rows))
        scores = evaluation.matrix.summary(CLASS_NAMES) if evaluation.images else "no picture could be read\n"
        text = f"{title}\n{scores}{evaluation_lines(evaluation)}\n"
        write_text(self.folder / RESULTS_NAME, text)
        return text
