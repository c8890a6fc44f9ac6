"""The Cityscapes reader: what it finds, what it reads, and how it names what is wrong."""
import cv2
import numpy as np
import pytest
from data_helpers import CITYSCAPES, REAL_CITYSCAPES, Cityscapes, needs_real_cityscapes, write_png, write_sample
from PIL import Image

from rtseg.data.image_io import read_image, read_label
from rtseg.utils.errors import ConfigError, DataError

LAYOUT = "<dataset>/leftImg8bit/train/[<folder>/]<name>_leftImg8bit.png"


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "cityscapes"
    for split, name in (("train", "ulm_000001_000019"), ("train", "aachen_000000_000019"), ("val", "lindau_0_0")):
        write_sample(folder, split, name, label_ids=7)
    return folder


def image_path(root, name="aachen_000000_000019", split="train"):
    return root / "leftImg8bit" / split / name.split("_")[0] / f"{name}_leftImg8bit.png"


def label_path(root, name="aachen_000000_000019", split="train", kind="labelIds"):
    return root / "gtFine" / split / name.split("_")[0] / f"{name}_gtFine_{kind}.png"


def test_samples_are_found_and_sorted(root):
    dataset = Cityscapes(root, "train")
    assert len(dataset) == 2
    assert dataset.samples[0] == ("aachen_000000_000019", "aachen", image_path(root), label_path(root))
    assert [sample.name for sample in Cityscapes(str(root), "trainval").samples] == [
        "aachen_000000_000019", "lindau_0_0", "ulm_000001_000019"]


def test_load_gives_rgb_and_train_ids(tmp_path):
    write_sample(tmp_path, "train", "a_0_0", label_ids=np.array([[0, 7, 8, 33]]), size=(1, 4))
    image = np.array([[[1, 2, 3], [4, 5, 6], [7, 8, 9], [255, 0, 128]]], np.uint8)
    write_png(image_path(tmp_path, "a_0_0"), image)
    loaded, label = Cityscapes(tmp_path, "train").load(0)
    assert (loaded.dtype, label.dtype) == (np.uint8, np.uint8)
    assert loaded.flags.c_contiguous and loaded.tolist() == image.tolist()
    assert label.tolist() == [[255, 0, 1, 18]]


def test_label_ids_are_preferred_to_ready_made_train_ids(tmp_path):
    write_sample(tmp_path, "train", "a_0_0", label_ids=18, label_kind="labelTrainIds")
    assert np.unique(Cityscapes(tmp_path, "train").load(0)[1]).tolist() == [18]
    write_sample(tmp_path, "train", "a_0_0", label_ids=26)
    assert np.unique(Cityscapes(tmp_path, "train").load(0)[1]).tolist() == [13]


def test_test_split_has_no_labels(tmp_path):
    write_sample(tmp_path, "test", "berlin_0_0")
    dataset = Cityscapes(tmp_path, "test", require_labels=False)
    dataset.check()
    assert dataset.samples[0].label is None and dataset.load(0)[1] is None


def test_rotation_noted_in_the_file_is_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by 90 degrees
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "image.png", exif=exif)
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(tmp_path / "label.png", exif=exif)
    assert cv2.imread(str(tmp_path / "image.png"), cv2.IMREAD_COLOR).shape == (6, 4, 3)
    assert read_image(tmp_path / "image.png").shape == (4, 6, 3)
    assert read_label(tmp_path / "label.png", CITYSCAPES).shape == (4, 6)


@pytest.mark.parametrize("suffix, ids, found, expected", [
    ("labelIds", [[7, 34], [99, 255]], "[34, 99]", "0..33 and 255"),
    ("labelTrainIds", [[0, 19], [18, 255]], "[19]", "0..18 and 255"),
])
def test_unknown_ids_are_named(tmp_path, suffix, ids, found, expected):
    path = write_png(tmp_path / f"a_gtFine_{suffix}.png", np.array(ids, np.uint8))
    with pytest.raises(DataError) as error:
        read_label(path, CITYSCAPES)
    assert str(error.value).startswith(f"{path}: holds the ids {found}, expected only {expected}")


def test_unknown_split(root):
    with pytest.raises(ConfigError, match="unknown split 'valid': expected one of train, val, trainval, test"):
        Cityscapes(root, "valid")


@pytest.mark.parametrize("given, problem", [
    ("nowhere", "does not exist"), ("leftImg8bit", "has no folder leftImg8bit/train and no gtFine/train"),
    ("leftImg8bit/train", "has no folder leftImg8bit/train"), ("..", "has no folder leftImg8bit/train")])
