"""Plans one synthetic street scene: lanes, sidewalks, and what stands where.

SCHEDULE decides which rare classes a scene must show; those are placed first and nothing nearer may stand before them.
Positions are metres: x to the right of the camera, z ahead of it.
"""
import itertools
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from rtseg.synthetic import objects
from rtseg.synthetic.canvas import Canvas, Pose

# Four scenes in a row show all 19 classes; road, sidewalk, building, vegetation, sky and pole are in every scene.
SCHEDULE: Tuple[Tuple[str, ...], ...] = (
    ("bus", "fence", "traffic light", "cyclist"),
    ("truck", "wall", "traffic sign", "person"),
    ("train", "terrain", "motorcyclist"),
    ("car", "bicycle", "traffic light", "person"),
)
EDGES = ("fence", "wall", "terrain")  # what may lie between sidewalk and buildings

LANE = 3.3
_ACROSS = np.pi / 2


class ObjectType(NamedTuple):
    """A thing that can stand in the street: its length along its heading and its width in metres, and where it may be.

    `overhang` is how far it reaches beyond its ground at eye level and above.
    """

    draw: Callable[[Canvas, Pose, np.random.Generator], None]
    length: float
    width: float
    zone: str
    overhang: float = 0.0


OBJECT_TYPES = {
    "car": ObjectType(objects.car, 4.8, 1.9, "lane"),
    "parked car": ObjectType(objects.car, 4.8, 1.9, "parking"),
    "turning car": ObjectType(objects.car, 4.8, 1.9, "crossing"),
    "truck": ObjectType(objects.truck, 7.4, 2.5, "lane"),
    "bus": ObjectType(objects.bus, 11.2, 2.6, "lane"),
    "train": ObjectType(objects.train, 23.5, 2.6, "lane"),
    "cyclist": ObjectType(objects.cyclist, 1.9, 0.6, "crossing"),
    "motorcyclist": ObjectType(objects.motorcyclist, 2.0, 0.6, "crossing"),
    "person": ObjectType(objects.person, 0.7, 0.5, "sidewalk"),
    "crossing person": ObjectType(objects.person, 0.7, 0.5, "crossing"),
    "bicycle": ObjectType(objects.bicycle, 1.9, 0.6, "sidewalk"),
    "motorcycle": ObjectType(objects.motorcycle, 2.0, 0.6, "sidewalk"),
    "traffic light": ObjectType(objects.traffic_light, 0.5, 0.5, "kerb"),
    "traffic sign": ObjectType(objects.traffic_sign, 0.9, 0.9, "kerb"),
    "lamp post": ObjectType(objects.lamp_post, 0.5, 0.5, "kerb"),
    "cabinet": ObjectType(objects.street_cabinet, 0.6, 0.7, "kerb"),
    "tree": ObjectType(objects.tree, 1.5, 1.5, "kerb", overhang=1.8),
}
# Things that may join the scheduled ones, with the smallest and largest number in a scene.
EXTRAS = (("lamp post", 2, 4), ("tree", 2, 6), ("parked car", 3, 8), ("car", 2, 5), ("person", 0, 5), ("cabinet", 0, 2),
          ("traffic sign", 0, 2), ("traffic light", 0, 1), ("bicycle", 0, 2), ("motorcycle", 0, 1),
          ("crossing person", 0, 1), ("cyclist", 0, 1), ("turning car", 0, 1))


class Side(NamedTuple):
    """One side of the street; distances in metres from the camera's line, `sign` -1 is left."""

    sign: int
    kerb: float
    walk: float  # outer edge of the sidewalk
    line: float  # where the buildings stand
    edge: str  # one of EDGES or "none"

    def strip(self, inner: float, outer: float, near: float, far: float) -> List[Tuple[float, float, float]]:
        """A rectangle on the ground along this side."""
        return [(self.sign * x, 0.0, z) for x, z in ((inner, near), (outer, near), (outer, far), (inner, far))]


class Street(NamedTuple):
    sides: Tuple[Side, Side]
    lanes: Tuple[Tuple[float, float], ...]  # centre and heading; the rightmost is the last
    end: float


class PlacedObject(NamedTuple):
    """A thing on its ground; `object_type` is None for a stretch of fence, wall or terrain that must stay in view."""

    object_type: Optional[ObjectType]
    pose: Pose
    reach_x: float  # half extents on the ground
    reach_z: float

    @property
    def near(self) -> float:
        return self.pose.z - self.reach_z

    def draw(self, canvas: Canvas, rng: np.random.Generator) -> None:
        if self.object_type:
            self.object_type.draw(canvas, self.pose, rng)

    def view(self) -> Tuple[float, float]:
        """Left and right end in the image, as tangents of the viewing angle."""
        reach = self.reach_x + (self.object_type.overhang if self.object_type else 0.0)
        corners = [(self.pose.x + i * reach) / (self.pose.z + j * self.reach_z) for i in (-1, 1) for j in (-1, 1)]
        return min(corners), max(corners)


def plan_scene(number: int, rng: np.random.Generator) -> Tuple[Street, List[PlacedObject]]:
    """Plans the street of scene `number` and what stands in it; sizes are metres, so the image size plays no part."""
    required = SCHEDULE[number % len(SCHEDULE)]
    required_objects: Optional[List[PlacedObject]] = None
    while required_objects is None:  # about one street in twenty has no room for all
        street = plan_street(required, rng)
        required_objects = place_required_objects(street, required, rng=rng)
    things = required_objects + place_extras(street, required_objects, rng=rng)
    return street, [thing for thing in things if thing.object_type]


