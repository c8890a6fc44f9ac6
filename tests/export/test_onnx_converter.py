"""MINDIR -> ONNX: every operator gives MindSpore's numbers in ONNX Runtime, and no damaged file crashes it."""
import random

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops
from mindspore.train.mind_ir_pb2 import ModelProto

from rtseg.export.mindir import Graph, Node, TensorInfo, read_mindir
from rtseg.export.onnx_converter import convert_file, to_onnx
from rtseg.models.layers import ConvBN, PyramidPooling
from rtseg.models.resnet import MaxPool
from rtseg.utils.errors import DataError

onnx = pytest.importorskip("onnx", reason="the package onnx is not installed")
ort = pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")

FLOAT32 = np.dtype("float32")


class Operators(nn.Cell):
    """One output for each operator, or combination of them, that a network may need."""

    def __init__(self):
        super().__init__()
        self.pool = nn.MaxPool2d(3, 2, pad_mode="pad", padding=1)
        self.ceil_pool = nn.MaxPool2d(3, 2, pad_mode="pad", padding=1, ceil_mode=True)
        self.same_pool = nn.MaxPool2d(3, 2, pad_mode="same")
        self.average = nn.AvgPool2d(2, 2)
        self.dilated = nn.Conv2d(4, 4, 3, pad_mode="pad", padding=2, dilation=2)
        self.strided = nn.Conv2d(4, 8, 3, 2, pad_mode="same", has_bias=True, bias_init="normal")
        self.depthwise = nn.Conv2d(4, 4, 3, pad_mode="pad", padding=(1, 0, 2, 1), group=4, has_bias=True)
        self.bn = nn.BatchNorm2d(4)
        self.argmax = ops.Argmax(axis=1, output_type=ms.int32)
        rng = np.random.default_rng(0)
        for parameter in self.bn.get_parameters():
            parameter.set_data(Tensor(rng.uniform(0.5, 1.5, 4).astype(np.float32)))

    def construct(self, x):
        dilated = self.dilated(x)
        convolutions = (self.bn(dilated) + dilated, self.bn(self.depthwise(x)), self.strided(x))
        pools = (self.pool(x), self.ceil_pool(x), self.same_pool(x), self.average(x), ops.max_pool2d(x, 3, 2, 1),
                 x.mean(axis=(2, 3), keep_dims=True), ops.adaptive_avg_pool2d(x, 1))
        resized = (ops.interpolate(x, size=(33, 50), mode="bilinear", align_corners=True),
                   ops.interpolate(x, size=(33, 50), mode="bilinear", align_corners=False),
                   ops.interpolate(x, size=(8, 9), mode="bilinear", align_corners=True),
                   ops.interpolate(x, size=(8, 9), mode="bilinear", align_corners=False),
                   ops.interpolate(x, size=(30, 36), mode="nearest"), ops.ResizeNearestNeighbor((7, 9))(x))
        arithmetic = (ops.sigmoid(x) * x - 0.5 * x + 3, ops.relu(x) / 2, ops.maximum(x, x * 2), ops.softmax(x, axis=1),
                      ops.relu6(5 * x))
        layout = (ops.concat((x[:, :, ::2, 1:5], x[:, :, :15:2, :4]), 1), x.reshape(1, 2, -1),
                  x.transpose((0, 2, 3, 1)), ops.matmul(x, x.transpose((0, 1, 3, 2))), self.argmax(x),
                  self.argmax(x).astype(ms.uint8))
        return convolutions + pools + resized + arithmetic + layout


def export(cell, x, path):
    cell.set_train(False)
    ms.export(cell, Tensor(x), file_name=str(path), file_format="MINDIR")
    return path


def run(model, x):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


@pytest.fixture(scope="module")
def operators(tmp_path_factory):
    """(cell, input, path of its MINDIR)"""
    cell = Operators()
    x = np.random.default_rng(1).standard_normal((1, 4, 15, 18)).astype(np.float32)
    x[:, :, 0] = 1.0  # equal maxima: the first class must win everywhere
    return cell, x, export(cell, x, tmp_path_factory.mktemp("operators") / "operators.mindir")


def test_every_operator_gives_the_same_numbers(operators):
    cell, x, path = operators
    model = to_onnx(read_mindir(path))
    expected, found = cell(Tensor(x)), run(model, x)
    assert len(expected) == len(found) == 27
    for i, (a, b) in enumerate(zip(expected, found)):
        a = a.asnumpy()
        assert (a.dtype, a.shape) == (b.dtype, b.shape), i
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5, err_msg=f"output {i}")
    assert found[-1][0, 0].tolist() == [0] * 18


