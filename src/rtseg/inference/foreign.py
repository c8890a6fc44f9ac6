"""Models that others exported: their metadata from their own inputs and outputs, and from what the user says."""
import math
from pathlib import Path
from typing import Dict, NamedTuple, Optional, Sequence, Tuple, Union

from rtseg.config.sections import InputType, OutputType
from rtseg.data.dataset_spec import DatasetSpec
from rtseg.inference.backends import onnx_session
from rtseg.inference.metadata import ModelMetadata, image_size, metadata_path
from rtseg.utils.errors import ConfigError

# A size that every network takes, for those that leave it open.
_OPEN_SIZE = (1, 256, 512)
_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8", "tensor(int32)": "int32",
           "tensor(int64)": "int64"}
_INPUT_TYPES: Dict[str, InputType] = {"float32": "float32", "uint8": "uint8"}
_AXES = ("batch", "height", "width")


class TensorDescription(NamedTuple):
    """An input or output; lengths that the model leaves open are no integers."""

    name: str
    shape: Tuple[Union[int, str, None], ...]
    dtype: str


def describe_onnx(path: Path) -> Tuple[TensorDescription, TensorDescription]:
    """The first input and the first output of an ONNX file.

    Raises:
        ConfigError: ONNX Runtime is not installed.
        DataError: no ONNX model.
    """
    try:
        session = onnx_session(path)
    except ImportError:
        raise ConfigError(f"{path}: expected its metadata at {metadata_path(path)}, or the package onnxruntime, which "
                          "can tell what the model takes and gives; found neither") from None
    entry, result = (TensorDescription(tensor.name, tuple(tensor.shape), _DTYPES.get(tensor.type, tensor.type))
                     for tensor in (session.get_inputs()[0], session.get_outputs()[0]))
    return entry, result


def describe_model(path: Path, tensors: Tuple[TensorDescription, TensorDescription], *, spec: Optional[DatasetSpec],
                   mean: Optional[Sequence[float]], std: Optional[Sequence[float]],
                   output_type: Optional[OutputType] = None, align_corners: bool = False) -> ModelMetadata:
    """Metadata of a model that has none.

    Args:
        tensors: its input and its output.
        spec: of the data set that it was trained for.
        mean, std: of its normalisation, outside of the model or in it.
        output_type: None if the shape of the output says it.
        align_corners: of head logits: how the network upsamples them.

    Raises:
        ConfigError: what must be known and is not, all of it named; no image network; or one of another number of
            classes than the data set's.
    """
    entry, result = tensors
    known = {"--dataset_config": spec, "--mean": mean, "--std": std}
    missing = [name for name, value in known.items() if value is None]
    kind = output_type or _output_type(entry, result)
    if kind is None:
        missing.append("--output_type")
    if missing or spec is None or mean is None or std is None or kind is None:
        raise ConfigError(f"{path}: expected its metadata at {metadata_path(path)}, or flags that say the same; "
                          f"missing: {', '.join(missing)}")
    input_type = _INPUT_TYPES.get(entry.dtype)
    if input_type is None or len(entry.shape) != 4:
        raise ConfigError(f"{path}: expected an input of float32 (N, 3, H, W) or uint8 (N, H, W, 3), found "
                          f"{entry.dtype} {list(entry.shape)}")
    found = result.shape[1] if kind != "class_map" and len(result.shape) == 4 else None
    if isinstance(found, int) and found > 0 and found != spec.num_classes:
        raise ConfigError(f"{path}: expected a model of the {spec.num_classes} classes of --dataset_config {spec.name},"
                          f" found one of {found}, with the output {list(result.shape)}; give the data set that it was "
                          "trained for")
    lengths = _image_axes(entry)
    dynamic = tuple(name for name, length in zip(_AXES, lengths) if not isinstance(length, int) or length < 1)
    batch, height, width = (length if isinstance(length, int) and length > 0 else given
                            for length, given in zip(lengths, _OPEN_SIZE))
    stride = _stride(result, height) if kind == "head_logits" else None
    try:
        return ModelMetadata.describe(
            model=path.stem, variant="", input_type=input_type, output_type=kind, size=(batch, height, width),
            mean=tuple(mean), std=tuple(std), dataset=spec.name, classes=spec.class_names, palette=spec.palette,
            input_name=entry.name, output_name=result.name, stride=stride, align_corners=align_corners, dynamic=dynamic)
    except ConfigError as error:
        raise ConfigError(f"{path}: its input {list(entry.shape)} and output {list(result.shape)} do not fit {kind} of "
                          f"{spec.num_classes} classes: {error}") from None


def _image_axes(tensor: TensorDescription) -> Tuple[Union[int, str, None], ...]:
    return image_size(tensor.shape, "NCHW" if tensor.dtype == "float32" else "NHWC")


def _output_type(entry: TensorDescription, result: TensorDescription) -> Optional[OutputType]:
    """What the output is, as far as its shape says it."""
    if not result.dtype.startswith("float"):
        return "class_map"
    if len(entry.shape) != 4 or len(result.shape) != 4:
        return None
    (_, height, _), found = _image_axes(entry), result.shape[2]
    if not isinstance(height, int) or not isinstance(found, int):
        return None
    return "logits" if found == height else "head_logits"


def _stride(result: TensorDescription, height: int) -> int:
    found = result.shape[2]
    return max(1, math.ceil(height / found)) if isinstance(found, int) and found > 0 else 8
