"""Reads a MINDIR file, MindSpore's exported graph, into plain tuples and NumPy arrays.

What only orders execution or groups values (Load, Depend, UpdateState, MakeTuple, TupleGetItem) is resolved here, so a
`Graph` holds calculations alone. The file is untrusted: whatever is wrong with it ends in a DataError.
"""
import math
import struct
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Tuple, Union

import numpy as np

from rtseg.utils.errors import DataError
from rtseg.utils.files import read_regular_file

# TensorProto.DataType of the MINDIR format -> dtype of NumPy.
_DTYPES = {1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool",
           10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 17: "float64"}
# What reading a damaged graph may raise, wherever it is read.
DAMAGE = (KeyError, IndexError, ValueError, TypeError, AttributeError, OverflowError, RuntimeError)
_MOST_BYTES = (1 << 31) - 1  # a protobuf message has no more


class TensorInfo(NamedTuple):
    """Shape and dtype of a tensor that is calculated or given at run time."""

    shape: Tuple[int, ...]
    dtype: np.dtype


class Node(NamedTuple):
    """One calculation."""

    op: str                                            # such as "Conv2D"
    name: str                                          # its place in the network, for messages
    inputs: Tuple[Union[str, Tuple[str, ...]], ...]    # names of tensors or constants; a tuple of them for Concat
    output: str                                        # the first output, the only one that is ever used here
    attributes: Dict[str, Any]                         # of the operator, such as kernel_size

    def __str__(self) -> str:
        return f"{self.op} ({self.name or self.output})"


class Graph(NamedTuple):
    """A network: `nodes` in an order in which they can be calculated."""

    inputs: Tuple[str, ...]
    outputs: Tuple[str, ...]
    nodes: Tuple[Node, ...]
    constants: Dict[str, Any]        # weights and other tensors as arrays; numbers, texts, None and tuples as such
    tensors: Dict[str, TensorInfo]   # of the inputs and of each node's output


def read_mindir(path: Union[str, Path]) -> Graph:
    """Reads a MINDIR file that `mindspore.export` wrote.

    Raises:
        DataError: no such file, damaged, or with parts that no inference network has.
    """
    model = _parse(Path(path))
    try:
        return _Reader(model).graph()
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except DAMAGE as error:
        raise DataError(f"{path}: expected the graph of a network, found a damaged one ({type(error).__name__}: "
                        f"{error}); export it again") from None


def _parse(path: Path) -> Any:
    # MindSpore first: it chooses the implementation of protobuf, and its own code runs with no other.
    from mindspore.train.mind_ir_pb2 import ModelProto
    from google.protobuf.message import DecodeError  # isort: skip

    try:
        content = read_regular_file(path, _MOST_BYTES)
    except OSError as error:
        raise DataError(f"expected a MINDIR file at {path}: {error.strerror}") from None
    model = ModelProto()
    try:
        model.ParseFromString(content)
    except (DecodeError, struct.error, MemoryError, *DAMAGE):
        raise DataError(f"{path}: expected a MINDIR file, found one that is truncated, encrypted or of another kind; "
                        "export it again") from None
    if not model.graph.node or not model.graph.output:
        raise DataError(f"{path}: expected a MINDIR file, found one without a graph; export it again")
    return model


