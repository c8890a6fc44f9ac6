"""Boundary IoU: a case counted by hand, and the definition, an erosion of each class's mask."""
import cv2
import numpy as np
import pytest

from rtseg.metrics.boundary_iou import BoundaryIoU, near_contour


def columns(*widths):
    """uint8 (6, W): class i in `widths[i]` columns."""
    return np.repeat(np.arange(len(widths), dtype=np.uint8), widths)[None].repeat(6, axis=0)


def test_counted_by_hand():
    """6x6 pixels, so d is 1: the image's edge, and one pixel on either side of the line between the classes."""
    label, prediction = columns(3, 3), columns(2, 4)
    assert near_contour(label).astype(int).tolist() == [[1] * 6] + [[1, 0, 1, 1, 0, 1]] * 4 + [[1] * 6]
    assert near_contour(prediction).astype(int).tolist() == [[1] * 6] + [[1, 1, 1, 0, 0, 1]] * 4 + [[1] * 6]
    boundary = BoundaryIoU(3)
    boundary.update(prediction, label)
    assert boundary.counts.tolist() == [[8, 10, 0], [14, 14, 0], [12, 16, 0]]
    np.testing.assert_array_equal(boundary.per_class(), [8 / 18, 10 / 20, np.nan])
    assert boundary.mean() == pytest.approx(17 / 36)


def test_images_are_summed_before_the_division():
    boundary = BoundaryIoU(2)
    boundary.update(columns(2, 4), columns(3, 3))
    boundary.update(columns(3, 3), columns(3, 3))
    assert boundary.per_class().tolist() == [(8 + 14) / (18 + 14), (10 + 14) / (20 + 14)]


def test_ignored_pixels_and_predictions_of_no_class():
    label, prediction = columns(3, 3), columns(3, 3)
    label[:, :3] = 255
    prediction[0, 5] = 255
    boundary = BoundaryIoU(2)
    boundary.update(prediction, label)
    # Of class 1 in the label column 3, column 5 and the ends of column 4; of the prediction without a corner, but with
    # the pixel inside that now touches no class.
    assert boundary.counts.tolist() == [[0, 13], [0, 14], [0, 14]]
    assert np.isnan(BoundaryIoU(2).mean())


def test_equals_the_erosion_of_each_mask():
    """As the authors' code has it; 90x120 pixels, so d is 3."""
    rng = np.random.default_rng(0)
    label, prediction = (cv2.resize(rng.integers(0, 4, (9, 12), dtype=np.uint8), (120, 90),
                                    interpolation=cv2.INTER_NEAREST) for _ in range(2))
    label[20:30, 40:60] = 255
    boundary = BoundaryIoU(4)
    boundary.update(prediction, label)
    prediction[label == 255] = 255
    for index in range(4):
        masks = []
        for class_map in (label, prediction):
            mask = (class_map == index).astype(np.uint8)
            padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
            masks.append(mask - cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=3)[1:-1, 1:-1])
        counts = [(masks[0] & masks[1]).sum(), masks[0].sum(), masks[1].sum()]
        assert boundary.counts[:, index].tolist() == counts and min(counts) > 0
