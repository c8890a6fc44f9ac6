"""Evaluation against the official one on real images, and its modes on small ones."""
from types import SimpleNamespace

import numpy as np
import pytest
from data_helpers import CLASS_NAMES, REAL_CITYSCAPES, TRAIN_ID_TO_ID, Cityscapes, needs_real_cityscapes, write_png
from mindspore import Tensor, nn, ops
from official_evaluation import official_scores

from rtseg.inference.evaluator import Evaluator
from rtseg.inference.predictor import SCALES, network_predictor
from rtseg.metrics.confusion_matrix import iou_per_class, mean_iou, pixel_accuracy
from rtseg.models.registry import create_model
from rtseg.utils.errors import DataError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Brightness(nn.Cell):
    """A network without weights: class 0 where the red channel is below its mean, else class 1."""

    def construct(self, x):
        red = x[:, :1]
        return ops.concat((-red, red), axis=1)


class Images:
    """A data set in memory; label 1 where the red channel is bright."""

    def __init__(self, *sizes, broken=()):
        rng = np.random.default_rng(0)
        self.images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1) for size in sizes]
        self.broken = broken

    def __len__(self):
        return len(self.images)

    def load(self, index):
        if index in self.broken:
            raise DataError(f"image {index} is broken")
        image = self.images[index]
        return image, (image[:, :, 0] >= 124).astype(np.uint8)


def evaluator(network, dataset, *, num_classes=2, mode="full", **options):
    return Evaluator(network_predictor(network, mean=MEAN, std=STD, mode=mode), dataset, num_classes=num_classes,
                     **options)


@needs_real_cityscapes
def test_scores_equal_the_official_evaluation_on_real_images(tmp_path):
    """A network with random weights, whose predictions on real images are varied."""
    pytest.importorskip("cityscapesscripts")
    dataset = Cityscapes(REAL_CITYSCAPES, "val")
    network = create_model("fast_scnn", "mmseg", num_classes=19)
    rng = np.random.default_rng(0)
    network.classifier.classifier.weight.set_data(Tensor(rng.standard_normal((19, 128, 1, 1)).astype(np.float32)))
    pairs = []

    def save(index, image, label, prediction):
        sample = dataset.samples[index]
        pairs.append((write_png(tmp_path / f"{sample.name}.png", TRAIN_ID_TO_ID[prediction]), sample.label))

    evaluation = evaluator(network, dataset, num_classes=19).run(save)
    matrix = evaluation.matrix.matrix
    assert evaluation.images == 4 and evaluation.errors == [] and len(pairs) == 4
    assert (matrix.sum(0) > 0).sum() >= 5  # several classes are predicted
    miou, accuracy, per_class = official_scores(pairs)
    assert mean_iou(matrix) == pytest.approx(miou, abs=5e-5)
    assert pixel_accuracy(matrix) == pytest.approx(accuracy, abs=5e-5)
    for name, iou in zip(CLASS_NAMES, iou_per_class(matrix)):
        assert iou == pytest.approx(per_class[name], abs=5e-5, nan_ok=True)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_any_image_size_and_batch(batch_size):
    """8x13 blocks of 8 pixels: 64x104, not a multiple of 32; two neighbours of one size, then another."""
    dataset, seen = Images((8, 13), (8, 13), (5, 4)), []
    evaluation = evaluator(Brightness(), dataset, batch_size=batch_size, boundary_iou=True).run(
        lambda index, image, label, prediction: seen.append((index, prediction.shape, prediction.dtype)))
    assert mean_iou(evaluation.matrix.matrix) == 1.0 == evaluation.boundary.mean()
    assert seen == [(0, (64, 104), np.uint8), (1, (64, 104), np.uint8), (2, (40, 32), np.uint8)]
    assert evaluation.matrix.matrix.sum() == 2 * 64 * 104 + 40 * 32


def test_flip_and_scales():
    """The network is symmetric, so the average over scales still finds every block's interior."""
    evaluation = evaluator(Brightness(), Images((8, 16)), mode="ms_flip").run()
    assert len(SCALES) == 6
    assert pixel_accuracy(evaluation.matrix.matrix) > 0.9


def test_crop_mode_scores_the_resized_centre():
    sizes = []
    evaluation = evaluator(Brightness(), Images((8, 16)), crop_size=(32, 32)).run(
        lambda index, image, label, prediction: sizes.append((image.shape, label.shape, prediction.shape)))
    assert sizes == [((32, 32, 3), (32, 32), (32, 32))]
    assert evaluation.matrix.matrix.sum() == 32 * 32


def test_broken_images_are_listed_and_the_others_scored():
    evaluation = evaluator(Brightness(), Images((4, 4), (4, 4), (4, 4), broken=[1])).run()
    assert evaluation.images == 2 and evaluation.boundary is None
    assert [str(error) for error in evaluation.errors] == ["image 1 is broken"]


def test_labels_that_cannot_be_scored_are_listed_and_the_others_scored():
    class Labels(Images):
        samples = [SimpleNamespace(image=f"{name}.png") for name in "abcd"]

        def load(self, index):
            image, label = super().load(index)
            return image, {0: None, 1: label[:8], 2: np.where(label, 7, label)}.get(index, label)

    evaluation = evaluator(Brightness(), Labels(*[(4, 4)] * 4), boundary_iou=True).run()
    assert evaluation.images == 1 and evaluation.matrix.matrix.sum() == 32 * 32
    assert [str(error) for error in evaluation.errors] == [
        "a.png: has no label; expected one to score it",
        "b.png: is 32x32 (width x height), but its label has the shape (8, 32); expected equal sizes",
        "c.png: labels must be 0..1 or 255 (ignored), found 7; map label ids to train ids first, or check the label "
        "file"]
    assert evaluator(Brightness(), Labels(*[(4, 4)] * 4), crop_size=(16, 16)).run().images == 1
    del Labels.samples
    found = evaluator(Brightness(), Labels((4, 4))).run()
    assert [str(error) for error in found.errors] == ["image 0: has no label; expected one to score it"]


def test_it_can_be_stopped_and_leaves_the_network_as_it_was():
    network = Brightness().set_train(True)
    stoppable = evaluator(network, Images((4, 4), (4, 4)))
    assert stoppable.run(should_stop=lambda: True) is None and network.training
    assert stoppable.run().images == 2 and network.training