def test_what_is_written(operators):
    model = to_onnx(read_mindir(operators[2]))
    assert (model.opset_import[0].version, model.ir_version) == (13, 7)
    assert [value.name for value in model.graph.input] == ["x"]
    assert [value.name for value in model.graph.output][:3] == ["output", "output_1", "output_2"]
    kinds = [node.op_type for node in model.graph.node]
    # One BatchNorm is folded; the other follows a convolution that is used elsewhere too.
    assert (kinds.count("Conv"), kinds.count("BatchNormalization")) == (3, 1)
    assert "Unsqueeze" not in kinds and "Squeeze" not in kinds


class Pools(nn.Cell):
    """What stands before a padded pooling: a ReLU, whose values are never below zero, or nothing."""

    def __init__(self, ceil_mode, relu):
        super().__init__()
        self.pool, self.relu = MaxPool(ceil_mode), relu

    def construct(self, x):
        return self.pool(ops.relu(x) if self.relu else x)


@pytest.mark.parametrize("dynamic", [(), ("batch", "height", "width")])
@pytest.mark.parametrize("ceil_mode, relu, kinds, pads", [
    (False, True, ["Relu", "MaxPool"], [1, 1, 1, 1]), (True, True, ["Relu", "MaxPool"], [1, 1, 2, 2]),
    (False, False, ["Pad", "MaxPool"], [0, 0, 1, 1, 0, 0, 1, 1])])
def test_zeros_around_an_image_become_the_padding_of_its_pooling(ceil_mode, relu, kinds, pads, dynamic, tmp_path):
    x = np.random.default_rng(2).standard_normal((1, 4, 15, 18)).astype(np.float32) - 1
    cell = Pools(ceil_mode, relu)
    path = export(cell, x, tmp_path / "pool.mindir")
    model = to_onnx(read_mindir(path), dynamic=dynamic)
    assert [node.op_type for node in model.graph.node] == kinds
    written = [list(attribute.ints) for node in model.graph.node for attribute in node.attribute
               if attribute.name == "pads"]
    written += [onnx.numpy_helper.to_array(tensor).tolist() for tensor in model.graph.initializer]
    assert written == [pads]
    np.testing.assert_array_equal(run(model, x)[0], cell(Tensor(x)).asnumpy())


class Pyramid(nn.Cell):
    """Pyramid pooling and the 3x3 convolution that reads it, as at the end of ICNet's encoder."""

    def __init__(self, align_corners, input_first):
        super().__init__()
        self.pyramid = PyramidPooling(6, 18, align_corners=align_corners, input_first=input_first)
        self.out = ConvBN(6 + 4 * 18, 5, kernel_size=3, padding=2, dilation=2)

    def construct(self, x):
        return self.out(self.pyramid(x))


