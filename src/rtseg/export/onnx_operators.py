"""What becomes of each MINDIR operator in ONNX: the table CONVERTERS, and one function per kind of operator.

A converter takes the builder (see rtseg.export.onnx_converter) and the node, and adds ONNX nodes of which the last one
has the name `builder.name(node.output)`. What it cannot convert raises ValueError, and unexpected attributes may raise
whatever they raise: the caller makes a DataError of it that names the node.
"""
from typing import Any, Callable, Dict, NamedTuple, Sequence

import numpy as np

from rtseg.export.mindir import Node
from rtseg.export.pyramid_convolution import Upsampled

Builder = Any  # rtseg.export.onnx_converter.Builder, which needs this module
Converter = Callable[[Builder, Node], None]

# Larger than any length: an end that means "up to the end".
_LAST = np.iinfo(np.int64).max
# Pad modes of AvgPool, which names them by number.
_AVERAGE_POOL_PADDING = {1: "SAME_UPPER", 2: "VALID"}


class Convolution(NamedTuple):
    """A convolution that is not written yet, because what follows may still be folded into it."""

    input: str               # ONNX name
    weight: np.ndarray       # float64 (out channels, in channels / group, kernel height, kernel width)
    bias: np.ndarray         # float64 (out channels,)
    attributes: Dict[str, Any]

    def scaled(self, scale: np.ndarray, shift: np.ndarray) -> "Convolution":
        """The same, with output channel c multiplied by scale[c], then shift[c] added."""
        return self._replace(weight=self.weight * scale.reshape(-1, 1, 1, 1), bias=self.bias * scale + shift)


def _elementwise(onnx_op: str) -> Converter:
    def convert(builder: Builder, node: Node) -> None:
        dtype = builder.graph.tensors[node.output].dtype
        builder.emit(onnx_op, [builder.tensor(name, dtype) for name in node.inputs], output=builder.name(node.output))
    return convert


def _conv2d(builder: Builder, node: Node) -> None:
    x, weight = node.inputs
    weight, attributes = builder.constant(weight), node.attributes
    if attributes["format"] != "NCHW" or weight.ndim != 4:
        raise ValueError("expected a 2-D convolution in NCHW")
    onnx = {"kernel_shape": weight.shape[2:], "strides": attributes["stride"][-2:],
            "dilations": attributes["dilation"][-2:], "group": attributes["group"]}
    if attributes["pad_mode"].lower() == "same":
        onnx["auto_pad"] = "SAME_UPPER"
    elif attributes["pad_mode"].lower() == "pad":
        top, bottom, left, right = attributes["pad"]
        onnx["pads"] = [top, left, bottom, right]
    builder.convolutions[node.output] = Convolution(builder.tensor(x), weight.astype(np.float64),
                                                    np.zeros(len(weight)), onnx)


def _bias_add(builder: Builder, node: Node) -> None:
    x, bias = node.inputs[0], builder.constant(node.inputs[1]).astype(np.float64)
    if not builder.folds(x):
        raise ValueError("expected a bias right after its convolution")
    builder.convolutions[node.output] = builder.convolutions.pop(x).scaled(np.ones_like(bias), bias)


def _batch_norm(builder: Builder, node: Node) -> None:
    x, *parameters = node.inputs[:5]
    is_training, epsilon = (builder.constant(name) for name in node.inputs[5:7])
    if is_training:
        raise ValueError("is in training mode; call network.set_train(False) before the export")
    if builder.folds(x):
        gamma, beta, mean, variance = (builder.constant(name).astype(np.float64) for name in parameters)
        scale = gamma / np.sqrt(variance + epsilon)
        builder.convolutions[node.output] = builder.convolutions.pop(x).scaled(scale, beta - mean * scale)
        return
    builder.emit("BatchNormalization", [builder.tensor(name) for name in (x, *parameters)],
                 output=builder.name(node.output),
                 epsilon=epsilon)


