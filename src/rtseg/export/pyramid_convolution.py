"""Convolution of pyramid pooling's output without upsampling the small grids first.

A pyramid pooling ends in a concatenation of features with grids of bins (1x1 to 6x6) that are upsampled to their size,
and a convolution reads it all: ICNet's dearest one, half of whose products are of values interpolated from 50
positions, or four fifths with a ResNet-18. Upsampling and convolution are linear. So the products of each kernel
position are computed on the grid, and one product with a constant matrix upsamples, shifts and adds them all.
"""
from typing import Any, List, NamedTuple, Tuple

import numpy as np

from rtseg.inference.postprocessing import upsample

Builder = Any      # rtseg.export.onnx_converter.Builder, which needs this module
Convolution = Any  # rtseg.export.onnx_operators.Convolution


class Upsampled(NamedTuple):
    """How a tensor came from a smaller one by bilinear upsampling."""

    source: str              # ONNX name
    grid: Tuple[int, int]    # height and width of the source
    size: Tuple[int, int]    # and of the tensor
    align_corners: bool


class _Part(NamedTuple):
    """One of the tensors that a convolution reads side by side."""

    name: str                # ONNX name
    weight: np.ndarray       # (out channels, channels of the part, kernel height, kernel width)


def write_split(builder: Builder, convolution: Convolution, *, output: str, dtype: np.dtype) -> bool:
    """Writes `convolution` as one of the features and a product for the grids; False where that does not apply.

    Args:
        output: the ONNX name of what it gives.
        dtype: of the weights.
    """
    attributes, inputs = convolution.attributes, builder.concatenated.get(convolution.input)
    if not inputs or attributes["group"] != 1 or max(attributes["strides"]) > 1 or "pads" not in attributes:
        return False
    weights = np.split(convolution.weight, np.cumsum(list(inputs.values()))[:-1], axis=1)
    features: List[_Part] = []
    grids: List[_Part] = []
    for part in map(_Part, inputs, weights):
        upsampled = builder.upsampled.get(part.name)
        (grids if upsampled and _pays(part, upsampled) else features).append(part)
    if not grids or not features:
        return False
    side_by_side = features[0].name
    if len(features) > 1:
        side_by_side = f"{output}/features"
        builder.emit("Concat", [part.name for part in features], output=side_by_side, axis=1)
    weight, bias = (builder.array(f"{output}/{name}", value.astype(dtype)) for name, value in (
        ("weight", np.concatenate([part.weight for part in features], axis=1)), ("bias", convolution.bias)))
    builder.emit("Conv", [side_by_side, weight, bias], output=f"{output}/of_features", **attributes)
    products = [_products(builder, part, output=f"{output}/grid_{i}", dtype=dtype) for i, part in enumerate(grids)]
    builder.emit("Concat", products, output=f"{output}/products", axis=2)
    images = np.concatenate([_spread(builder.upsampled[part.name], attributes) for part in grids])
    spread = builder.array(f"{output}/spread", images.reshape(len(images), -1).astype(dtype))
    builder.emit("MatMul", [f"{output}/products", spread], output=f"{output}/sums")
    shape = builder.integers(f"{output}/shape", (0, len(convolution.weight), *images.shape[1:]))
    builder.emit("Reshape", [f"{output}/sums", shape], output=f"{output}/of_grids")
    builder.emit("Add", [f"{output}/of_features", f"{output}/of_grids"], output=output)
    return True


def _pays(part: _Part, upsampled: Upsampled) -> bool:
    """Whether there are clearly fewer positions on the grid than channels; a 1x1 kernel is cheap anyway."""
    _, channels, height, width = part.weight.shape
    return height * width > 1 and 2 * int(np.prod(upsampled.grid)) <= channels


def _products(builder: Builder, part: _Part, *, output: str, dtype: np.dtype) -> str:
    """Writes what each kernel position gives on the grid: (N, out channels, kernel positions * grid positions)."""
    out_channels, channels, height, width = part.weight.shape
    upsampled = builder.upsampled[part.name]
    # An output channel for each kernel position.
    weight = builder.array(f"{output}/weight", part.weight.transpose(0, 2, 3, 1).reshape(-1, channels, 1, 1).astype(
        dtype))
    builder.emit("Conv", [upsampled.source, weight], output=f"{output}/conv", kernel_shape=(1, 1))
    shape = builder.integers(f"{output}/shape", (0, out_channels, height * width * int(np.prod(upsampled.grid))))
    builder.emit("Reshape", [f"{output}/conv", shape], output=output)
    return output


def _spread(upsampled: Upsampled, attributes: Any) -> np.ndarray:
    """(kernel positions * grid positions, H, W): with what weight each product adds to each output."""
    positions = int(np.prod(upsampled.grid))
    basis = np.eye(positions, dtype=np.float32).reshape(positions, *upsampled.grid)
    top, left, bottom, right = attributes["pads"]
    images = np.pad(upsample(basis, upsampled.size, align_corners=upsampled.align_corners),
                    ((0, 0), (top, bottom), (left, right)))
    shifts = [[step * i for i in range(length)]
              for length, step in zip(attributes["kernel_shape"], attributes["dilations"])]
    height, width = images.shape[1] - shifts[0][-1], images.shape[2] - shifts[1][-1]
    return np.concatenate([images[:, y:y + height, x:x + width] for y in shifts[0] for x in shifts[1]])
