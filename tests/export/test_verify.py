"""Exported models against their source, and other engines' result files against ONNX, with fakes for the runtimes."""
import numpy as np
import pytest

from rtseg.cli import verify as verify_command
from rtseg.export.verify import Comparison, compare_backends, compare_outputs, compare_results, report
from rtseg.inference.backends import Backend
from rtseg.inference.bin_files import write_array
from rtseg.inference.metadata import ModelMetadata, write_metadata
from rtseg.utils.errors import ConfigError, DataError, UserError


def metadata(**changes):
    return ModelMetadata.describe(**{**dict(
        model="fast_scnn", variant="mmseg", input_type="uint8", output_type="head_logits", size=(1, 32, 64),
        mean=(0.5,) * 3, std=(0.25,) * 3, dataset="two", classes=("a", "b"), palette=((0, 0, 0), (1, 1, 1)), stride=8,
        align_corners=False), **changes})


def logits(wrong=0):
    """Head logits of class 0 everywhere, but for `wrong` source pixels of class 1."""
    result = np.zeros((2, 4, 8), np.float32)
    result[0] = 1
    result[1].flat[:wrong] = 3
    return result


def test_outputs_literal():
    same = compare_outputs("x", (logits(), logits() + np.float32(0.25)), metadata=metadata())
    assert same == Comparison("x", 1.0, 0.25)
    mask = np.zeros((32, 64), np.uint8)
    mask[:8] = 1
    against_mask = compare_outputs("x", (mask, logits()), metadata=metadata())
    assert against_mask.agreement == 0.75 and np.isnan(against_mask.difference)
    with pytest.raises(DataError, match="^x: expected finite logits, found NaN or infinity"):
        compare_outputs("x", (logits(), np.full_like(logits(), np.inf)), metadata=metadata())


def test_back_ends_get_the_same_pixels():
    class Fake(Backend):
        def __init__(self, wrong):
            self.wrong, self.seen = wrong, []

        def run(self, images):
            self.seen.append(images)
            return logits(self.wrong)[None]
    fakes = Fake(0), Fake(0)
    (found,) = compare_backends([("p", np.full((100, 100, 3), 7, np.uint8))], fakes, metadata=metadata())
    assert found == Comparison("p", 1.0, 0.0)
    np.testing.assert_array_equal(fakes[0].seen[0], fakes[1].seen[0])
    assert fakes[0].seen[0].shape == (1, 32, 64, 3)


@pytest.fixture
def folders(tmp_path):
    """(inputs, results) of a and b; all is well with a, a quarter of b is of the other class."""
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    for name, wrong in (("a", 0), ("b", 8)):
        write_array(tmp_path / "in" / f"{name}_img.bin", np.zeros((32, 64, 3), np.uint8))
        write_array(tmp_path / "out" / f"{name}_img_0.bin", logits(wrong))
    return tmp_path / "in", tmp_path / "out"


def test_results_of_another_engine(folders, capsys):
    found = list(compare_results(*folders, run=lambda x: logits()[None], metadata=metadata()))
    assert found[0] == Comparison("a", 1.0, 0.0) and found[1].difference == 3.0 and found[1].agreement < 0.8
    with pytest.raises(UserError, match=r"at least 99.9 % of the classes .* found less in\n  b: .* difference .* 3"):
        report(found)
    assert capsys.readouterr().out.splitlines()[0] == (
        "a: 100.0000 % of the classes agree, largest difference of the logits 0")
    report(found, least_agreement=0.5)
    with pytest.raises(UserError, match="expected at least one image to compare, found none"):
        report([])


def test_bad_results(folders):
    inputs, results = folders
    (results / "a_img_0.bin").write_bytes(b"12345")
    with pytest.raises(DataError, match=r"a_img_0.bin: expected .* or 256 bytes \(float32 head logits\)"):
        list(compare_results(inputs, results, run=lambda x: logits()[None], metadata=metadata()))
    with pytest.raises(DataError, match="expected results <name>_img_0.bin in .* found none"):
        list(compare_results(inputs, inputs, run=lambda x: logits()[None], metadata=metadata()))
    (inputs / "b_img.bin").write_bytes(b"12345")
    (results / "a_img_0.bin").unlink()
    with pytest.raises(DataError, match=r"b_img.bin: expected 6144 bytes \(uint8 image\), found 5"):
        list(compare_results(inputs, results, run=lambda x: logits()[None], metadata=metadata()))


def test_the_command(folders, tmp_path, monkeypatch, capsys):
    (tmp_path / "net.onnx").write_bytes(b"")
    write_metadata(tmp_path / "net.onnx", metadata())
    monkeypatch.setattr("rtseg.inference.backends.open_onnx", lambda path, precision=None: lambda x: logits()[None])
    flags = [f"--model_path={tmp_path / 'net.onnx'}", f"--inputs={folders[0]}", f"--results={folders[1]}"]
    with pytest.raises(UserError, match="the two are apart"):
        verify_command.main(flags)
    assert verify_command.main([*flags, "--least_agreement=0.5"]) == 0
    assert "2 images: " in capsys.readouterr().out
    with pytest.raises(ConfigError, match="--image_height: expected 32, which the model takes as its metadata says"):
        verify_command.main([*flags, "--image_height=64"])

    def refuse(x):
        raise RuntimeError("invalid dimensions")
    monkeypatch.setattr("rtseg.inference.backends.open_onnx", lambda path, precision=None: refuse)
    with pytest.raises(DataError, match=r"net.onnx: expected a model that takes uint8 \[1, 32, 64, 3\], .*dimensions"):
        verify_command.main(flags)


def test_a_model_that_leaves_its_size_open(folders, tmp_path, monkeypatch, capsys):
    (tmp_path / "net.onnx").write_bytes(b"")
    write_metadata(tmp_path / "net.onnx", metadata(size=(1, 96, 96), dynamic=("height", "width"), precision="int8"))
    opened = []
    monkeypatch.setattr("rtseg.inference.backends.open_onnx",
                        lambda path, precision=None: opened.append(precision) or (lambda x: logits()[None]))
    assert verify_command.main([f"--model_path={tmp_path / 'net.onnx'}", f"--inputs={folders[0]}", "--image_width=64",
                                f"--results={folders[1]}", "--image_height=32", "--least_agreement=0.5"]) == 0
    assert "a: 100.0000 %" in capsys.readouterr().out
    assert opened == ["int8"]  # so it runs where predictions with it do: runtimes differ by more than the limit
