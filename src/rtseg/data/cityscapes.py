"""Cityscapes on disk: the data set that is described in configs/datasets/cityscapes.yaml. No MindSpore."""
from pathlib import Path
from typing import Union

import numpy as np

from rtseg.data import image_io
from rtseg.data.dataset import SCAN_THREADS, Sample, SegmentationDataset  # noqa: F401
from rtseg.data.image_io import image_size, read_image  # noqa: F401
from rtseg.data.labels import CITYSCAPES

IMAGE_FOLDER, LABEL_FOLDER = (Path(folder).parent.name for folder in CITYSCAPES.splits["train"][:2])
IMAGE_SUFFIX, LABEL_ID_SUFFIX = CITYSCAPES.image_suffix, CITYSCAPES.label_suffix


class Cityscapes(SegmentationDataset):
    """A split of Cityscapes. A `labelIds` file is preferred to a `labelTrainIds` file of the same image."""

    def __init__(self, root: Union[str, Path], split: str, require_labels: bool = True):
        super().__init__(root, split, CITYSCAPES, require_labels)


def read_label(path: Path) -> np.ndarray:
    """Returns the train ids, uint8 (H, W), of a `labelIds` file or, going by its name, a `labelTrainIds` file."""
    return image_io.read_label(path, CITYSCAPES)