class _Reader:
    """Turns the protobuf message into a Graph."""

    def __init__(self, model: Any):
        if model.functions:
            raise DataError(f"expected one graph, found {len(model.functions)} more (control flow such as 'if' or "
                            "'while' on tensors); only networks without it can be converted")
        self.proto = model.graph
        self.primitives = {primitive.name: primitive for primitive in model.primitives}
        self.constants: Dict[str, Any] = {parameter.name: _array(parameter) for parameter in self.proto.parameter}
        self.tensors = {value.name: _tensor_info(value.tensor[0]) for value in self.proto.input}
        self.aliases = {name: name for name in (*self.constants, *self.tensors)}
        self.nodes: List[Node] = []

    def graph(self) -> Graph:
        inputs = tuple(self.tensors)
        for node in self.proto.node:
            self._add(node)
        outputs = self.aliases[self.proto.output[0].name]
        outputs = (outputs,) if isinstance(outputs, str) else outputs
        if any(name not in self.tensors for name in outputs):
            raise DataError("expected outputs that are calculated, found a constant; export it again")
        return Graph(inputs, outputs, tuple(self.nodes), self.constants, self.tensors)

    def _add(self, node: Any) -> None:
        primitive = self.primitives[node.op_type[5:]] if node.op_type.startswith("REF::") else node
        op, output = primitive.op_type, node.output[0]
        if output in self.aliases:
            raise ValueError(f"two values are named {output}")
        if op == "Constant":
            self.constants[output] = _value(node.attribute[0])
            self.aliases[output] = output
            return
        inputs = tuple(self.aliases[name] for name in node.input)
        if op in ("Load", "Depend"):
            self.aliases[output] = inputs[0]
        elif op == "UpdateState":
            self.constants[output] = None
            self.aliases[output] = output
        elif op == "MakeTuple":
            self.aliases[output] = inputs
        elif op == "TupleGetItem":
            self.aliases[output] = self._element(inputs[0], self.constants[inputs[1]])
        else:
            self.aliases[output] = output
            self.tensors[output] = _first_tensor_info(node)
            attributes = {attribute.name: _value(attribute) for attribute in primitive.attribute}
            self.nodes.append(Node(op, node.domain, inputs, output, attributes))

    def _element(self, source: Any, index: int) -> Any:
        if isinstance(source, tuple):
            return source[index]
        if index != 0:
            raise DataError(f"output {index} of {source} is used; only the first one of an operator can be converted")
        return source


def _first_tensor_info(node: Any) -> TensorInfo:
    for attribute in node.attribute:
        if attribute.name == "shape":
            while not attribute.tensors:  # operators with several outputs have a tuple of them
                attribute = attribute.values[0]
            return _tensor_info(attribute.tensors[0])
    raise ValueError(f"{node.domain or node.name} has no shape")


def _tensor_info(tensor: Any) -> TensorInfo:
    if any(length < 1 for length in tensor.dims):
        raise DataError(f"expected fixed shapes, found {list(tensor.dims)}; export it with a fixed batch, height and "
                        "width")
    return TensorInfo(tuple(tensor.dims), np.dtype(_DTYPES[tensor.data_type]))


def _array(tensor: Any) -> np.ndarray:
    if tensor.compression_type or tensor.external_data.ByteSize():
        raise DataError(f"{tensor.name} is compressed or in another file; export the network without that")
    shape, dtype = _tensor_info(tensor)
    if len(tensor.raw_data) != math.prod(shape) * dtype.itemsize:
        raise DataError(f"{tensor.name}: expected {math.prod(shape) * dtype.itemsize} bytes for {dtype} {list(shape)}, "
                        f"found {len(tensor.raw_data)}; export it again")
    return np.frombuffer(tensor.raw_data, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape)


def _value(attribute: Any) -> Any:
    """The Python value of an attribute; None for what has no meaning in a calculation."""
    kind = attribute.AttributeType.Name(attribute.type)
    if kind in ("TUPLE", "LIST"):
        return tuple(_value(item) for item in attribute.values)
    if kind == "TENSORS":
        return _array(attribute.tensors[0])
    if kind == "TENSOR":
        return _array(attribute.t)
    if kind == "STRING":
        return (attribute.strings[0] if attribute.strings else attribute.s).decode()
    if kind == "BOOL":
        return bool(attribute.ints[0] if attribute.ints else attribute.i)
    if kind == "FLOAT":
        return attribute.floats[0] if attribute.floats else attribute.f
    if kind == "DOUBLE":
        return attribute.doubles[0] if attribute.doubles else attribute.d
    if "INT" in kind:
        return attribute.ints[0] if attribute.ints else attribute.i
    return None
