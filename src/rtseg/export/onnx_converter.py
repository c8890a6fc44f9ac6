"""Converts a MINDIR file to ONNX.

Why not a library: MindSpore's `export(file_format="ONNX")`, which is to be deleted, has no bilinear resize, and
`mindspore.onnx.export` (2.10) no BatchNorm, Concat and AvgPool; PyTorch's exporter, given the same weights, refuses
adaptive pooling whose bins do not divide the size, as at 1024x2048. tests/export/test_onnx_converter.py says when the
first and the last of these can.

BatchNorm and biases are folded into the convolution before them, zeros around an image into the pooling after them, and
a convolution of pyramid pooling is computed on the small grids, so that every runtime gets the short graph.
"""
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Sequence, Tuple, Union

import numpy as np

from rtseg.export.mindir import DAMAGE, Graph, read_mindir
from rtseg.export.onnx_operators import CONVERTERS, Convolution
from rtseg.export.pyramid_convolution import Upsampled, write_split
from rtseg.inference.metadata import check_metadata_is_free, exported_path, metadata_path, read_metadata, write_metadata
from rtseg.utils.atomic import atomic_write
from rtseg.utils.errors import ConfigError, DataError

if TYPE_CHECKING:
    from onnx import ModelProto

# The newest that CANN 5.0.4 to 6.x read; the networks need nothing newer.
DEFAULT_OPSET = 13
# ONNX operator set -> the version of the file format that came with it.
IR_VERSIONS = {13: 7, 14: 7, 15: 8, 16: 8, 17: 8}


def convert_with_metadata(mindir_path: str, file_name: str = "", *, opset: int = DEFAULT_OPSET,
                          dynamic: Sequence[str] = ()) -> Path:
    """Converts a MINDIR and copies its metadata; without one, says so on stderr. Returns the ONNX file's path.

    Args:
        mindir_path: the file.
        file_name: the ONNX file to write; empty for the same name with .onnx.
        opset, dynamic: see `to_onnx`.

    Raises:
        ConfigError, DataError: see `convert_file`; or the metadata is damaged, or `file_name` belongs to another model.
    """
    if not Path(mindir_path).is_file():
        raise DataError(f"expected a MINDIR file at {mindir_path}, found none; export.py writes one")
    onnx_path = exported_path(file_name or str(Path(mindir_path).with_suffix("")), "ONNX")
    metadata = read_metadata(metadata_path(mindir_path)) if metadata_path(mindir_path).exists() else None
    if metadata is not None:
        metadata = metadata.changed(dynamic=tuple(dynamic))
        check_metadata_is_free(onnx_path, metadata)
    convert_file(mindir_path, onnx_path, opset=opset, dynamic=dynamic)
    if metadata is None:
        print(f"note: {metadata_path(mindir_path)} is absent, so {onnx_path} has no metadata", file=sys.stderr)
    else:
        write_metadata(onnx_path, metadata)
    return onnx_path


def convert_file(mindir_path: Union[str, Path], onnx_path: Union[str, Path], *, opset: int = DEFAULT_OPSET,
                 dynamic: Sequence[str] = ()) -> None:
    """Writes the network in `mindir_path` as ONNX to `onnx_path`, atomically.

    Raises:
        ConfigError: the package onnx is not installed.
        DataError: the file is missing or damaged, or an operator is unknown here; it is named with its place.
    """
    onnx = _import_onnx()
    graph = read_mindir(mindir_path)
    try:
        model = to_onnx(graph, opset=opset, dynamic=dynamic)
    except DataError as error:
        raise DataError(f"{mindir_path}: {error}") from None
    with atomic_write(onnx_path) as temporary:
        onnx.save(model, str(temporary))


