"""Augmentation for training and the model-zoo evaluation crop, in NumPy and OpenCV.

Images are uint8 (H, W, 3) RGB, labels uint8 (H, W) train ids; both stay uint8, because the network's graph normalises.
All sizes are (height, width). Randomness comes only from the generator that the caller passes in.
"""
from dataclasses import dataclass
from typing import NamedTuple, Sequence, Tuple, Union

import cv2
import numpy as np

from rtseg.data.dataset_spec import IGNORE_LABEL
from rtseg.utils.errors import ConfigError

Size = Tuple[int, int]

# As in mmsegmentation: after so many crops of nearly one class, the last one is taken.
_MAX_CROP_TRIES = 10
# Weights of R, G and B in luma (ITU-R BT.601), which contrast and saturation are measured against.
_LUMA = np.array([0.299, 0.587, 0.114])


class CropGeometry(NamedTuple):
    """Scale the image to `scaled_size`, mirror it if `flip`, pad right and bottom, cut `crop_size` at `corner`."""

    scaled_size: Size
    corner: Tuple[int, int]
    crop_size: Size
    flip: bool


@dataclass(frozen=True)
class TrainTransform:
    """Random scale, flip, crop, blur and colour jitter of one image and its label.

    The short side is scaled to `base_size` times a number from `scale_range`. Where the scaled image is smaller
    than the crop, the image is padded with `pad_color` (RGB) and the label with IGNORE_LABEL. Crops in which one
    class takes more than `max_class_ratio` of the labelled pixels are drawn again (1 = any crop will do).
    `color_jitter` is the strength of brightness, contrast and saturation changes (0 = none).

    Raises:
        ConfigError: a value that cannot work.
    """

    crop_size: Size
    base_size: int
    pad_color: Sequence[int]
    scale_range: Tuple[float, float] = (0.5, 2.0)
    flip_probability: float = 0.5
    blur_probability: float = 0.5
    color_jitter: float = 0.0
    max_class_ratio: float = 1.0

    def __post_init__(self) -> None:
        low, high = self.scale_range
        requirements = (
            ("crop_size", min(self.crop_size) >= 1, "at least 1 x 1"),
            ("base_size", self.base_size >= 1, "at least 1"),
            ("scale_range", 0 < low <= high, "two numbers above 0, the smaller one first"),
            ("color_jitter", 0 <= self.color_jitter <= 1, "between 0 and 1"),
            ("max_class_ratio", 0 < self.max_class_ratio <= 1, "above 0 and at most 1"),
        )
        for name, holds, expected in requirements:
            if not holds:
                raise ConfigError(f"{name} is {getattr(self, name)}: expected {expected}")

    def __call__(self, image: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> Tuple[np.ndarray, np.ndarray]:
        """Returns an image, uint8 (crop height, crop width, 3), and a label, uint8 (crop height, crop width)."""
        scaled_size = random_scaled_size((label.shape[0], label.shape[1]), self.base_size, scale_range=self.scale_range,
                                         rng=rng)
        flip = rng.random() < self.flip_probability
        for _ in range(_MAX_CROP_TRIES):
            corner = random_corner(scaled_size, self.crop_size, rng=rng)
            geometry = CropGeometry(scaled_size, corner, self.crop_size, flip)
            label_crop = scaled_crop(label, geometry, interpolation=cv2.INTER_NEAREST, fill=IGNORE_LABEL)
            if self.max_class_ratio == 1 or dominant_ratio(label_crop, IGNORE_LABEL) <= self.max_class_ratio:
                break
        image_crop = scaled_crop(image, geometry, interpolation=cv2.INTER_LINEAR, fill=self.pad_color)
        if rng.random() < self.blur_probability:
            image_crop = cv2.GaussianBlur(image_crop, (0, 0), 1.0 - rng.random())  # (0, 1]: OpenCV refuses 0
        if self.color_jitter > 0:
            brightness, contrast, saturation = rng.uniform(1 - self.color_jitter, 1 + self.color_jitter, size=3)
            image_crop = jitter_color(image_crop, brightness=brightness, contrast=contrast, saturation=saturation)
        return image_crop, label_crop


def random_scaled_size(size: Size, base_size: int, *, scale_range: Tuple[float, float],
                       rng: np.random.Generator) -> Size:
    """Returns the size of the scaled image; its short side is uniform in `scale_range` times `base_size`."""
    low, high = (max(1, round(base_size * scale)) for scale in scale_range)
    scale = int(rng.integers(low, high + 1)) / min(size)
    return round(size[0] * scale), round(size[1] * scale)


def random_corner(scaled_size: Size, crop_size: Size, *, rng: np.random.Generator) -> Tuple[int, int]:
    """Returns the top left (y, x) of a crop; 0 where the scaled image is not larger than the crop."""
    y, x = (int(rng.integers(0, max(0, scaled - crop) + 1)) for scaled, crop in zip(scaled_size, crop_size))
    return y, x


def scaled_crop(image: np.ndarray, geometry: CropGeometry, *, interpolation: int,
                fill: Union[int, Sequence[int]]) -> np.ndarray:
    """Returns what `geometry` describes, of `image`'s dtype and channels, computing no pixel outside the crop.

    It agrees with `cv2.resize` of the whole image (`INTER_LINEAR`, and `INTER_NEAREST_EXACT` for nearest) up to
    one grey level and ties of nearest.
    """
    (height, width), (y, x), crop_size, flip = geometry
    visible_height, visible_width = min(height - y, crop_size[0]), min(width - x, crop_size[1])
    step_y, step_x = image.shape[0] / height, image.shape[1] / width
    # Pixel centres are at half coordinates: crop column c shows image column (x + c + 0.5) * step_x - 0.5.
    first_x = x + 0.5
    direction = 1
    if flip:
        first_x, direction = width - first_x, -1
    crop_to_image = np.array([[direction * step_x, 0, first_x * step_x - 0.5],
                              [0, step_y, (y + 0.5) * step_y - 0.5]])
    crop = cv2.warpAffine(image, crop_to_image, (visible_width, visible_height),
                          flags=interpolation | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)
    if (visible_height, visible_width) == tuple(crop_size):
        return crop
    return cv2.copyMakeBorder(crop, 0, crop_size[0] - visible_height, 0, crop_size[1] - visible_width,
                              cv2.BORDER_CONSTANT, value=fill)


def dominant_ratio(label: np.ndarray, ignore_label: int) -> float:
    """Returns the share of the most frequent class among the pixels that are not ignored; 1 when all are ignored."""
    counts = cv2.calcHist([label], [0], None, [256], [0, 256])
    counts[ignore_label] = 0
    total = counts.sum()
    return float(counts.max() / total) if total > 0 else 1.0


def jitter_color(image: np.ndarray, *, brightness: float, contrast: float, saturation: float) -> np.ndarray:
    """Returns the image, uint8 (H, W, 3) RGB, with the three factors applied in this order; 1 changes nothing.

    Differs from the usual chain of three steps: all are linear, so they are one colour matrix, clipped only at the end.
    """
    mean_luma = brightness * _LUMA @ cv2.mean(image)[:3]
    matrix = saturation * np.eye(3) + (1 - saturation) * _LUMA
    offset = np.full((3, 1), (1 - contrast) * mean_luma)
    return cv2.transform(image, np.hstack([contrast * brightness * matrix, offset]))


def resize_center_crop(image: np.ndarray, label: np.ndarray, *, crop_size: Size) -> Tuple[np.ndarray, np.ndarray]:
    """The model-zoo evaluation protocol: scale the image until it just covers the crop, cut the centre.

    Takes an image, uint8 (H, W, 3), and its label, uint8 (H, W); returns both with H, W = `crop_size`.
    """
    scale = max(crop / side for crop, side in zip(crop_size, label.shape))
    height, width = (max(crop, round(side * scale)) for crop, side in zip(crop_size, label.shape))
    y, x = round((height - crop_size[0]) / 2), round((width - crop_size[1]) / 2)

    def cut(pixels: np.ndarray, interpolation: int) -> np.ndarray:
        scaled = cv2.resize(pixels, (width, height), interpolation=interpolation)
        return np.ascontiguousarray(scaled[y:y + crop_size[0], x:x + crop_size[1]])

    return cut(image, cv2.INTER_LINEAR), cut(label, cv2.INTER_NEAREST_EXACT)
