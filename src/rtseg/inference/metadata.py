"""The metadata: a JSON file next to each exported model that says what goes in and what comes out. No MindSpore.

`ModelMetadata` is the schema: the JSON file has its fields, in its order, and nothing else.
"""
import hashlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Dict, List, Literal, Optional, Sequence, Tuple, TypeVar, Union, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rtseg.config.sections import InputType, OutputType
from rtseg.data.spec_file import MAX_CLASSES
from rtseg.models.registry import SIZE_MULTIPLE
from rtseg.utils.atomic import write_text
from rtseg.utils.errors import ConfigError, DataError
from rtseg.utils.files import read_regular_file

FORMAT_VERSION: Literal[1] = 1
_MOST_BYTES = 1 << 20
MODEL_SUFFIXES = (".mindir", ".onnx", ".air", ".om", ".ms")
INPUT_TYPES, OUTPUT_TYPES = get_args(InputType), get_args(OutputType)
_INPUT_LAYOUTS = {"float32": "NCHW", "uint8": "NHWC"}
_OUTPUT_DTYPES = {"logits": "float32", "class_map": "uint8", "head_logits": "float32"}

Length = Annotated[int, Field(ge=1, le=16384)]  # a side in pixels, or images in a batch
Color = Tuple[Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)],
              Annotated[int, Field(ge=0, le=255)]]
_Mean = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Std = Annotated[float, Field(ge=1e-6, le=1, allow_inf_nan=False)]
_Axis = TypeVar("_Axis")  # an integer, or what stands for one that a model leaves open


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class InputInfo(_Part):
    """What goes in."""

    name: str
    shape: Tuple[Length, Length, Length, Length]
    dtype: InputType  # float32: normalised; uint8: RGB bytes, normalised in the graph
    layout: Literal["NCHW", "NHWC"]
    # Lengths of the shape that the model leaves open; the shape then has those that it was exported with.
    dynamic: Optional[Tuple[Literal["batch", "height", "width"], ...]] = None


class Normalization(_Part):
    """(value / 255 - mean) / std, RGB."""

    mean: Tuple[_Mean, _Mean, _Mean]
    std: Tuple[_Std, _Std, _Std]
    in_graph: bool


class OutputInfo(_Part):
    """What comes out."""

    name: str
    kind: OutputType  # logits: (N, C, H, W); head_logits: (N, C, H/stride, W/stride); class_map: train ids (N, H, W)
    shape: Tuple[Length, ...]
    dtype: Literal["float32", "uint8"]
    # Of head_logits alone: how a bilinear upsampling makes the network's logits of them.
    stride: Optional[Length] = None
    align_corners: Optional[bool] = None


