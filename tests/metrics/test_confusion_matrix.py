"""Confusion matrix: literal cases, a slow reference, wrong input, and the official Cityscapes evaluation."""
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_helpers import CLASS_NAMES, ID_TO_TRAIN_ID, TRAIN_ID_TO_ID
from hypothesis import given, settings
from hypothesis import strategies as st
from official_evaluation import official_scores
from PIL import Image

from rtseg.data.dataset_spec import IGNORE_LABEL
from rtseg.metrics.confusion_matrix import (ConfusionMatrix, accuracy_per_class, frequency_weighted_iou, iou_per_class,
                                            mean_accuracy, mean_iou, pixel_accuracy)
from rtseg.utils.errors import ConfigError, DataError

PROJECT = Path(__file__).resolve().parents[2]
MINI = PROJECT.parent / "shared" / "data" / "cityscapes_mini"


def matrix_of(prediction, label, num_classes=3, dtype=np.uint8):
    confusion = ConfusionMatrix(num_classes)
    confusion.update(np.array(prediction, dtype), np.array(label, dtype))
    return confusion.matrix


def test_literal_matrix_is_label_by_prediction():
    matrix = matrix_of([0, 1, 1, 1, 0, 2], [0, 0, 1, 1, 255, 255])
    assert matrix.dtype == np.int64
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0]]


def test_literal_scores():
    matrix = matrix_of([0, 1, 1, 1, 0, 2], [0, 0, 1, 1, 255, 255])
    iou = iou_per_class(matrix)
    assert iou.dtype == np.float64
    np.testing.assert_array_equal(iou, [1 / 2, 2 / 3, np.nan])  # class 2 was predicted on ignored pixels only
    assert mean_iou(matrix) == pytest.approx(7 / 12)
    assert pixel_accuracy(matrix) == 0.75


def test_literal_mean_accuracy_and_frequency_weighted_iou():
    matrix = np.array([[6, 2, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0]])  # the last class is absent
    np.testing.assert_array_equal(accuracy_per_class(matrix), [6 / 8, 0 / 2, np.nan])
    assert mean_accuracy(matrix) == 3 / 8
    # IoU 6 / (8 + 7 - 6) and 0, weighted with 8 and 2 of 10 labelled pixels
    assert frequency_weighted_iou(matrix) == pytest.approx(0.8 * 6 / 9)
    # Predicted only: it lowers nothing but the IoU of others.
    assert mean_accuracy(np.array([[3, 1], [0, 0]])) == 0.75 == frequency_weighted_iou(np.array([[3, 1], [0, 0]]))


def test_class_predicted_but_never_labelled_scores_zero():
    np.testing.assert_array_equal(iou_per_class(matrix_of([0, 2], [0, 0])), [0.5, np.nan, 0.0])


