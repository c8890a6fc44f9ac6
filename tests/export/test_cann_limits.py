"""Every graph as ONNX: within CANN's documented limits, the network's numbers, and any batch and size where it can."""
import numpy as np
import pytest
from cann_limits import check_limits
from mindspore import Tensor, export

from rtseg.export.mindir import read_mindir
from rtseg.export.onnx_converter import to_onnx
from rtseg.inference.graph import InferenceGraph
from rtseg.inference.postprocessing import argmax_upsampled
from rtseg.models.registry import MODEL_BACKBONES, MODEL_VARIANTS, create_model
from rtseg.utils.errors import ConfigError

onnx = pytest.importorskip("onnx", reason="the package onnx is not installed")
ort = pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GRAPHS = [(model, variant) for model, variants in MODEL_VARIANTS.items() for variant in variants]
IMAGE = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), dtype=np.uint8)


def build(model, variant):
    network = create_model(model, variant, num_classes=5, backbone="resnet18" if MODEL_BACKBONES[model] else None)
    rng = np.random.default_rng(0)
    for parameter in network.get_parameters():
        if parameter.name.endswith(("moving_mean", "beta")):
            parameter.set_data(Tensor(rng.normal(0, 0.2, parameter.shape).astype(np.float32)))
    return network.set_train(False)


def read_back(network, path, *, input_type="uint8", output_type="head_logits"):
    graph = InferenceGraph(network, MEAN, std=STD, input_type=input_type, output_type=output_type).set_train(False)
    x = IMAGE if input_type == "uint8" else IMAGE.transpose(0, 3, 1, 2).astype(np.float32) / 128
    export(graph, Tensor(x), file_name=str(path), file_format="MINDIR")
    return read_mindir(path), x, graph(Tensor(x)).asnumpy()


def run(model, x):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("model, variant", GRAPHS)
def test_every_graph(model, variant, tmp_path):
    graph, x, expected = read_back(build(model, variant), tmp_path / "net.mindir")
    converted = to_onnx(graph)
    assert check_limits(converted) == []
    found = run(converted, x)
    assert found.shape == expected.shape
    assert np.linalg.norm(found - expected) < 1e-3 * np.linalg.norm(expected)
    # The newest operator set gives the same bits.
    np.testing.assert_array_equal(run(to_onnx(graph, opset=17), x), found)


@pytest.mark.parametrize("input_type, output_type", [("float32", "logits"), ("float32", "head_logits"),
                                                     ("uint8", "class_map")])
def test_every_input_and_output(input_type, output_type, tmp_path):
    graph, x, expected = read_back(build("fast_scnn", "tramac"), tmp_path / "net.mindir", input_type=input_type,
                                   output_type=output_type)
    converted = to_onnx(graph)
    assert check_limits(converted) == []
    found = run(converted, x)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    if output_type == "class_map":
        assert (found == expected).mean() > 0.999
    else:
        np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


def test_any_batch(tmp_path):
    network = build("fast_scnn", "mmseg")
    graph, x, _ = read_back(network, tmp_path / "net.mindir")
    model = to_onnx(graph, dynamic=("batch",))
    assert check_limits(model) == []
    dims = [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    assert dims == ["batch", 64, 96, 3]
    three = np.concatenate([x, x[:, ::-1], x[:, :, ::-1]])
    together = run(model, np.ascontiguousarray(three))
    for i in range(3):
        np.testing.assert_allclose(together[i:i + 1], run(model, np.ascontiguousarray(three[i:i + 1])), atol=1e-4)
    np.testing.assert_allclose(together[:1], run(to_onnx(graph), x), atol=1e-4)
    with pytest.raises(ConfigError, match="--dynamic_size: .* has constants that follow from the height"):
        to_onnx(graph, dynamic=("height", "width"))
    with pytest.raises(ConfigError, match="--opset: expected one of 13, 14, 15, 16, 17, found 12"):
        to_onnx(graph, opset=12)


def test_any_size(tmp_path):
    network = build("bisenetv1", "coincheung")
    graph, _, _ = read_back(network, tmp_path / "net.mindir", output_type="class_map")
    model = to_onnx(graph, dynamic=("batch", "height", "width"))
    larger = np.random.default_rng(1).integers(0, 256, (2, 96, 160, 3), dtype=np.uint8)
    head = InferenceGraph(network, MEAN, std=STD, output_type="head_logits")(Tensor(larger)).asnumpy()
    expected = np.stack([argmax_upsampled(logits, (96, 160), align_corners=False) for logits in head])
    assert (run(model, larger) == expected).mean() > 0.999


def node(op, attributes=(), inputs=("a",)):
    return onnx.helper.make_node(op, list(inputs), ["b"], name="n", **dict(attributes))


@pytest.mark.parametrize("broken, message", [
    (node("Einsum", {"equation": "ij->ij"}), "Einsum n: is not among CANN's ONNX operators"),
    (node("Resize", {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
     "nearest as asymmetric + floor, expected half_pixel + round_prefer_ceil"),
    (node("Resize", {"mode": "cubic"}), "mode cubic, expected nearest or linear"),
    (node("Resize", {"mode": "linear"}, ("a", "", "", "sizes")), "sizes are calculated, expected constants"),
    (node("MaxPool", {"kernel_shape": [3, 3], "dilations": [1, 1]}), "dilations are not supported"),
    (node("AveragePool", {"kernel_shape": [32, 16]}), "a window of 32x16 runs on the AI CPU"),
    (node("AveragePool", {"kernel_shape": [2, 2], "auto_pad": "SAME_LOWER"}), "auto_pad SAME_LOWER"),
    (node("Conv", {"strides": [64, 1]}, ("a", "w")), "strides [64, 1], expected at most 63"),
])
def test_what_is_found(broken, message):
    a = onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, [1, 3, 64, 8192])
    b = onnx.helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, None)
    model = onnx.helper.make_model(onnx.helper.make_graph([broken], "g", [a], [b]),
                                   opset_imports=[onnx.helper.make_opsetid("", 17)])
    problems = check_limits(model)
    assert problems[0] == "operator set 17: CANN before 7.0 reads 9 to 13"
    assert any(message in problem for problem in problems[1:]), problems
    if broken.op_type in ("Conv", "MaxPool"):
        assert any("its input is 8192 wide" in problem for problem in problems)
