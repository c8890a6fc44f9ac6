"""Writes tiny data sets in the layout of Cityscapes, and knows where real images may be."""
from pathlib import Path

import cv2
import numpy as np
import pytest

from rtseg.data.dataset import SegmentationDataset
from rtseg.data.dataset_spec import load_dataset_spec

CITYSCAPES = load_dataset_spec("cityscapes")
CLASS_NAMES, PALETTE, NUM_CLASSES = CITYSCAPES.class_names, np.array(CITYSCAPES.palette, np.uint8), 19
ID_TO_TRAIN_ID, TRAIN_ID_TO_ID = CITYSCAPES.id_table, CITYSCAPES.train_id_to_id
LABEL_NAMES = {value: entry.name for entry in CITYSCAPES.classes + CITYSCAPES.ignored for value in entry.values}

REAL_CITYSCAPES = Path(__file__).resolve().parents[2] / "shared" / "data" / "cityscapes_mini"

needs_real_cityscapes = pytest.mark.skipif(not REAL_CITYSCAPES.is_dir(),
                                           reason=f"real Cityscapes images are absent: {REAL_CITYSCAPES}")


def Cityscapes(root, split, require_labels=True):
    """A split of a data set in the layout of Cityscapes."""
    return SegmentationDataset(root, split, spec=CITYSCAPES, require_labels=require_labels)


def write_png(path: Path, pixels: np.ndarray) -> Path:
    """Writes uint8 (H, W) ids or uint8 (H, W, 3) RGB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., ::-1]))
    return path


def write_sample(root: Path, split: str, name: str, label_ids=None, size=(8, 16), label_kind="labelIds") -> None:
    """Writes a random image and, if `label_ids` is an array or a single id, its label."""
    city = name.split("_")[0]
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    write_png(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", image)
    if label_ids is not None:
        ids = np.broadcast_to(np.asarray(label_ids, np.uint8), size).copy()
        write_png(root / "gtFine" / split / city / f"{name}_gtFine_{label_kind}.png", ids)
