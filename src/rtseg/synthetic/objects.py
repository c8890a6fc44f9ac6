"""The things that stand in a synthetic street, each drawn by one function of (canvas, pose, rng).

Numbers are metres, colours RGB 0..255; `rng` varies size and colour, so that colour alone does not tell the class.
"""
from typing import Sequence

import numpy as np
from numpy.typing import ArrayLike

from rtseg.synthetic.canvas import CIRCLE, Canvas, Pose, Surface, cutout, footprint, solid, varied

_DARK = (32, 32, 35)
_GLASS = (52, 60, 70)
_SKIN = ((236, 196, 170), (198, 150, 118), (120, 82, 60))
_PAINTS = ((205, 205, 208), (150, 152, 156), (92, 95, 100), (40, 42, 46), (150, 32, 34), (38, 62, 128), (52, 84, 62),
           (196, 168, 62), (120, 96, 78))


def ground_shadow(canvas: Canvas, pose: Pose, *, length: float, width: float) -> None:
    """Darkens the ground under a thing."""
    canvas.shade(footprint(pose, -length / 2, length / 2, width / 2), 0.5)


def _pick(rng: np.random.Generator, colors: Sequence[ArrayLike]) -> np.ndarray:
    return varied(colors[rng.integers(len(colors))], rng)


def _glaze(side: Surface, margin: float = 0.08) -> None:
    """A window that leaves `margin` of the side as its frame, with a reflection."""
    u, v = side.width, side.height
    side.box(margin * u, margin * v, (1 - margin) * u, (1 - margin) * v, _GLASS)
    side.polygon([(0.15 * u, 0.9 * v), (0.3 * u, 0.9 * v), (0.2 * u, 0.1 * v), (0.1 * u, 0.1 * v)], (105, 118, 130))


def _wheels(side: Surface, positions: Sequence[float], *, radius: float) -> None:
    """Wheels in side view at `positions` (fractions of the length); the body starts above the ground."""
    ground = -side.corners[0, 1]
    for position in positions:
        side.disc(position * side.width, ground + radius, radius, _DARK)
        side.disc(position * side.width, ground + radius, radius * 0.55, (140, 142, 145))


def _end_details(side: Surface, *, is_rear: bool, lamp_height: float) -> None:
    """Tyres, bumper, lamps and plate of a rear or front view."""
    u, ground = side.width, -side.corners[0, 1]
    lamp = (185, 28, 26) if is_rear else (245, 242, 222)
    for left in (0.04 * u, 0.84 * u):
        side.box(left, ground, left + 0.12 * u, 0.1, _DARK)
        side.box(left, lamp_height, left + 0.12 * u, lamp_height + 0.14, lamp)
    side.box(0, 0, u, 0.14, (58, 58, 62))
    side.box(0.36 * u, 0.18, 0.64 * u, 0.29, (222, 222, 214))


