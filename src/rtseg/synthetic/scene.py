"""Draws one synthetic street scene: weather, street, buildings, traffic, people, camera.

Painter's algorithm: sky, street end, ground, buildings, then what stands in the street from far to near, then light.
"""
from typing import List, Tuple

import cv2
import numpy as np

from rtseg.synthetic import objects
from rtseg.synthetic.canvas import EYE_HEIGHT, Canvas, Pose, Surface, Weather, label_ids, solid, varied
from rtseg.synthetic.layout import LANE, Side, Street, plan_scene

WEATHERS = (
    Weather((88, 140, 212), (196, 214, 232), (1.05, 1.0, 0.94), sun=0.24, shadow=0.6, sight=500, lit_windows=0.03),
    Weather((150, 160, 172), (196, 200, 204), (0.88, 0.91, 0.95), sun=0.06, shadow=0.9, sight=220, lit_windows=0.1),
    Weather((88, 94, 138), (206, 168, 146), (0.76, 0.69, 0.7), sun=0.16, shadow=0.75, sight=300, lit_windows=0.4),
)
_FACADES = ((176, 160, 138), (150, 148, 146), (142, 96, 78), (196, 190, 180), (120, 116, 112))
STREET_START = 1.2  # metres ahead of the camera, outside the image


def draw_scene(height: int, width: int, *, number: int, rng: np.random.Generator) -> Tuple[np.ndarray, np.ndarray]:
    """Returns image uint8 (height, width, 3) RGB and label ids uint8 (height, width) of scene `number`.

    The same arguments and the same state of `rng` give the same arrays.
    """
    canvas = Canvas(height, width, weather=WEATHERS[rng.integers(len(WEATHERS))], rng=rng)
    street, things = plan_scene(number, rng)
    draw_sky(canvas, rng)
    draw_street_end(canvas, street, rng=rng)
    draw_ground(canvas, street, rng=rng)
    for side in street.sides:
        draw_buildings(canvas, side, end=street.end, rng=rng)
        draw_edge(canvas, side, rng=rng)
    for thing in sorted(things, key=lambda placed: -placed.near):
        thing.draw(canvas, rng)
    draw_own_car(canvas, rng)
    return expose(canvas, rng), canvas.labels


