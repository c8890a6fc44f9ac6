"""Descriptions of data sets, list files, labels in other forms, and the dataset cache, damaged or made to do harm."""
import io
import json

import numpy as np
import pytest
import yaml
from data_helpers import Cityscapes, write_png, write_sample
from hostile_helpers import cases, command, count, damaged, examples, limits, random_of, tree, written_outside
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_hostile_configuration import VALUES
from test_hostile_metadata import places, replaced

from rtseg.cli import preprocess
from rtseg.data.cache import CachedDataset, prepare
from rtseg.data.dataset_spec import load_dataset_spec
from rtseg.data.image_io import read_image, read_label
from rtseg.data.spec_file import MAX_CLASSES
from rtseg.tools import check_dataset as check
from rtseg.utils.errors import ConfigError, DataError
from rtseg.utils.files import configs_folder

IDS = {"name": "two", "classes": [{"name": "a", "color": [1, 2, 3], "id": [0, 4]}, {"name": "b", "color": [4, 5, 6],
                                                                                    "id": 1}],
       "ignored": [{"name": "c", "id": 2}], "unknown_labels": "ignore", "image_suffix": ".jpg", "label_suffix": ".png",
       "splits": {"train": {"images": "i", "labels": "l"}, "val": {"list": "val.txt"}, "test": {"images": "t"}}}
COLORS = {"name": "colours", "label_form": "colors", "image_suffix": ".png", "label_suffix": "_L.png",
          "classes": [{"name": "a", "color": [1, 2, 3]}, {"name": "b", "color": [0, 0, 0], "label_colors": [[9, 9,
                                                                                                             9]]}],
          "splits": {"val": {"images": "i", "labels": "l"}}}
LISTED = {**IDS, "splits": {"val": {"list": "val.txt"}}}


def check_description(path):
    with limits():
        try:
            description = load_dataset_spec(path)
        except ConfigError as error:
            assert str(path) in str(error) and len(str(error)) < 3000
            return
    assert 2 <= description.num_classes <= MAX_CLASSES
    assert description.label_form == "colors" or description.id_table.max() <= 255
    assert len(description.palette) == len(set(description.class_names)) == description.num_classes
    assert all(0 <= part <= 255 for color in description.palette for part in color)


@examples(400)
@given(which=st.sampled_from([IDS, COLORS]), data=st.data())
def test_any_value_in_a_description(tmp_path_factory, which, data):
    count("description with another value")
    path = tmp_path_factory.getbasetemp() / "description.yaml"
    place, value = data.draw(st.sampled_from(list(places(which)))), data.draw(VALUES)
    try:
        path.write_text(yaml.safe_dump(replaced(which, place, value)), encoding="utf-8")
    except ValueError:  # a number that Python does not write out
        return
    check_description(path)


def test_damaged_descriptions(tmp_path):
    path, rng = tmp_path / "description.yaml", random_of("description")
    contents = [((configs_folder() / "datasets") / "camvid.yaml").read_bytes()[-700:],
                 yaml.safe_dump(IDS).encode(), yaml.safe_dump(COLORS).encode()]
    for i in range(cases(90)):
        count("damaged description")
        path.write_bytes(damaged(contents[i % 3], rng, b"\x89PNG"))
        check_description(path)


@pytest.mark.parametrize("line", [
    "../../../../etc/passwd ../../../../etc/passwd", "/etc/passwd /etc/passwd", "/dev/zero /dev/zero", "a\0b.png c.png",
    "/", ". .", ".. ..", "-rf --bogus", "$(touch executed) `touch executed`", "ü\tñ", "x" * 5000, "a b c", "\t", "a\t",
    "i/a.jpg i/a.jpg\ni/a.jpg i/a.jpg", "\x1b[2J \x1b[2J", "~/x ~/y"])
def test_list_files(tmp_path, line):
    """Paths in a list are read, and never written, wherever they lead."""
    root, out = tmp_path / "data", tmp_path / "out"
    write_png(root / "i" / "good.jpg", np.zeros((8, 16, 3), np.uint8))
    write_png(root / "l" / "good.png", np.zeros((8, 16), np.uint8))
    (tmp_path / "listed.yaml").write_text(yaml.safe_dump(LISTED))
    (root / "val.txt").write_text(f"i/good.jpg l/good.png\n{line}\n", encoding="utf-8")
    before = tree(tmp_path)
    flags = (f"--dataset_config={tmp_path / 'listed.yaml'}",)
    for main, arguments in (
            (check.main, (f"--dataset={root}", "--split=val", *flags)),
            (preprocess.main, (f"--image_path={root}", f"--out_dir={out}", "--image_height=32", "--image_width=64",
                               *flags))):
        outcome = command(main, *arguments, kind="hostile list file", codes=(0, 2, 3))
        assert not written_outside(outcome, out), outcome.writes
    assert {name: content for name, content in tree(tmp_path).items() if not name.startswith("out")} == before