def to_onnx(graph: Graph, *, opset: int = DEFAULT_OPSET, dynamic: Sequence[str] = ()) -> "ModelProto":
    """Returns `graph` as a checked onnx.ModelProto. Inputs keep their names; outputs are output, output_1, ...

    Args:
        opset: key of IR_VERSIONS.
        dynamic: which of "batch", "height" and "width" of an image network's input the model leaves open.

    Raises:
        ConfigError, DataError: see `convert_file`; or the graph has constants that depend on a dynamic length.
    """
    if opset not in IR_VERSIONS:
        raise ConfigError(f"--opset: expected one of {', '.join(map(str, IR_VERSIONS))}, found {opset}")
    onnx = _import_onnx()
    _check_dynamic(graph, dynamic)
    builder = Builder(graph, onnx, opset=opset, dynamic=dynamic)
    for node in graph.nodes:
        if node.op not in CONVERTERS:
            raise DataError(f"the operator {node} cannot be converted to ONNX, expected one of "
                            f"{', '.join(CONVERTERS)}; add it to src/rtseg/export/onnx_operators.py")
        try:
            CONVERTERS[node.op](builder, node)
        except DAMAGE as error:
            raise DataError(f"{node}: expected inputs and attributes that can be converted, found others "
                            f"({type(error).__name__}: {error})") from None
    try:
        model = builder.finish()
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, *DAMAGE) as error:
        raise DataError(f"expected a graph whose parts fit together, found a damaged one ({error})") from None
    return model


def _check_dynamic(graph: Graph, dynamic: Sequence[str]) -> None:
    """Raises ConfigError where an operator's constants follow from a length that is to be left open."""
    by_op = {"batch": ("Reshape",), "height": ("Reshape", "MatMul", "MatMulExt", "BatchMatMul"), "width": ()}
    for name, operators in by_op.items():
        node = next((node for node in graph.nodes if node.op in operators), None)
        if name in dynamic and node is not None:
            raise ConfigError(f"--dynamic_{'batch' if name == 'batch' else 'size'}: {node} has constants that follow "
                              f"from the {name}; expected a graph without them, such as BiSeNetV1's for the size")


def _import_onnx() -> Any:
    # MindSpore's own code runs with no other implementation of protobuf; whoever imports protobuf first chooses it.
    os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
    try:
        import onnx
        import onnx.checker
        import onnx.shape_inference
    except ImportError:
        raise ConfigError("--file_format ONNX needs the package onnx, which is not installed; install it with: "
                          "pip install -r requirements.txt") from None
    return onnx


