"""Emulates on a CPU what an Atlas 910 does to float32: convolutions and matrix products take and give float16.

Each input, output and gradient of these operators is rounded to float16; sums are kept in float32, as in the matrix
units of the device. All other operators stay float32 (precision mode allow_fp32_to_fp16, see runtime/device.py).
"""
from contextlib import contextmanager
from typing import Any, Iterator

import mindspore as ms
from mindspore import dtype, nn, ops

_matmul = ops.matmul


def round_to_float16(x: ms.Tensor) -> ms.Tensor:
    """float32 -> float32, with the nearest float16 values; gradients are rounded likewise."""
    return x.astype(dtype.float16).astype(dtype.float32)


def rounded_matmul(a: ms.Tensor, b: ms.Tensor) -> ms.Tensor:
    """`ops.matmul` of rounded matrices, rounded."""
    return round_to_float16(_matmul(round_to_float16(a), round_to_float16(b)))


class RoundedConvolution(nn.Cell):
    """A convolution operator of rounded input and weight, rounded."""

    def __init__(self, convolution: ops.Conv2D):
        super().__init__()
        self.convolution = convolution

    def construct(self, x: ms.Tensor, weight: ms.Tensor) -> ms.Tensor:
        return round_to_float16(self.convolution(round_to_float16(x), round_to_float16(weight)))


def round_convolutions(network: nn.Cell) -> None:
    """Makes the convolutions of `network` float16."""
    for _, cell in network.cells_and_names():
        if isinstance(cell, nn.Conv2d):
            operator: Any = cell.conv2d
            del cell.conv2d
            cell.conv2d = RoundedConvolution(operator)


@contextmanager
def rounded_products() -> Iterator[None]:
    """Makes every `ops.matmul` that is compiled in the block float16."""
    ops.matmul = rounded_matmul
    try:
        yield
    finally:
        ops.matmul = _matmul
