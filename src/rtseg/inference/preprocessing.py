"""From an image to what a network takes: normalisation, padding, letterboxing. NumPy and OpenCV, no MindSpore.

The C++ program does the same: ascend310_infer/.
"""
from typing import List, NamedTuple, Sequence, Tuple, get_args

import cv2
import numpy as np

from rtseg.config.sections import Resize

RESIZE_MODES: Tuple[Resize, ...] = get_args(Resize)


class Placement(NamedTuple):
    """Where an image is in a network's input: at the top left, `valid` (height, width) of it; `original` is its size.
    """

    valid: Tuple[int, int]
    original: Tuple[int, int]


def normalization_factors(mean: Sequence[float], std: Sequence[float]) -> Tuple[np.ndarray, np.ndarray]:
    """float32 (3,) scale and shift, with which byte * scale + shift is (byte / 255 - mean) / std."""
    return (np.array([1 / (255 * s) for s in std], np.float32),
            np.array([-m / s for m, s in zip(mean, std)], np.float32))


def normalize(image: np.ndarray, mean: Sequence[float], *, std: Sequence[float]) -> np.ndarray:
    """uint8 RGB (H, W, 3) -> float32 (3, H, W), (x / 255 - mean) / std, with the arithmetic of the networks' graph."""
    result = np.empty((3, *image.shape[:2]), np.float32)
    for channel, (scale, shift) in enumerate(zip(*normalization_factors(mean, std))):
        table = np.arange(256, dtype=np.float32) * scale + shift
        # Into the result itself; a tenth of the time of np.take, which buffers what it writes to `out`.
        cv2.LUT(cv2.extractChannel(image, channel), table, result[channel])
    return result


def pad_color(mean: Sequence[float]) -> List[int]:
    """RGB bytes that the normalisation makes (nearly) zero."""
    return [round(255 * m) for m in mean]


def pad_to_size(image: np.ndarray, size: Tuple[int, int], *, mean: Sequence[float]) -> np.ndarray:
    """Adds mean colour at the bottom and the right of uint8 (h, w, 3) up to `size`, (height, width)."""
    bottom, right = size[0] - image.shape[0], size[1] - image.shape[1]
    if not bottom and not right:
        return image
    return cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=pad_color(mean))


def pad_to_multiple(image: np.ndarray, multiple: int, *, mean: Sequence[float]) -> np.ndarray:
    """Adds mean colour at the bottom and the right up to the next multiples of `multiple`."""
    height, width = (-(-length // multiple) * multiple for length in image.shape[:2])
    return pad_to_size(image, (height, width), mean=mean)


def fit(image: np.ndarray, size: Tuple[int, int], *, mean: Sequence[float],
        resize: Resize = "letterbox") -> Tuple[np.ndarray, Placement]:
    """Brings an image to a network's fixed size.

    Args:
        image: uint8 (h, w, 3) RGB.
        size: (H, W).
        mean: of the normalisation; the padding's colour.
        resize: "letterbox" scales by min(H / h, W / w) and pads at the bottom or the right; "squeeze" scales each side
            for itself. Both bilinear; an image of that size stays as it is.

    Returns:
        uint8 (H, W, 3), and where the image is in it, which `unfit` takes.
    """
    original: Tuple[int, int] = image.shape[0], image.shape[1]
    if resize == "squeeze":
        valid = size
    else:
        scale = min(size[0] / original[0], size[1] / original[1])
        valid = (max(1, round(original[0] * scale)), max(1, round(original[1] * scale)))
    if valid != original:
        image = cv2.resize(image, valid[::-1], interpolation=cv2.INTER_LINEAR)
    return pad_to_size(image, size, mean=mean), Placement(valid, original)


def unfit(array: np.ndarray, placement: Placement) -> np.ndarray:
    """The part of a class map (H, W) that is the image, at the image's own size; nearest."""
    valid = array[:placement.valid[0], :placement.valid[1]]
    if placement.valid == placement.original:
        return valid
    return cv2.resize(valid, placement.original[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