class Builder:
    """The ONNX graph while it grows. Its methods take names of the MINDIR unless they say otherwise."""

    def __init__(self, graph: Graph, onnx: Any, *, opset: int = DEFAULT_OPSET, dynamic: Sequence[str] = ()):
        self.graph = graph
        self.onnx = onnx
        self.opset = opset
        self.dynamic = tuple(dynamic)
        self.nodes: List[Any] = []
        self.initializers: Dict[str, Any] = {}
        self.convolutions: Dict[str, Convolution] = {}
        # MindSpore's padded MaxPool works on 5-D tensors of depth 1. Name of such a one -> ONNX name of it in 4-D.
        self.without_depth: Dict[str, str] = {}
        # Name of an image with zeros around it -> name of that without, and int64 (2, 4): zeros before and after.
        self.padded: Dict[str, Tuple[str, np.ndarray]] = {}
        # ONNX name of a bilinear upsampling -> how it was made.
        self.upsampled: Dict[str, Upsampled] = {}
        # ONNX name of tensors side by side -> ONNX name of each and its number of channels.
        self.concatenated: Dict[str, Dict[str, int]] = {}
        self.output_names = {name: f"output_{i}" if i else "output" for i, name in enumerate(graph.outputs)}
        self.uses: Counter = Counter(graph.outputs)
        for node in graph.nodes:
            for names in node.inputs:
                self.uses.update([names] if isinstance(names, str) else names)

    def name(self, name: str) -> str:
        """The ONNX name: `<graph>:x` -> `x`. Constants have no graph in their name and get one: no two are equal."""
        graph, colon, rest = name.partition(":")
        return self.output_names.get(name) or (rest if colon else f"constant/{graph}")

    def constant(self, name: str) -> Any:
        """The value of an input that must be known now."""
        if name not in self.graph.constants:
            raise ValueError(f"{name} is calculated, expected a constant")
        return self.graph.constants[name]

    def tensor(self, name: str, dtype: Any = None) -> str:
        """The ONNX name of an input, which is written now if it was not yet; plain numbers become `dtype`."""
        if name in self.convolutions:
            self._write(name, self.convolutions.pop(name))
        if name not in self.graph.constants:
            return self.name(name)
        value = self.graph.constants[name]
        if isinstance(value, np.ndarray):
            return self.array(self.name(name), value)
        if not isinstance(value, (int, float)):
            raise ValueError(f"{name} is {value!r}, expected numbers")
        return self.array(f"{self.name(name)}/{dtype}", np.array(value, dtype))

    def array(self, onnx_name: str, value: np.ndarray) -> str:
        """Adds a constant tensor; returns its ONNX name."""
        self.initializers[onnx_name] = self.onnx.numpy_helper.from_array(np.ascontiguousarray(value), onnx_name)
        return onnx_name

    def integers(self, onnx_name: str, values: Any) -> str:
        """Adds an int64 vector, which is what ONNX wants for shapes and the like; returns its ONNX name."""
        return self.array(onnx_name, np.array(values, np.int64).reshape(-1))

    def onnx_type(self, name: str) -> int:
        """The ONNX number of a calculated tensor's dtype."""
        return self.onnx.helper.np_dtype_to_tensor_dtype(self.graph.tensors[name].dtype)

    def emit(self, op: str, inputs: Sequence[str], *, output: str, **attributes: Any) -> None:
        """Adds a node; `inputs` and `output` are ONNX names."""
        self.nodes.append(self.onnx.helper.make_node(op, inputs, [output], name=output, **attributes))

    def folds(self, name: str) -> bool:
        """Whether `name` is a convolution that only one node reads."""
        return name in self.convolutions and self.uses[name] == 1

    def finish(self) -> "ModelProto":
        """The whole model."""
        helper = self.onnx.helper
        outputs = [self._value_info(self.tensor(name), name) for name in self.graph.outputs]
        inputs = [self._value_info(self.name(name), name) for name in self.graph.inputs]
        self._drop_unused()
        graph = helper.make_graph(self.nodes, "network", inputs, outputs, list(self.initializers.values()))
        model = helper.make_model(graph, producer_name="export.py", opset_imports=[helper.make_opsetid("", self.opset)])
        model.ir_version = IR_VERSIONS[self.opset]
        return model

    def _write(self, name: str, convolution: Convolution) -> None:
        onnx_name, dtype = self.name(name), self.graph.tensors[name].dtype
        if write_split(self, convolution, output=onnx_name, dtype=dtype):
            return
        weight, bias = (self.array(f"{onnx_name}/{part}", getattr(convolution, part).astype(dtype))
                        for part in ("weight", "bias"))
        self.emit("Conv", [convolution.input, weight, bias], output=onnx_name, **convolution.attributes)

    def _drop_unused(self) -> None:
        needed = set(self.output_names.values())
        for i in range(len(self.nodes) - 1, -1, -1):
            if self.nodes[i].output[0] in needed:
                needed.update(self.nodes[i].input)
            else:
                del self.nodes[i]
        self.initializers = {name: value for name, value in self.initializers.items() if name in needed}

    def _value_info(self, onnx_name: str, name: str) -> Any:
        shape: List[Union[int, str]] = list(self.graph.tensors[name].shape)
        is_input = name in self.graph.inputs
        # Images in bytes are NHWC, the other four-dimensional tensors NCHW, class maps NHW.
        places = {4: (0, 1, 2) if shape[-1] == 3 and shape[1] != 3 else (0, 2, 3), 3: (0, 1, 2)}.get(len(shape), ())
        for axis, length in zip(places, ("batch", "height", "width")):
            if length in self.dynamic:
                shape[axis] = length if is_input or length == "batch" else f"output_{length}"
        return self.onnx.helper.make_tensor_value_info(onnx_name, self.onnx_type(name), shape)
