"""preprocess.py: literal bytes, sizes, the metadata, damaged images, old files."""
import subprocess
import sys

import numpy as np
import pytest
from data_helpers import CITYSCAPES, write_png, write_sample
from script_helpers import PROJECT

from rtseg.cli import preprocess
from rtseg.inference.metadata import ModelMetadata, write_metadata
from rtseg.utils.errors import ConfigError, DataError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture
def dataset(tmp_path):
    """Two images of 8 x 16, road (train id 0) and car (13); the second one has one yellow corner."""
    root = tmp_path / "cityscapes"
    for name, label_id in (("bonn_000000_000000", 7), ("bonn_000001_000000", 26)):
        write_sample(root, "val", name, label_id)
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[0, 0] = (255, 128, 0)
    write_png(root / "leftImg8bit" / "val" / "bonn" / "bonn_000001_000000_leftImg8bit.png", pixels)
    return root


def run(dataset, out_dir, *flags):
    return preprocess.main([f"--image_path={dataset}", f"--out_dir={out_dir}", *flags])


def test_uint8_literal(dataset, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(dataset, out, "--image_height=8", "--image_width=16", "--input_type=uint8", "--num_workers=1") == 0
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.bin")) == [
        "img_data/bonn_000000_000000_img.bin", "img_data/bonn_000001_000000_img.bin",
        "label/bonn_000000_000000_label.bin", "label/bonn_000001_000000_label.bin"]
    pixels = bytes([255, 128, 0] + [0] * (8 * 16 * 3 - 3))
    assert (out / "img_data" / "bonn_000001_000000_img.bin").read_bytes() == pixels
    assert (out / "label" / "bonn_000001_000000_label.bin").read_bytes() == bytes([13] * 128)
    assert capsys.readouterr().out == f"wrote 2 images as uint8, 8 x 16, to {out}\n"


def test_float32_is_normalised_planes(dataset, tmp_path):
    out = tmp_path / "out"
    assert run(dataset, out, "--image_height=8", "--image_width=16") == 0
    image = np.fromfile(out / "img_data" / "bonn_000001_000000_img.bin", "<f4").reshape(3, 8, 16)
    expected = [(value / 255 - mean) / std for value, mean, std in zip((255, 128, 0), MEAN, STD)]
    np.testing.assert_allclose(image[:, 0, 0], expected, atol=1e-6)
    np.testing.assert_allclose(image[:, 7, 15], [-m / s for m, s in zip(MEAN, STD)], atol=1e-6)


def test_other_size_is_a_centre_crop(dataset, tmp_path):
    out = tmp_path / "out"
    assert run(dataset, out, "--image_height=8", "--image_width=8", "--input_type=uint8") == 0
    crop = np.fromfile(out / "img_data" / "bonn_000000_000000_img.bin", np.uint8).reshape(8, 8, 3)
    whole = np.random.default_rng(0).integers(0, 256, (8, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(crop, whole[:, 4:12])


def test_model_metadata_says_it_all(dataset, tmp_path):
    metadata = write_metadata(tmp_path / "net.onnx", ModelMetadata.describe(
        model="fast_scnn", variant="mmseg", input_type="float32", output_type="logits", size=(1, 32, 64),
        mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), dataset="cityscapes", classes=CITYSCAPES.class_names,
        palette=CITYSCAPES.palette))
    out = tmp_path / "out"
    assert run(dataset, out, f"--metadata={metadata}", "--image_height=32") == 0
    image = np.fromfile(out / "img_data" / "bonn_000001_000000_img.bin", "<f4")
    assert image.size == 3 * 32 * 64 and image[0] == 1.0
    with pytest.raises(ConfigError, match="--image_width: expected 64, .*found 96"):
        run(dataset, out, f"--metadata={metadata}", "--image_width=96")
    with pytest.raises(ConfigError, match="--input_type: expected float32"):
        run(dataset, out, f"--metadata={metadata}", "--input_type=uint8")
    with pytest.raises(ConfigError, match=r"--mean: expected \(0.0, 0.0, 0.0\), which the model takes"):
        run(dataset, out, f"--metadata={metadata}", "--mean=0.5,0.5,0.5")
    with pytest.raises(DataError, match="expected the model's metadata at"):
        run(dataset, out, "--model_card=none.json")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="--out_dir .*file/below: expected a folder that can be written; Not a dir"):
        run(dataset, tmp_path / "file" / "below")