class ModelMetadata(_Part):
    """What a program must know to use an exported model. Make one with `describe`, read one with `read_metadata`."""

    format_version: Literal[1] = FORMAT_VERSION
    model: str    # network, such as "fast_scnn"
    variant: str
    input: InputInfo
    normalization: Normalization
    color_order: Literal["RGB"] = "RGB"
    output: OutputInfo
    dataset: str  # whose classes it tells apart
    classes: Annotated[Tuple[str, ...], Field(min_length=1, max_length=MAX_CLASSES)]
    palette: Tuple[Color, ...]  # RGB by class
    ignore_label: Literal[255] = 255
    precision: Optional[Literal["int8"]] = None  # of the convolutions, where they are quantized
    checkpoint_sha256: str
    source: str   # name of the checkpoint file

    @classmethod
    def describe(cls, *, model: str, variant: str, input_type: InputType, output_type: OutputType,
                 size: Tuple[int, int, int], mean: Tuple[float, ...], std: Tuple[float, ...], dataset: str,
                 classes: Tuple[str, ...], palette: Tuple[Tuple[int, ...], ...], checkpoint_sha256: str = "",
                 source: str = "", input_name: str = "x", output_name: str = "output", stride: Optional[int] = None,
                 align_corners: Optional[bool] = None, dynamic: Tuple[str, ...] = (),
                 precision: Optional[str] = None) -> "ModelMetadata":
        """The metadata of a model; shapes, layout and dtypes follow from the rest.

        Args:
            size: (batch, height, width).
            stride, align_corners: of head_logits.
            dynamic: which of batch, height and width the model leaves open.
            precision: "int8" for a quantized model.

        Raises:
            ConfigError: what does not go together, or a value that cannot be; all of it named.
        """
        # Checked as the JSON file is, so the parts are given as they stand there.
        parts: Dict[str, Any] = dict(
            model=model, variant=variant,
            input=dict(name=input_name, shape=_input_shape(size, input_type), dtype=input_type,
                       layout=_INPUT_LAYOUTS[input_type], dynamic=tuple(dynamic) or None),
            normalization=dict(mean=tuple(mean), std=tuple(std), in_graph=input_type == "uint8"),
            output=dict(name=output_name, kind=output_type, dtype=_OUTPUT_DTYPES[output_type],
                        shape=_output_shape(size, output_type, num_classes=len(classes), stride=stride)),
            dataset=dataset, classes=tuple(classes), palette=tuple(tuple(map(int, color)) for color in palette),
            precision=precision, checkpoint_sha256=checkpoint_sha256, source=source)
        if output_type == "head_logits":
            parts["output"].update(stride=stride, align_corners=align_corners)
        try:
            return cls.model_validate(parts)
        except ValidationError as error:
            raise ConfigError(_problems(error)) from None

    @model_validator(mode="after")
    def _is_consistent(self) -> "ModelMetadata":
        if len(self.palette) != len(self.classes):
            raise ValueError(f"the palette has {len(self.palette)} colours for {len(self.classes)} classes")
        if (self.output.kind == "head_logits") != (self.output.stride is not None) or (
                self.output.stride is None) != (self.output.align_corners is None):
            raise ValueError("stride and align_corners belong to head_logits, and head_logits needs both")
        if self.output.stride is not None and (self.size[1] % self.output.stride or self.size[2] % self.output.stride):
            raise ValueError(f"expected height and width that are multiples of the stride {self.output.stride}, found "
                             f"{self.size[1]} and {self.size[2]}")
        expected = {
            "layout": (self.input.layout, _INPUT_LAYOUTS[self.input.dtype]),
            "input shape": (self.input.shape, _input_shape(self.size, self.input.dtype)),
            "in_graph": (self.normalization.in_graph, self.input.dtype == "uint8"),
            "output dtype": (self.output.dtype, _OUTPUT_DTYPES[self.output.kind]),
            "output shape": (self.output.shape, _output_shape(self.size, self.output.kind, stride=self.output.stride,
                                                              num_classes=len(self.classes)))}
        for name, (found, wanted) in expected.items():
            if found != wanted:
                raise ValueError(f"its parts contradict each other: {name} is {found}, expected {wanted}")
        return self

    @property
    def size(self) -> Tuple[int, int, int]:
        """(batch, height, width)."""
        return image_size(self.input.shape, self.input.layout)

    @property
    def input_type(self) -> InputType:
        """"float32": normalised, NCHW; "uint8": RGB bytes, NHWC, normalised in the graph."""
        return self.input.dtype

    @property
    def output_type(self) -> OutputType:
        """See OutputInfo.kind."""
        return self.output.kind

    @property
    def mean(self) -> Tuple[float, float, float]:
        """RGB, of image values in 0..1."""
        return self.normalization.mean

    @property
    def std(self) -> Tuple[float, float, float]:
        """RGB, of image values in 0..1."""
        return self.normalization.std

    @property
    def input_shape(self) -> List[int]:
        """Shape of the input, in its layout."""
        return list(self.input.shape)

    def output_shape_for(self, input_shape: Tuple[int, ...]) -> List[int]:
        """Shape of the output for an input of another shape than the metadata's, where axes are dynamic."""
        return list(_output_shape(image_size(input_shape, self.input.layout), self.output.kind,
                                  num_classes=len(self.classes), stride=self.output.stride))

    def changed(self, **changes: Any) -> "ModelMetadata":
        """The metadata of a model that differs in some arguments of `describe`."""
        known: Dict[str, Any] = dict(
            model=self.model, variant=self.variant, input_type=self.input_type, output_type=self.output_type,
            size=self.size, mean=self.mean, std=self.std, dataset=self.dataset, classes=self.classes,
            palette=self.palette, checkpoint_sha256=self.checkpoint_sha256, source=self.source,
            input_name=self.input.name, output_name=self.output.name, stride=self.output.stride,
            align_corners=self.output.align_corners, dynamic=self.input.dynamic or (), precision=self.precision)
        return self.describe(**{**known, **changes})

    def resized(self, *, height: Optional[int], width: Optional[int]) -> "ModelMetadata":
        """The metadata of the same model for images of another size, None: its own.

        Raises:
            ConfigError: the model does not take such a length.
        """
        for axis, known, found in (("height", self.size[1], height), ("width", self.size[2], width)):
            is_open = axis in (self.input.dynamic or ())
            if found not in (None, known) and (not is_open or found % SIZE_MULTIPLE):
                expected = f"a multiple of {SIZE_MULTIPLE}" if is_open else known
                raise ConfigError(f"--image_{axis}: expected {expected}, which the model takes as its metadata says, "
                                  f"found {found}")
        return self.changed(size=(self.size[0], height or self.size[1], width or self.size[2]))

    def to_json(self) -> str:
        """The file's text."""
        return self.model_dump_json(indent=2, exclude_none=True) + "\n"


