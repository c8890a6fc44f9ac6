"""export --precision int8: convolutions are quantized, and the rest of the way knows nothing of it."""
import json
import re
import sys
from collections import Counter
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from data_helpers import write_png

from rtseg import Segmenter
from rtseg.cli import export
from rtseg.export.quantization import _batches, calibration_files
from rtseg.inference.backends import open_onnx
from rtseg.inference.input_files import read_upright
from rtseg.inference.metadata import read_metadata
from rtseg.inference.preprocessing import normalize
from rtseg.models.registry import create_model
from rtseg.models.weights import save_weights
from rtseg.synthetic.scene import draw_scene
from rtseg.utils.errors import ConfigError, DataError

HEIGHT, WIDTH = 96, 160
onnx = pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")


class Exported(NamedTuple):
    """A network of fresh weights, and the int8 model made of it."""

    checkpoint: Path
    images: Path  # folder of calibration images
    path: Path    # of the int8 model
    printed: str  # by the export, which compares it with the checkpoint


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("int8")
    for i in range(4):
        write_png(folder / "images" / f"{i}.png", draw_scene(HEIGHT, WIDTH, number=i, rng=np.random.default_rng(i))[0])
    save_weights(folder / "best_map.ckpt", create_model("bisenetv1", "mmseg", num_classes=19))
    with redirect_stdout(StringIO()) as printed:
        code = export.main([
            "--model=bisenetv1", "--variant=mmseg", f"--ckpt_file={folder / 'best_map.ckpt'}",
            f"--file_name={folder / 'int8'}", "--file_format=ONNX", f"--image_height={HEIGHT}",
            f"--image_width={WIDTH}", "--input_type=uint8", "--output_type=head_logits", "--precision=int8",
            f"--calibration={folder / 'images'}", f"--verify={folder / 'images'}"])
    assert code == 0
    return Exported(folder / "best_map.ckpt", folder / "images", folder / "int8.onnx", printed.getvalue())


def test_all_convolutions_but_the_classifier_are_quantized(exported):
    model = onnx.load(str(exported.path))
    assert (model.opset_import[0].version, model.ir_version) == (13, 7)
    constants = {constant.name: onnx.numpy_helper.to_array(constant) for constant in model.graph.initializer}
    weights = {node.output[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"
               and node.input[0] in constants}
    *quantized, classifier = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(quantized) > 25 and classifier.input[1] in constants
    for convolution in quantized:
        weight, scale = (constants[name] for name in weights[convolution.input[1]].input[:2])
        assert weight.dtype == np.int8 and scale.shape == (len(weight),)  # a scale for each output channel
    operators = Counter(node.op_type for node in model.graph.node)
    assert operators["QuantizeLinear"] >= len(quantized)
    assert exported.path.stat().st_size < 0.3 * exported.checkpoint.stat().st_size


def test_classes_agree_with_float32(exported):
    images, share = re.findall(r"^(\d) images: ([\d.]+) % of the classes agree", exported.printed, re.MULTILINE)[0]
    assert images == "4" and float(share) > 95


def test_both_runtimes_read_it(exported, monkeypatch):
    image, classes = exported.images / "0.png", []
    for runtime in ("onnxruntime", "openvino"):
        pytest.importorskip(runtime, reason=f"the package {runtime} is not installed")
        monkeypatch.setattr("rtseg.inference.backends.INT8_RUNTIMES", (runtime,))
        classes.append(Segmenter(exported.path, confidence=True)(image).class_map)
    assert classes[0].shape == (HEIGHT, WIDTH) and (classes[0] == classes[1]).mean() > 0.98


def test_openvino_runs_int8_first(exported, monkeypatch):
    pytest.importorskip("openvino", reason="the package openvino is not installed")
    for missing in ("onnxruntime", "openvino"):  # where one is missing, the other runs it
        monkeypatch.setitem(sys.modules, missing, None)
        run = open_onnx(exported.path, precision="int8")
        assert run(np.zeros((1, HEIGHT, WIDTH, 3), np.uint8)).shape == (1, 19, HEIGHT // 8, WIDTH // 8)
        monkeypatch.undo()


def test_metadata_says_int8(exported):
    path = exported.path.with_suffix(".json")
    content = json.loads(path.read_text())
    assert content["precision"] == "int8"
    assert content["input"] == {"name": "x", "shape": [1, HEIGHT, WIDTH, 3], "dtype": "uint8", "layout": "NHWC"}
    assert read_metadata(path).changed(precision=None).precision is None


def test_calibration_takes_batches_as_the_network_does(exported):
    metadata = read_metadata(exported.path.with_suffix(".json")).changed(input_type="float32", size=(3, HEIGHT, WIDTH))
    files = calibration_files(str(exported.images))
    first, second = _batches(files, metadata)
    assert first.shape == second.shape == (3, 3, HEIGHT, WIDTH) and first.dtype == np.float32
    np.testing.assert_array_equal(second[0], second[2])
    np.testing.assert_array_equal(first[1], normalize(read_upright(files[1]), metadata.mean, std=metadata.std))


def test_calibration_files_are_spread_over_a_large_folder(tmp_path):
    for i in range(129):
        write_png(tmp_path / f"{i:03d}.png", np.zeros((1, 1, 3), np.uint8))
    files = [path.name for path in calibration_files(str(tmp_path))]
    assert (len(files), files[0], files[1], files[-1]) == (32, "000.png", "004.png", "128.png")
    (tmp_path / "004.png").write_bytes(b"")  # told before the export, which takes long
    with pytest.raises(DataError, match="004.png: .*"):
        calibration_files(str(tmp_path))


def test_wrong_usage(exported, tmp_path, monkeypatch):
    def run(*arguments):
        return export.main([f"--ckpt_file={exported.checkpoint}", f"--file_name={tmp_path / 'x'}", *arguments])

    for arguments, message in (
            (["--precision=int8"], "--precision int8: expected .* --file_format ONNX, found MINDIR"),
            (["--precision=int8", "--file_format=ONNX"], "expected both or neither, found no --calibration"),
            ([f"--calibration={exported.images}", "--file_format=ONNX"], "expected both or neither, found float32")):
        with pytest.raises(ConfigError, match=message):
            run(*arguments)
    with pytest.raises(DataError, match="--calibration .*: expected a folder of images"):
        run("--precision=int8", "--file_format=ONNX", f"--calibration={tmp_path}")
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
    with pytest.raises(ConfigError, match="needs the package onnxruntime with its quantizer .* pip install -r"):
        run("--precision=int8", "--file_format=ONNX", f"--calibration={exported.images}")
    assert list(tmp_path.iterdir()) == []
