"""The metadata: a JSON file next to each exported model that says what goes in and what comes out. No MindSpore."""
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import List, Tuple, Union

from rtseg.data.labels import CITYSCAPES, IGNORE_LABEL
from rtseg.utils.atomic import write_text
from rtseg.utils.errors import ConfigError, DataError
from rtseg.utils.files import read_regular_file

FORMAT_VERSION = 1
_MOST_BYTES = 1 << 20
_LONGEST = 16384  # sides in pixels, and images in a batch
MODEL_SUFFIXES = (".mindir", ".onnx", ".air", ".om", ".ms")
# What the two kinds of input and output are, in the file's words.
_INPUT_LAYOUTS = {"float32": "NCHW", "uint8": "NHWC"}
_OUTPUT_DTYPES = {"logits": "float32", "class_map": "uint8"}


@dataclasses.dataclass(frozen=True)
class ModelMetadata:
    """What a program must know to use an exported model. Sizes are (batch, height, width)."""

    model: str                        # network, such as "fast_scnn"
    variant: str
    input_type: str                   # "float32": normalised, NCHW; "uint8": RGB bytes, NHWC, normalised in the graph
    output_type: str                  # "logits": float32 (N, C, H, W); "class_map": uint8 train ids (N, H, W)
    size: Tuple[int, int, int]
    mean: Tuple[float, ...]           # RGB, of image values in 0..1
    std: Tuple[float, ...]
    checkpoint_sha256: str
    source: str                       # name of the checkpoint file
    input_name: str = "x"
    output_name: str = "output"
    dataset: str = CITYSCAPES.name    # whose classes it tells apart
    classes: Tuple[str, ...] = CITYSCAPES.class_names
    palette: Tuple[Tuple[int, ...], ...] = CITYSCAPES.palette  # RGB by class

    @property
    def input_shape(self) -> List[int]:
        """Shape of the input, in its layout."""
        batch, height, width = self.size
        return [batch, 3, height, width] if self.input_type == "float32" else [batch, height, width, 3]

    @property
    def output_shape(self) -> List[int]:
        """Shape of the output."""
        batch, height, width = self.size
        return [batch, len(self.classes), height, width] if self.output_type == "logits" else [batch, height, width]

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps({
            "format_version": FORMAT_VERSION, "model": self.model, "variant": self.variant,
            "input": {"name": self.input_name, "shape": self.input_shape, "dtype": self.input_type,
                      "layout": _INPUT_LAYOUTS[self.input_type]},
            "normalization": {"mean": self.mean, "std": self.std, "in_graph": self.input_type == "uint8"},
            "color_order": "RGB",
            "output": {"name": self.output_name, "kind": self.output_type, "shape": self.output_shape,
                       "dtype": _OUTPUT_DTYPES[self.output_type]},
            "dataset": self.dataset, "classes": self.classes, "palette": self.palette, "ignore_label": IGNORE_LABEL,
            "checkpoint_sha256": self.checkpoint_sha256, "source": self.source}, indent=2) + "\n"


def exported_path(name: str, file_format: str) -> Path:
    """The file that --file_name and --file_format mean; the name may have the format's suffix already."""
    suffix = f".{file_format.lower()}"
    return Path(name if name.lower().endswith(suffix) else name + suffix)


def metadata_path(model_path: Union[str, Path]) -> Path:
    """Where the card of an exported model is: the same name with .json."""
    return Path(model_path).with_suffix(".json")


def read_metadata(path: Union[str, Path]) -> ModelMetadata:
    """Reads a card.

    Raises:
        DataError: missing, damaged, of a later version, or contradicting itself.
    """
    try:
        content = json.loads(read_regular_file(path, _MOST_BYTES).decode("utf-8"))
    except OSError as error:
        raise DataError(f"expected a metadata at {path}: {error.strerror}; export.py writes it next to the "
                        "model") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected a metadata as JSON ({error}); export the model again") from None
    try:
        if content["format_version"] != FORMAT_VERSION:
            found = str(content["format_version"])[:50]
            raise DataError(f"{path}: expected format_version {FORMAT_VERSION}, found {found}; "
                            "export the model again, or use the version of this software that wrote it")
        metadata = _from_json(content)
        if json.loads(metadata.to_json()) != content:
            raise ValueError("its parts contradict each other")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(f"{path}: expected a metadata, found another file ({type(error).__name__}: {error}); export "
                        "the model again") from None
    return metadata


def _from_json(content) -> ModelMetadata:
    entry, result, normalization = content["input"], content["output"], content["normalization"]
    batch, *rest = entry["shape"]
    height, width = rest[1:] if entry["layout"] == "NCHW" else rest[:2]
    if not all(isinstance(length, int) and 0 < length <= _LONGEST for length in (batch, height, width)):
        raise ValueError(f"lengths must be positive integers up to {_LONGEST}")
    _check_three("mean", normalization["mean"], 0)
    _check_three("std", normalization["std"], 1e-6)
    if not all(isinstance(text, str) for text in (entry["name"], result["name"], content["model"], content["variant"],
                                                  content["dataset"], *content["classes"])):
        raise ValueError("names must be text")
    palette = tuple(map(tuple, content["palette"]))
    if len(palette) != len(content["classes"]) or not all(
            len(color) == 3 and all(isinstance(part, int) and 0 <= part <= 255 for part in color) for color in palette):
        raise ValueError("palette must have three integers of 0 to 255 for each class")
    return ModelMetadata(content["model"], content["variant"], entry["dtype"], result["kind"], (batch, height, width),
                     tuple(map(float, normalization["mean"])), tuple(map(float, normalization["std"])),
                     content["checkpoint_sha256"], content["source"], entry["name"], result["name"],
                     content["dataset"], tuple(content["classes"]), palette)


def _check_three(name, numbers, least) -> None:
    if len(numbers) != 3 or not all(least <= number <= 1 for number in numbers):
        raise ValueError(f"{name} must be three numbers from {least:g} to 1")


def write_metadata(model_path: Union[str, Path], metadata: ModelMetadata) -> Path:
    """Writes the card of an exported model, atomically; returns its path."""
    path = metadata_path(model_path)
    write_text(path, metadata.to_json())
    return path


def check_metadata_is_free(model_path: Union[str, Path], metadata: ModelMetadata) -> None:
    """Models that differ only in their suffix share a card, so they must have the same form.

    Raises:
        ConfigError: there is a card of another form, and a model next to it that it belongs to.
    """
    path = metadata_path(model_path)
    others = [other for suffix in MODEL_SUFFIXES for other in [path.with_suffix(suffix)]
              if other.exists() and other != Path(model_path)]
    if not others or not path.exists():
        return
    known = dataclasses.replace(read_metadata(path), checkpoint_sha256=metadata.checkpoint_sha256,
                                source=metadata.source)
    if known != metadata:
        raise ConfigError(f"{path} describes {others[0]}, whose input, output or normalisation is another one; "
                          "expected another --file_name")


def sha256_of(path: Union[str, Path]) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
