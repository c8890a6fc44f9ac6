"""The drawing surface of the synthetic street scenes.

Everything is described in metres. World coordinates are (x, y, z): right, up and away from a camera that looks along z
from EYE_HEIGHT above the origin. A `Canvas` projects polygons and paints image (RGB) and label ids together, so both
agree to the pixel. As in Cityscapes, what is seen through a fence or a wheel belongs to the fence or the wheel.
"""
from functools import lru_cache
from typing import Dict, Iterator, NamedTuple, Optional, Tuple

import cv2
import numpy as np
from numpy.typing import ArrayLike

from rtseg.data.dataset_spec import load_dataset_spec

EYE_HEIGHT = 1.3
_SUBPIXEL_BITS = 4  # cv2 draws with coordinates in 1/16 pixel
_BOX_CORNERS = [[0, 2, 2, 0], [1, 1, 3, 3]]  # (left, bottom), (right, bottom), (right, top), (left, top)
CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 20)), np.sin(np.linspace(0, 2 * np.pi, 20))], 1)


@lru_cache(maxsize=None)
def label_ids() -> Dict[str, int]:
    """The ids in Cityscapes' label files by name, ignored ones included."""
    spec = load_dataset_spec("cityscapes")
    return {entry.name: value for entry in spec.classes + spec.ignored
            for value in entry.values if isinstance(value, int)}


class Weather(NamedTuple):
    """Weather and time of day; colours are RGB 0..255, `light` multiplies the finished image per channel."""

    zenith: Tuple[int, int, int]
    skyline: Tuple[int, int, int]
    light: Tuple[float, float, float]
    sun: float  # contrast between lit and unlit sides
    shadow: float  # brightness left in a shadow
    sight: float  # metres at which haze hides 63 % of the colour
    lit_windows: float  # share of windows with a lamp behind


class Canvas:
    """An image and a label map of one size, seen through one camera."""

    def __init__(self, height: int, width: int, *, weather: Weather, rng: np.random.Generator):
        self.image = np.zeros((height, width, 3), np.uint8)
        self.labels = np.zeros((height, width), np.uint8)
        self.weather = weather
        self._haze = np.array(weather.skyline, float)
        self.focal = 1.1 * min(width, 2 * height)
        self.horizon = height * rng.uniform(0.40, 0.46)
        self.vanishing = width * rng.uniform(0.46, 0.54)
        angle = rng.uniform(0, 2 * np.pi)
        self.sun = weather.sun * np.array([np.cos(angle), np.sin(angle)])

    def project(self, points: ArrayLike) -> np.ndarray:
        """Pixel coordinates (..., 2) of world points (..., 3)."""
        points = np.asarray(points, float)
        scale = self.focal / points[..., 2]
        pixels = np.empty(points.shape[:-1] + (2,))
        pixels[..., 0] = self.vanishing + scale * points[..., 0]
        pixels[..., 1] = self.horizon + scale * (EYE_HEIGHT - points[..., 1])
        return pixels

    def view(self, z: float) -> Tuple[float, float]:
        """World x of the left and the right end of the image at depth `z`."""
        return -self.vanishing * z / self.focal, (self.labels.shape[1] - self.vanishing) * z / self.focal

    def fill(self, polygons: ArrayLike, color: Optional[ArrayLike], label: str) -> None:
        """Fills world polygons (..., corners, 3); `color` None marks the labels and leaves the image as it is."""
        points = np.asarray(polygons, float)
        points = points.reshape(-1, *points.shape[-2:])
        if len(points):
            self._paint(self.project(points), color, label=label, depth=points[..., 2].mean())

    def fill_hull(self, points: ArrayLike, color: Optional[ArrayLike], label: str) -> None:
        """Fills the outline of a convex body given by world points (..., 3)."""
        points = np.reshape(points, (-1, 3))
        hull = cv2.convexHull(self.project(points).astype(np.float32)).reshape(1, -1, 2)
        self._paint(hull, color, label=label, depth=points[:, 2].mean())

    def fill_dots(self, centers: np.ndarray, radii: np.ndarray, *, colors: np.ndarray, label: str) -> None:
        """Fills discs that face the camera: centers (count, 3) and radii (count) in metres, colors (count, 3)."""
        scale, depth = 2 ** _SUBPIXEL_BITS, centers[:, 2].mean()
        pixels = np.rint(self.project(centers) * scale).astype(int).tolist()
        sizes = np.maximum(1, radii * self.focal / centers[:, 2] * scale).astype(int).tolist()
        for center, size, color in zip(pixels, sizes, self._hazed(colors, depth)):
            cv2.circle(self.image, center, size, color, -1, shift=_SUBPIXEL_BITS)
            cv2.circle(self.labels, center, size, label_ids()[label], -1, shift=_SUBPIXEL_BITS)

    def shade(self, polygon: ArrayLike, factor: Optional[float] = None) -> None:
        """Darkens the image, not the labels, inside a world polygon (corners, 3)."""
        factor = self.weather.shadow if factor is None else factor
        mask = np.zeros(self.labels.shape, np.uint8)
        pixels = np.rint(self.project(polygon) * 2 ** _SUBPIXEL_BITS).astype(np.int32)
        cv2.fillPoly(mask, [pixels], 1, shift=_SUBPIXEL_BITS)
        left, top, width, height = cv2.boundingRect(mask)
        part = self.image[top:top + height, left:left + width]
        inside = mask[top:top + height, left:left + width, None]
        np.multiply(part, np.float32(factor), out=part, where=inside.astype(bool), casting="unsafe")

    def _paint(self, outlines: np.ndarray, color: Optional[ArrayLike], *, label: str, depth: float) -> None:
        pixels = list(np.rint(outlines * 2 ** _SUBPIXEL_BITS).astype(np.int32))
        if color is not None:
            cv2.fillPoly(self.image, pixels, self._hazed(color, depth), shift=_SUBPIXEL_BITS)
        cv2.fillPoly(self.labels, pixels, label_ids()[label], shift=_SUBPIXEL_BITS)

    def _hazed(self, color: ArrayLike, depth: float) -> list:
        clear = np.exp(-depth / self.weather.sight)
        return (np.minimum(color, 255) * clear + self._haze * (1 - clear)).tolist()