def noise_field(height: int, width: int, *, cells: int, octaves: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise float32 (height, width) of unit variance; the coarsest octave has `cells` cells in the height."""
    field = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        rows = max(2, min(height, cells * 2 ** octave))
        columns = max(2, rows * width // height)
        coarse = rng.standard_normal((rows, columns), np.float32)
        field += cv2.resize(coarse, (width, height)) * np.float32(0.6 ** octave)
    return field / max(float(field.std()), 1e-6)


def draw_sky(canvas: Canvas, rng: np.random.Generator) -> None:
    rows, width = int(canvas.horizon) + 2, canvas.labels.shape[1]
    down = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None]
    zenith, skyline = np.asarray(canvas.weather.zenith, np.float32), np.asarray(canvas.weather.skyline, np.float32)
    # Clouds are wider than high, so the noise is drawn narrow and stretched.
    clouds = cv2.resize(noise_field(rows, width // 3, cells=4, octaves=4, rng=rng), (width, rows))[..., None]
    cover = np.clip(clouds - rng.uniform(-0.3, 1.2), 0, 1) * 0.75
    canvas.image[:rows] = ((1 - down) * zenith + down * skyline) * (1 - cover) + (skyline * 0.7 + 75) * cover
    canvas.labels[:] = label_ids()["sky"]


def draw_street_end(canvas: Canvas, street: Street, *, rng: np.random.Generator) -> None:
    """A row of houses and trees that closes the view."""
    z = street.end + 15
    x, x_end = canvas.view(z)
    while x < x_end:
        width = rng.uniform(6, 14)
        if rng.random() < 0.6:
            draw_building(canvas, Pose(x + width / 2, z), length=10, width=width, rng=rng)
        else:
            objects.foliage(canvas, (x + width / 2, 3.5, z - 7), radii=(0.7 * width, rng.uniform(3.5, 7), 4), rng=rng)
        x += width


def draw_ground(canvas: Canvas, street: Street, *, rng: np.random.Generator) -> None:
    """Road with marks and patches, sidewalks and what lies behind them, asphalt grain and haze."""
    far = street.end + 12
    left, right = street.sides
    grey = varied((104, 104, 106), rng, 5)
    canvas.fill(_patch(-left.kerb, right.kerb, STREET_START, far), grey, "road")
    for side in street.sides:
        beyond = "sidewalk" if side.edge == "none" else "terrain"
        paving, soil = varied((136, 130, 126), rng, 7), varied(((96, 112, 58), (122, 110, 80))[rng.integers(2)], rng, 8)
        canvas.fill(side.strip(side.walk, 300, STREET_START, far), paving if beyond == "sidewalk" else soil, beyond)
        canvas.fill(side.strip(side.kerb, side.walk, STREET_START, far), paving, "sidewalk")
        canvas.fill(side.strip(side.kerb, side.kerb + 0.15, STREET_START, far), paving * 1.2, "sidewalk")
    for _ in range(rng.integers(2, 6)):  # repaired asphalt
        x, z = rng.uniform(-left.kerb, right.kerb - 1.5), rng.uniform(6, 40)
        size = rng.uniform((0.6, 1.0), (1.5, 6.0))
        canvas.fill(_patch(x, x + size[0], z, z + size[1]), grey * rng.uniform(0.8, 1.15), "road")
    _draw_lane_marks(canvas, street, rng=rng)
    _roughen_ground(canvas, rng)


def _patch(left: float, right: float, near: float, far: float) -> List[Tuple[float, float, float]]:
    return [(left, 0, near), (right, 0, near), (right, 0, far), (left, 0, far)]


def _draw_lane_marks(canvas: Canvas, street: Street, *, rng: np.random.Generator) -> None:
    white = varied((205, 205, 200), rng, 5)
    for center, heading in street.lanes[:-1]:
        x = center + LANE / 2
        unbroken = heading > 0 and rng.random() < 0.4  # between oncoming traffic and ours
        length, period = (12.0, 12.0) if unbroken else (3.0, 7.5)
        starts = np.arange(rng.uniform(2, 2 + period), street.end, period)
        canvas.fill([_patch(x - 0.07, x + 0.07, z, z + length) for z in starts], white, "road")
    if rng.random() < 0.35:  # pedestrian crossing
        near = rng.uniform(10, 26)
        stripes = np.arange(-street.sides[0].kerb + 0.3, street.sides[1].kerb - 0.6, 1.0)
        canvas.fill([_patch(x, x + 0.5, near, near + 3.5) for x in stripes], white, "road")


def _roughen_ground(canvas: Canvas, rng: np.random.Generator) -> None:
    """Grain that shrinks with distance, and haze, on every row below the horizon."""
    height, width = canvas.labels.shape
    first = int(canvas.horizon) + 2
    z = (canvas.focal * EYE_HEIGHT / (np.arange(first, height) - canvas.horizon)).astype(np.float32)[:, None]
    tile, per_metre = noise_field(512, 512, cells=8, octaves=7, rng=rng), 24
    x = (np.arange(width, dtype=np.float32)[None] - canvas.vanishing) * z / canvas.focal
    # cv2.remap wraps coordinates itself, but only within 16 bits.
    u, v = np.mod(x * per_metre, 512), np.broadcast_to(np.mod(z * per_metre, 512), x.shape)
    grain = cv2.remap(tile, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    strength = 0.06 * np.exp(-z / 60)
    clear = np.exp(-z / canvas.weather.sight)[..., None]
    ground = canvas.image[first:] * (1 + strength * grain)[..., None]
    haze = np.asarray(canvas.weather.skyline, np.float32) * (1 - clear)
    canvas.image[first:] = np.clip(ground * clear + haze, 0, 255)


def draw_buildings(canvas: Canvas, side: Side, *, end: float, rng: np.random.Generator) -> None:
    """Houses of one side from far to near, with gaps where trees show."""
    z = end
    while z > 5:
        length = rng.uniform(7, 18)
        if rng.random() < 0.65:
            x = side.sign * (side.line + 5 + rng.uniform(0, 0.8))
            draw_building(canvas, Pose(x, max(z - length / 2, 3 + length / 2)), length=length, width=10, rng=rng)
            reach = rng.uniform(1, 5)
            if canvas.sun[0] * side.sign > 0.03:  # the sun is behind the house
                canvas.shade(side.strip(max(side.line - reach, 0), side.line, max(z - length, 3), z))
        else:
            for depth in np.arange(z, max(z - length, 6), -3.5):
                objects.tree(canvas, Pose(side.sign * (side.line + rng.uniform(1.5, 4)), depth), rng)
        z -= length


def draw_building(canvas: Canvas, pose: Pose, *, length: float, width: float, rng: np.random.Generator) -> None:
    """A house with rows of windows, a shop floor or a plinth, and a flat or a pitched roof."""
    wall = varied(_FACADES[rng.integers(len(_FACADES))], rng, 9)
    height, storey, pitch = rng.uniform(5, 15), rng.uniform(2.9, 3.6), rng.uniform(1.7, 3.2)
    half, shop = length / 2, rng.random() < 0.4
    if rng.random() < 0.5:
        roof = varied(((126, 66, 52), (74, 72, 74))[rng.integers(2)], rng)
        ridge = (-half, half, width / 5, height + width * 0.25)
        for _, slope in solid(canvas, pose, (-half, half, width / 2, height), ridge, roof, "building"):
            courses = np.arange(0.5, slope.height, 0.5)
            slope.box(0, courses, slope.width, courses + 0.08, roof * 0.85)
    for _, face in solid(canvas, pose, (-half, half, width / 2, 0), (-half, half, width / 2, height), wall, "building"):
        face.box(0, height - 0.35, face.width, height, wall * 0.8)
        face.box(0, 0, face.width, storey * 0.85 if shop else 0.6, wall * 0.7)
        _draw_windows(face, height=height, storey=storey, pitch=pitch, shop=shop,
                      lit_share=canvas.weather.lit_windows, rng=rng)


def _draw_windows(face: Surface, *, height: float, storey: float, pitch: float, shop: bool, lit_share: float,
                  rng: np.random.Generator) -> None:
    if shop:
        left = np.arange(0.4, face.width - 3.0, 3.4)
        face.box(left, 0.35, left + 2.8, storey * 0.72, varied((72, 76, 82), rng))
        face.box(0, storey * 0.75, face.width, storey * 0.92, varied(rng.uniform(40, 200, 3), rng))
    columns = np.arange(pitch * 0.25, face.width - pitch * 0.7, pitch)
    rows = np.arange(storey if shop else 0.9, height - 0.6 * storey, storey)
    left, bottom = (grid.ravel() for grid in np.meshgrid(columns, rows + 0.35 * shop))
    look = rng.random(len(left))
    tall = storey * 0.48
    for color, chosen in (((66, 72, 80), look < 0.6), ((112, 122, 132), (look >= 0.6) & (look < 1 - lit_share)),
                          ((238, 202, 140), look >= 1 - lit_share)):
        face.box(left[chosen], bottom[chosen], left[chosen] + 0.52 * pitch, bottom[chosen] + tall, color)


def draw_edge(canvas: Canvas, side: Side, *, rng: np.random.Generator) -> None:
    """A fence or a wall along the sidewalk, or bushes on the grass."""
    x, near = side.sign * side.walk, side.walk / 0.5
    far = near + rng.uniform(25, 45)
    if side.edge == "terrain":
        for z in sorted(rng.uniform(near, far, rng.integers(1, 4)), reverse=True):
            objects.bush(canvas, Pose(side.sign * rng.uniform(side.walk + 1.2, side.line), z), rng)
    elif side.edge == "wall":
        paint = varied(((150, 138, 124), (138, 88, 70), (160, 158, 154))[rng.integers(3)], rng)
        half, height = (far - near) / 2, rng.uniform(1.3, 2.3)
        for _, face in solid(canvas, Pose(x, near + half), (-half, half, 0.15, 0), (-half, half, 0.15, height), paint,
                             "wall"):
            for course in np.arange(0.3, height - 0.15, 0.3):
                face.box(0, course, face.width, course + 0.03, paint * 0.8)
            face.box(0, height - 0.15, face.width, height, paint * 1.15)
    elif side.edge == "fence":
        paint = varied(((66, 72, 68), (150, 152, 150), (118, 88, 60))[rng.integers(3)], rng)
        height = rng.uniform(1.0, 1.7)
        rails = Surface(canvas, [(x, 0, near), (x, 0, far), (x, height, far), (x, height, near)], "fence")
        rails.box(0, 0, far - near, height, None)
        for rail in (0.12, height - 0.1):
            rails.box(0, rail, far - near, rail + 0.07, paint)
        bars = np.arange(0, far - near, 0.22)
        rails.box(bars, 0.1, bars + 0.05, height - 0.05, paint)
        posts = np.arange(0, far - near, 2.2)
        rails.box(posts, 0, posts + 0.12, height, paint * 0.9)


def draw_own_car(canvas: Canvas, rng: np.random.Generator) -> None:
    """The bonnet at the lower edge and the frame that rectification leaves; neither is scored."""
    height, width = canvas.labels.shape
    paint, center = varied((62, 64, 70), rng, 5), (int(width * rng.uniform(0.47, 0.53)), int(height * 1.27))
    for shrink, light in ((0.0, 1.0), (0.03, 1.25), (0.09, 0.85)):
        axes = (int(width * 0.62), int(height * (0.34 - shrink)))
        cv2.ellipse(canvas.image, center, axes, 0, 0, 360, tuple(float(c * light) for c in paint), -1)
        if not shrink:
            cv2.ellipse(canvas.labels, center, axes, 0, 0, 360, label_ids()["ego vehicle"], -1)
    border = max(1, height // 200)
    inside = (slice(border, height - border), slice(border, width - border))
    frame = np.ones(canvas.labels.shape, bool)
    frame[inside] = False
    canvas.image[frame] //= 4
    canvas.labels[frame] = label_ids()["out of roi"]


# Strength of the (coarse, fine) brightness noise on each label; DEFAULT_TEXTURE on the others.
TEXTURES = {"vegetation": (0.06, 0.22), "terrain": (0.08, 0.16), "sidewalk": (0.03, 0.05), "building": (0.03, 0.05),
            "wall": (0.06, 0.07), "sky": (0.0, 0.0)}
DEFAULT_TEXTURE = (0.04, 0.04)


def expose(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """Surface texture, light, lens and sensor; returns the finished image uint8."""
    height, width = canvas.labels.shape
    strengths = np.tile(np.asarray(DEFAULT_TEXTURE, np.float32), (256, 1))
    for name, strength in TEXTURES.items():
        strengths[label_ids()[name]] = strength
    image = canvas.image.astype(np.float32)
    coarse = noise_field(height, width, cells=12, octaves=2, rng=rng)
    fine = noise_field(height, width, cells=64, octaves=3, rng=rng)
    texture = 1 + strengths[:, 0][canvas.labels] * coarse + strengths[:, 1][canvas.labels] * fine
    gain = np.asarray(canvas.weather.light, np.float32) * np.float32(rng.uniform(0.88, 1.12) * rng.normal(1, 0.02, 3))
    across, down = (np.linspace(-1, 1, n, dtype=np.float32) ** 2 for n in (width, height))
    image *= (texture * (1 - 0.08 * (across[None] + down[:, None])))[..., None] * gain
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.9))
    image += rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(1.5, 4))
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
