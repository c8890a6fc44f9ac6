"""Post-training quantization of an ONNX file to int8, by ONNX Runtime's quantizer.

Convolutions, with the ReLU after them, get uint8 activations and int8 weights with a scale for each output channel,
written as QuantizeLinear and DequantizeLinear (QDQ), which operator set 13 has per channel. The rest stays float32:
normalization, pooling, additions, upsampling; and the classifier, so that logits are not rounded to 256 levels.
docs/deployment.md has the measurements.
"""
import logging
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

import numpy as np

from rtseg.inference.input_files import find_inputs, read_upright
from rtseg.inference.metadata import ModelMetadata
from rtseg.inference.preprocessing import fit, normalize
from rtseg.utils.atomic import atomic_write
from rtseg.utils.errors import ConfigError, DataError

# More change the ranges of activations little, and each takes a second or more.
MOST_CALIBRATION_IMAGES = 32

# An activation's range is the moving average of the images' ranges, so that one image's outliers do not set it.
_RANGES = {"CalibMovingAverage": True, "CalibMovingAverageConstant": 0.1}


def check_quantizer() -> None:
    """Raises ConfigError if ONNX Runtime's quantizer cannot be imported."""
    try:
        import onnxruntime.quantization  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"--precision int8 needs the package onnxruntime with its quantizer ({error}); install it "
                          "with: pip install -r requirements.txt") from None


def calibration_files(folder: str) -> List[Path]:
    """At most MOST_CALIBRATION_IMAGES of the images in `folder`, evenly spread over their names.

    Raises:
        DataError: there is none, or one of them cannot be read.
    """
    files, _ = find_inputs([folder])
    images = [file.path for file in files if not file.is_video]
    if not images:
        raise DataError(f"--calibration {folder}: expected a folder of images (PNG, JPEG), such as a few dozen of the "
                        "training split, found none")
    chosen = np.linspace(0, len(images) - 1, min(len(images), MOST_CALIBRATION_IMAGES)).round().astype(int)
    for i in chosen:
        read_upright(images[i])  # before the export, which takes long
    return [images[i] for i in chosen]


def quantize_file(onnx_path: Path, int8_path: Path, *, images: Sequence[Path], metadata: ModelMetadata) -> None:
    """Writes the int8 model of a float32 ONNX file, atomically.

    Args:
        onnx_path: of the float32 model, in a folder that may be written to.
        int8_path: of the model to write.
        images: that show the quantizer which values activations take.
        metadata: of both.

    Raises:
        DataError: an image cannot be read.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    convolutions = [node.name for node in onnx.load(str(onnx_path)).graph.node if node.op_type == "Conv"]
    with atomic_write(int8_path) as temporary, _without_advice():
        # Weights of 7 bits: processors without VNNI add two products of 8 bits in 16, which overflows.
        quantize_static(str(onnx_path), str(temporary), _reader(images, metadata), quant_format=QuantFormat.QDQ,
                        op_types_to_quantize=["Conv", "Relu"], nodes_to_exclude=convolutions[-1:], per_channel=True,
                        reduce_range=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                        extra_options=_RANGES)
        onnx.checker.check_model(str(temporary), full_check=True)


def _reader(images: Sequence[Path], metadata: ModelMetadata) -> Any:
    """A calibration data reader of full batches; the last image fills the last one up."""
    from onnxruntime.quantization import CalibrationDataReader

    inputs = ({metadata.input.name: batch} for batch in _batches(images, metadata))

    class Reader(CalibrationDataReader):
        def get_next(self) -> Optional[Dict[str, np.ndarray]]:
            return next(inputs, None)

    return Reader()


def _batches(images: Sequence[Path], metadata: ModelMetadata) -> Iterator[np.ndarray]:
    batch_size = metadata.size[0]
    for start in range(0, len(images), batch_size):
        batch = [_input_of(path, metadata) for path in images[start:start + batch_size]]
        yield np.stack(batch + batch[-1:] * (batch_size - len(batch)))


def _input_of(path: Path, metadata: ModelMetadata) -> np.ndarray:
    image, _ = fit(read_upright(path), metadata.size[1:], mean=metadata.mean)
    return image if metadata.input_type == "uint8" else normalize(image, metadata.mean, std=metadata.std)


@contextmanager
def _without_advice() -> Iterator[None]:
    """The quantizer advises to fold and infer shapes first, which our converter has done."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
