"""The specifications of street data sets, each on a drawn example in the layout and encoding of its publisher."""
import cv2
import numpy as np
import pytest
from data_helpers import CITYSCAPES, write_png
from PIL import Image

from rtseg.data.dataset import SegmentationDataset
from rtseg.data.dataset_spec import load_dataset_spec
from rtseg.tools import check_dataset
from rtseg.utils.errors import DataError

IMAGE = np.full((2, 4, 3), (200, 100, 50), np.uint8)


def write_jpeg(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), IMAGE[..., ::-1])


def write_palette_png(path, indices):
    """Mapillary's labels are coloured by a palette; the indices are the ids."""
    image = Image.fromarray(np.array(indices, np.uint8), mode="P")
    image.putpalette([value for color in np.random.default_rng(0).permutation(256) for value in (color, 0, 9)])
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


@pytest.mark.parametrize("name", ["bdd100k", "mapillary_vistas", "cityscapes_coarse"])
def test_classes_are_those_of_cityscapes(name):
    spec = load_dataset_spec(name)
    assert (spec.class_names, spec.palette) == (CITYSCAPES.class_names, CITYSCAPES.palette)


def test_bdd100k(tmp_path):
    root = tmp_path / "bdd100k"
    for split, name in (("train", "0004a4c0-d4dff0ad"), ("val", "7d2f7975-e0c1c5a7"), ("test", "ac6d4f42-00000000")):
        write_jpeg(root / "images" / "10k" / split / f"{name}.jpg")
    for split, name in (("train", "0004a4c0-d4dff0ad"), ("val", "7d2f7975-e0c1c5a7")):
        write_png(root / "labels" / "sem_seg" / "masks" / split / f"{name}.png",
                  np.array([[0, 1, 13, 18], [255, 255, 10, 8]], np.uint8))
        write_png(root / "labels" / "sem_seg" / "colormaps" / split / f"{name}.png", IMAGE)
    spec = load_dataset_spec("bdd100k")
    train, val = (SegmentationDataset(root, split, spec=spec) for split in ("train", "val"))
    assert [sample.name for sample in train.samples + val.samples] == ["0004a4c0-d4dff0ad", "7d2f7975-e0c1c5a7"]
    image, label = train.load(0)
    assert np.abs(image.astype(int) - IMAGE).max() < 8  # JPEG
    assert label.tolist() == [[0, 1, 13, 18], [255, 255, 10, 8]]
    assert len(SegmentationDataset(root, "test", spec=spec, require_labels=False)) == 1
    assert check_dataset.main([f"--dataset={root}", "--dataset_config=bdd100k"]) == 0


def test_mapillary_vistas(tmp_path):
    indices = [[13, 24, 41, 23], [2, 45, 47, 65]]  # road, marking, manhole, crosswalk; curb, poles, unlabeled
    for folder, name in (("training", "_1Gn_xkw7sa_i9GU4mkxxQ"), ("validation", "-6eDk2r8hHzgDDgmWuGQuw")):
        write_jpeg(tmp_path / folder / "images" / f"{name}.jpg")
        write_palette_png(tmp_path / folder / "labels" / f"{name}.png", indices)
        write_palette_png(tmp_path / folder / "instances" / f"{name}.png", indices)
    write_jpeg(tmp_path / "testing" / "images" / "0035fkbjWljhaftpVM37-g.jpg")
    spec = load_dataset_spec("mapillary_vistas")
    train, val = (SegmentationDataset(tmp_path, split, spec=spec) for split in ("train", "val"))
    assert len(train) == len(val) == len(SegmentationDataset(tmp_path, "test", spec=spec, require_labels=False)) == 1
    assert train.load(0)[1].tolist() == [[0, 0, 0, 255], [1, 5, 5, 255]]
    # Every id of release 1.2 is a class or ignored; others are of release 2.0, and an error.
    expected = {0: [13, 24, 41], 1: [2, 15], 2: [17], 3: [6], 4: [3], 5: [45, 47], 6: [48], 7: [50], 8: [30], 9: [29],
                10: [27], 11: [19], 12: [20, 21, 22], 13: [55], 14: [61], 15: [54], 16: [58], 17: [57], 18: [52]}
    assert {train_id: np.flatnonzero(spec.id_table == train_id).tolist() for train_id in range(19)} == expected
    assert np.flatnonzero(spec.id_table == 254).tolist() == list(range(66, 255))
    assert spec.train_id_to_id[[0, 1, 255]].tolist() == [13, 15, 65]
    write_palette_png(tmp_path / "training" / "labels" / "_1Gn_xkw7sa_i9GU4mkxxQ.png", [[13, 120, 13, 13]] * 2)
    with pytest.raises(DataError, match=r"holds the ids \[120\], expected only 0..65 and 255"):
        train.load(0)


def test_cityscapes_coarse(tmp_path):
    """Coarse labels to train on, fine ones to score: they differ in folder and suffix."""
    for split, stem, kind in (("train_extra", "augsburg_000000_000000", "gtCoarse"),
                              ("val", "lindau_000000_000019", "gtFine"), ("val", "lindau_000000_000019", "gtCoarse")):
        city = stem.partition("_")[0]
        write_png(tmp_path / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png", IMAGE)
        for suffix in ("labelIds", "instanceIds", "color"):
            value = {"gtCoarse": 7, "gtFine": 26}[kind] if suffix == "labelIds" else 99
            write_png(tmp_path / kind / split / city / f"{stem}_{kind}_{suffix}.png", np.full((2, 4), value, np.uint8))
    spec = load_dataset_spec("cityscapes_coarse")
    train, val = (SegmentationDataset(tmp_path, split, spec=spec) for split in ("train", "val"))
    assert [sample.name for sample in train.samples + val.samples] == ["augsburg_000000_000000",
                                                                       "lindau_000000_000019"]
    assert (np.unique(train.load(0)[1]).tolist(), np.unique(val.load(0)[1]).tolist()) == ([0], [13])
    assert (spec.id_table == CITYSCAPES.id_table).all()
    (tmp_path / "gtFine" / "val" / "lindau" / "lindau_000000_000019_gtFine_labelIds.png").unlink()
    with pytest.raises(DataError, match="expected gtFine/val/lindau/lindau_000000_000019_gtFine_labelIds.png"):
        SegmentationDataset(tmp_path, "val", spec=spec).load(0)
