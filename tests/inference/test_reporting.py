"""What eval.py leaves behind: the worst images first, a bar for each class, and nothing else without masks."""
import json
from types import SimpleNamespace

import numpy as np
import pytest
from data_helpers import CITYSCAPES
from PIL import Image

from rtseg.inference import reporting
from rtseg.inference.evaluator import Evaluation
from rtseg.inference.reporting import EvaluationReport
from rtseg.metrics.boundary_iou import BoundaryIoU
from rtseg.metrics.confusion_matrix import ConfusionMatrix

IMAGE = np.full((4, 8, 3), 100, np.uint8)
ROAD = np.zeros((4, 8), np.uint8)
FILES = ["class_iou.png", "confusion_matrix.png", "eval_results.json", "eval_results.txt", "scores.csv"]


def prediction(wrong):
    """Road, but for so many pixels."""
    result = ROAD.copy()
    result.flat[:wrong] = 13
    return result


@pytest.fixture
def make_report(tmp_path):
    """Function of save_mask: an EvaluationReport of six images with 3, 32, 0, 8, 5, 1 wrong pixels of 32, and of one
    in which nothing is scored."""
    def make(save_mask):
        wrong = (3, 32, 0, 8, 5, 1)
        dataset = SimpleNamespace(spec=CITYSCAPES, samples=[SimpleNamespace(name=f"p{i}") for i in range(7)])
        report, matrix = EvaluationReport(tmp_path / "out", dataset, save_mask=save_mask), ConfusionMatrix(19)
        for index, count in enumerate(wrong):
            report.add(index, IMAGE, label=ROAD, prediction=prediction(count))
            matrix.update(prediction(count), ROAD)
        report.add(6, IMAGE, label=np.full_like(ROAD, 255), prediction=ROAD)
        return report, Evaluation(matrix, 7, [], 2.0)
    return make


def test_worst_images_are_on_the_sheet(make_report, tmp_path, monkeypatch):
    captions = []
    draw = reporting.contact_sheet
    monkeypatch.setattr(reporting, "contact_sheet", lambda rows, **rest: captions.extend(row.caption for row in rows)
                        or draw(rows, **rest))
    report, evaluation = make_report(True)
    text = report.finish(evaluation, "title")
    # road: right / 32; car: predicted only, 0
    assert captions == ["p1: mIoU 0.00, pixAcc 0.00", "p3: mIoU 37.50, pixAcc 75.00", "p4: mIoU 42.19, pixAcc 84.38",
                        "p0: mIoU 45.31, pixAcc 90.62"]
    assert text == (tmp_path / "out" / "eval_results.txt").read_text()
    assert text.endswith("7 images in 2.0 s with compilation, 3.50 images/s\n")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "class_iou.png", "confusion_matrix.png", "contact_sheet.png", "eval_results.json", "eval_results.txt", "mask",
        "overlay", "scores.csv"]
    sheet = np.array(Image.open(tmp_path / "out" / "contact_sheet.png"))
    assert sheet[24 + 24 + 128, 8 + 3 * 520 + 256].tolist() == [230, 25, 25]  # all of p1 is wrong


def test_without_masks_there_are_scores_only(make_report, tmp_path):
    report, evaluation = make_report(False)
    report.finish(evaluation, "title")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
    assert (tmp_path / "out" / "scores.csv").read_text() == (
        "image,pix_acc,miou\np0,0.906250,0.453125\np1,0.000000,0.000000\np2,1.000000,1.000000\n"
        "p3,0.750000,0.375000\np4,0.843750,0.421875\np5,0.968750,0.484375\np6,,\n")


def test_scores_for_programs(make_report, tmp_path):
    report, evaluation = make_report(False)
    boundary = BoundaryIoU(19)
    boundary.counts[:, 0] = 1, 3, 2  # intersection, label, prediction
    text = report.finish(evaluation._replace(boundary=boundary), "title")
    assert "\nmAcc             74.48\nfwIoU            74.48\nmBIoU            25.00\n" in text
    scores = json.loads((tmp_path / "out" / "eval_results.json").read_text())
    classes = scores.pop("classes")
    # Six images of 32 pixels of road, of which 49 were taken for cars.
    assert scores == {"images": 7, "miou": 0.372396, "pixel_accuracy": 0.744792, "mean_accuracy": 0.744792,
                      "frequency_weighted_iou": 0.744792, "mean_boundary_iou": 0.25}
    assert classes["road"] == {"iou": 0.744792, "accuracy": 0.744792, "boundary_iou": 0.25}
    assert classes["car"] == {"iou": 0.0, "accuracy": None, "boundary_iou": None}
    assert classes["sky"] == {"iou": None, "accuracy": None, "boundary_iou": None} and len(classes) == 19


def test_an_evaluation_of_nothing_is_reported(tmp_path):
    report = EvaluationReport(tmp_path, SimpleNamespace(spec=CITYSCAPES, samples=[]), save_mask=True)
    assert "no image could be read" in report.finish(Evaluation(ConfusionMatrix(19), 0, [], 2.0), "title")
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
