"""From logits to classes: argmax, and the argmax of upsampled logits without upsampling them. No MindSpore.

A bilinear upsampling mixes four neighbouring source values, with the same weights for every class. Where all four
have the same best class, that class is best in the whole cell between them. So only the cells on a boundary between
classes need their pixels computed: a fifth of the image, for trained networks on streets.
"""
from functools import reduce
from typing import NamedTuple, Sequence, Tuple

import numpy as np

from rtseg.utils.errors import DataError

_CELLS_AT_ONCE = 2048  # their pixels' values fit in a processor's cache


def check_finite(logits: np.ndarray) -> None:
    """Raises DataError where a logit is NaN or infinite: no class is best there."""
    if not np.isfinite(logits).all():
        raise DataError("expected finite logits, found NaN or infinity; is the model's precision too low?")


def argmax(logits: np.ndarray) -> np.ndarray:
    """Logits (C, H, W) -> uint8 (H, W): the class of each pixel, the first among equal ones."""
    # np.argmax over the first axis takes three times as long.
    best, classes = logits[0].copy(), np.zeros(logits.shape[1:], np.uint8)
    is_better = np.empty(classes.shape, bool)
    for index in range(1, len(logits)):
        np.greater(logits[index], best, out=is_better)
        np.putmask(classes, is_better, np.uint8(index))
        np.maximum(best, logits[index], out=best)
    return classes


class _Lines(NamedTuple):
    """How one side, of `length` source lines, becomes `size` upsampled lines.

    The space between two neighbouring source lines is a cell; with half-pixel centres there is one more at either end,
    between the outermost line and itself.
    """

    before: np.ndarray   # (cells,) source line at the beginning of each cell
    after: np.ndarray    # (cells,) and at its end
    cell: np.ndarray     # (size,) the cell that each upsampled line is in
    place: np.ndarray    # (size,) its number among those of its cell
    weights: np.ndarray  # (cells, most lines in a cell) float32: how much of `after` it has


def _lines(length: int, size: int, *, align_corners: bool) -> _Lines:
    if align_corners:
        ends = np.arange(max(2, length))
        position = np.arange(size) * ((length - 1) / max(1, size - 1))
    else:
        ends = np.arange(-1, length + 1)
        position = (np.arange(size) + 0.5) * (length / size) + 0.5
    ends = np.clip(ends, 0, length - 1)
    cell = np.minimum(position.astype(np.intp), len(ends) - 2)
    place = np.arange(size) - np.searchsorted(cell, cell)
    weights = np.zeros((len(ends) - 1, place.max() + 1), np.float32)
    weights[cell, place] = position - cell
    return _Lines(ends[:-1], ends[1:], cell, place, weights)


def argmax_upsampled(logits: np.ndarray, size: Tuple[int, int], *, align_corners: bool) -> np.ndarray:
    """The classes of bilinearly upsampled logits.

    Args:
        logits: float32 or float16 (C, h, w) at a head's stride.
        size: (H, W) to upsample to, each at least as long as in `logits`.
        align_corners: how the network upsamples.

    Returns:
        uint8 (H, W), the first class among equal ones: what `argmax` finds in the upsampled logits, up to pixels where
        two classes differ by less than float32's rounding.

    Raises:
        DataError: a logit is NaN or infinite.
    """
    check_finite(logits)
    logits = np.ascontiguousarray(logits, np.float32)
    if logits.shape[1:] == tuple(size):
        return argmax(logits)
    width = logits.shape[2]
    rows, columns = (_lines(length, target, align_corners=align_corners)
                     for length, target in zip(logits.shape[1:], size))
    source = argmax(logits)
    corners = [source[lines][:, across] for lines in (rows.before, rows.after)
               for across in (columns.before, columns.after)]
    cell_classes = corners[0]
    boundary = np.nonzero((cell_classes != corners[1]) | (cell_classes != corners[2]) | (cell_classes != corners[3]))

    # Every cell has as many places as the largest one; what is too much is left out at the end.
    places = rows.weights.shape[1], columns.weights.shape[1]
    cells = np.empty((len(rows.before), places[0], len(columns.before), places[1]), np.uint8)
    cells[...] = cell_classes[:, None, :, None]
    flat = logits.reshape(len(logits), -1)
    for start in range(0, len(boundary[0]), _CELLS_AT_ONCE):
        y, x = (index[start:start + _CELLS_AT_ONCE] for index in boundary)
        quads = [flat.take(line[y] * width + across[x], axis=1) for line in (rows.before, rows.after)
                 for across in (columns.before, columns.after)]
        cells[y, :, x] = _argmax_in_cells(quads, rows.weights[y], column_weights=columns.weights[x])
    upsampled = cells.reshape(len(rows.before) * places[0], -1)
    return upsampled.take(rows.cell * places[0] + rows.place, axis=0).take(
        columns.cell * places[1] + columns.place, axis=1)


