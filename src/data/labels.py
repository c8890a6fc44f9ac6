"""Cityscapes label definitions: the only copy of ids, train ids, names and palette.

Source: the label table of the Cityscapes benchmark (Cordts et al., CVPR 2016), which scores 19 of its classes.
This file imports nothing of MindSpore, so the doors that run without it can use it.
"""
from typing import NamedTuple, Tuple

import numpy as np

IGNORE_LABEL = 255
NUM_CLASSES = 19


class Label(NamedTuple):
    """One row of the Cityscapes table; `train_id` is IGNORE_LABEL for classes that are not scored."""

    name: str
    id: int
    train_id: int
    color: Tuple[int, int, int]  # RGB


# The benchmark also has a row "license plate" with id -1. uint8 files hold it as 255, which is mapped to ignore below.
LABELS: Tuple[Label, ...] = (
    Label("unlabeled", 0, IGNORE_LABEL, (0, 0, 0)),
    Label("ego vehicle", 1, IGNORE_LABEL, (0, 0, 0)),
    Label("rectification border", 2, IGNORE_LABEL, (0, 0, 0)),
    Label("out of roi", 3, IGNORE_LABEL, (0, 0, 0)),
    Label("static", 4, IGNORE_LABEL, (0, 0, 0)),
    Label("dynamic", 5, IGNORE_LABEL, (111, 74, 0)),
    Label("ground", 6, IGNORE_LABEL, (81, 0, 81)),
    Label("road", 7, 0, (128, 64, 128)),
    Label("sidewalk", 8, 1, (244, 35, 232)),
    Label("parking", 9, IGNORE_LABEL, (250, 170, 160)),
    Label("rail track", 10, IGNORE_LABEL, (230, 150, 140)),
    Label("building", 11, 2, (70, 70, 70)),
    Label("wall", 12, 3, (102, 102, 156)),
    Label("fence", 13, 4, (190, 153, 153)),
    Label("guard rail", 14, IGNORE_LABEL, (180, 165, 180)),
    Label("bridge", 15, IGNORE_LABEL, (150, 100, 100)),
    Label("tunnel", 16, IGNORE_LABEL, (150, 120, 90)),
    Label("pole", 17, 5, (153, 153, 153)),
    Label("polegroup", 18, IGNORE_LABEL, (153, 153, 153)),
    Label("traffic light", 19, 6, (250, 170, 30)),
    Label("traffic sign", 20, 7, (220, 220, 0)),
    Label("vegetation", 21, 8, (107, 142, 35)),
    Label("terrain", 22, 9, (152, 251, 152)),
    Label("sky", 23, 10, (70, 130, 180)),
    Label("person", 24, 11, (220, 20, 60)),
    Label("rider", 25, 12, (255, 0, 0)),
    Label("car", 26, 13, (0, 0, 142)),
    Label("truck", 27, 14, (0, 0, 70)),
    Label("bus", 28, 15, (0, 60, 100)),
    Label("caravan", 29, IGNORE_LABEL, (0, 0, 90)),
    Label("trailer", 30, IGNORE_LABEL, (0, 0, 110)),
    Label("train", 31, 16, (0, 80, 100)),
    Label("motorcycle", 32, 17, (0, 0, 230)),
    Label("bicycle", 33, 18, (119, 11, 32)),
)

_SCORED = sorted((label for label in LABELS if label.train_id != IGNORE_LABEL), key=lambda label: label.train_id)

CLASS_NAMES: Tuple[str, ...] = tuple(label.name for label in _SCORED)

# Marks ids that no Cityscapes file may hold, so that a wrong label file is found instead of being read as "ignore".
UNKNOWN_ID = 254


def _id_table(pairs) -> np.ndarray:
    table = np.full(256, UNKNOWN_ID, np.uint8)
    for source, target in pairs:
        table[source] = target
    table[IGNORE_LABEL] = IGNORE_LABEL
    table.flags.writeable = False
    return table


# uint8[256]: `ID_TO_TRAIN_ID[label_ids]` are train ids 0..18, IGNORE_LABEL or UNKNOWN_ID.
ID_TO_TRAIN_ID = _id_table((label.id, label.train_id) for label in LABELS)
# uint8[256]: the same check for ready-made `labelTrainIds` files.
TRAIN_ID_TO_TRAIN_ID = _id_table((i, i) for i in range(NUM_CLASSES))
# uint8[256]: train ids back to label ids, as the Cityscapes test server wants them; ignore becomes 0 (unlabeled).
TRAIN_ID_TO_ID = np.zeros(256, np.uint8)
TRAIN_ID_TO_ID[:NUM_CLASSES] = [label.id for label in _SCORED]
TRAIN_ID_TO_ID.flags.writeable = False

# uint8[256, 3] RGB by train id; ignore and everything unknown is black.
PALETTE = np.zeros((256, 3), np.uint8)
PALETTE[:NUM_CLASSES] = [label.color for label in _SCORED]
PALETTE.flags.writeable = False
