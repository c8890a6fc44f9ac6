"""Images and diagrams: literal colours, sizes and places, wrong input, and curves from any metrics.csv."""
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_helpers import CLASS_NAMES, PALETTE
from PIL import Image

from rtseg.utils.errors import DataError
from rtseg.visualization.masks import SheetRow, colorize, contact_sheet, error_map, legend, overlay, save_png
from rtseg.visualization.plots import plot_class_iou, plot_confusion_matrix, plot_curves

PROJECT = Path(__file__).resolve().parents[2]
HEADER = "epoch,step,loss,lr,images_per_second,pix_acc,miou\n"
# What is deprecated in a package that matplotlib uses is not ours to mend.
NO_WARNINGS = pytest.mark.filterwarnings("error", "ignore::DeprecationWarning")


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_colorize_literal(dtype):
    colors = colorize(np.array([[0, 13], [18, 255]], dtype), PALETTE)
    assert colors.dtype == np.uint8
    assert colors.tolist() == [[[128, 64, 128], [0, 0, 142]], [[119, 11, 32], [0, 0, 0]]]


@pytest.mark.parametrize("train_ids, message", [
    (np.zeros((1, 2, 2), np.uint8), r"shape \(H, W\), got uint8 \(1, 2, 2\)"),
    (np.zeros((2, 2), np.float32), "must be integers .* got float32"),
    (np.array([[-1, 3]]), r"in 0\.\.255, found -1\.\.3"),
    (np.array([[0, 256]]), r"in 0\.\.255, found 0\.\.256"),
])
def test_colorize_refuses_what_is_no_mask(train_ids, message):
    with pytest.raises(DataError, match=message):
        colorize(train_ids, PALETTE)


def test_overlay_literal():
    image = np.full((1, 3, 3), 100, np.uint8)
    train_ids = np.array([[0, 13, 255]], np.uint8)
    assert overlay(image, train_ids, palette=PALETTE).tolist() == [[[114, 82, 114], [50, 50, 121], [100, 100, 100]]]
    np.testing.assert_array_equal(overlay(image, train_ids, palette=PALETTE, alpha=0), image)
    opaque = overlay(image, train_ids, palette=PALETTE, alpha=1)
    assert opaque.tolist() == [[[128, 64, 128], [0, 0, 142], [100, 100, 100]]]
    assert (image == 100).all() and train_ids.tolist() == [[0, 13, 255]]


@pytest.mark.parametrize("image", [np.zeros((2, 3, 3), np.float32), np.zeros((3, 2, 3), np.uint8)])
def test_overlay_refuses_another_image(image):
    with pytest.raises(DataError, match=r"image must be uint8 of shape \(2, 3, 3\)"):
        overlay(image, np.zeros((2, 3), np.uint8), palette=PALETTE)


@pytest.mark.parametrize("shape", [(4, 6, 3), (4, 6)])
def test_save_png_round_trip(shape, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    path = tmp_path / "masks" / "aachen.png"
    save_png(path, image)
    np.testing.assert_array_equal(np.array(Image.open(path)), image)
    assert [found.name for found in path.parent.iterdir()] == ["aachen.png"]


@pytest.mark.parametrize("image", [np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2), np.int32), np.zeros(3, np.uint8)])
def test_save_png_refuses_other_arrays(image, tmp_path):
    with pytest.raises(DataError, match="a PNG needs uint8"):
        save_png(tmp_path / "a.png", image)
    assert not list(tmp_path.iterdir())


def colors_of(pixels):
    return {tuple(color) for color in pixels.reshape(-1, 3).tolist()}


