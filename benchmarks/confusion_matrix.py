"""Counting the confusion matrix of one image with 19 classes: ours, the histogram way, and np.bincount.

    python benchmarks/confusion_matrix.py [--height 1024] [--width 2048] [--rounds 15] [--json]

  histogram      three np.histogram calls, as the usual batch_intersection_union does: intersections and unions only
  hist of pairs  np.bincount of n * label + prediction over the pixels that count, the usual NumPy way
  bincount       np.bincount alone, over an index that was made beforehand: the floor of the NumPy way
"""
import argparse
import json
import platform
import sys
from pathlib import Path

import cv2
import numpy as np

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "src")]

from benchmarks.interleaved import measure, millisecond_medians, ratio  # noqa: E402
from rtseg.data.dataset_spec import load_dataset_spec  # noqa: E402
from rtseg.metrics.confusion_matrix import ConfusionMatrix  # noqa: E402
from rtseg.synthetic.scene import draw_scene  # noqa: E402

NUM_CLASSES = 19


def make_pair(height: int, width: int):
    """Prediction and label, uint8 (H, W): a drawn scene, moved a little and with a tenth of its pixels replaced."""
    rng = np.random.default_rng(0)
    label = load_dataset_spec("cityscapes").id_table[draw_scene(height, width, number=0, rng=rng)[1]]
    prediction = np.roll(label, (3, -17), axis=(0, 1)) % NUM_CLASSES
    wrong = rng.random(label.shape) < 0.1
    prediction[wrong] = rng.integers(0, NUM_CLASSES, int(wrong.sum()))
    return prediction, label


def histogram_way(prediction, label):
    """Intersection and union, int64 (classes,)."""
    prediction, label = prediction.astype(np.int64) + 1, label.astype(np.int64) + 1
    prediction = prediction * (label <= NUM_CLASSES)
    intersection = prediction * (prediction == label)
    areas = [np.histogram(values, bins=NUM_CLASSES, range=(0.5, NUM_CLASSES + 0.5))[0]
             for values in (intersection, prediction, label)]
    return areas[0], areas[1] + areas[2] - areas[0]


def pair_index(prediction, label):
    counted = label < NUM_CLASSES
    return NUM_CLASSES * label[counted].astype(np.int64) + prediction[counted]


def count(index):
    return np.bincount(index, minlength=NUM_CLASSES ** 2).reshape(NUM_CLASSES, NUM_CLASSES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    prediction, label = make_pair(arguments.height, arguments.width)
    index = pair_index(prediction, label)
    ours = ConfusionMatrix(NUM_CLASSES)
    ours.update(prediction, label)
    square = ours.matrix[:, :NUM_CLASSES]
    intersection, union = histogram_way(prediction, label)
    assert (square == count(index)).all() and (intersection == np.diagonal(square)).all()
    assert (union == square.sum(0) + square.sum(1) - intersection).all()

    seconds = measure({"ours": lambda: ours.update(prediction, label),
                       "histogram": lambda: histogram_way(prediction, label),
                       "hist of pairs": lambda: count(pair_index(prediction, label)),
                       "bincount": lambda: count(index)}, arguments.rounds)
    medians = millisecond_medians(seconds)
    result = {"python": platform.python_version(), "opencv": cv2.__version__, "numpy": np.__version__,
              "size": [arguments.height, arguments.width], "rounds": arguments.rounds, "median_ms": medians,
              "times_as_fast": {name: ratio(seconds[name], seconds["ours"]) for name in list(seconds)[1:]}}
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{arguments.height}x{arguments.width}, {NUM_CLASSES} classes, NumPy {np.__version__}, OpenCV "
          f"{cv2.__version__}, medians of {arguments.rounds} rounds")
    for name, value in medians.items():
        print(f"  {name:14s} {value:8.2f} ms" + (f"   ours is {result['times_as_fast'][name]:.2f} times as fast"
                                                 if name != "ours" else ""))


if __name__ == "__main__":
    main()