def _resize(mode: str) -> Converter:
    def convert(builder: Builder, node: Node) -> None:
        x, size, align_corners, half_pixel = node.inputs
        output, source, size = builder.name(node.output), builder.graph.tensors[x].shape, builder.constant(size)
        if mode == "nearest" and (builder.constant(align_corners) or builder.constant(half_pixel)):
            raise ValueError("expected nearest resizing without align_corners and half_pixel_centers")
        if mode == "nearest" and all(target % length == 0 for target, length in zip(size, source[2:])):
            # For whole factors this is what asymmetric + floor gives, and CANN has no other nearest mode.
            attributes = {"coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_ceil"}
        elif mode == "nearest":
            attributes = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        else:
            attributes = {"coordinate_transformation_mode": (
                "align_corners" if builder.constant(align_corners)
                else "half_pixel" if builder.constant(half_pixel) else "asymmetric")}
            if "height" not in builder.dynamic and attributes["coordinate_transformation_mode"] != "asymmetric":
                builder.upsampled[output] = Upsampled(builder.tensor(x), source[2:], size,
                                                      bool(builder.constant(align_corners)))
        if builder.dynamic:
            inputs = ["", builder.array(f"{output}/scales", _scales(builder, source, size=size))]
        else:
            inputs = ["", "", builder.integers(f"{output}/sizes", (*source[:2], *size))]
        builder.emit("Resize", [builder.tensor(x), *inputs], output=output, mode=mode, **attributes)
    return convert


def _scales(builder: Builder, source: Sequence[int], *, size: Sequence[int]) -> np.ndarray:
    """float32 factors whose product with the source's lengths, rounded down, is the wanted size."""
    spatial = {"height", "width"} & set(builder.dynamic)
    if spatial and any(target % length for target, length in zip(size, source[2:])):
        raise ValueError(f"expected a whole factor for a dynamic size, found {source[2:]} -> {tuple(size)}")
    scales = [np.float32(1), np.float32(1)]
    for length, target in zip(source[2:], size):
        scale = np.float32(target / length)
        while float(scale) * length < target:  # exactly: some multiply in float64
            scale = np.nextafter(scale, np.float32(np.inf))
        scales.append(scale)
    return np.array(scales, np.float32)


def _relu6(builder: Builder, node: Node) -> None:
    output, dtype = builder.name(node.output), builder.graph.tensors[node.output].dtype
    limits = [builder.array(f"{output}/{name}", np.array(value, dtype)) for name, value in (("min", 0), ("max", 6))]
    builder.emit("Clip", [builder.tensor(node.inputs[0]), *limits], output=output)


def _reduce_mean(builder: Builder, node: Node) -> None:
    x, axes, keep_dims = node.inputs
    builder.emit("ReduceMean", [builder.tensor(x)], output=builder.name(node.output),
                 axes=np.atleast_1d(builder.constant(axes)).tolist(), keepdims=int(builder.constant(keep_dims)))


def _argmax(builder: Builder, node: Node) -> None:
    x, axis = node.inputs[:2]
    output = builder.name(node.output)
    builder.emit("ArgMax", [builder.tensor(x)], output=f"{output}/int64", axis=builder.constant(axis), keepdims=0)
    builder.emit("Cast", [f"{output}/int64"], output=output, to=builder.onnx_type(node.output))


def _cast(builder: Builder, node: Node) -> None:
    builder.emit("Cast", [builder.tensor(node.inputs[0])], output=builder.name(node.output),
                 to=builder.onnx_type(node.output))