def car(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    length, width, height = rng.uniform((3.7, 1.65, 1.42), (4.8, 1.85, 1.8))
    paint, half, belt = _pick(rng, _PAINTS), length / 2, 0.56 * height
    ground_shadow(canvas, pose, length=length + 0.3, width=width + 0.2)
    for name, side in solid(canvas, pose, (-half, half, width / 2, 0.2), (-half + 0.08, half - 0.1, 0.48 * width, belt),
                            paint, "car"):
        if name in ("rear", "front"):
            _end_details(side, is_rear=name == "rear", lamp_height=belt - 0.45)
        else:
            side.box(0.2 * side.width, 0, 0.8 * side.width, 0.1, (58, 58, 62))
            side.box(0.5 * side.width, 0.1, 0.51 * side.width, side.height, paint * 0.6)
            _wheels(side, (0.2, 0.8), radius=0.31)
    tail = rng.uniform(0.32, 0.46)
    for _, side in solid(canvas, pose, (-0.47 * length, 0.24 * length, 0.46 * width, belt),
                         (-tail * length, 0.06 * length, 0.38 * width, height), paint, "car"):
        _glaze(side)


def truck(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    paint, cargo, half, top = _pick(rng, _PAINTS), varied((190, 188, 180), rng, 25), 3.6, rng.uniform(3.1, 3.8)
    ground_shadow(canvas, pose, length=7.4, width=2.6)

    def draw_cab() -> None:
        for name, side in solid(canvas, pose, (1.7, half, 1.15, 0.4), (1.7, half - 0.15, 1.1, 2.7), paint, "truck"):
            if name == "front":
                side.box(0.2, 1.2, side.width - 0.2, 2.0, _GLASS)
                _end_details(side, is_rear=False, lamp_height=0.35)
            else:
                side.box(0.5 * side.width, 1.2, 0.92 * side.width, 2.0, _GLASS)
                _wheels(side, (0.5,), radius=0.45)

    def draw_load() -> None:
        for name, side in solid(canvas, pose, (-half, 1.5, 1.0, 0.45), (-half, 1.5, 1.0, 0.95), _DARK, "truck"):
            if name == "rear":
                _end_details(side, is_rear=True, lamp_height=0.3)
            elif name != "front":
                _wheels(side, (0.14, 0.34), radius=0.45)
        for name, side in solid(canvas, pose, (-half, 1.55, 1.25, 0.95), (-half, 1.55, 1.25, top), cargo, "truck"):
            if name == "rear":
                side.box(0.49 * side.width, 0, 0.51 * side.width, side.height, cargo * 0.6)
                side.box(0, 0, side.width, 0.08, cargo * 0.6)
            else:
                side.box(0.15 * side.width, 0.4 * side.height, 0.85 * side.width, 0.7 * side.height, paint)

    parts = (draw_cab, draw_load) if np.cos(pose.heading) > 0 else (draw_load, draw_cab)
    for draw in parts:
        draw()


def bus(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    paint, stripe = _pick(rng, _PAINTS[4:] + _PAINTS[:1]), _pick(rng, _PAINTS)
    ground_shadow(canvas, pose, length=11.2, width=2.7)
    for name, side in solid(canvas, pose, (-5.5, 5.5, 1.27, 0.3), (-5.5, 5.4, 1.25, 3.1), paint, "bus"):
        u = side.width
        if name in ("rear", "front"):
            side.box(0.08 * u, 1.0 if name == "front" else 1.45, 0.92 * u, 2.2, _GLASS)
            side.box(0.2 * u, 2.35, 0.8 * u, 2.65, (228, 150, 40) if name == "front" else _DARK)
            _end_details(side, is_rear=name == "rear", lamp_height=0.5)
        else:
            left = np.arange(0.3, u - 1.2, 1.45)
            side.box(left, 0.95, left + 1.32, 1.95, _GLASS)
            side.box(0, 0.55, u, 0.75, stripe)
            side.box(np.array([0.12, 0.55]) * u, 0.1, np.array([0.21, 0.64]) * u, 2.0, (70, 78, 86))
            _wheels(side, (0.27, 0.76), radius=0.48)


def train(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    """A tram of two cars on rails let into the road."""
    paint, stripe = _pick(rng, _PAINTS[:1] + _PAINTS[4:8]), _pick(rng, _PAINTS[3:])
    for rail in (pose.x - 0.72, pose.x + 0.72):
        canvas.fill(footprint(Pose(rail, 0), 2, pose.z - 11, 0.05), (120, 118, 116), "road")
    ground_shadow(canvas, pose, length=22.4, width=2.7)
    mast = cutout(canvas, pose, "train")
    mast.bar([(0, 3.7), (0.9, 4.4)], [(0.9, 4.4), (0.1, 5.1)], 0.08, _DARK)
    for offset in (6.0, -6.0) if np.cos(pose.heading) > 0 else (-6.0, 6.0):
        ends = (offset - 5.6, offset + 5.6)
        for name, side in solid(canvas, pose, (*ends, 1.25, 0.2), (*ends, 1.15, 3.4), paint, "train"):
            u = side.width
            side.box(0, 0.0, u, 0.35, (70, 70, 74))
            side.box(0, 0.75, u, 1.2, stripe)
            if name in ("rear", "front"):
                side.polygon([(0.08 * u, 1.35), (0.92 * u, 1.35), (0.84 * u, 2.6), (0.16 * u, 2.6)], _GLASS)
                side.box(0.3 * u, 2.75, 0.7 * u, 3.0, (235, 165, 50))
                side.disc(0.5 * u, 0.55, 0.13, (245, 240, 215))
            else:
                left = np.arange(0.4, u - 1.4, 1.8)
                side.box(left, 1.35, left + 1.55, 2.45, _GLASS)
                side.box(np.array([0.3, 0.68]) * u, 0.3, np.array([0.4, 0.78]) * u, 2.5, (84, 90, 96))


def person(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    body = cutout(canvas, pose, "person")
    size = rng.uniform(0.92, 1.08) * (0.7 if rng.random() < 0.12 else 1)
    top, legs, hair = rng.uniform(30, 215, 3), rng.uniform(25, 120, 3), varied((70, 52, 38), rng)
    skin, stride, swing = _SKIN[rng.integers(3)], rng.uniform(0.06, 0.3) * size, rng.uniform(-0.15, 0.15)
    ground_shadow(canvas, pose, length=0.8, width=0.5)
    for side in (-1, 1):
        body.bar((side * 0.08, 0.9 * size), (side * stride, 0.06), 0.17 * size, legs)
        body.bar((side * stride - 0.07, 0.05), (side * stride + 0.14, 0.05), 0.1, _DARK)
        body.bar((side * 0.2 * size, 1.42 * size), (side * 0.27 * size + swing, 0.85 * size), 0.11 * size, top * 0.85)
    body.polygon(np.array([(-0.23, 1.47), (0.23, 1.47), (0.18, 0.82), (-0.18, 0.82)]) * size, top)
    if rng.random() < 0.3:
        body.box(-0.42 * size, 0.95 * size, -0.2 * size, 1.4 * size, _pick(rng, _PAINTS))
    body.bar((0, 1.42 * size), (0, 1.6 * size), 0.1 * size, skin)
    body.disc(0, 1.64 * size, 0.125 * size, skin)
    body.polygon(np.array([(-0.13, 1.62), (-0.1, 1.76), (0.08, 1.77), (0.12, 1.7), (0, 1.69)]) * size, hair)


def _rider(canvas: Canvas, pose: Pose, *, seat: float, rng: np.random.Generator) -> None:
    body = cutout(canvas, pose, "rider")
    top, legs = rng.uniform(30, 215, 3), rng.uniform(25, 110, 3)
    for knee, foot in (((0.22, seat - 0.12), (0.12, 0.32)), ((0.2, seat - 0.28), (0.0, 0.2))):
        body.bar((-0.18, seat), knee, 0.17, legs)
        body.bar(knee, foot, 0.14, legs)
        body.bar((foot[0] - 0.06, foot[1] - 0.04), (foot[0] + 0.17, foot[1] - 0.04), 0.1, _DARK)
    body.polygon([(-0.32, seat - 0.05), (-0.06, seat - 0.05), (0.3, seat + 0.5), (0.05, seat + 0.6)], top)
    body.bar((0.18, seat + 0.48), (0.46, seat + 0.14), 0.11, top * 0.85)
    body.disc(0.26, seat + 0.72, 0.135, _SKIN[rng.integers(3)])
    body.polygon([(0.1, seat + 0.72), (0.14, seat + 0.88), (0.3, seat + 0.9), (0.41, seat + 0.76)], _pick(rng, _PAINTS))


def bicycle(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    cycle, paint = cutout(canvas, pose, "bicycle"), _pick(rng, _PAINTS)
    ground_shadow(canvas, pose, length=1.8, width=0.3)
    for hub in (-0.52, 0.52):
        cycle.disc(hub, 0.34, 0.36, None)
        rim = CIRCLE * 0.33 + (hub, 0.34)
        cycle.bar(rim[:-1], rim[1:], 0.055, _DARK)
        cycle.bar(np.full_like(rim[::2], (hub, 0.34)), rim[::2], 0.012, (150, 150, 152))
    rear, crank, seat, head, front = (-0.52, 0.34), (-0.05, 0.3), (-0.2, 0.85), (0.38, 0.85), (0.52, 0.34)
    cycle.bar([rear, rear, crank, crank, seat, head], [crank, seat, seat, head, head, front], 0.06, paint)
    cycle.bar([head, (0.28, 1.02), (-0.34, 0.92)], [(0.36, 1.02), (0.5, 1.04), (-0.08, 0.92)], 0.06, _DARK)


def motorcycle(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    cycle, paint = cutout(canvas, pose, "motorcycle"), _pick(rng, _PAINTS)
    ground_shadow(canvas, pose, length=2.1, width=0.5)
    for hub in (-0.68, 0.68):
        cycle.disc(hub, 0.32, 0.32, _DARK)
        cycle.disc(hub, 0.32, 0.17, (125, 125, 128))
    cycle.polygon([(-0.5, 0.3), (0.3, 0.25), (0.42, 0.75), (-0.3, 0.7)], (72, 72, 76))
    cycle.polygon([(-0.95, 0.8), (-0.25, 0.66), (0.05, 0.72), (0.0, 0.82), (-0.85, 0.92)], _DARK)
    cycle.polygon([(-0.1, 0.7), (0.4, 0.65), (0.5, 0.95), (0.1, 1.02)], paint)
    cycle.polygon([(0.4, 0.6), (0.62, 0.8), (0.5, 1.25), (0.36, 1.1)], paint * 0.8)
    cycle.bar((0.5, 0.95), (0.68, 0.32), 0.09, (150, 150, 152))
    cycle.bar((-0.9, 0.36), (0.0, 0.3), 0.1, (165, 165, 165))
    cycle.disc(0.6, 0.92, 0.09, (245, 240, 215))


def cyclist(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    bicycle(canvas, pose, rng)
    _rider(canvas, pose, seat=0.95, rng=rng)


def motorcyclist(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    motorcycle(canvas, pose, rng)
    _rider(canvas, pose, seat=0.88, rng=rng)


def traffic_light(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    height = rng.uniform(2.6, 3.4)
    cutout(canvas, pose, "pole").box(-0.06, 0, 0.06, height, varied((120, 122, 120), rng))
    head, lit = cutout(canvas, pose, "traffic light"), rng.integers(3)
    head.box(-0.2, height - 0.95, 0.2, height + 0.1, (38, 42, 40))
    for lamp, (dark, bright) in enumerate((((62, 24, 22), (250, 60, 40)), ((66, 52, 22), (255, 190, 50)),
                                           ((20, 56, 34), (70, 240, 140)))):
        head.disc(0, height - 0.1 - 0.31 * lamp, 0.12, bright if lamp == lit else dark)


def traffic_sign(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    height, kind = rng.uniform(2.2, 3.0), rng.integers(4)
    cutout(canvas, pose, "pole").box(-0.04, 0, 0.04, height, varied((135, 137, 138), rng))
    face = cutout(canvas, pose, "traffic sign")
    if kind == 0:  # prohibition
        face.disc(0, height, 0.36, (190, 30, 35))
        face.disc(0, height, 0.26, (232, 232, 228))
        face.box(-0.1, height - 0.12, 0.1, height + 0.12, (40, 40, 44))
    elif kind == 1:  # warning
        triangle = np.array([(-0.45, -0.32), (0.45, -0.32), (0, 0.44)])
        face.polygon(triangle + (0, height), (190, 30, 35))
        face.polygon(triangle * 0.62 + (0, height - 0.02), (232, 232, 228))
    elif kind == 2:  # order
        face.disc(0, height, 0.36, (32, 78, 160))
        face.bar((0, height - 0.2), (0, height + 0.22), 0.09, (232, 232, 228))
    else:  # information
        face.box(-0.45, height - 0.45, 0.45, height + 0.45, (36, 84, 165) if rng.random() < 0.6 else (225, 190, 50))
        face.box(-0.25, height - 0.25, 0.25, height + 0.2, (232, 232, 228))


def lamp_post(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    height, metal = rng.uniform(5.5, 8.5), varied((112, 116, 114), rng)
    post = cutout(canvas, pose, "pole")
    post.polygon([(-0.1, 0), (0.1, 0), (0.05, height), (-0.05, height)], metal)
    arm = rng.choice((-1.8, 1.8))
    post.bar((0, height), (arm, height + 0.3), 0.09, metal)
    post.bar((arm * 0.8, height + 0.22), (arm * 1.2, height + 0.34), 0.16, metal * 1.2)


def street_cabinet(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    """Street furniture that the benchmark does not score."""
    height, paint = rng.uniform(0.8, 1.5), varied((110, 118, 108), rng)
    for _, side in solid(canvas, pose, (-0.3, 0.3, 0.35, 0), (-0.3, 0.3, 0.35, height), paint, "static"):
        side.box(0.1, 0.15, side.width - 0.1, height - 0.15, paint * 0.85)


def foliage(canvas: Canvas, center: ArrayLike, *, radii: ArrayLike, rng: np.random.Generator) -> None:
    """A heap of leaf clumps in an ellipsoid; clumps turned to the sky are brighter."""
    green = varied(((66, 92, 44), (86, 104, 52), (98, 96, 48))[rng.integers(3)], rng, 8)
    center, radii = np.asarray(center, float), np.asarray(radii, float)
    count = int(np.clip(1.5 * radii.max() * canvas.focal / center[2], 12, 220))
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    direction = direction[np.argsort(-direction[:, 2])]
    spots = center + direction * radii * rng.uniform(0.35, 1, (count, 1)) ** 0.5
    clumps = rng.uniform(0.12, 0.3, count) * radii.min() * (24 / count) ** 0.2
    light = 0.78 + 0.32 * direction[:, 1:2] + canvas.sun[0] * direction[:, :1] + rng.normal(0, 0.09, (count, 1))
    canvas.fill_dots(spots, clumps, colors=green * np.maximum(light, 0.25), label="vegetation")


def tree(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    trunk, radius = rng.uniform(1.8, 3.2), rng.uniform(1.1, 2.4)
    cutout(canvas, pose, "vegetation").polygon([(-0.18, 0), (0.18, 0), (0.1, trunk + 0.6), (-0.1, trunk + 0.6)],
                                               varied((84, 70, 56), rng, 6))
    foliage(canvas, (pose.x, trunk + radius, pose.z), radii=(radius, radius * rng.uniform(0.9, 1.4), radius), rng=rng)


def bush(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> None:
    height = rng.uniform(0.4, 0.9)
    foliage(canvas, (pose.x, height * 0.8, pose.z), radii=(rng.uniform(0.6, 1.4), height, 0.7), rng=rng)