def test_wrong_root_shows_the_layout_and_guesses(root, given, problem):
    with pytest.raises(DataError) as error:
        Cityscapes(root / given, "train")
    assert problem in str(error.value) and LAYOUT in str(error.value)
    assert str(error.value).endswith(f"\ndid you mean {root}?")


def test_missing_parts_show_the_layout(tmp_path):
    (tmp_path / "leftImg8bit" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match="has no folder gtFine/train: expected") as error:
        Cityscapes(tmp_path, "train")
    assert "did you mean" not in str(error.value)
    with pytest.raises(DataError, match="no image of split 'train' found"):
        Cityscapes(tmp_path, "train", require_labels=False)


def test_damage_is_named_at_load(root):
    dataset = Cityscapes(root, "train")
    path = image_path(root)
    good = path.read_bytes()
    middle = len(good) // 2
    for content, problem in ((good[:middle], "is cut short"), (good[:20], "is not a PNG file"), (b"", "is not a PNG"),
                             (good[:middle] + bytes([good[middle] ^ 255]) + good[middle + 1:], "cannot be decoded")):
        path.write_bytes(content)
        with pytest.raises(DataError) as error:
            dataset.load(0)
        assert str(error.value).startswith(f"{path}: {problem}")
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        dataset.load(0)


def test_unequal_sizes_and_missing_labels_are_named_at_load(root):
    write_sample(root, "train", "x_0_0", label_ids=7)
    write_png(label_path(root, "x_0_0"), np.zeros((4, 5), np.uint8))
    write_sample(root, "train", "y_0_0")
    dataset = Cityscapes(root, "train")
    with pytest.raises(DataError, match=r"is 16x8 \(width x height\), but its label .* is 5x4"):
        dataset.load(2)
    with pytest.raises(DataError, match="has no label, expected gtFine/train/y/y_0_0_gtFine_labelIds.png"):
        dataset.load(3)


def test_check_passes_good_data_and_ignores_labels_without_image(root):
    image_path(root).unlink()
    dataset = Cityscapes(root, "train")
    assert len(dataset) == 1
    dataset.check()


def test_check_lists_every_problem(root):
    write_png(label_path(root), np.zeros((8, 16, 3), np.uint8))  # colour
    short = image_path(root, "ulm_000001_000019")
    short.write_bytes(short.read_bytes()[:-1])
    label_path(root, "ulm_000001_000019").write_bytes(b"<html>not found</html>, and so on")
    write_sample(root, "train", "x_0_0", label_ids=7)
    write_png(label_path(root, "x_0_0"), np.zeros((4, 5), np.uint8))
    write_sample(root, "train", "y_0_0")
    cv2.imwrite(str(label_path(root, "lindau_0_0", "val")), np.zeros((8, 16), np.uint16))
    with pytest.raises(DataError) as error:
        Cityscapes(root, "trainval").check()
    head, *lines = str(error.value).split("\n  ")
    assert head == f"6 problem(s) in the dataset {root}:"
    expected = ((label_path(root), "colour-coded PNG of 8 bits"),
                (label_path(root, "lindau_0_0", "val"), "grey PNG of 16 bits"),
                (short, "is cut short"),
                (label_path(root, "ulm_000001_000019"), "is not a PNG file (starts with b'<html>no')"),
                (image_path(root, "x_0_0"), "is 16x8 (width x height)"), (image_path(root, "y_0_0"), "has no label"))
    assert len(lines) == len(expected)
    for line, (path, problem) in zip(lines, expected):
        assert line.startswith(str(path)) and problem in line


def test_check_shortens_a_long_list(tmp_path):
    (tmp_path / "gtFine" / "train").mkdir(parents=True)
    for i in range(23):
        write_sample(tmp_path, "train", f"a_{i:02d}_0", size=(2, 2))
    with pytest.raises(DataError) as error:
        Cityscapes(tmp_path, "train").check()
    lines = str(error.value).split("\n  ")
    assert len(lines) == 22 and "a_19_0" in lines[20] and lines[21] == "and 3 more"


@needs_real_cityscapes
def test_real_images():
    dataset = Cityscapes(REAL_CITYSCAPES, "trainval")
    assert len(dataset) == 12
    dataset.check()
    image, label = dataset.load(0)
    assert image.shape == (1024, 2048, 3) and label.shape == (1024, 2048)
    assert set(np.unique(label)) <= {*range(19), 255}
    assert np.array_equal(image, np.asarray(Image.open(dataset.samples[0].image)))
