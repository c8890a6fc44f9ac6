"""Images and diagrams: literal colours, sizes and places, wrong input, and curves from any metrics.csv."""
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_helpers import CLASS_NAMES, PALETTE
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.text import Text
from PIL import Image

from rtseg.utils.errors import DataError
from rtseg.visualization import fonts
from rtseg.visualization.masks import SheetRow, colorize, contact_sheet, error_map, legend, overlay, save_png
from rtseg.visualization.plots import _confusion_figure, plot_class_iou, plot_confusion_matrix, plot_curves

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


@pytest.fixture
def font_folder(tmp_path, monkeypatch):
    """The only folder of this machine that has fonts."""
    monkeypatch.setattr(fonts, "_FOLDERS", (str(tmp_path / "fonts"),))
    for function in (fonts.drawable, fonts._fonts, fonts._letters):
        function.cache_clear()
    yield tmp_path / "fonts"
    for function in (fonts.drawable, fonts._fonts, fonts._letters):
        function.cache_clear()


def write_font(path, letters):
    """A font in which each of these letters is a square."""
    pen = TTGlyphPen(None)
    for i, point in enumerate(((0, 0), (0, 800), (800, 800), (800, 0))):
        (pen.lineTo if i else pen.moveTo)(point)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(letter): "square" for letter in letters})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "square": (1000, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=0)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    path.parent.mkdir(parents=True, exist_ok=True)
    builder.save(path)


def test_names_are_drawn_in_a_font_that_has_their_letters(font_folder):
    write_font(font_folder / "cjk" / "Chinese-Regular.ttf", "道路0 ")
    (font_folder / "Broken-Regular.ttf").write_bytes(b"no font")
    assert fonts.drawable("road") == ("road", None)
    assert fonts.drawable("Straße, дорога")[1].endswith("DejaVuSans.ttf")
    assert fonts.drawable("0 道路") == ("0 道路", str(font_folder / "cjk" / "Chinese-Regular.ttf"))
    drawn = legend(["路路路", "b"], [(1, 2, 3), (4, 5, 6)])
    assert (drawn == 40).all(2).sum() > 3 * 100  # three squares of 12x12 pixels


def test_letters_that_no_font_has_are_escaped(font_folder):
    assert fonts.drawable("道路") == (r"\u9053\u8def", None)
    assert fonts.drawable("Straße 路")[0] == r"Straße \u8def"
    assert fonts.drawable("a\nb\udcb5") == (r"a\nb\udcb5", None)
    colors = [(1, 2, 3), (4, 5, 6)]
    np.testing.assert_array_equal(legend(["道", "b"], colors), legend([r"\u9053", "b"], colors))


@NO_WARNINGS
@pytest.mark.parametrize("has_font", [False, True])
def test_diagrams_with_names_of_any_language(has_font, font_folder, tmp_path):
    if has_font:
        write_font(font_folder / "Chinese.ttf", "道路")
    names = ["道路", "Straße"]
    plot_class_iou([1.0, 0.5], names, palette=[(0, 0, 0)] * 2, output_path=tmp_path / "class_iou.png")
    plot_confusion_matrix(np.eye(2, 3, dtype=int), names, output_path=tmp_path / "confusion_matrix.png")
    figure = _confusion_figure(np.eye(2, 3, dtype=int), names)
    for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis):
        labels = axis.get_ticklabels()
        assert [label.get_text() for label in labels] == ["道路" if has_font else r"\u9053\u8def", "Straße"]
        files = [label.get_fontproperties().get_file() for label in labels]
        assert files[0] == (str(font_folder / "Chinese.ttf") if has_font else None)


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


@NO_WARNINGS
@pytest.mark.parametrize("names", [("road", "sky"), ("a rather long name of a class, as some have", "sky"),
                                   ("路" * 30, "sky")])
def test_a_confusion_matrix_of_two_classes_has_room_for_its_title_and_names(names):
    figure = _confusion_figure(np.eye(2, 3, dtype=int), names)
    figure.canvas.draw()
    page = figure.bbox.padded(1)
    texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    assert [text.get_text() for text in texts if not page.containsx(text.get_window_extent().x0)
            or not page.containsx(text.get_window_extent().x1)] == []
    assert any(text.get_text() == "Pixels of each class by prediction, per cent" for text in texts)


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