def test_contact_sheet_has_the_rows_in_order_their_errors_and_a_legend():
    image = np.full((32, 64, 3), 200, np.uint8)
    road, car = np.zeros((32, 64), np.uint8), np.full((32, 64), 13, np.uint8)
    image_color, road_color, car_color, wrong = (200, 200, 200), (164, 132, 164), (100, 100, 171), (230, 25, 25)
    sheet = contact_sheet([SheetRow(image, road, car), SheetRow(image, car, None, "a caption")],
                          class_names=CLASS_NAMES, palette=PALETTE)
    assert sheet.dtype == np.uint8 and sheet.ndim == 3
    assert {image_color, road_color, car_color, wrong} <= colors_of(sheet)
    columns = [np.flatnonzero((sheet == color).all(2).any(0)).min() for color in (image_color, road_color, wrong)]
    assert columns == sorted(columns)  # image, prediction, errors from left to right
    first, second = (np.flatnonzero((sheet == color).all(2).any(1)) for color in (road_color, car_color))
    assert first.max() < second.max()  # the second row, which has no label, is below the first
    assert {tuple(color) for color in PALETTE[:19].tolist()} <= colors_of(sheet)


def test_error_map_literal():
    image = np.full((1, 4, 3), 120, np.uint8)
    prediction, label = np.array([[0, 1, 255, 3]], np.uint8), np.array([[0, 0, 0, 255]], np.uint8)
    found = error_map(image, prediction, label=label)
    assert found.tolist() == [[[178, 178, 178], [230, 25, 25], [230, 25, 25], [0, 0, 0]]]


@pytest.mark.parametrize("count", [2, 20, 21, 254])
def test_legend_has_every_class(count):
    palette = [(index, 10, 255 - index) for index in range(count)]
    image = legend([f"class {index}" for index in range(count)], palette)
    assert image.dtype == np.uint8 and set(palette) <= colors_of(image)
    rows = [np.flatnonzero((image == color).all(2).any(1)).min() for color in palette[:2]]
    assert rows == sorted(rows)


def test_contact_sheet_without_labels_has_two_columns_and_rows_of_any_size():
    rows = [SheetRow(np.zeros((h, w, 3), np.uint8), np.zeros((h, w), np.int32))
            for h, w in ((20, 40), (7, 7), (1, 900))]
    narrow = contact_sheet(rows, class_names=CLASS_NAMES, palette=PALETTE)
    labelled = [row._replace(label=row.prediction) for row in rows]
    wide = contact_sheet(labelled, class_names=CLASS_NAMES, palette=PALETTE)
    assert wide.shape[1] - 8 == 2 * (narrow.shape[1] - 8)


def test_contact_sheet_refuses_no_rows():
    with pytest.raises(DataError, match="at least one row, got none"):
        contact_sheet([], class_names=CLASS_NAMES, palette=PALETTE)


@NO_WARNINGS
@pytest.mark.parametrize("rows, evaluated", [
    ("1,372,2.9,0.001,3.1,,\n", False),
    ("1,372,2.9,0.001,3.1,0.5,0.2\n", True),
    ("1,372,nan,0.001,3.1,,\n2,744,inf,0.0005,3.1,nan,nan\n3,1116,2.0,0.0,3.1,0.5,0.25\n4,14", True),
    ("".join(f"{epoch},{epoch},{1 / epoch},0.001,3,,\n" for epoch in range(1, 60)), False),
], ids=["no evaluation", "single row", "gaps and a cut last line", "many"])
def test_plot_curves_draws_an_image_of_any_run(rows, evaluated, tmp_path):
    (tmp_path / "metrics.csv").write_text(HEADER + rows)
    plot_curves(tmp_path / "metrics.csv", tmp_path / "curves.png")
    image = np.array(Image.open(tmp_path / "curves.png").convert("RGB")).reshape(-1, 3)
    assert (image == [214, 39, 40]).all(axis=1).any()  # tab:red, the loss
    assert (image == [31, 119, 180]).all(axis=1).any() == evaluated  # tab:blue, the mIoU
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png", "metrics.csv"]


