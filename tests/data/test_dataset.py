"""The files that a specification leads to, and the train ids that they hold."""
import os

import cv2
import numpy as np
import pytest
from data_helpers import write_png
from PIL import Image
from spec_helpers import BY_COLORS, BY_IDS, fields, rooms

from rtseg.data.dataset import SegmentationDataset
from rtseg.data.dataset_spec import load_dataset_spec
from rtseg.utils.errors import DataError


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


@pytest.mark.parametrize("labels", ["all", "./all/"])
def test_images_and_labels_in_one_folder(describe, tmp_path, labels):
    for name in ("a", "b"):
        write_png(tmp_path / "all" / f"{name}.png", np.zeros((2, 2, 3), np.uint8))
        write_png(tmp_path / "all" / f"{name}_id.png", np.zeros((2, 2), np.uint8))
    path = describe(BY_IDS, ("{images: images, labels: truth}", f"{{images: all, labels: {labels}}}"))
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
    fields(tmp_path, "a", "b,c", "d")
    spec = load_dataset_spec(describe(BY_IDS))
    (tmp_path / "val.txt").write_text("images/a.png,truth/a_id.png\nimages/b,c.png\ttruth/b,c_id.png\n"
                                      "images/d.png, truth/d_id.png\n")
    dataset = SegmentationDataset(tmp_path, "val", spec=spec)
    assert [sample.label.name for sample in dataset.samples] == ["a_id.png", "b,c_id.png", "d_id.png"]
    dataset.check()


def test_list_files(describe, tmp_path):
    fields(tmp_path, "a", "with blank")
    description = load_dataset_spec(describe(BY_IDS))
    (tmp_path / "val.txt").write_text("\ufeffimages/a.png truth/a_id.png\n", encoding="utf-8")  # as on Windows
    assert SegmentationDataset(tmp_path, "val", spec=description).load(0)[1].tolist() == [[0, 255], [1, 2]]
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


def test_fill_bytes_before_the_markers_of_a_jpeg_image(describe, tmp_path):
    """T.81, B.1.1.2 allows any number of them."""
    rooms(tmp_path)
    dataset = SegmentationDataset(tmp_path, "train", spec=load_dataset_spec(describe(BY_COLORS)))
    jpeg, expected = tmp_path / "a" / "x.jpg", dataset.load(0)[0]
    content = jpeg.read_bytes()
    frame = content.index(b"\xff\xc0")
    for count in (1, 2, 3, 500):
        fill = b"\xff" * count
        jpeg.write_bytes(content[:2] + fill + content[2:frame] + fill + content[frame:])
        dataset.check()
        assert np.array_equal(dataset.load(0)[0], expected)
    jpeg.write_bytes(content[:2] + b"\xff" * 99)
    with pytest.raises(DataError, match="x.jpg: is cut short"):
        dataset.check()


def test_what_follows_the_end_of_a_png_image_does_not_count(describe, tmp_path):
    fields(tmp_path, "a")
    dataset = SegmentationDataset(tmp_path, "train", spec=load_dataset_spec(describe(BY_IDS)))
    for path in (tmp_path / "images" / "a.png", tmp_path / "truth" / "a_id.png"):
        content = path.read_bytes()
        for more in (b"\n", bytes(5000)):
            path.write_bytes(content + more)
            dataset.check()
            assert dataset.load(0)[1].tolist() == [[0, 255], [1, 2]]
        path.write_bytes(content[:-1] + b"\n")
        with pytest.raises(DataError, match=f"{path.name}: is cut short"):
            dataset.load(0)
        path.write_bytes(content)