def classes_of(output: np.ndarray, size: Tuple[int, int], *, align_corners: bool = False) -> np.ndarray:
    """uint8 (H, W) classes of a network's output: a class map of that size, logits of it, or smaller head logits.

    Args:
        output: uint8 (H, W), or float32 or float16 (C, h, w).
        size: (H, W).
        align_corners: how the network upsamples its head logits.

    Raises:
        DataError: logits that are not finite.
    """
    if output.ndim == 2:
        return output
    if output.shape[1:] != tuple(size):
        return argmax_upsampled(output, size, align_corners=align_corners)
    check_finite(output)
    return argmax(output)


def _argmax_in_cells(quads: Sequence[np.ndarray], row_weights: np.ndarray, *, column_weights: np.ndarray) -> np.ndarray:
    """Classes (K, rows, columns) in K cells.

    Args:
        quads: logits (C, K) at the corners: top left, top right, bottom left, bottom right.
        row_weights, column_weights: (K, rows) and (K, columns), of the bottom and of the right.
    """
    lowest, highest = (reduce(function, quads) for function in (np.minimum, np.maximum))
    # A class that is nowhere as good as another one is everywhere cannot win.
    possible = highest >= lowest.max(axis=0)
    shape = (len(row_weights), row_weights.shape[1], column_weights.shape[1])
    best, classes = np.full(shape, -np.inf, np.float32), np.zeros(shape, np.uint8)
    for index, is_possible in enumerate(possible):
        cells = np.flatnonzero(is_possible)
        if not len(cells):
            continue
        top_left, top_right, bottom_left, bottom_right = (quad[index, cells, None] for quad in quads)
        across, down = column_weights[cells], row_weights[cells]
        top, bottom = _mix(top_left, top_right, weight=across), _mix(bottom_left, bottom_right, weight=across)
        values = _mix(top[:, None, :], bottom[:, None, :], weight=down[:, :, None])
        is_better = values > best[cells]
        best[cells] = np.where(is_better, values, best[cells])
        classes[cells] = np.where(is_better, np.uint8(index), classes[cells])
    return classes


def _mix(first: np.ndarray, second: np.ndarray, *, weight: np.ndarray) -> np.ndarray:
    """`first` and `second`, which has this weight; equal ones give exactly themselves."""
    result = (second - first) * weight
    result += first
    return result


def upsample(logits: np.ndarray, size: Tuple[int, int], *, align_corners: bool) -> np.ndarray:
    """float32 (C, h, w) -> float32 (C, H, W), bilinear."""
    if logits.shape[1:] == tuple(size):
        return logits
    rows, columns = (_lines(length, target, align_corners=align_corners)
                     for length, target in zip(logits.shape[1:], size))
    first, second, weight = rows.before[rows.cell], rows.after[rows.cell], rows.weights[rows.cell, rows.place]
    tall = _mix(logits[:, first], logits[:, second], weight=weight[:, None])
    first, second = columns.before[columns.cell], columns.after[columns.cell]
    return _mix(tall.take(first, axis=2), tall.take(second, axis=2),
                weight=columns.weights[columns.cell, columns.place])


def softmax(logits: np.ndarray) -> np.ndarray:
    """float32 (C, H, W) -> probabilities of the same shape."""
    exponentials = np.exp(logits - logits.max(axis=0))
    exponentials /= exponentials.sum(axis=0)
    return exponentials