@pytest.mark.parametrize("text, message", [
    (None, "expected the metrics.csv of a training run at .*metrics.csv"),
    ("", "epoch, loss, lr, pix_acc, miou is missing"),
    ("epoch,step,loss,lr,pix_acc\n1,1,1,1,\n", "but miou is missing"),
    (HEADER, "expected a row for each epoch, found none"),
    (HEADER + "1,372,2.9,0.001,3.1,,\n2,372,much,0.001,3.1,,\n", "line 3: expected numbers, .*'much'"),
])
def test_plot_curves_refuses_a_wrong_file(text, message, tmp_path):
    if text is not None:
        (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        plot_curves(tmp_path / "metrics.csv", tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


def test_plot_curves_leaves_matplotlib_as_it_was(tmp_path):
    (tmp_path / "metrics.csv").write_text(HEADER + "1,372,2.9,0.001,3.1,0.5,0.2\n")
    code = ("import sys, matplotlib\nfrom rtseg.visualization.plots import plot_curves\n"
            "before = matplotlib.rcParams.copy()\nplot_curves(sys.argv[1], sys.argv[2])\n"
            "print('matplotlib.pyplot' in sys.modules, before == matplotlib.rcParams.copy())\n")
    result = subprocess.run([sys.executable, "-c", code, str(tmp_path / "metrics.csv"), str(tmp_path / "curves.png")],
                            cwd=PROJECT, capture_output=True, text=True, check=True)
    assert result.stdout == "False True\n"


@NO_WARNINGS
def test_class_iou_draws_a_bar_for_each_class(tmp_path):
    palette = [(0, 60, 0), (255, 80, 0), (9, 9, 200)]
    plot_class_iou([1.0, 0.25, np.nan], ["road_$x_$", "ball", "absent"], palette=palette,
                   output_path=tmp_path / "class_iou.png")
    image = np.array(Image.open(tmp_path / "class_iou.png").convert("RGB")).reshape(-1, 3)
    full, quarter, absent = ((image == color).all(axis=1).sum() for color in palette)
    assert 3.8 < full / quarter < 4.2 and absent == 0
    plot_class_iou([np.nan, np.nan], ["a", "b"], palette=palette[:2], output_path=tmp_path / "nothing.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["class_iou.png", "nothing.png"]


@NO_WARNINGS
def test_confusion_matrix_draws_shares_of_each_row(tmp_path, monkeypatch):
    texts = []
    monkeypatch.setattr("matplotlib.axes.Axes.text",
                        lambda self, x, y, text, **_: texts.append((int(y), int(x), text)))
    # The last column is of predictions that are no class; "sign" has no pixel.
    matrix = np.array([[3, 0, 0, 1], [1, 199, 0, 0], [0, 0, 0, 0]], np.int64)
    plot_confusion_matrix(matrix, ["road_$x_$", "sky", "sign"], output_path=tmp_path / "confusion_matrix.png")
    assert [text for text in texts if text[2]] == [(0, 0, "75"), (1, 0, "0"), (1, 1, "100")]
    assert (tmp_path / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG")


def test_colours_and_names_of_images():
    palette = ((1, 2, 3), (200, 100, 0))
    ids = np.array([[0, 1, 2, 255]], np.uint8)
    assert colorize(ids, palette).tolist() == [[[1, 2, 3], [200, 100, 0], [0, 0, 0], [0, 0, 0]]]
    image = np.full((1, 4, 3), 50, np.uint8)
    blended = overlay(image, ids, palette=palette, alpha=1)
    assert blended.tolist() == [[[1, 2, 3], [200, 100, 0], [50, 50, 50], [50, 50, 50]]]
    sheet = contact_sheet([SheetRow(image, ids, ids)], palette=palette,
                          class_names=("short", "a name that is longer than the sheet is wide " * 5))
    assert {(1, 2, 3), (200, 100, 0)} <= {tuple(color) for color in sheet[-60:].reshape(-1, 3).tolist()}