@pytest.mark.parametrize("dtype, none", [(np.uint8, 255), (np.uint8, 3), (np.int32, -1), (np.int64, 1 << 40)])
def test_prediction_that_is_no_class_counts_as_wrong(dtype, none):
    confusion = ConfusionMatrix(3)
    confusion.update(np.array([0, none, 1, none], dtype), np.array([0, 0, 1, 255], np.uint8))
    assert confusion.matrix.tolist() == [[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert pixel_accuracy(confusion.matrix) == pytest.approx(2 / 3)
    np.testing.assert_array_equal(iou_per_class(confusion.matrix), [0.5, 1.0, np.nan])


def test_negative_int8_is_never_a_class():
    confusion = ConfusionMatrix(200)
    confusion.update(np.array([-100], np.int8), np.array([156], np.uint8))  # -100 as uint8 would be 156
    assert confusion.matrix[156, 200] == 1


def test_scores_of_a_square_matrix():
    square = np.array([[3, 1], [0, 4]])
    np.testing.assert_allclose(iou_per_class(square), [3 / 4, 4 / 5])
    assert pixel_accuracy(square) == 7 / 8


def test_nothing_counted_gives_nan_without_a_warning():
    matrix = matrix_of([1, 2], [255, 255])
    assert np.isnan(mean_accuracy(matrix)) and np.isnan(frequency_weighted_iou(matrix))
    assert np.isnan(mean_iou(matrix)) and np.isnan(pixel_accuracy(matrix)) and np.isnan(iou_per_class(matrix)).all()


def test_empty_arrays_count_nothing():
    assert not matrix_of(np.empty((0, 4)), np.empty((0, 4)), dtype=np.int32).any()


def test_most_classes_and_another_ignore_label():
    confusion = ConfusionMatrix(255)
    confusion.update(np.array([254, 255], np.uint8), np.array([254, 254], np.uint8))
    assert confusion.matrix[254, 254] == 1 and confusion.matrix[254, 255] == 1
    confusion = ConfusionMatrix(2, ignore_label=2)
    confusion.update(np.array([1, 1], np.uint8), np.array([1, 2], np.uint8))
    assert confusion.matrix.tolist() == [[0, 0, 0], [0, 1, 0]]


@settings(max_examples=60, deadline=None, database=None)
@given(st.data())
def test_equals_a_slow_double_loop(data):
    num_classes = data.draw(st.sampled_from([1, 2, 19, 255]))
    dtype = data.draw(st.sampled_from([np.uint8, np.int8, np.uint16, np.int32, np.int64, ">i4"]))
    low, high = max(-300, np.iinfo(dtype).min), min(300, np.iinfo(dtype).max)
    batches = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=3))
    label_values = st.one_of(st.integers(0, num_classes - 1), st.just(255))
    confusion = ConfusionMatrix(num_classes)
    expected = np.zeros((num_classes, num_classes + 1), int)
    for size in batches:
        prediction = data.draw(st.lists(st.integers(low, high), min_size=size, max_size=size))
        label = data.draw(st.lists(label_values, min_size=size, max_size=size))
        confusion.update(np.array(prediction, dtype).reshape(1, size, 1), np.array(label, np.int16).reshape(1, size, 1))
        for predicted, labelled in zip(prediction, label):
            if labelled != 255:
                expected[labelled, predicted if 0 <= predicted < num_classes else num_classes] += 1
    np.testing.assert_array_equal(confusion.matrix, expected)


def test_counts_beyond_the_exactness_of_float32():
    """OpenCV's counts are float32, which has no odd numbers past 2 ** 24."""
    pixels = np.zeros((1 << 24) + 3, np.uint8)
    assert matrix_of(pixels, pixels).tolist()[0] == [(1 << 24) + 3, 0, 0, 0]


def test_views_and_batches():
    rng = np.random.default_rng(0)
    prediction = rng.integers(0, 3, (3, 512, 600), np.uint8)
    label = rng.integers(0, 3, (3, 512, 600), np.uint8)
    whole, parts = ConfusionMatrix(3), ConfusionMatrix(3)
    whole.update(prediction[:, ::2, ::-1], label[:, ::2, ::-1])
    whole.update(prediction[:, 1::2].astype(np.int32), label[:, 1::2])
    for one_prediction, one_label in zip(prediction, label):
        part = ConfusionMatrix(3)
        part.update(one_prediction, one_label)
        parts.add(part.matrix)
    np.testing.assert_array_equal(whole.matrix, parts.matrix)
    assert whole.matrix.sum() == label.size
    whole.reset()
    assert not whole.matrix.any()


@pytest.mark.parametrize("prediction, label, message", [
    (np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), r"got \(2, 3\) and \(3, 2\)"),
    (np.zeros(2, np.float32), np.zeros(2, np.uint8), "prediction must hold integers, got float32"),
    (np.zeros(2, np.uint8), np.zeros(2, bool), "label must hold integers, got bool"),
    (np.zeros(3, np.uint8), np.array([0, 254, 7], np.uint8), r"0\.\.2 or 255 \(ignored\), found 7, 254;"),
    (np.zeros(2, np.uint8), np.array([0, -1]), "found -1;"),
    (np.zeros(2, np.uint8), np.array([0, 511]), "found 511;"),  # 511 as uint8 would be the ignore label
    (np.zeros(9, np.uint8), np.arange(9, dtype=np.uint8), r"found 3, 4, 5, 6, 7, \.\.\.;"),
])
def test_wrong_input_is_refused_and_nothing_is_counted(prediction, label, message):
    confusion = ConfusionMatrix(3)
    with pytest.raises(DataError, match=message):
        confusion.update(prediction, label)
    assert not confusion.matrix.any()


@pytest.mark.parametrize("arguments", [(0, 255), (256, 255), (19, 18), (19, 256), (19, -1)])
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(ConfigError, match="1 <= num_classes <= ignore_label <= 255"):
        ConfusionMatrix(*arguments)


