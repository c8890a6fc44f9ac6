"""Descriptions of data sets: what they mean, what is refused, the files they lead to, and the checker."""
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import yaml
from data_helpers import write_png
from PIL import Image
from script_helpers import PROJECT

from rtseg.config.arguments import parse_arguments
from rtseg.config.recipe import load_config
from rtseg.data.dataset import SegmentationDataset
from rtseg.data.dataset_spec import load_dataset_spec
from rtseg.tools import check_dataset as check
from rtseg.utils.errors import ConfigError, DataError
from rtseg.utils.files import configs_folder
from rtseg.visualization.masks import SheetRow, colorize, contact_sheet, overlay

RECIPE = PROJECT / "configs" / "fast_scnn.yaml"
BY_IDS = """\
name: fields
image_suffix: .png
label_suffix: _id.png
train_id_suffix: _train.png
splits:
  train: {images: images, labels: truth}
  val: {list: val.txt}
classes:
  - {name: soil, color: [100, 50, 0], id: [7, 9]}
  - {name: maize, color: [0, 200, 0], id: 255}
  - {name: weed, color: [200, 0, 200], id: 0}
ignored:
  - {name: edge, id: 3}
"""
BY_COLORS = """\
name: rooms
label_form: colors
image_suffix: .jpg
label_suffix: .png
splits:
  train: {images: a, labels: b}
classes:
  - {name: floor, color: [1, 2, 3]}
  - name: wall
    color: [255, 0, 0]
    label_colors: [[255, 0, 0], [0, 0, 255]]
ignored:
  - {name: frame, color: [255, 255, 255]}
"""


@pytest.fixture
def describe(tmp_path):
    """Writes a description, with each (old, new) replaced in it, and returns its path."""
    def write(text, *changes):
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path = tmp_path / "mine.yaml"
        path.write_text(text, encoding="utf-8")
        return path
    return write


def test_cityscapes_is_the_benchmarks():
    labels = pytest.importorskip("cityscapesscripts.helpers.labels").labels
    description = load_dataset_spec("cityscapes")
    scored = sorted((label for label in labels if 0 <= label.trainId < 255), key=lambda label: label.trainId)
    assert description.class_names == tuple(label.name for label in scored) and description.num_classes == 19
    assert description.palette == tuple(label.color for label in scored)
    for label in labels[:-1]:  # the last one has the id -1
        assert description.id_table[label.id] == label.trainId
    assert description.id_table[33:].tolist() == [18] + [254] * 221 + [255]
    assert description.train_id_to_id[[0, 18, 19, 255]].tolist() == [7, 33, 0, 0]


def test_camvid_takes_its_colours_together():
    description = load_dataset_spec("camvid")
    assert description.num_classes == 11 and (description.color_table != 254).sum() == 32
    numbers = [0x808080, 0x800000, 0x40C000, 0x8000C0, 0xC000C0, 0x000000, 0x000001]
    assert description.color_table[numbers].tolist() == [0, 1, 1, 3, 10, 255, 254]


def test_camvid_in_eleven_classes():
    spec = load_dataset_spec("camvid11")
    assert spec.class_names == load_dataset_spec("camvid").class_names
    assert spec.palette == load_dataset_spec("camvid").palette
    assert spec.id_table[[0, 2, 10, 11, 12, 255]].tolist() == [0, 2, 10, 255, 254, 255]