def _concat(builder: Builder, node: Node) -> None:
    names, axis = node.inputs
    output, axis = builder.name(node.output), builder.constant(axis)
    if not _is_padding(builder, names):
        tensors = [builder.tensor(name) for name in names]
        builder.emit("Concat", tensors, output=output, axis=axis)
        if axis == 1 and len(set(names)) == len(names) and all(name in builder.graph.tensors for name in names):
            builder.concatenated[output] = {tensor: builder.graph.tensors[name].shape[1]
                                            for tensor, name in zip(tensors, names)}
        return
    before, x, after = list(names)
    x, pads = builder.padded.get(x, (x, np.zeros((2, 4), np.int64)))
    pads = pads.copy()
    pads[:, axis] += [builder.graph.constants[name].shape[axis] for name in (before, after)]
    builder.padded[node.output] = x, pads
    builder.emit("Pad", [builder.tensor(x), builder.integers(f"{output}/pads", pads)], output=output, mode="constant")


def _is_padding(builder: Builder, names: Sequence[str]) -> bool:
    """Whether zeros stand on both sides of an image, as in MaxPool of models/resnet.py."""
    ends = [builder.graph.constants.get(name) for name in (names[0], names[-1])]
    return len(names) == 3 and names[1] not in builder.graph.constants and all(
        isinstance(end, np.ndarray) and end.ndim == 4 and not end.any() for end in ends)


def _transpose(builder: Builder, node: Node) -> None:
    x, order = node.inputs
    builder.emit("Transpose", [builder.tensor(x)], output=builder.name(node.output), perm=builder.constant(order))


def _reshape(builder: Builder, node: Node) -> None:
    x, shape = node.inputs
    output = builder.name(node.output)
    builder.emit("Reshape", [builder.tensor(x), builder.integers(f"{output}/shape", builder.constant(shape))],
                 output=output)


def _softmax(builder: Builder, node: Node) -> None:
    x, axis = node.inputs
    axis, = np.atleast_1d(builder.constant(axis)).tolist()
    builder.emit("Softmax", [builder.tensor(x)], output=builder.name(node.output), axis=axis)


def _matmul(builder: Builder, node: Node) -> None:
    a, b, *transposed = node.inputs
    if any(builder.constant(flag) for flag in transposed):
        raise ValueError("expected transpose_a and transpose_b to be False")
    builder.emit("MatMul", [builder.tensor(a), builder.tensor(b)], output=builder.name(node.output))


def _strided_slice(builder: Builder, node: Node) -> None:
    x, *parameters = node.inputs
    starts, ends, steps, start_mask, end_mask, *other_masks = (builder.constant(name) for name in parameters)
    if any(other_masks) or min(steps) < 1:
        raise ValueError("expected only begin and end masks, and steps above 0")
    axes = range(len(steps))
    values = {"starts": [0 if start_mask >> axis & 1 else starts[axis] for axis in axes],
              "ends": [_LAST if end_mask >> axis & 1 else ends[axis] for axis in axes], "axes": axes, "steps": steps}
    output = builder.name(node.output)
    vectors = [builder.integers(f"{output}/{name}", vector) for name, vector in values.items()]
    builder.emit("Slice", [builder.tensor(x), *vectors], output=output)


def _max_pool(builder: Builder, node: Node) -> None:
    attributes, x = node.attributes, node.inputs[0]
    padding: Dict[str, Any] = {"auto_pad": {"SAME": "SAME_UPPER", "VALID": "VALID"}[attributes["pad_mode"].upper()]}
    source, pads = builder.padded.get(x, (x, None))
    if pads is not None and padding["auto_pad"] == "VALID" and not pads[:, :2].any() and _is_relu(builder, source):
        # The pooling's own padding is less than any value, which among values from 0 on is as good as zeros; written
        # out, they take OpenVINO a quarter of BiSeNetV1's time.
        x, padding = source, {"pads": pads[:, 2:].reshape(-1).tolist()}
    builder.emit("MaxPool", [builder.tensor(x)], output=builder.name(node.output),
                 kernel_shape=attributes["kernel_size"][-2:], strides=attributes["strides"][-2:], **padding)


def _is_relu(builder: Builder, name: str) -> bool:
    return any(node.output == name and node.op in ("ReLU", "ReLU6") for node in builder.graph.nodes)