def plan_street(required: Sequence[str], rng: np.random.Generator) -> Street:
    """Chooses lanes, sidewalks and what lies beyond them; the camera drives in the lane around x = 0."""
    right_lanes, left_lanes = rng.choice((1, 1, 2)), rng.choice((1, 1, 1, 2))
    edges = [edge for edge in required if edge in EDGES] + [str(rng.choice(EDGES + ("terrain", "none")))]
    rng.shuffle(edges)
    sides: List[Side] = []
    for sign, inner, edge in ((-1, (left_lanes + 0.5) * LANE, edges[0]), (1, (right_lanes - 0.5) * LANE, edges[-1])):
        kerb = inner + (2.2 if rng.random() < 0.7 else 0.4)
        walk = kerb + rng.uniform(2.0, 3.6)
        line = walk + (0.0 if edge == "none" else rng.uniform(2.5, 6.0))
        sides.append(Side(sign, kerb, walk, line, edge))
    lanes = [(-LANE * (i + 1), np.pi) for i in range(left_lanes)] + [(LANE * i, 0.0) for i in range(right_lanes)]
    return Street((sides[0], sides[1]), tuple(lanes), rng.uniform(80, 150))


def place_required_objects(street: Street, required: Sequence[str], *,
                           rng: np.random.Generator) -> Optional[List[PlacedObject]]:
    """Puts the required things close and side by side in the image; None if there is no room for all."""
    required_objects = [_edge_in_view(side) for side in street.sides if side.edge in required][:1]
    for object_type in (OBJECT_TYPES[name] for name in required if name in OBJECT_TYPES):
        candidates = (_propose(object_type, street, rng=rng, is_required=True) for _ in range(100))
        free = (thing for thing in candidates
                if not any(_collides(thing, placed) or _overlaps(thing, placed) for placed in required_objects))
        chosen = next(free, None)
        if chosen is None:
            return None
        required_objects.append(chosen)
    return required_objects


def place_extras(street: Street, required_objects: List[PlacedObject], *,
                 rng: np.random.Generator) -> List[PlacedObject]:
    """Adds things where there is room and no required object behind them."""
    extras: List[PlacedObject] = []
    for name, fewest, most in EXTRAS:
        for _ in range(rng.integers(fewest, most + 1)):
            candidates = (_propose(OBJECT_TYPES[name], street, rng=rng, is_required=False) for _ in range(15))
            free = (thing for thing in candidates
                    if not any(_collides(thing, other) for other in required_objects + extras)
                    and not any(_overlaps(thing, other) and thing.near < other.near for other in required_objects))
            extras += itertools.islice(free, 1)
    return extras


def _edge_in_view(side: Side) -> PlacedObject:
    """The stretch of the edge that comes into view first."""
    return PlacedObject(None, Pose(side.sign * side.walk, side.walk / 0.4 + 4), 0.1, 4)


def _propose(object_type: ObjectType, street: Street, *, rng: np.random.Generator, is_required: bool) -> PlacedObject:
    side = street.sides[rng.integers(2)]
    heading = rng.choice((-1, 1)) * _ACROSS + rng.uniform(-0.7, 0.7)
    if object_type.zone == "lane":
        x, heading = street.lanes[rng.integers(len(street.lanes))]
        heading += rng.normal(0, 0.04)
    elif object_type.zone == "parking":
        x, heading = side.sign * (side.kerb - 1.1), 0.0 if side.sign > 0 else np.pi
    elif object_type.zone == "sidewalk":
        x = side.sign * rng.uniform(side.kerb + 0.5, side.walk - 0.4)
    elif object_type.zone == "crossing":
        x = rng.uniform(-street.sides[0].kerb, street.sides[1].kerb)
    else:
        x, heading = side.sign * (side.kerb + 0.4), _ACROSS + rng.uniform(-0.3, 0.3)
    sin, cos = abs(np.sin(heading)), abs(np.cos(heading))
    reach_x = (sin * object_type.length + cos * object_type.width) / 2
    reach_z = (cos * object_type.length + sin * object_type.width) / 2
    # A required thing is put where the image, about 0.4 of its distance wide on each side, shows all of it.
    nearest = max(9.0 + object_type.length / 2, (abs(x) + reach_x) / 0.38) if is_required else 7.0
    near = rng.uniform(nearest, 1.6 * nearest) if is_required else nearest * np.exp(rng.uniform(0, 2.3))
    return PlacedObject(object_type, Pose(x, near + reach_z, heading), reach_x, reach_z)


def _collides(a: PlacedObject, b: PlacedObject) -> bool:
    return (abs(a.pose.x - b.pose.x) < a.reach_x + b.reach_x + 0.2
            and abs(a.pose.z - b.pose.z) < a.reach_z + b.reach_z + 0.5)


def _overlaps(a: PlacedObject, b: PlacedObject) -> bool:
    """Whether the nearer one may hide a part of the other."""
    (left, right), (other_left, other_right) = a.view(), b.view()
    return left < other_right and other_left < right
