"""Copies of data sets at another size: pixels by hand, labels of every form, what cannot be read."""
import shutil
import struct
import zlib

import numpy as np
import pytest
from data_helpers import write_png
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from rtseg.data.dataset import SegmentationDataset
from rtseg.data.dataset_spec import load_dataset_spec
from rtseg.tools.resize_dataset import main, resize_image
from rtseg.utils.errors import ConfigError, DataError

SPEC = """
name: stripes
image_suffix: .png
label_suffix: _label.png
splits:
  train: {images: train, labels: train}
  test: {images: test}
classes:
  - {name: left, id: 7, color: [255, 0, 0]}
  - {name: right, id: 9, color: [0, 255, 0]}
"""


@pytest.fixture
def data(tmp_path):
    """A training image of 16x32 with its label and a test image without."""
    root = tmp_path / "data"
    image = np.zeros((16, 32, 3), np.uint8)
    image[:, 16:] = 200
    label = np.full((16, 32), 7, np.uint8)
    label[:, 16:] = 9
    write_png(root / "train" / "a" / "one.png", image)
    write_png(root / "train" / "a" / "one_label.png", label)
    write_png(root / "test" / "two.png", image)
    (tmp_path / "spec.yaml").write_text(SPEC)
    return root


def resized(data, *flags):
    return main([f"--dataset={data}", f"--dataset_config={data.parent / 'spec.yaml'}", "--size=32,64",
                 f"--output={data.parent / 'copy'}", *flags])


def test_the_copy_fits_the_same_description(data, capsys):
    assert resized(data) == 0
    assert capsys.readouterr().out == f"2 images of 32x64 are in {data.parent / 'copy'}\n"
    spec = load_dataset_spec(data.parent / "spec.yaml")
    image, label = SegmentationDataset(data.parent / "copy", "train", spec=spec).load(0)
    assert image.shape == (32, 64, 3) and not image[:, :28].any() and (image[:, 36:] == 200).all()
    assert (label[:, :32] == 0).all() and (label[:, 32:] == 1).all()
    assert (data.parent / "copy" / "test" / "two.png").is_file()


def test_what_is_there_is_left_alone(data):
    resized(data)
    copy = data.parent / "copy" / "train" / "a" / "one.png"
    write_png(copy, np.zeros((32, 64, 3), np.uint8))
    mine = copy.read_bytes()
    assert resized(data) == 0 and copy.read_bytes() == mine


def test_a_copy_of_another_size_is_not_called_one_of_this_size(data, capsys):
    resized(data)
    capsys.readouterr()
    assert resized(data, "--size=64,128") == 3
    out, err = capsys.readouterr()
    assert out.startswith("0 images of 64x128 are in ")
    assert "one.png: expected 64x128, found one of 32x64 from an earlier run; delete it, or choose another --out" in err


@pytest.mark.parametrize("paths", ["train/a/one.png train/a/one_label.png",
                                   "{data}/train/a/one.png {data}/train/a/one_label.png"])
def test_folders_may_be_links_and_lists_may_have_a_folder(data, paths):
    """As in Pascal VOC, on a disk of its own; the copy's list names the copies."""
    (data / "train").rename(data.parent / "elsewhere")
    (data / "train").symlink_to(data.parent / "elsewhere")
    (data / "ImageSets").mkdir()
    (data / "ImageSets" / "train.txt").write_text(f"{paths.format(data=data)}\n")
    spec = data.parent / "spec.yaml"
    spec.write_text(SPEC.replace("train: {images: train, labels: train}", "train: {list: ImageSets/train.txt}"))
    assert resized(data) == 0
    copy = SegmentationDataset(data.parent / "copy", "train", spec=load_dataset_spec(spec))
    assert [image.shape for image, _ in map(copy.load, range(len(copy)))] == [(32, 64, 3)]


@pytest.mark.parametrize("colors", [256, 2])
def test_labels_with_a_palette_keep_it(data, colors):
    """The palette may have no colour for some ids."""
    path = data / "train" / "a" / "one_label.png"
    label = Image.fromarray(np.full((16, 32), 7, np.uint8))
    label.putpalette([1, 2, 3] * 256)
    label.save(path)
    shorter = b"PLTE" + bytes([1, 2, 3] * colors)
    first, rest = path.read_bytes().split(b"PLTE")
    path.write_bytes(first[:-4] + struct.pack(">I", 3 * colors) + shorter + struct.pack(">I", zlib.crc32(shorter))
                     + rest[3 * 256 + 4:])
    assert resized(data) == 0
    with Image.open(data.parent / "copy" / "train" / "a" / "one_label.png") as copy:
        assert copy.mode == "P" and copy.getpalette()[:3] == [1, 2, 3] and (np.array(copy) == 7).all()