@pytest.mark.parametrize("align_corners, input_first, size", [(True, True, (12, 17)), (False, False, (7, 16))])
def test_pyramid_pooling_is_convolved_on_its_grids(align_corners, input_first, size, tmp_path):
    """Grids of 1, 4 and 9 positions are, and that of 36 is not, having more positions than channels."""
    cell = Pyramid(align_corners, input_first)
    rng = np.random.default_rng(3)
    for parameter in cell.get_parameters():
        parameter.set_data(Tensor(rng.uniform(0.1, 0.5, parameter.shape).astype(np.float32)))
    x = rng.standard_normal((2, 6, *size)).astype(np.float32)
    model = to_onnx(read_mindir(export(cell, x, tmp_path / "pyramid.mindir")), dynamic=("batch",))
    kinds = [node.op_type for node in model.graph.node]
    # Four branches, three grids' products, what is left; one upsampling and none of the convolution's input.
    assert (kinds.count("Conv"), kinds.count("Resize"), kinds.count("BatchNormalization")) == (8, 1, 0)
    weights = {tensor.name.rpartition("/")[2]: tensor.dims for tensor in model.graph.initializer}
    assert weights["spread"] == [9 * (1 + 4 + 9), size[0] * size[1]]
    expected = cell(Tensor(x)).asnumpy()
    np.testing.assert_allclose(run(model, x)[0], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(run(model, x[:1])[0], expected[:1], rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def folded_graph(is_training):
    """1x1 convolution with weight 2, BatchNorm of gamma 3, beta 5, mean 7, variance 4: 3 (2x - 7) / 2 + 5."""
    info = TensorInfo((1, 1, 2, 2), FLOAT32)
    vectors = {name: np.array([value], np.float32) for name, value in (("g", 3), ("b", 5), ("m", 7), ("v", 4))}
    attributes = {"format": "NCHW", "stride": (1, 1, 1, 1), "dilation": (1, 1, 1, 1), "group": 1, "pad_mode": "valid"}
    nodes = (Node("Conv2D", "Default/conv", ("n:x", "n:w"), "n:c", attributes),
             Node("BatchNorm", "Default/bn", ("n:c", "g", "b", "m", "v", "train", "eps"), "n:y", {}))
    constants = {"n:w": np.full((1, 1, 1, 1), 2, np.float32), "train": is_training, "eps": 0.0, **vectors}
    return Graph(("n:x",), ("n:y",), nodes, constants, {"n:x": info, "n:c": info, "n:y": info})


def test_batch_norm_is_folded_literally():
    model = to_onnx(folded_graph(False))
    assert [node.op_type for node in model.graph.node] == ["Conv"]
    values = {tensor.name: onnx.numpy_helper.to_array(tensor).ravel().tolist() for tensor in model.graph.initializer}
    assert values == {"output/weight": [3.0], "output/bias": [-5.5]}
    assert run(model, np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2))[0].ravel().tolist() == [-5.5, -2.5, 0.5, 3.5]


def test_training_mode_is_refused():
    with pytest.raises(DataError, match=r"BatchNorm \(Default/bn\).*set_train\(False\)"):
        to_onnx(folded_graph(True))


def test_unknown_operator_is_named_with_its_place():
    graph = folded_graph(False)
    graph = graph._replace(nodes=(Node("Erf", "Default/head/Erf-op0", ("n:x",), "n:y", {}),))
    with pytest.raises(DataError, match=r"the operator Erf \(Default/head/Erf-op0\) cannot be converted.*Conv2D"):
        to_onnx(graph)


def change_functions(model):
    model.functions.add().name = "loop"


def change_shape(model):
    model.graph.input[0].tensor[0].dims[0] = -1


def change_weight(model):
    model.graph.parameter[0].raw_data = b"1234567"


def change_order(model):
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def change_graph(model):
    model.ClearField("graph")


@pytest.mark.parametrize("change, message", [
    (change_functions, "expected one graph, found 1 more"),
    (change_shape, r"expected fixed shapes, found \[-1, 4, 15, 18\]"),
    (change_weight, "expected .* bytes .* found 7"), (change_order, "found a damaged one"),
    (change_graph, "found one without a graph"),
])
def test_strange_parts_are_named(operators, change, message, tmp_path):
    model = ModelProto()
    model.ParseFromString(operators[2].read_bytes())
    change(model)
    path = tmp_path / "changed.mindir"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(DataError, match=f"changed.mindir: .*{message}"):
        read_mindir(path)


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(DataError, match="expected a MINDIR file at .*none.mindir: No such file"):
        read_mindir(tmp_path / "none.mindir")
    path = tmp_path / "text.mindir"
    path.write_text("this is no model")
    with pytest.raises(DataError, match="text.mindir: expected a MINDIR file"):
        convert_file(path, tmp_path / "text.onnx")
    assert not (tmp_path / "text.onnx").exists()


def test_damaged_files_end_in_data_errors(operators, tmp_path):
    good = operators[2].read_bytes()
    path = tmp_path / "damaged.mindir"
    rng = random.Random(4)
    refused = 0
    for i in range(150):
        content = bytearray(good)
        if i % 3 == 0:
            del content[rng.randrange(len(content)):]
        else:
            for _ in range(rng.choice((1, 4, 30))):
                content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content)
        try:
            to_onnx(read_mindir(path))
        except DataError:
            refused += 1
    assert refused > 100


# Why there is a converter: when one of these passes, look whether it is still needed.

@pytest.mark.xfail(strict=True, raises=(RuntimeError, ValueError, TypeError), reason="no bilinear resize")
def test_mindspores_own_exporter(tmp_path):
    class Resize(nn.Cell):
        def construct(self, x):
            return ops.interpolate(x, size=(8, 8), mode="bilinear", align_corners=False)
    ms.export(Resize().set_train(False), Tensor(np.zeros((1, 1, 4, 4), np.float32)), file_name=str(tmp_path / "net"),
              file_format="ONNX")


@pytest.mark.xfail(strict=True, raises=Exception, reason="no adaptive pooling whose bins do not divide the size")
def test_pytorchs_exporter(tmp_path):
    torch = pytest.importorskip("torch", reason="the package torch is not installed")
    torch.onnx.export(torch.nn.AdaptiveAvgPool2d(6), (torch.zeros(1, 1, 32, 64),), str(tmp_path / "net.onnx"),
                      dynamo=False)
