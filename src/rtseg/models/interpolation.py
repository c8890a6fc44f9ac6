"""Resizing of feature maps, label maps and logits.

`resize_bilinear` and `resize_nearest` are the operators that every device and every exported model has. In training on
a CPU `upsample_bilinear` computes the same as the former by matrix products: the resize operator's gradient runs in one
thread there and took a quarter of a training step, while the gradient of a product is a product. Rows are upsampled in
blocks, each from the few source rows it needs, so little is multiplied by zero.
"""
from typing import Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, dtype, ops

_BLOCK = 32  # upsampled rows that are computed together


def products_are_faster() -> bool:
    """Whether training should upsample by matrix products: on a CPU. Other devices have fast resize operators, and an
    Ascend would compute the products in float16."""
    return ms.get_context("device_target") == "CPU"


def resize_bilinear(x: Tensor, size: Tuple[int, int], *, align_corners: bool) -> Tensor:
    """Bilinear resize of (N, C, H, W) to `size` = (height, width); nothing to do when it has that size already."""
    if x.shape[2:] == size:
        return x
    return ops.interpolate(x, size=size, mode="bilinear", align_corners=align_corners)


def resize_nearest(x: Tensor, size: Tuple[int, int]) -> Tensor:
    """Nearest resize of (N, C, H, W) to `size` = (height, width): source row floor(i * H / height)."""
    return ops.interpolate(x, size=size, mode="nearest")


def upsample_bilinear(x: Tensor, size: Tuple[int, int], *, align_corners: bool) -> Tensor:
    """`resize_bilinear` to a larger `size` = (H, W) by products: float32 or float16 (N, C, h, w) -> (N, C, H, W)."""
    batch, channels, height, width = x.shape
    if (height, width) == size:
        return x
    rows = ops.matmul(x.reshape(-1, width), _columns(width, size[1], align_corners).astype(x.dtype))
    rows = rows.reshape(batch * channels, height, size[1])
    blocks = _blocks(height, size[0], align_corners).astype(x.dtype)
    windows = ops.gather(rows, _window_rows(height, size[0], align_corners), 1)
    windows = windows.reshape(batch * channels, blocks.shape[0], blocks.shape[2], size[1])
    return ops.matmul(blocks, windows).reshape(batch, channels, *size)


def upsample_bilinear_transposed(x: Tensor, size: Tuple[int, int], *, align_corners: bool) -> Tensor:
    """The transpose of `upsample_bilinear` as a linear map: float32 (N, H, W, C) -> (N, C, h, w), `size` = (h, w)."""
    batch, height, width, channels = x.shape
    if (height, width) == size:
        return ops.transpose(x, (0, 3, 1, 2))
    blocks = _blocks(size[0], height, align_corners)
    windows = ops.matmul(blocks.swapaxes(1, 2), x.reshape(batch, blocks.shape[0], blocks.shape[1], width * channels))
    windows = windows.reshape(batch, -1, width * channels)
    rows = ops.matmul(_window_sums(size[0], height, align_corners), windows)
    rows = ops.transpose(rows.reshape(batch, size[0], width, channels), (0, 3, 1, 2))
    return ops.matmul(rows.reshape(-1, width), _columns(size[1], width, align_corners).T).reshape(
        batch, channels, *size)


def _matrix(length: int, size: int, *, align_corners: bool) -> np.ndarray:
    """(size, length) float32: row i holds the weights with which upsampled line i mixes the lines of the source."""
    if align_corners:
        places = np.arange(size) * ((length - 1) / max(1, size - 1))
    else:
        places = np.clip((np.arange(size) + 0.5) * (length / size) - 0.5, 0, length - 1)
    first = np.minimum(places.astype(int), length - 1)
    second = np.minimum(first + 1, length - 1)
    matrix = np.zeros((size, length))
    np.add.at(matrix, (np.arange(size), first), 1 - (places - first))
    np.add.at(matrix, (np.arange(size), second), places - first)
    return matrix.astype(np.float32)


def _windows(length: int, size: int, *, align_corners: bool) -> Tuple[np.ndarray, int]:
    """(first source row of each block, rows in a window): the source rows that each block of upsampled rows needs."""
    block = _BLOCK if size % _BLOCK == 0 else size
    used = _matrix(length, size, align_corners=align_corners).reshape(-1, block, length).any(1)
    first = used.argmax(1)
    last = length - used[:, ::-1].argmax(1)
    window = int((last - first).max())
    return np.minimum(first, length - window), window


@ops.constexpr
def _columns(length: int, size: int, align_corners: bool) -> Tensor:
    """(length, size) float32."""
    return Tensor(np.ascontiguousarray(_matrix(length, size, align_corners=align_corners).T))


@ops.constexpr
def _blocks(length: int, size: int, align_corners: bool) -> Tensor:
    """(blocks, upsampled rows in a block, source rows in a window) float32."""
    starts, window = _windows(length, size, align_corners=align_corners)
    matrix = _matrix(length, size, align_corners=align_corners).reshape(len(starts), -1, length)
    return Tensor(np.stack([rows[:, start:start + window] for rows, start in zip(matrix, starts)]))


@ops.constexpr
def _window_rows(length: int, size: int, align_corners: bool) -> Tensor:
    """(blocks * window,) int32: the source rows of all windows, one after the other."""
    starts, window = _windows(length, size, align_corners=align_corners)
    return Tensor((starts[:, None] + np.arange(window)).reshape(-1), dtype.int32)


@ops.constexpr
def _window_sums(length: int, size: int, align_corners: bool) -> Tensor:
    """(length, blocks * window) float32 of ones and zeros: adds up what the windows hold of each source row."""
    starts, window = _windows(length, size, align_corners=align_corners)
    rows = (starts[:, None] + np.arange(window)).reshape(-1)
    return Tensor((rows == np.arange(length)[:, None]).astype(np.float32))