def test_what_a_copy_is_does_not_depend_on_its_name(data):
    """What a file of a data set is follows from its first bytes: here images are PNG, and labels are, too."""
    folder = data / "train" / "a"
    (folder / "one.png").rename(folder / "one.image")
    (folder / "one_label.png").rename(folder / "one_label.jpg")
    (data / "test" / "two.png").rename(data / "test" / "two.image")
    spec = data.parent / "spec.yaml"
    spec.write_text(SPEC.replace("image_suffix: .png", "image_suffix: .image").replace("_label.png", "_label.jpg"))
    assert resized(data) == 0
    image, label = SegmentationDataset(data.parent / "copy", "train", spec=load_dataset_spec(spec)).load(0)
    assert image.shape == (32, 64, 3) and (label[:, :32] == 0).all() and (label[:, 32:] == 1).all()


def test_images_called_jpeg_are_jpeg(data):
    image = Image.open(data / "test" / "two.png")
    image.save(data / "test" / "two.JPG")
    (data / "test" / "two.png").unlink()
    spec = data.parent / "spec.yaml"
    spec.write_text(SPEC.replace("image_suffix: .png", "image_suffix: .JPG").replace(
        "  train: {images: train, labels: train}\n", ""))
    assert resized(data) == 0
    with Image.open(data.parent / "copy" / "test" / "two.JPG") as copy:
        assert copy.format == "JPEG" and copy.size == (64, 32)


def test_a_data_set_below_the_home_folder(data, monkeypatch):
    """A shell leaves --dataset=~/data as it is."""
    (data / "train.txt").write_text("train/a/one.png train/a/one_label.png\n")
    spec = data.parent / "spec.yaml"
    spec.write_text(SPEC.replace("train: {images: train, labels: train}", "train: {list: train.txt}"))
    monkeypatch.setenv("HOME", str(data.parent))
    assert resized(data, "--dataset=~/data", "--output=~/copy") == 0
    assert (data.parent / "copy" / "train.txt").read_text() == (data / "train.txt").read_text()
    with pytest.raises(ConfigError, match="--output: expected another folder than the data set"):
        resized(data, "--dataset=~/data", f"--output={data}")


def test_shrinking_averages():
    image = np.array([[0, 100], [50, 250]], np.uint8)[..., None].repeat(3, 2)
    assert resize_image(image, (1, 1)).tolist() == [[[100, 100, 100]]]


def test_a_label_with_a_damaged_comment_is_listed_and_the_others_are_copied(data, capsys):
    """OpenCV reads it with a warning, PIL does not."""
    path, comment = data / "train" / "a" / "one_label.png", PngInfo()
    comment.add_text("Comment", "from here")
    Image.open(path).save(path, pnginfo=comment)
    path.write_bytes(path.read_bytes().replace(b"from here", b"from home"))
    assert resized(data) == 3
    out, err = capsys.readouterr()
    assert out.startswith("1 images of 32x64")
    assert f"1 of 2 images not copied:\n  {path}: cannot be decoded" in err
    assert (data.parent / "copy" / "test" / "two.png").is_file()


def test_a_damaged_image_is_listed_and_the_others_are_copied(data, capsys):
    path = data / "test" / "two.png"
    path.write_bytes(path.read_bytes()[:-20])
    assert resized(data) == 3
    out, err = capsys.readouterr()
    assert out.startswith("1 images of 32x64") and f"1 of 2 images not copied:\n  {path}" in err
    assert (data.parent / "copy" / "train" / "a" / "one.png").is_file()


def test_a_test_split_that_is_not_there_is_left_out(data, capsys):
    shutil.rmtree(data / "test")
    assert resized(data) == 0
    out, err = capsys.readouterr()
    assert out.startswith("1 images of 32x64") and f"note: there is no {data}/test; the test split is left out" in err
    (data / "test").mkdir()  # there, but damaged
    assert resized(data) == 3
    out, err = capsys.readouterr()
    assert out.startswith("1 images of 32x64")
    assert f"0 of 1 images and the test split not copied:\n  no image of split 'test' found in {data}" in err


def test_another_split_that_is_not_there_ends_it_before_anything_is_copied(data):
    shutil.rmtree(data / "train")
    with pytest.raises(DataError, match="has no folder train"):
        resized(data)
    assert not (data.parent / "copy").exists()


def test_a_list_elsewhere_is_not_written_over(data):
    names = data.parent / "train.txt"
    names.write_text(f"{data}/train/a/one.png {data}/train/a/one_label.png")
    (data.parent / "spec.yaml").write_text(SPEC.replace("{images: train, labels: train}", f"{{list: {names}}}"))
    with pytest.raises(DataError, match="expected a file below the data set's folder"):
        resized(data)
    assert names.read_text().startswith(f"{data}/train/a/one.png") and not (data.parent / "copy").exists()


@pytest.mark.parametrize("flag, message", [
    ("--size=30,64", "--size: expected one number or H,W, both positive multiples of 32"),
    ("--num_workers=0", "--num_workers: expected an integer >= 1, found '0'"),
])
def test_refused(data, flag, message):
    with pytest.raises(ConfigError) as error:
        resized(data, flag)
    assert message in str(error.value)


def test_the_data_set_itself_is_no_place_for_the_copy(data):
    with pytest.raises(ConfigError, match="--output: expected another folder than the data set"):
        resized(data, f"--output={data}")
