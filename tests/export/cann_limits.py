"""CANN's documented limits of ONNX models, as far as these networks come near them. The table with the source of each
line is in docs/deployment.md. What is found here may still run: CANN's documents lag behind its compiler.
"""
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Tuple

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

# "ONNX for atc": CANN 5.0.4 to 6.x read 9 to 13, later ones 9 to 18.
OPSETS = range(9, 14)
# "Supported ONNX operators" of CANN 5.0.4; later lists have these too.
OPERATORS = {
    "Add", "ArgMax", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Conv", "Div", "GlobalAveragePool",
    "Identity", "MatMul", "Max", "MaxPool", "Mul", "ReduceMean", "Relu", "Reshape", "Resize", "Sigmoid", "Slice",
    "Softmax", "Sub", "Transpose"}
_WIDEST_INPUT = 4096        # of Conv, MaxPool and AveragePool
_LARGEST_KERNEL = 255       # a side; beyond it a pooling runs on the AI CPU
_LARGEST_POOLING = 256      # values in a pooling's window, likewise
_LARGEST_STRIDE = 63
_LARGEST_DILATION = 255
_LARGEST_PAD = 255

Shapes = Dict[str, Tuple[int, ...]]


def check_limits(model: "ModelProto") -> List[str]:
    """What of an ONNX model CANN's documents do not allow; a sentence each, with the node's name."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model).graph
    shapes = {value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
              for value in (*inferred.input, *inferred.value_info, *inferred.output)}
    constants = {initializer.name for initializer in model.graph.initializer}
    opset = model.opset_import[0].version
    problems = [] if opset in OPSETS else [f"operator set {opset}: CANN before 7.0 reads {OPSETS[0]} to {OPSETS[-1]}"]
    for node in model.graph.node:
        found = ["is not among CANN's ONNX operators"] if node.op_type not in OPERATORS else []
        if node.op_type in _CHECKS:
            found += _CHECKS[node.op_type](node, shapes, constants=constants)
        problems += [f"{node.op_type} {node.name}: {problem}" for problem in found]
    return problems


def _attributes(node: "NodeProto") -> Dict[str, Any]:
    import onnx
    values = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}


def _window(node: "NodeProto", shapes: Shapes, *, constants: set) -> List[str]:
    """Conv, MaxPool and AveragePool."""
    attributes, problems = _attributes(node), []
    shape = shapes.get(node.input[0], ())
    if shape and shape[-1] > _WIDEST_INPUT:
        problems.append(f"its input is {shape[-1]} wide, expected at most {_WIDEST_INPUT}")
    for name, most in (("kernel_shape", _LARGEST_KERNEL), ("strides", _LARGEST_STRIDE),
                       ("dilations", _LARGEST_DILATION), ("pads", _LARGEST_PAD)):
        if max(attributes.get(name, [1])) > most:
            problems.append(f"{name} {list(attributes[name])}, expected at most {most}")
    auto_pad = attributes.get("auto_pad", "NOTSET")
    if node.op_type != "Conv":
        height, width = attributes["kernel_shape"]
        if height * width > _LARGEST_POOLING:
            problems.append(f"a window of {height}x{width} runs on the AI CPU, expected at most {_LARGEST_POOLING} "
                            "values")
    if node.op_type == "MaxPool":
        if "dilations" in attributes:
            problems.append("dilations are not supported")
        if "pads" in attributes and auto_pad != "NOTSET":
            problems.append("pads and auto_pad exclude each other")
    if auto_pad == "SAME_LOWER" or auto_pad != "NOTSET" and attributes.get("ceil_mode", 0):
        problems.append(f"auto_pad {auto_pad} with ceil_mode {attributes.get('ceil_mode', 0)} is not supported")
    return problems


def _resize(node: "NodeProto", shapes: Shapes, *, constants: set) -> List[str]:
    attributes, problems = _attributes(node), []
    if attributes.get("mode", "nearest") == "nearest":
        form = (attributes.get("coordinate_transformation_mode", "half_pixel"),
                attributes.get("nearest_mode", "round_prefer_floor"))
        if form != ("half_pixel", "round_prefer_ceil"):
            problems.append(f"nearest as {form[0]} + {form[1]}, expected half_pixel + round_prefer_ceil")
    elif attributes["mode"] != "linear":
        problems.append(f"mode {attributes['mode']}, expected nearest or linear")
    if any(name and name not in constants for name in node.input[1:]):
        problems.append("its scales or sizes are calculated, expected constants")
    return problems


_CHECKS: Dict[str, Callable[..., List[str]]] = {
    "AveragePool": _window, "Conv": _window, "MaxPool": _window, "Resize": _resize}