@pytest.mark.parametrize("path", sorted((configs_folder() / "datasets").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_description_is_named_as_its_file(path):
    assert load_dataset_spec(path.stem).name == path.stem == load_dataset_spec(path).name


def test_ids_literal(describe):
    description = load_dataset_spec(describe(BY_IDS))
    assert description.id_table[[7, 9, 255, 0, 3, 1, 254]].tolist() == [0, 0, 1, 2, 255, 254, 254]
    assert description.train_id_table[[0, 1, 2, 3, 255]].tolist() == [0, 1, 2, 254, 255]
    assert description.train_id_to_id[[0, 1, 2, 255]].tolist() == [7, 255, 0, 3]
    plain = load_dataset_spec(describe(BY_IDS, (", id: [7, 9]", ""), (", id: 255", ""), (", id: 0", ""),
                                      ("ignored:\n  - {name: edge, id: 3}\n", "unknown_labels: ignore\n")))
    assert plain.id_table.tolist() == [0, 1, 2] + [255] * 253


@pytest.mark.parametrize("text, old, new, line, message", [
    (BY_IDS, "name: fields", "nam: fields", 1, "key 'nam': is unknown; expected name, classes, splits, ignored,"),
    (BY_IDS, "name: fields\n", "", 1, "expected name, classes, splits, found no name"),
    (BY_IDS, "name: fields", "name: 5", 1, "key 'name': expected text in one line (in quotes"),
    (BY_IDS, "name: maize", "name: yes", 10, "key 'classes[1].name': expected text in one line (in quotes"),
    (BY_IDS, "name: maize", "name: soil", 10, "key 'classes[1]': expected another name than classes[0], found 'soil'"),
    (BY_IDS, "name: edge", "name: weed", 13, "expected another name than classes[2]"),
    (BY_IDS, "id: 255", "id: 9", 10, "expected another id or label colour than classes[0], found 9 again"),
    (BY_IDS, "id: 3", "id: 0", 13, "expected another id or label colour than classes[2], found 0 again"),
    (BY_IDS, "[0, 200, 0]", "[100, 50, 0]", 10, "expected another color than classes[0]"),
    (BY_IDS, ", id: 0", "", 11, "key 'classes[2]': expected an 'id', as other classes have one"),
    (BY_IDS, "id: 255", "id: 256", 10, "key 'classes[1].id': expected an id of 0..255, or a list of them, found 256"),
    (BY_IDS, "id: 255", "id: true", 10, "expected an id of 0..255"),
    (BY_IDS, "[7, 9]", "[]", 9, "expected at least one id"),
    (BY_IDS, "id: 3", "id: 3, color: [0, 0, 0]", 13, "key 'ignored[0].color': is unknown; expected name, id"),
    (BY_IDS, "[0, 200, 0]", "[0, 200]", 10, "key 'classes[1].color': expected [R, G, B] with three integers of 0..255"),
    (BY_IDS, "[0, 200, 0]", "[0, 300, 0]", 10, "expected [R, G, B]"),
    (BY_IDS, "  - {name: maize, color: [0, 200, 0], id: 255}\n  - {name: weed, color: [200, 0, 200], id: 0}\n", "", 9,
     "key 'classes': expected 2 to 254 classes, found 1"),
    (BY_IDS, "{list: val.txt}", "{list: val.txt, images: x}", 7, "expected images, labels (or 'list' alone), found no "
     "labels"),
    (BY_IDS, "{list: val.txt}", "{images: x}", 7, "expected images, labels (or 'list' alone), found no labels"),
    (BY_IDS, "  val:", "  valid:", 7, "key 'splits.valid': is unknown; expected train, val, test"),
    (BY_IDS, "label_suffix: _id.png\n", "", 1, "key 'label_suffix': expected what the names in the folders of splits"),
    (BY_IDS, "_train.png", "_id.png", 4, "expected another suffix than label_suffix"),
    (BY_IDS, "name: fields", "name: fields\nlabel_form: colours", 2, "expected ids or colors, found 'colours'"),
    (BY_COLORS, "color: [1, 2, 3]", "color: [0, 0, 255]", 9, "expected another id or label colour than classes[0]"),
    (BY_COLORS, "color: [1, 2, 3]", "color: [1, 2, 3], id: 4", 8, "key 'classes[0].id': is unknown"),
    (BY_COLORS, "[[255, 0, 0], [0, 0, 255]]", "[255, 0, 0]", 11, "key 'classes[1].label_colors[0]': expected [R, G"),
    (BY_COLORS, "{images: a, labels: b}", "none", 6, "key 'splits.train': expected 'key: value' lines, found 'none'"),
])
def test_what_is_wrong_is_named_with_its_line(describe, text, old, new, line, message):
    path = describe(text, (old, new))
    with pytest.raises(ConfigError) as error:
        load_dataset_spec(path)
    assert str(error.value).startswith(f"{path}, line {line}: ") and message in str(error.value)


def test_images_and_labels_must_differ_and_files_must_be_there(describe, tmp_path):
    path = describe(BY_COLORS, ("image_suffix: .jpg", "image_suffix: .png"), ("labels: b", "labels: a/"))
    with pytest.raises(ConfigError, match="images and labels to differ in their folder or their suffix"):
        load_dataset_spec(path)
    with pytest.raises(ConfigError, match="--dataset_config citiscapes: expected a YAML file or one of bdd100k,"):
        load_dataset_spec("citiscapes")
    with pytest.raises(ConfigError, match="--dataset_config .*none.yaml: expected a readable YAML file"):
        load_dataset_spec(tmp_path / "none.yaml")
    path.write_text("name: a\nname: b\n")
    with pytest.raises(ConfigError, match="mine.yaml: not valid YAML: the key 'name' stands there 2 times"):
        load_dataset_spec(path)


def test_a_run_keeps_the_whole_description(describe, tmp_path):
    path = describe(BY_COLORS)
    config = load_config(RECIPE, {"dataset_config": str(path)})
    path.unlink()
    saved = tmp_path / "config.yaml"
    saved.write_text(config.dump())
    assert load_config(saved) == config and load_config(saved).data.dataset_config.class_names == ("floor", "wall")
    content = yaml.safe_load(saved.read_text())
    assert content["data"]["dataset_config"] == yaml.safe_load(BY_COLORS)
    content["data"]["dataset_config"]["classes"][1]["color"] = "red"
    saved.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=r"config.yaml: dataset_config: key 'classes\[1\].color': expected \[R"):
        load_config(saved)
    assert yaml.safe_load(load_config(RECIPE).dump())["data"]["dataset_config"] == "cityscapes"


@pytest.mark.parametrize("flags, message", [
    (["--dataset_config", "none"], "--dataset_config none: expected a YAML file or one of"),
    (["--train_split", "trainval"], "split 'trainval': the data set 'rooms' has no 'val', only train"),
    ([], "split 'val': the data set 'rooms' has no 'val'"),
])
def test_splits_are_checked_before_anything_starts(describe, flags, message):
    with pytest.raises(ConfigError, match=message):
        parse_arguments("train", "", argv=["--dataset", "d", "--dataset_config", str(describe(BY_COLORS)), *flags])
    arguments = ["--dataset", "d", "--dataset_config", str(describe(BY_COLORS)), "--eval_while_train", "0"]
    assert parse_arguments("train", "", argv=arguments).data.dataset_config.num_classes == 2
    with pytest.raises(ConfigError, match="the data set 'cityscapes' has no labels of it"):
        parse_arguments("eval", "", argv=["--dataset", "d", "--resume_path", "r", "--eval_split", "test"])


def fields(root, *names, ids=((7, 3), (255, 0))):
    """Images of 2x2 in the layout of BY_IDS."""
    for name in names:
        write_png(root / "images" / f"{name}.png", np.zeros((2, 2, 3), np.uint8))
        write_png(root / "truth" / f"{name}_id.png", np.array(ids, np.uint8))


def test_folders_sub_folders_and_links(describe, tmp_path):
    root = tmp_path / "root"
    fields(root, "b", "deep/er/a")
    write_png(root / "images" / ".hidden.png", np.zeros((2, 2, 3), np.uint8))
    write_png(root / "truth" / "deep" / "lost_id.png", np.zeros((2, 2), np.uint8))
    write_png(root / "truth" / "b_train.png", np.ones((2, 2), np.uint8))  # b has ids too
    write_png(root / "images" / "c.png", np.zeros((2, 2, 3), np.uint8))
    write_png(root / "truth" / "c_train.png", np.ones((2, 2), np.uint8))
    (root / "images" / "loop").symlink_to(root / "images")
    dataset = SegmentationDataset(root, "train", spec=load_dataset_spec(describe(BY_IDS)))
    assert [(sample.name, sample.city) for sample in dataset.samples] == [
        ("a", "er"), ("b", "images"), ("c", "images")]
    assert dataset.load(0)[1].tolist() == [[0, 255], [1, 2]] == dataset.load(1)[1].tolist()
    assert dataset.load(2)[1].tolist() == [[1, 1], [1, 1]]
    assert dataset.labels_without_image == [root / "truth" / "deep" / "lost_id.png"]
    dataset.check()


def test_a_folder_that_cannot_be_read_is_no_empty_folder(describe, tmp_path, monkeypatch):
    fields(tmp_path, "a", "closed/b")
    listed = os.scandir

    def refuse(path):  # permissions would not stop root
        if str(path).endswith("images/closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"images/closed: cannot be read \(Permission denied\)"):
        SegmentationDataset(tmp_path, "train", spec=load_dataset_spec(describe(BY_IDS)))


def test_images_and_labels_in_one_folder(describe, tmp_path):
    for name in ("a", "b"):
        write_png(tmp_path / "all" / f"{name}.png", np.zeros((2, 2, 3), np.uint8))
        write_png(tmp_path / "all" / f"{name}_id.png", np.zeros((2, 2), np.uint8))
    path = describe(BY_IDS, ("{images: images, labels: truth}", "{images: all, labels: all}"))
    dataset = SegmentationDataset(tmp_path, "train", spec=load_dataset_spec(path))
    assert [sample.name for sample in dataset.samples] == ["a", "b"] and dataset.labels_without_image == []


def test_equal_names_get_their_folders_in_front(describe, tmp_path):
    fields(tmp_path, "monday/1", "tuesday/1")
    description = load_dataset_spec(describe(BY_IDS))
    assert [sample.name for sample in SegmentationDataset(tmp_path, "train", spec=description).samples] == [
        "images_monday_1", "images_tuesday_1"]
    (tmp_path / "val.txt").write_text("images/monday/1.png truth/monday/1_id.png\n" * 2)
    with pytest.raises(DataError, match="2 images share the name images_monday_1"):
        SegmentationDataset(tmp_path, "val", spec=description)


def test_lists_of_names_without_suffix(describe, tmp_path):
    """As mmsegmentation's: they say which images of the folders count."""
    fields(tmp_path, "monday/a", "monday/b", "c")
    spec = load_dataset_spec(describe(BY_IDS, ("{list: val.txt}", "{list: val.txt, images: images, labels: truth}")))
    (tmp_path / "val.txt").write_text("# of May\nmonday/b\n\nc\n")
    dataset = SegmentationDataset(tmp_path, "val", spec=spec)
    assert [(sample.name, sample.image, sample.label) for sample in dataset.samples] == [
        ("b", tmp_path / "images/monday/b.png", tmp_path / "truth/monday/b_id.png"),
        ("c", tmp_path / "images/c.png", tmp_path / "truth/c_id.png")]
    dataset.check()
    (tmp_path / "val.txt").write_text("monday/nobody\n")
    with pytest.raises(DataError, match="nobody.png: has no label, expected truth/monday/nobody_id.png"):
        SegmentationDataset(tmp_path, "val", spec=spec).check()


def test_lists_with_commas(describe, tmp_path):
    """As CoinCheung's."""
    fields(tmp_path, "a", "b,c")
    spec = load_dataset_spec(describe(BY_IDS))
    (tmp_path / "val.txt").write_text("images/a.png,truth/a_id.png\nimages/b,c.png\ttruth/b,c_id.png\n")
    dataset = SegmentationDataset(tmp_path, "val", spec=spec)
    assert [sample.label.name for sample in dataset.samples] == ["a_id.png", "b,c_id.png"]
    dataset.check()


def test_list_files(describe, tmp_path):
    fields(tmp_path, "a", "with blank")
    description = load_dataset_spec(describe(BY_IDS))
    (tmp_path / "val.txt").write_text("# images of May\n\npictures/a.png truth/a_id.png\n"
                                      "images/with blank.png\ttruth/with blank_id.png\npictures/none.png\n")
    dataset = SegmentationDataset(tmp_path, "val", spec=description)
    assert [sample.name for sample in dataset.samples] == ["a", "none", "with blank"]
    assert dataset.load(2)[1].tolist() == [[0, 255], [1, 2]]
    with pytest.raises(DataError, match=r"none.png: has no label, expected it in line 5 of .*val.txt") as error:
        dataset.check()
    assert "none.png: cannot be read (No such file or directory)" in str(error.value)
    for line in ("a b c", "a\t\tb", "a\t"):
        (tmp_path / "val.txt").write_text(f"images/a.png truth/a_id.png\n{line}\n")
        with pytest.raises(DataError, match="val.txt, line 2: expected 'image label', two paths relative to"):
            SegmentationDataset(tmp_path, "val", spec=description)
    (tmp_path / "val.txt").unlink()
    with pytest.raises(DataError, match="has no list file val.txt: expected for 'fields'\n  <dataset>/val.txt with "):
        SegmentationDataset(tmp_path, "val", spec=description)


def rooms(root, colors=((1, 2, 3), (0, 0, 255), (255, 255, 255), (255, 0, 0)), height=1):
    """A JPEG image in the layout of BY_COLORS; returns its label, which has these colours row by row."""
    label = np.array(colors, np.uint8).reshape(height, -1, 3)
    (root / "a").mkdir(exist_ok=True)
    Image.fromarray(np.full_like(label, 90)).save(root / "a" / "x.jpg")
    return write_png(root / "b" / "x.png", label)


def test_colours_literal(describe, tmp_path):
    label = rooms(tmp_path)
    dataset = SegmentationDataset(tmp_path, "train", spec=load_dataset_spec(describe(BY_COLORS)))
    dataset.check()
    assert dataset.load(0)[1].tolist() == [[0, 1, 255, 1]]
    Image.open(label).convert("RGBA").save(label)
    assert dataset.load(0)[1].tolist() == [[0, 1, 255, 1]]
    Image.open(label).convert("RGB").quantize(4).save(label)
    assert dataset.load(0)[1].tolist() == [[0, 1, 255, 1]]
    rooms(tmp_path, ((1, 2, 3), (9, 8, 7), (9, 8, 7), (0, 0, 0)))
    with pytest.raises(DataError) as error:
        dataset.load(0)
    assert str(error.value) == (f"{label}: holds the RGB colours (0, 0, 0), (9, 8, 7), expected only those of a class "
                                "or ignored (3 pixels); fix the file, or the specification of 'rooms'")
    lenient = load_dataset_spec(describe(BY_COLORS, ("name: rooms", "name: rooms\nunknown_labels: ignore")))
    assert SegmentationDataset(tmp_path, "train", spec=lenient).load(0)[1].tolist() == [[0, 255, 255, 255]]


def test_any_colours_agree_with_a_dictionary(describe, tmp_path):
    colors = np.random.default_rng(0).permutation(1 << 24)[:254]
    colors = [(int(color) >> 16, int(color) >> 8 & 255, int(color) & 255) for color in colors]
    classes = "".join(f"  - {{name: c{i}, color: {list(color)}}}\n" for i, color in enumerate(colors))
    start, end = BY_COLORS.index("  - {name: floor"), BY_COLORS.index("ignored")
    description = load_dataset_spec(describe(BY_COLORS[:start] + classes + BY_COLORS[end:]))
    expected = np.random.default_rng(1).integers(0, 254, (40, 100))
    rooms(tmp_path, [colors[i] for i in expected.ravel()], height=40)
    assert SegmentationDataset(tmp_path, "train", spec=description).load(0)[1].tolist() == expected.tolist()


def test_ids_in_a_palette_file(describe, tmp_path):
    fields(tmp_path, "a")
    image = Image.fromarray(np.array([[7, 3], [9, 0]], np.uint8)).convert("L")
    image = Image.frombytes("P", (2, 2), image.tobytes())
    image.putpalette([5, 6, 7] * 256)
    for bits in (8, 4):
        image.save(tmp_path / "truth" / "a_id.png", bits=bits)
        dataset = SegmentationDataset(tmp_path, "train", spec=load_dataset_spec(describe(BY_IDS)))
        dataset.check()
        assert dataset.load(0)[1].tolist() == [[0, 255], [0, 2]]


def test_labels_of_another_form_are_refused(describe, tmp_path):
    label = rooms(tmp_path)
    dataset = SegmentationDataset(tmp_path, "train", spec=load_dataset_spec(describe(BY_COLORS)))
    cv2.imwrite(str(label), np.zeros((1, 4, 3), np.uint16))
    with pytest.raises(DataError, match="is a colour-coded PNG of 16 bits, expected label colours of 8 bits"):
        dataset.check()
    label.write_bytes((tmp_path / "a" / "x.jpg").read_bytes())
    with pytest.raises(DataError, match="is a JPEG image, whose pixels are not exact; expected a PNG label"):
        dataset.check()
    rooms(tmp_path)
    jpeg = tmp_path / "a" / "x.jpg"
    whole = jpeg.read_bytes()
    for content in (whole[:-2], whole[:30], b"\xff\xd8\xff\xd9"):
        jpeg.write_bytes(content)
        with pytest.raises(DataError, match="x.jpg: is cut short"):
            dataset.load(0)
    jpeg.write_bytes(whole + bytes(500))  # cameras append things
    dataset.load(0)


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


def test_checker_counts_and_weighs(describe, tmp_path, capsys):
    fields(tmp_path, "a", ids=((7, 7), (7, 0)))
    fields(tmp_path, "b", ids=((9, 3), (0, 0)))
    flags = [f"--dataset={tmp_path}", f"--dataset_config={describe(BY_IDS)}", "--split=train"]
    assert check.main(flags) == 0
    lines = capsys.readouterr().out.splitlines()
    # soil: 4 of 7 pixels, weed 3 of 7; 1 / log(1.02 + 4 / 7) = 2.15, with 3 / 7 2.70; both are in all images, so that
    # the median is 0.5
    assert lines[2] == "train: 2 images, 2 of them good; width x height 2x2 (2)"
    assert [line.split() for line in lines[4:8]] == [
        ["soil", "57.14", "2", "2.15", "0.88"], ["maize", "0.00", "0", "n/a", "n/a"],
        ["weed", "42.86", "2", "2.70", "1.17"], ["(ignored)", "12.50", "1"]]
    assert lines[8] == "note: no label of train has maize"


def test_checker_lists_everything_and_counts_the_good_ones(describe, tmp_path, capsys):
    fields(tmp_path, "good", "strange", "empty", "wide", "lonely")
    write_png(tmp_path / "truth" / "strange_id.png", np.array([[7, 77], [9, 78]], np.uint8))
    write_png(tmp_path / "truth" / "empty_id.png", np.array([[3, 3], [3, 3]], np.uint8))
    write_png(tmp_path / "truth" / "wide_id.png", np.array([[7, 7, 7], [9, 9, 9]], np.uint8))
    write_png(tmp_path / "truth" / "left_id.png", np.array([[7, 7]], np.uint8))
    (tmp_path / "truth" / "lonely_id.png").unlink()
    (tmp_path / "images" / "bad.png").write_bytes(b"no image, but some text")
    assert check.main([f"--dataset={tmp_path}", f"--dataset_config={describe(BY_IDS)}"]) == 3
    printed = capsys.readouterr()
    assert "train: 6 images, 2 of them good" in printed.out and "n/a" not in printed.out
    for problem in ("error: 6 problem(s) in train", "bad.png: is not a PNG file", "empty.png: every pixel of its label "
                    "is ignored", "lonely.png: has no label, expected truth/lonely_id.png", "strange_id.png: holds the "
                    "ids [77, 78], expected only 0, 3, 7, 9 and 255 (2 pixels)", "wide.png: is 2x2 (width x height), "
                    "but its label", "left_id.png: has no image next to it", "has no list file val.txt"):
        assert problem in printed.err
    assert printed.err.index("problem(s) in train") < printed.err.index("val.txt")


def test_checker_needs_no_mindspore_and_answers_wrong_usage(tmp_path):
    code = "import sys; sys.modules['mindspore'] = None; from rtseg.tools.check_dataset import main; main(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "--dataset_config" in done.stdout
    for flags, message in ((["--num_workers=0"], "--num_workers: expected an integer >= 1, found '0'"),
                           (["--dataset_config=none"], "--dataset_config none: expected")):
        with pytest.raises(ConfigError, match=message):
            check.main([f"--dataset={tmp_path}", *flags])
