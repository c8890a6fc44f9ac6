"""Cityscapes' classes as constants, out of their only copy, configs/datasets/cityscapes.yaml.

Programs take the classes from the description that they were given; these are the defaults of functions, and for what
is about Cityscapes alone. This file imports nothing of MindSpore, so the commands that run without it can use it.
"""
from typing import NamedTuple, Tuple

import numpy as np

from rtseg.data.dataset_spec import IGNORE_LABEL, UNKNOWN_ID, load_dataset_spec  # noqa: F401

CITYSCAPES = load_dataset_spec("cityscapes")


class Label(NamedTuple):
    """An id of Cityscapes' label files; `train_id` is IGNORE_LABEL for what is not scored."""

    name: str
    id: int
    train_id: int


LABELS: Tuple[Label, ...] = tuple(sorted(
    (Label(entry.name, value, int(CITYSCAPES.id_table[value])) for entry in CITYSCAPES.classes + CITYSCAPES.ignored
     for value in entry.values), key=lambda label: label.id))

NUM_CLASSES = CITYSCAPES.num_classes
CLASS_NAMES: Tuple[str, ...] = CITYSCAPES.class_names
PALETTE = np.array(CITYSCAPES.palette, np.uint8)  # (19, 3) RGB
ID_TO_TRAIN_ID = CITYSCAPES.id_table
TRAIN_ID_TO_ID = CITYSCAPES.train_id_to_id
