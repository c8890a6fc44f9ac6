"""Boundary IoU (Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", CVPR 2021).

The IoU of a class, counted only in pixels of its mask within a distance d of the mask's contour, d being 0.02 of the
image's diagonal; the image's edge is part of the contour. Distances are those of the authors' code, which erodes the
mask d times by 3x3 pixels. As for the IoU, intersections and unions are summed over all images before they are divided,
and a class without any such pixel is left out of the mean. Ignored pixels are in no mask of either side. No MindSpore.
"""
import math

import cv2
import numpy as np

from rtseg.data.dataset_spec import IGNORE_LABEL
from rtseg.metrics.confusion_matrix import mean_of_present

DILATION_RATIO = 0.02


class BoundaryIoU:
    """Counts boundary pixels of each class.

    `counts` is int64 (3, num_classes): pixels of the boundary in label and prediction, in the label, in the prediction.
    Those of several processes may be summed.

    Args:
        num_classes: 1..255.
    """

    def __init__(self, num_classes: int) -> None:
        self.counts = np.zeros((3, num_classes), np.int64)

    def update(self, prediction: np.ndarray, label: np.ndarray) -> None:
        """Counts one image: uint8 (H, W) both; values that are no class are in no mask."""
        prediction = np.where(label == IGNORE_LABEL, np.uint8(IGNORE_LABEL), prediction)
        near_label, near_prediction = near_contour(label), near_contour(prediction)
        both = near_label & near_prediction & (label == prediction)
        for row, values in enumerate((label[both], label[near_label], prediction[near_prediction])):
            self.counts[row] += np.bincount(values, minlength=256)[:self.counts.shape[1]]

    def per_class(self) -> np.ndarray:
        """float64 (num_classes,), 0..1; NaN for a class without boundary pixels."""
        intersection, label, prediction = self.counts
        with np.errstate(invalid="ignore"):
            return intersection / (label + prediction - intersection)

    def mean(self) -> float:
        """Mean of `per_class` over the classes that are not NaN; NaN if there is none."""
        return mean_of_present(self.per_class())


def near_contour(class_map: np.ndarray) -> np.ndarray:
    """bool (H, W): where the mask of the pixel's own class ends within the distance d.

    One erosion of each class's mask would say the same: a pixel survives it where all classes in the window around it
    are equal, that is where their smallest is their largest.
    """
    height, width = class_map.shape
    distance = max(1, round(DILATION_RATIO * math.hypot(height, width)))
    window = np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)
    near = cv2.erode(class_map, window) != cv2.dilate(class_map, window)
    near[:distance] = near[-distance:] = True
    near[:, :distance] = near[:, -distance:] = True
    return near
