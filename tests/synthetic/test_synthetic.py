"""The synthetic data set: contents, layout, determinism, honesty, and what happens to folders that are not empty."""
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_helpers import CLASS_NAMES, LABEL_NAMES, Cityscapes
from PIL import Image

from rtseg.synthetic import generator as synthetic
from rtseg.synthetic.canvas import Canvas, Pose, cutout, footprint
from rtseg.synthetic.layout import OBJECT_TYPES, SCHEDULE, plan_scene
from rtseg.synthetic.objects import bicycle
from rtseg.synthetic.scene import WEATHERS, draw_scene
from rtseg.utils.errors import ConfigError, UserError

ROOT = Path(__file__).resolve().parents[2]
SMALL = dict(train=3, val=1, test=1, height=64, width=128, num_workers=0)
SCORED_IDS = [next(value for value, label in LABEL_NAMES.items() if label == name) for name in CLASS_NAMES]


def rng(*seed):
    return np.random.default_rng(seed)


def files(folder):
    """Every file below `folder` with its bytes, by relative path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "small"
    assert synthetic.generate(folder, **SMALL) == {"train": 3, "val": 1, "test": 1}
    return folder


def test_layout_and_names(small):
    assert sorted(files(small)) == [
        "README.txt",
        "dataset.json",
        "gtFine/train/synthetica/synthetica_000000_000000_gtFine_labelIds.png",
        "gtFine/train/synthetica/synthetica_000000_000002_gtFine_labelIds.png",
        "gtFine/train/syntheticburg/syntheticburg_000000_000001_gtFine_labelIds.png",
        "gtFine/val/syntheticford/syntheticford_000000_000000_gtFine_labelIds.png",
        "leftImg8bit/test/syntheticton/syntheticton_000000_000000_leftImg8bit.png",
        "leftImg8bit/train/synthetica/synthetica_000000_000000_leftImg8bit.png",
        "leftImg8bit/train/synthetica/synthetica_000000_000002_leftImg8bit.png",
        "leftImg8bit/train/syntheticburg/syntheticburg_000000_000001_leftImg8bit.png",
        "leftImg8bit/val/syntheticford/syntheticford_000000_000000_leftImg8bit.png",
    ]


def test_the_data_set_reader_reads_it(small):
    train = Cityscapes(small, "train")
    assert len(train) == 3
    image, label = train.load(1)
    assert image.shape == (64, 128, 3) and label.shape == (64, 128)
    assert len(Cityscapes(small, "test", require_labels=False)) == 1


def test_says_that_it_is_synthetic(small):
    assert "not Cityscapes and not photographs" in (small / "README.txt").read_text(encoding="utf-8").splitlines()[0]
    assert json.loads((small / "dataset.json").read_text(encoding="utf-8")) == {
        "synthetic": True, "generator_version": 1, "train": 3, "val": 1, "test": 1, "height": 64, "width": 128,
        "seed": 1}
    for path in small.rglob("*.png"):
        with Image.open(path) as image:
            assert image.text["Description"].startswith("Synthetic street scene drawn by a program")
            assert image.mode == ("RGB" if path.name.endswith("leftImg8bit.png") else "L")


@pytest.mark.parametrize("split, count", [(0, 8), (1, 4)])
def test_every_split_shows_all_classes_and_only_known_ids(split, count):
    counts = np.zeros(256, np.int64)
    for number in range(count):
        counts += np.bincount(draw_scene(256, 512, number=number, rng=rng(1, split, number))[1].ravel(), minlength=256)
    assert counts[SCORED_IDS].min() >= 48
    assert set(np.flatnonzero(counts)) <= set(LABEL_NAMES)
    assert counts[[1, 3]].min() > 0  # ego vehicle and out of roi are there to be ignored
    largest_first = [LABEL_NAMES[i] for i in np.argsort(-counts[:len(LABEL_NAMES)])]
    assert largest_first[:2] == ["road", "building"]
    assert set(largest_first[2:4]) == {"vegetation", "sky"}


@pytest.mark.parametrize("number", range(4))
def test_scheduled_things_have_room_and_none_stands_in_another(number):
    for seed in range(25):
        street, things = plan_scene(number, rng(seed))
        placed = [thing.object_type for thing in things]
        assert all(OBJECT_TYPES[name] in placed for name in SCHEDULE[number] if name in OBJECT_TYPES)
        edges = [side.edge for side in street.sides]
        assert all(name in edges for name in SCHEDULE[number] if name not in OBJECT_TYPES)
        for i, a in enumerate(things):
            assert a.near > 5
            for b in things[:i]:
                assert (abs(a.pose.x - b.pose.x) > a.reach_x + b.reach_x
                        or abs(a.pose.z - b.pose.z) > a.reach_z + b.reach_z)


@pytest.mark.parametrize("height, width", [(64, 128), (75, 401), (300, 140)])
def test_any_size(height, width):
    image, labels = draw_scene(height, width, number=2, rng=rng(5))
    assert image.shape == (height, width, 3) and image.dtype == np.uint8
    assert labels.shape == (height, width) and labels.dtype == np.uint8
    assert image.std() > 10 and len(np.unique(labels)) > 8


def test_same_pixels_again_with_threads_and_in_a_larger_set(small, tmp_path):
    synthetic.generate(tmp_path / "threads", **{**SMALL, "num_workers": 2})
    assert files(tmp_path / "threads") == files(small)
    synthetic.generate(tmp_path / "fewer", **{**SMALL, "train": 1})
    for name, content in files(tmp_path / "fewer").items():
        assert name in ("README.txt", "dataset.json") or content == files(small)[name]


def test_scenes_differ_by_seed_split_and_number(tmp_path):
    for seed in (1, 2):
        synthetic.generate(tmp_path / str(seed), train=5, val=1, test=0, height=64, width=128, seed=seed, num_workers=0)
    images = [content for name, content in files(tmp_path).items() if name.endswith("leftImg8bit.png")]
    assert len(images) == len(set(images)) == 12


def test_a_second_run_leaves_the_files_alone(small):
    before = {path: path.stat().st_mtime_ns for path in small.rglob("*")}
    assert synthetic.generate(small, **{**SMALL, "num_workers": 2}) == {"train": 3, "val": 1, "test": 1}
    assert {path: path.stat().st_mtime_ns for path in small.rglob("*")} == before


def test_an_interrupted_run_is_completed(small, tmp_path, monkeypatch):
    output = tmp_path / "data"

    def interrupted(height, width, *, number, rng):
        if number == 2:
            raise KeyboardInterrupt
        return draw_scene(height, width, number=number, rng=rng)

    monkeypatch.setattr(synthetic, "draw_scene", interrupted)
    with pytest.raises(KeyboardInterrupt):
        synthetic.generate(output, **SMALL)
    assert not (output / "dataset.json").exists()
    monkeypatch.undo()

    done = output / "gtFine/train/synthetica/synthetica_000000_000000_gtFine_labelIds.png"
    os.utime(done, ns=(0, 0))
    (done.parent / ".tmp-1-half.png").write_bytes(b"half")  # what a killed process leaves
    (output / "leftImg8bit/train/syntheticburg/syntheticburg_000000_000001_leftImg8bit.png").unlink()
    synthetic.generate(output, **SMALL)
    assert files(output) == files(small)
    assert done.stat().st_mtime_ns == 0


def test_refuses_a_folder_with_something_else(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds something else.*Nothing was changed"):
        synthetic.generate(tmp_path, **SMALL)
    assert files(tmp_path) == {"notes.txt": b"mine"}


@pytest.mark.parametrize("is_finished", [True, False])
def test_refuses_a_data_set_made_with_other_parameters(tmp_path, is_finished):
    one = dict(train=1, val=0, test=0, height=64, width=128, num_workers=0)
    synthetic.generate(tmp_path, **one)
    if not is_finished:
        (tmp_path / "dataset.json").unlink()
    before = files(tmp_path)
    with pytest.raises(ConfigError, match="made with other parameters"):
        synthetic.generate(tmp_path, **one, seed=2)
    assert files(tmp_path) == before


@pytest.mark.parametrize("content", ["{}", "not json"])
def test_refuses_a_strange_dataset_json(tmp_path, content):
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(ConfigError):
        synthetic.generate(tmp_path, **SMALL)


def test_output_that_cannot_be_a_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError):
        synthetic.generate(tmp_path / "file", **SMALL)
    with pytest.raises(UserError, match="cannot write the synthetic data set"):
        synthetic.generate(tmp_path / "file" / "below", **SMALL)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("wrong, message", [
    ({"train": -1}, "train must be an integer of 0 or more, found -1"),
    ({"seed": 1.5}, "seed must be an integer of 0 or more, found 1.5"),
    ({"num_workers": -2}, "num_workers must be an integer of 0 or more, found -2"),
    ({"height": 63}, "height must be 64 to 8192 pixels, found 63"),
    ({"width": 127}, "width must be 128 to 16384 pixels, found 127"),
    ({"width": 20000}, "width must be 128 to 16384 pixels, found 20000"),
    ({"train": 0, "val": 0, "test": 0}, "nothing to make"),
])
def test_wrong_arguments(tmp_path, wrong, message):
    with pytest.raises(ConfigError, match=message):
        synthetic.generate(tmp_path / "data", **{**SMALL, **wrong})
    assert not (tmp_path / "data").exists()


def test_command_line(tmp_path, capsys):
    output = str(tmp_path / "data")
    arguments = ["--output", output, "--train", "1", "--val", "0", "--test", "0", "--height", "64", "--width", "128"]
    assert synthetic.main(arguments) == 0
    assert capsys.readouterr().out == f"{output} holds a synthetic data set of 64x128 pixels: 1 train, 0 val, 0 test\n"
    failed = subprocess.run([sys.executable, "-m", "rtseg.synthetic.generator", *arguments, "--height", "8"], cwd=ROOT,
                            capture_output=True, text=True)
    assert failed.returncode == 2
    assert failed.stderr == "error: height must be 64 to 8192 pixels, found 8.\n"


def test_needs_no_mindspore():
    code = "import sys, rtseg.synthetic.generator; print('mindspore' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True) == "False\n"


def test_things_shrink_with_distance_towards_the_horizon():
    canvas = Canvas(200, 400, weather=WEATHERS[0], rng=rng(0))
    bottoms, heights = [], []
    for z in (10, 20):
        canvas.labels[:] = 0
        cutout(canvas, Pose(0, z, np.pi / 2), "wall").box(0, 0, 1, 1, (90, 90, 90))
        rows = np.flatnonzero(canvas.labels.any(axis=1))
        bottoms.append(rows[-1] - canvas.horizon)
        heights.append(len(rows))
    assert heights[0] == pytest.approx(canvas.focal / 10, abs=1.5)
    assert heights[1] == pytest.approx(heights[0] / 2, abs=1.5)
    assert bottoms[1] == pytest.approx(bottoms[0] / 2, abs=1.5)


def test_what_is_seen_through_a_wheel_is_labelled_bicycle():
    canvas = Canvas(256, 512, weather=WEATHERS[0], rng=rng(0))
    canvas.image[:] = 255
    bicycle(canvas, Pose(0, 6, np.pi / 2), rng(1))
    on_bicycle = canvas.labels == 33
    seen_through = on_bicycle & (canvas.image == 255).all(axis=-1)
    assert 0.3 < seen_through.sum() / on_bicycle.sum() < 0.9


def test_shadows_change_the_image_and_not_the_labels():
    canvas = Canvas(64, 128, weather=WEATHERS[0], rng=rng(0))
    canvas.image[:] = 200
    canvas.shade(footprint(Pose(0, 8), -2, 2, 1), 0.5)
    assert sorted(np.unique(canvas.image)) == [100, 200]
    assert not canvas.labels.any()