def test_add_refuses_other_matrices():
    with pytest.raises(DataError, match=r"shape \(3, 4\) can be added, got \(3, 3\)"):
        ConfusionMatrix(3).add(np.zeros((3, 3), np.int64))
    with pytest.raises(DataError, match="must hold integers, got float64"):
        ConfusionMatrix(3).add(np.zeros((3, 4)))


def test_summary_literal():
    confusion = ConfusionMatrix(3)
    confusion.add(matrix_of([0, 1, 1, 1], [0, 0, 1, 1]))
    assert confusion.summary(["road", "sky", "traffic light"]) == (
        "class          IoU (%)\n"
        "road             50.00\n"
        "sky              66.67\n"
        "traffic light      n/a\n"
        "----------------------\n"
        "mIoU             58.33\n"
        "pixAcc           75.00\n"
        "mAcc             75.00\n"
        "fwIoU            58.33\n"
    )
    assert confusion.summary(["a", "b", "c"], [("mBIoU", 0.125)]).endswith("fwIoU     58.33\nmBIoU     12.50\n")
    with pytest.raises(ConfigError, match="needs 3 class names, got 2"):
        confusion.summary(["road", "sky"])


def test_summary_of_chinese_names_is_a_table():
    """A terminal shows each of these letters in two columns."""
    confusion = ConfusionMatrix(2)
    confusion.add(matrix_of([0, 1], [0, 1], num_classes=2))
    assert confusion.summary(["道路", "交通信号灯"]).splitlines()[:4] == [
        "class       IoU (%)",
        "道路         100.00",
        "交通信号灯   100.00",
        "-------------------"]


def test_imports_no_mindspore():
    code = ("import sys, rtseg.metrics.confusion_matrix, rtseg.visualization.masks, rtseg.utils.logging\n"
            "import rtseg.utils.atomic\n"
            "print([name for name in ('mindspore', 'matplotlib', 'tqdm') if name in sys.modules])")
    result = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


# Against the official evaluation.


def shifted(label):
    prediction = np.roll(label, (3, -17), axis=(0, 1))
    prediction[prediction == IGNORE_LABEL] = 2
    return prediction


def overwritten(label):
    """Blocks of a class that no label has, of a wrong class, and of no class at all."""
    prediction = shifted(label)
    prediction[100:300, 200:700] = 16
    prediction[600:900, 900:1500] = 0
    prediction[400:640, 1200:1700] = IGNORE_LABEL
    return prediction


@pytest.mark.parametrize("predict", [np.copy, shifted, overwritten])
def test_equals_the_official_evaluation(predict, tmp_path, capfd):
    pytest.importorskip("cityscapesscripts", reason="the official evaluation is not installed")
    label_paths = sorted(MINI.glob("gtFine/val/*/*_gtFine_labelIds.png"))
    if not label_paths:
        pytest.skip(f"no Cityscapes labels under {os.path.relpath(MINI, PROJECT)}")
    confusion = ConfusionMatrix(19)
    pairs = []
    for label_path in label_paths:
        label = ID_TO_TRAIN_ID[np.array(Image.open(label_path))]
        prediction = predict(label)
        confusion.update(prediction, label)
        pairs.append((tmp_path / label_path.name, label_path))
        Image.fromarray(TRAIN_ID_TO_ID[prediction]).save(pairs[-1][0])
    official_miou, official_accuracy, official_classes = official_scores(pairs)

    assert list(official_classes) == list(CLASS_NAMES)
    assert mean_iou(confusion.matrix) == pytest.approx(official_miou, abs=1e-12)
    assert pixel_accuracy(confusion.matrix) == pytest.approx(official_accuracy, abs=1e-12)
    np.testing.assert_allclose(iou_per_class(confusion.matrix), list(official_classes.values()), atol=1e-12)
    assert np.isnan(official_classes["wall"])  # no image has it: the mean must leave it out
    assert (official_miou == 1) == (predict is np.copy)
    assert capfd.readouterr() == ("", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in label_paths)


def test_official_evaluation_reports_why_it_stopped(tmp_path):
    pytest.importorskip("cityscapesscripts", reason="the official evaluation is not installed")
    Image.new("L", (4, 2)).save(tmp_path / "prediction.png")
    Image.new("L", (2, 2)).save(tmp_path / "label.png")
    with pytest.raises(RuntimeError, match="Image widths .* are not equal"):
        official_scores([(tmp_path / "prediction.png", tmp_path / "label.png")])