def test_a_model_that_leaves_its_size_open(dataset, tmp_path, capsys):
    """The flags say the size; without them it is the one in the metadata."""
    def describe(*dynamic):
        return write_metadata(tmp_path / "net.onnx", ModelMetadata.describe(
            model="bisenetv1", variant="coincheung", input_type="uint8", output_type="logits", size=(1, 32, 64),
            mean=MEAN, std=STD, dataset="cityscapes", classes=CITYSCAPES.class_names, palette=CITYSCAPES.palette,
            dynamic=dynamic))
    out, metadata = tmp_path / "out", describe("height", "width")
    assert run(dataset, out, f"--metadata={metadata}", "--image_height=64", "--image_width=96") == 0
    assert capsys.readouterr() == (f"wrote 2 images as uint8, 64 x 96, to {out}\n", "")
    assert {path.stat().st_size for path in out.rglob("*_img.bin")} == {64 * 96 * 3}
    assert run(dataset, out, f"--metadata={metadata}", "--image_height=96") == 0
    assert "96 x 64, to" in capsys.readouterr().out
    assert run(dataset, out, f"--metadata={metadata}") == 0
    assert capsys.readouterr() == (f"wrote 2 images as uint8, 32 x 64, to {out}\n", "")
    with pytest.raises(ConfigError, match="--image_width: expected a multiple of 32, which the model takes .*100"):
        run(dataset, out, f"--metadata={metadata}", "--image_width=100")
    metadata = describe("batch", "width")
    with pytest.raises(ConfigError, match="--image_height: expected 32, which the model takes .*, found 64"):
        run(dataset, out, f"--metadata={metadata}", "--image_height=64")


def test_a_model_without_metadata_is_described_by_flags(dataset, tmp_path):
    assert run(dataset, tmp_path, "--mean=0,0,0.5", "--std=1,1,0.5", "--image_height=8", "--image_width=16") == 0
    image = np.fromfile(tmp_path / "img_data" / "bonn_000001_000000_img.bin", "<f4").reshape(3, 8, 16)
    np.testing.assert_allclose(image[:, 0, 0], [1, 128 / 255, -1], rtol=1e-6)


def test_damaged_images_are_listed_and_old_files_go(dataset, tmp_path, capsys):
    out = tmp_path / "out"
    flags = ("--image_height=8", "--image_width=16", "--input_type=uint8")
    assert run(dataset, out, *flags) == 0
    damaged = dataset / "leftImg8bit" / "val" / "bonn" / "bonn_000000_000000_leftImg8bit.png"
    damaged.write_bytes(damaged.read_bytes()[:40])
    (out / "img_data" / "notes.txt").write_text("keep")
    assert run(dataset, out, *flags) == 3
    assert sorted(path.name for path in (out / "img_data").iterdir()) == ["bonn_000001_000000_img.bin", "notes.txt"]
    assert [path.name for path in (out / "label").iterdir()] == ["bonn_000001_000000_label.bin"]
    error = capsys.readouterr().err
    assert "1 of 2 images are left out" in error and f"{damaged}: is cut short" in error


def test_no_dataset(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        run(tmp_path / "nowhere", tmp_path / "out")


@pytest.mark.parametrize("flag, message", [
    ("--image_height=0", "--image_height: expected an integer >= 1, found '0'"),
    ("--num_workers=x", "--num_workers: expected an integer >= 1, found 'x'"),
    ("--input_type=float64", "--input_type: expected one of float32, uint8, found 'float64'"),
])
def test_wrong_usage(flag, message):
    with pytest.raises(ConfigError) as error:
        preprocess.main(["--image_path=x", flag])
    assert str(error.value) == message and error.value.exit_code == 2


@pytest.mark.parametrize("flags", [["--image_path=x", "--bogus=1"], []])
def test_unknown_and_missing_flags(flags):
    with pytest.raises(SystemExit) as error:
        preprocess.main(flags)
    assert error.value.code == 2


@pytest.mark.parametrize("command", ["preprocess", "cal_mIoU"])
def test_needs_no_mindspore(command):
    code = f"import sys; sys.modules['mindspore'] = None; import {command}; {command}.main(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: {command}.py")