def image_size(shape: Sequence[_Axis], layout: str) -> Tuple[_Axis, _Axis, _Axis]:
    """(batch, height, width) of the shape of images in the layout "NCHW" or "NHWC"."""
    if layout == "NCHW":
        batch, _, height, width = shape
    else:
        batch, height, width, _ = shape
    return batch, height, width


def _input_shape(size: Tuple[int, int, int], input_type: str) -> Tuple[int, ...]:
    batch, height, width = size
    return (batch, 3, height, width) if input_type == "float32" else (batch, height, width, 3)


def _output_shape(size: Tuple[int, int, int], output_type: str, *, num_classes: int,
                  stride: Optional[int]) -> Tuple[int, ...]:
    batch, height, width = size
    if output_type == "class_map":
        return size
    divisor = (stride or 1) if output_type == "head_logits" else 1
    return batch, num_classes, height // divisor, width // divisor


def exported_path(name: str, file_format: str) -> Path:
    """The file that --file_name and --file_format mean; the name may have the format's suffix already.

    The suffix becomes lower case: MindSpore adds another one to NET.MINDIR.

    Raises:
        ConfigError: there is nothing before the suffix.
    """
    suffix = f".{file_format.lower()}"
    stem = name[:-len(suffix)] if name.lower().endswith(suffix) else name
    if not stem or stem.endswith(os.sep):
        raise ConfigError(f"--file_name {name}: expected the name of a file")
    return Path(stem + suffix)


def metadata_path(model_path: Union[str, Path]) -> Path:
    """Where the metadata of an exported model is: the same name with .json."""
    return Path(model_path).with_suffix(".json")


def read_metadata(path: Union[str, Path]) -> ModelMetadata:
    """Reads a metadata file.

    Raises:
        DataError: missing, damaged, of a later version, or contradicting itself.
    """
    try:
        text = read_regular_file(path, _MOST_BYTES)
    except OSError as error:
        raise DataError(f"expected the model's metadata at {path}: {error.strerror}; export.py writes it next to the "
                        "model") from None
    try:
        return ModelMetadata.model_validate_json(text)
    except ValidationError as error:
        raise DataError(_explain(path, error)) from None


def _explain(path: Union[str, Path], error: ValidationError) -> str:
    for problem in error.errors(include_url=False, include_context=False):
        if problem["loc"] == ("format_version",) and problem["type"] != "missing":
            return (f"{path}: expected format_version {FORMAT_VERSION}, found {str(problem['input'])[:50]}; export the "
                    "model again, or use the version of this software that wrote it")
    return f"{path}: expected a model's metadata, found another file ({_problems(error)}); export the model again"


def _problems(error: ValidationError) -> str:
    """What pydantic found, in one line: the first five fields, what it says of each, and the value there."""
    listed = []
    for problem in error.errors(include_url=False, include_context=False)[:5]:
        name = ".".join(map(str, problem["loc"]))[:100]
        text = problem["msg"].removeprefix("Value error, ")[:300]
        value = problem["input"]
        found = f", found {str(value)[:50]}" if isinstance(value, (int, float, str)) else ""
        listed.append(": ".join(filter(None, (name, text + found))))
    return "; ".join(listed)


def write_metadata(model_path: Union[str, Path], metadata: ModelMetadata) -> Path:
    """Writes the metadata of an exported model, atomically; returns its path."""
    path = metadata_path(model_path)
    write_text(path, metadata.to_json())
    return path


def check_metadata_is_free(model_path: Union[str, Path], metadata: ModelMetadata) -> None:
    """Models that differ only in their suffix share a metadata file, so they must agree in all but their checkpoint.

    Where the checkpoint is another one, a note on stderr names the models that do not come from it.

    Raises:
        ConfigError: there is other metadata, and a model next to it that it belongs to; says which fields differ.
    """
    path = metadata_path(model_path)
    others = [other for suffix in MODEL_SUFFIXES for other in [path.with_suffix(suffix)]
              if other.exists() and other != Path(model_path)]
    if not others or not path.exists():
        return
    known = read_metadata(path)
    wanted, found = _fields(metadata), _fields(known)
    differing = [name for name in wanted if name not in ("checkpoint_sha256", "source") and wanted[name] != found[name]]
    if differing:
        raise ConfigError(f"{path} describes {others[0]}, which differs in {', '.join(differing)}; expected another "
                          f"name than {Path(model_path).stem}")
    if known.checkpoint_sha256 != metadata.checkpoint_sha256:
        print(f"note: {path} will name the new checkpoint, no longer that of {', '.join(map(str, others))}: export "
              "these again", file=sys.stderr)


def _fields(metadata: ModelMetadata) -> Dict[str, Any]:
    """Values by name, those of a part as "input.shape"."""
    fields: Dict[str, Any] = {}
    for name, value in metadata.model_dump().items():
        fields.update({f"{name}.{part}": inner for part, inner in value.items()} if isinstance(value, dict) else
                      {name: value})
    return fields


def sha256_of(path: Union[str, Path]) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