# MindSpore pads a MaxPool by way of five dimensions: ExpandDims, MaxPool3DWithArgmax, Squeeze. Four do.

def _padded_max_pool(builder: Builder, node: Node) -> None:
    attributes, x, output = node.attributes, node.inputs[0], builder.name(node.output)
    if x in builder.without_depth:
        x, output = builder.without_depth[x], f"{output}/4d"
        builder.without_depth[node.output] = output
    else:
        x = builder.tensor(x)
    pads = attributes["pads"][-2:]
    # Left out where they say nothing: CANN knows no dilations of a MaxPool.
    dilations = {"dilations": attributes["dilation"][-2:]} if max(attributes["dilation"][-2:]) > 1 else {}
    kernel_size = attributes["ksize" if "ksize" in attributes else "kernel_size"]
    builder.emit("MaxPool", [x], output=output, kernel_shape=kernel_size[-2:], strides=attributes["strides"][-2:],
                 pads=[*pads, *pads], ceil_mode=int(attributes["ceil_mode"]), **dilations)


def _expand_dims(builder: Builder, node: Node) -> None:
    x, axis = node.inputs
    if len(builder.graph.tensors[x].shape) != 4 or builder.constant(axis) != 2:
        raise ValueError("expected the axis 2 of a 4-D tensor")
    builder.without_depth[node.output] = builder.tensor(x)


def _squeeze(builder: Builder, node: Node) -> None:
    x, axis = node.inputs
    if np.atleast_1d(builder.constant(axis)).tolist() != [2]:
        raise ValueError("expected axis 2")
    builder.emit("Identity", [builder.without_depth[x]], output=builder.name(node.output))


def _average_pool(builder: Builder, node: Node) -> None:
    x, *parameters = node.inputs
    kernel_size, strides, pad_mode = (builder.constant(name) for name in parameters[:3])
    builder.emit("AveragePool", [builder.tensor(x)], output=builder.name(node.output), kernel_shape=kernel_size,
                 strides=strides, auto_pad=_AVERAGE_POOL_PADDING[pad_mode])


def _adaptive_average_pool(builder: Builder, node: Node) -> None:
    if node.attributes["output_size"] != (1, 1):
        raise ValueError("expected output size 1 x 1")
    builder.emit("GlobalAveragePool", [builder.tensor(node.inputs[0])], output=builder.name(node.output))


CONVERTERS: Dict[str, Converter] = {
    "AdaptiveAvgPool2D": _adaptive_average_pool,
    "Add": _elementwise("Add"),
    "Adds": _elementwise("Add"),
    "Argmax": _argmax,
    "AvgPool": _average_pool,
    "BatchMatMul": _matmul,
    "BatchNorm": _batch_norm,
    "BiasAdd": _bias_add,
    "Cast": _cast,
    "Concat": _concat,
    "Conv2D": _conv2d,
    "Div": _elementwise("Div"),
    "Divs": _elementwise("Div"),
    "ExpandDims": _expand_dims,
    "MatMul": _matmul,
    "MatMulExt": _matmul,
    "Maximum": _elementwise("Max"),
    "MaxPool": _max_pool,
    "MaxPool3DWithArgmax": _padded_max_pool,
    "MaxPoolWithArgmaxV2": _padded_max_pool,
    "Mul": _elementwise("Mul"),
    "Muls": _elementwise("Mul"),
    "ReduceMean": _reduce_mean,
    "ReLU": _elementwise("Relu"),
    "ReLU6": _relu6,
    "Reshape": _reshape,
    "ResizeBilinearV2": _resize("linear"),
    "ResizeNearestNeighbor": _resize("nearest"),
    "ResizeNearestNeighborV2": _resize("nearest"),
    "Sigmoid": _elementwise("Sigmoid"),
    "Softmax": _softmax,
    "Squeeze": _squeeze,
    "StridedSlice": _strided_slice,
    "Sub": _elementwise("Sub"),
    "Subs": _elementwise("Sub"),
    "Transpose": _transpose,
}