class Surface:
    """A flat four-sided face to paint on; positions (u, v) are metres from its lower left corner, right and up."""

    def __init__(self, canvas: Canvas, corners: ArrayLike, label: str):
        self.canvas, self.label = canvas, label
        self.corners = np.asarray(corners, float)  # lower left, lower right, upper right, upper left
        self.width = float(np.linalg.norm(self.corners[1] - self.corners[0]))
        self.height = float(np.linalg.norm(self.corners[3] - self.corners[0]))
        along = (self.corners[1] - self.corners[0])[[0, 2]] / self.width
        self.light = 1 + float(canvas.sun @ (along[1], -along[0]))

    def polygon(self, points: ArrayLike, color: Optional[ArrayLike]) -> None:
        """Fills one polygon (corners, 2) or several (count, corners, 2)."""
        points = np.asarray(points, float)
        u, v = points[..., :1] / self.width, points[..., 1:] / self.height
        low_left, low_right, up_right, up_left = self.corners
        bottom, top = low_left + u * (low_right - low_left), up_left + u * (up_right - up_left)
        world = bottom + v * (top - bottom)
        self.canvas.fill(world, None if color is None else np.asarray(color) * self.light, self.label)

    def box(self, left: ArrayLike, bottom: ArrayLike, right: ArrayLike, top: ArrayLike,
            color: Optional[ArrayLike]) -> None:
        """Fills an upright rectangle; arrays of positions fill many at once."""
        edges = np.array(np.broadcast_arrays(left, bottom, right, top), float).reshape(4, -1)
        self.polygon(edges[_BOX_CORNERS].T, color)

    def disc(self, u: float, v: float, radius: float, color: Optional[ArrayLike]) -> None:
        self.polygon(CIRCLE * radius + (u, v), color)

    def bar(self, start: ArrayLike, end: ArrayLike, thickness: float, color: Optional[ArrayLike]) -> None:
        """Fills a straight bar from `start` (2) to `end` (2), or many bars (count, 2) at once."""
        start, end = np.asarray(start, float), np.asarray(end, float)
        along = (end - start) / np.linalg.norm(end - start, axis=-1, keepdims=True)
        across = np.stack([-along[..., 1], along[..., 0]], -1) * thickness / 2
        self.polygon(np.stack([start - across, end - across, end + across, start + across], -2), color)


class Pose(NamedTuple):
    """Where a thing stands and which way it faces: 0 is away from the camera, pi / 2 to the right."""

    x: float
    z: float
    heading: float = 0.0


def cutout(canvas: Canvas, pose: Pose, label: str) -> Surface:
    """An upright plane through `pose` along its heading: (0, 0) is the ground at `pose`, u points forward."""
    x, z = pose.x + np.sin(pose.heading), pose.z + np.cos(pose.heading)
    return Surface(canvas, [(pose.x, 0, pose.z), (x, 0, z), (x, 1, z), (pose.x, 1, pose.z)], label)


def footprint(pose: Pose, back: float, front: float, half: float, up: float = 0.0) -> np.ndarray:
    """World corners (4, 3) of a level rectangle, counterclockwise from its rear left; `half` is half its width."""
    ahead, right = np.array([back, back, front, front]), np.array([-half, half, half, -half])
    sin, cos = np.sin(pose.heading), np.cos(pose.heading)
    return np.stack([pose.x + right * cos + ahead * sin, np.full(4, up), pose.z + ahead * cos - right * sin], 1)


def solid(canvas: Canvas, pose: Pose, bottom: Tuple[float, float, float, float],
          top: Tuple[float, float, float, float], color: ArrayLike, label: str) -> Iterator[Tuple[str, Surface]]:
    """Paints a body with a rectangle at each end, then yields the sides that face the camera for details.

    `bottom` and `top` are (back, front, half width, height above ground) in metres, along the heading of `pose`.
    Yields ("rear" | "right" | "front" | "left", Surface).
    """
    rings = footprint(pose, *bottom), footprint(pose, *top)
    canvas.fill_hull(rings, np.asarray(color) * 0.9, label)
    for i, name in enumerate(("rear", "right", "front", "left")):
        corners = np.stack([rings[0][i], rings[0][(i + 1) % 4], rings[1][(i + 1) % 4], rings[1][i]])
        low_left, low_right, up_right, up_left = canvas.project(corners)
        rising, falling = up_right - low_left, up_left - low_right
        if rising[0] * falling[1] < rising[1] * falling[0]:  # corners run counterclockwise: the side faces the camera
            side = Surface(canvas, corners, label)
            side.box(0, 0, side.width, side.height, color)
            yield name, side


def varied(color: ArrayLike, rng: np.random.Generator, spread: float = 14) -> np.ndarray:
    """The colour with a random change of brightness and a smaller one of hue."""
    return np.clip(np.asarray(color) * rng.uniform(0.8, 1.2) + rng.normal(0, spread, 3), 12, 245)