def encoded(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["palette", "colours", "train ids", "jpeg"])
def test_damaged_files_of_other_forms(tmp_path, kind):
    pixels = (np.arange(600).reshape(20, 30) % 2).astype(np.uint8)
    colors = np.array([[1, 2, 3], [9, 9, 9]], np.uint8)[pixels]
    palette = Image.fromarray(pixels, "P")
    palette.putpalette([1, 2, 3, 4, 5, 6])
    name = {"palette": "a.png", "colours": "a_L.png", "train ids": "a_gtFine_labelTrainIds.png", "jpeg": "a.jpg"}[kind]
    content = {"palette": encoded(palette, "PNG"), "colours": encoded(Image.fromarray(colors), "PNG"),
               "train ids": encoded(Image.fromarray(pixels), "PNG"), "jpeg": encoded(Image.fromarray(colors),
                                                                                     "JPEG")}[kind]
    path, rng = tmp_path / name, random_of(kind)
    described = tmp_path / "description.yaml"
    described.write_text(yaml.safe_dump(COLORS if kind == "colours" else IDS))
    description = load_dataset_spec("cityscapes" if kind == "train ids" else described)
    read = read_image if kind == "jpeg" else lambda file: read_label(file, description)
    path.write_bytes(content)
    whole = read(path)
    for _ in range(cases(200)):
        count(f"damaged {kind} file")
        path.write_bytes(damaged(content, rng, b"GIF89a"))
        with limits():
            try:
                found = read(path)
                assert found.dtype == np.uint8  # a JPEG file has no checksum: what is decoded may be wrong
                assert kind == "jpeg" or kind == "palette" or np.array_equal(found, whole)
            except DataError as error:
                assert str(path) in str(error)


@pytest.fixture
def cache(tmp_path):
    """(data set, folder of its cache, the one file in there)"""
    write_sample(tmp_path / "data", "val", "bonn_0", np.arange(128).reshape(8, 16) % 34)
    source = Cityscapes(tmp_path / "data", "val")
    assert prepare(source, tmp_path / "cache") == []
    (file,) = (tmp_path / "cache").rglob("*.raw")
    return source, tmp_path / "cache", file


def test_damaged_cache(cache):
    """It is found out, or the pixels are the same; and preparing again mends it."""
    source, folder, file = cache
    rng, content = random_of("cache"), file.read_bytes()
    image, label = source.load(0)
    for i in range(cases(200)):
        count("damaged cache file")
        # The header is mostly blanks; half of the damage is to its text.
        file.write_bytes(damaged(content[:300], rng) + content[300:] if i % 2 else damaged(content, rng))
        with limits():
            for open_it in (lambda: CachedDataset(source, folder).check(),
                            lambda: CachedDataset(source, folder).load(0)):
                try:
                    found = open_it()
                except DataError as error:
                    assert str(file) in str(error)
                    continue
                assert found is None or np.array_equal(found[0], image) and np.array_equal(found[1], label)
    assert prepare(source, folder) == []
    assert np.array_equal(CachedDataset(source, folder).load(0)[0], image)


@pytest.mark.parametrize("change", [
    {"size": [-1, -1]}, {"size": [True, 16]}, {"size": [10 ** 30, 10 ** 30]
        }, {"size": ["8", "16"]}, {"size": 5}, {"size": []},
    {"crc32": "x"}, {"crc32": None}, {"source": "../.."}, {"version": 99}, {"version": None}, {}])
def test_made_up_cache(cache, change):
    count("made-up cache file")
    source, folder, file = cache
    content = file.read_bytes()
    header = {**json.loads(content[:4096]), **change}
    file.write_bytes(f"{json.dumps(header):<4095}\n".encode() + \
                     content[4096:] if change else b"[" * 4096 + content[4096:])
    with limits(), pytest.raises(DataError):
        CachedDataset(source, folder).load(0)
