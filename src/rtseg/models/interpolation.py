"""Bilinear enlargement written as matrix products, for the loss.

The resize kernel's gradient runs in one thread on a CPU and took a quarter of a training step; the gradient of a
product is a product. Rows are enlarged in blocks, each from the few source rows it needs, so little is multiplied by
zero.
"""
import numpy as np
from mindspore import Tensor, dtype, ops

_BLOCK = 32  # enlarged rows that are computed together


def upsample_bilinear(x, size, align_corners):
    """Bilinear enlargement of float32 or float16 (N, C, h, w) to `size` = (H, W): (N, C, H, W) of the same type."""
    batch, channels, height, width = x.shape
    if (height, width) == size:
        return x
    rows = ops.matmul(x.reshape(-1, width), _columns(width, size[1], align_corners).astype(x.dtype))
    rows = rows.reshape(batch * channels, height, size[1])
    blocks = _blocks(height, size[0], align_corners).astype(x.dtype)
    windows = ops.gather(rows, _window_rows(height, size[0], align_corners), 1)
    windows = windows.reshape(batch * channels, blocks.shape[0], blocks.shape[2], size[1])
    return ops.matmul(blocks, windows).reshape(batch, channels, *size)


def upsample_bilinear_transposed(x, size, align_corners):
    """The transpose of `upsample_bilinear` as a linear map: float32 (N, H, W, C) -> (N, C, h, w) of `size`."""
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


def _matrix(length, size, align_corners):
    """(size, length) float32: row i holds the weights with which enlarged line i mixes the lines of the source."""
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


def _windows(length, size, align_corners):
    """(first source row of each block, rows in a window): the source rows that each block of enlarged rows needs."""
    block = _BLOCK if size % _BLOCK == 0 else size
    used = _matrix(length, size, align_corners).reshape(-1, block, length).any(1)
    first = used.argmax(1)
    last = length - used[:, ::-1].argmax(1)
    window = int((last - first).max())
    return np.minimum(first, length - window), window


@ops.constexpr
def _columns(length, size, align_corners):
    """(length, size) float32."""
    return Tensor(np.ascontiguousarray(_matrix(length, size, align_corners).T))


@ops.constexpr
def _blocks(length, size, align_corners):
    """(blocks, enlarged rows in a block, source rows in a window) float32."""
    starts, window = _windows(length, size, align_corners)
    matrix = _matrix(length, size, align_corners).reshape(len(starts), -1, length)
    return Tensor(np.stack([rows[:, start:start + window] for rows, start in zip(matrix, starts)]))


@ops.constexpr
def _window_rows(length, size, align_corners):
    """(blocks * window,) int32: the source rows of all windows, one after the other."""
    starts, window = _windows(length, size, align_corners)
    return Tensor((starts[:, None] + np.arange(window)).reshape(-1), dtype.int32)


@ops.constexpr
def _window_sums(length, size, align_corners):
    """(length, blocks * window) float32 of ones and zeros: adds up what the windows hold of each source row."""
    starts, window = _windows(length, size, align_corners)
    rows = (starts[:, None] + np.arange(window)).reshape(-1)
    return Tensor((rows == np.arange(length)[:, None]).astype(np.float32))
