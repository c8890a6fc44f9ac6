"""export --precision int8: convolutions are quantized, and the rest of the way knows nothing of it."""
import json
import sys
from collections import Counter

import numpy as np
import pytest
from data_helpers import write_png
from trained_network import HEIGHT, MEAN, STD, WIDTH, as_if_trained

from rtseg import Segmenter
from rtseg.cli import export
from rtseg.export.quantization import _batches, calibration_files
from rtseg.inference.backends import ExportedBackend, open_onnx
from rtseg.inference.metadata import read_metadata
from rtseg.inference.preprocessing import normalize
from rtseg.utils.errors import ConfigError, DataError

onnx = pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return as_if_trained(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def images(trained, tmp_path_factory):
    """A folder of calibration images."""
    folder = tmp_path_factory.mktemp("images")
    for i in range(4):
        write_png(folder / f"{i}.png", np.roll(trained.image, 32 * i, axis=1))
    return folder


@pytest.fixture(scope="module")
def int8(trained, images, tmp_path_factory):
    """Path of the exported int8 model."""
    name = tmp_path_factory.mktemp("model") / "int8"
    assert export.main([f"--ckpt_file={trained.checkpoint}", f"--file_name={name}", "--file_format=ONNX",
                        f"--image_height={HEIGHT}", f"--image_width={WIDTH}", "--input_type=uint8",
                        "--output_type=head_logits", "--precision=int8", f"--calibration={images}"]) == 0
    return name.with_suffix(".onnx")


def test_all_convolutions_but_the_classifier_are_quantized(int8):
    model = onnx.load(str(int8))
    assert (model.opset_import[0].version, model.ir_version) == (13, 7)
    constants = {constant.name: onnx.numpy_helper.to_array(constant) for constant in model.graph.initializer}
    weights = {node.output[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"
               and node.input[0] in constants}
    *quantized, classifier = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(quantized) == 44 and classifier.input[1] in constants
    for convolution in quantized:
        weight, scale = (constants[name] for name in weights[convolution.input[1]].input[:2])
        assert weight.dtype == np.int8 and scale.shape == (len(weight),)  # a scale for each output channel
    operators = Counter(node.op_type for node in model.graph.node)
    assert operators["QuantizeLinear"] >= 44
    assert int8.stat().st_size < 0.45 * sum(4 * constants[weights[node.input[1]].input[0]].size for node in quantized)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_classes_agree_with_float32(trained, int8, runtime, monkeypatch):
    pytest.importorskip(runtime, reason=f"the package {runtime} is not installed")
    monkeypatch.setattr("rtseg.inference.backends.INT8_RUNTIMES", (runtime,))
    result = Segmenter(int8, confidence=True)(trained.image)
    # Logits of random weights hardly differ between classes, so noise decides: by chance 0.15 would agree. Of trained
    # weights, 0.98 do; see docs/deployment.md.
    assert (result.class_map == trained.classes[0]).mean() > 0.4
    assert result.confidence.shape == (HEIGHT, WIDTH)


def test_openvino_runs_int8_first(int8, monkeypatch):
    pytest.importorskip("openvino", reason="the package openvino is not installed")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert open_onnx(int8, precision="int8")(np.zeros((1, HEIGHT, WIDTH, 3), np.uint8)).shape == (1, 19, 20, 44)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "openvino", None)
    ExportedBackend(int8, read_metadata(int8.with_suffix(".json")),
                    runner=open_onnx(int8, precision="int8"))


def test_metadata_says_int8(int8):
    content = json.loads(int8.with_suffix(".json").read_text())
    assert content["precision"] == "int8"
    assert content["input"] == {"name": "x", "shape": [1, HEIGHT, WIDTH, 3], "dtype": "uint8", "layout": "NHWC"}
    assert read_metadata(int8.with_suffix(".json")).changed(precision=None).precision is None


def test_calibration_takes_batches_as_the_network_does(int8, images):
    metadata = read_metadata(int8.with_suffix(".json")).changed(input_type="float32", size=(3, HEIGHT, WIDTH))
    files = calibration_files(str(images))
    first, second = _batches(files, metadata)
    assert first.shape == second.shape == (3, 3, HEIGHT, WIDTH) and first.dtype == np.float32
    np.testing.assert_array_equal(second[0], second[2])
    from rtseg.inference.input_files import read_upright
    np.testing.assert_array_equal(first[1], normalize(read_upright(files[1]), MEAN, std=STD))


def test_calibration_files_are_spread_over_a_large_folder(tmp_path):
    for i in range(129):
        (tmp_path / f"{i:03d}.png").write_bytes(b"")
    files = [path.name for path in calibration_files(str(tmp_path))]
    assert (len(files), files[0], files[1], files[-1]) == (32, "000.png", "004.png", "128.png")


def test_wrong_usage(trained, images, tmp_path, monkeypatch):
    def run(*arguments):
        return export.main([f"--ckpt_file={trained.checkpoint}", f"--file_name={tmp_path / 'x'}", *arguments])

    for arguments, message in (
            (["--precision=int8"], "--precision int8: expected .* --file_format ONNX, found MINDIR"),
            (["--precision=int8", "--file_format=ONNX"], "expected both or neither, found no --calibration"),
            ([f"--calibration={images}", "--file_format=ONNX"], "expected both or neither, found float32")):
        with pytest.raises(ConfigError, match=message):
            run(*arguments)
    with pytest.raises(DataError, match="--calibration .*: expected a folder of images"):
        run("--precision=int8", "--file_format=ONNX", f"--calibration={tmp_path}")
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
    with pytest.raises(ConfigError, match="needs the package onnxruntime with its quantizer .* pip install -r"):
        run("--precision=int8", "--file_format=ONNX", f"--calibration={images}")
    assert list(tmp_path.iterdir()) == []
