"""Losses against NumPy in float64, and what must hold for any batch: ignored pixels have no part."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from rtseg.losses.mix_softmax_cross_entropy import MixSoftmaxCrossEntropy
from rtseg.losses.ohem_cross_entropy import OhemCrossEntropy

MEAN = {"loss": MixSoftmaxCrossEntropy(0.4), "aux_weight": 0.4}
WEIGHTED = {"loss": MixSoftmaxCrossEntropy(0.4, class_weights=(0.1, 0.0, 2.0, 0.5, 1e-3)), "aux_weight": 0.4,
            "class_weights": (0.1, 0.0, 2.0, 0.5, 1e-3)}
OHEM_MANY = {"loss": OhemCrossEntropy(0.7, 1 / 16, aux_weight=1.0), "aux_weight": 1.0, "threshold": 0.7,
             "min_kept": 1 / 16}
OHEM_FEW = {"loss": OhemCrossEntropy(1e-4, 0.25, aux_weight=0.4), "aux_weight": 0.4, "threshold": 1e-4,
            "min_kept": 0.25}


class LossAndGradients(nn.Cell):
    """(loss, gradients of both outputs) in one graph."""

    def __init__(self, loss):
        super().__init__()
        self.loss = loss
        self.gradient = ms.value_and_grad(self.apply, (0, 1))

    def apply(self, main, aux, labels):
        return self.loss((main, aux), labels)

    def construct(self, main, aux, labels):
        return self.gradient(main, aux, labels)


def run(loss, main, aux, labels):
    value, gradients = LossAndGradients(loss)(Tensor(main), Tensor(aux), Tensor(labels))
    return float(value.asnumpy()), [gradient.asnumpy() for gradient in gradients]


def expected_loss(logits, labels, threshold=None, min_kept=None, class_weights=None):
    logits = logits.astype(np.float64)
    true = np.take_along_axis(logits, np.where(labels == 255, 0, labels)[:, None].astype(int), 1)[:, 0]
    losses = (np.log(np.exp(logits).sum(1)) - true)[labels != 255]
    if class_weights is not None:
        weights = np.array(class_weights)[labels[labels != 255].astype(int)]
        return (weights * losses).sum() / weights.sum()
    if threshold is None:
        return losses.mean()
    hard, required = losses[losses > -np.log(threshold)], int(losses.size * min_kept)
    return hard.mean() if hard.size >= required else np.sort(losses)[::-1][:required].mean()


def batch(shape, seed=0):
    rng = np.random.default_rng(seed)
    n, classes, height, width = shape
    main, aux = (3 * rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    labels = rng.integers(0, classes, (n, height, width)).astype(np.uint8)
    labels[:, :2] = 255
    return main, aux, labels


@pytest.mark.parametrize("case, shape", [
    (MEAN, (2, 5, 8, 9)), (MEAN, (1, 19, 40, 24)), (WEIGHTED, (2, 5, 8, 9)), (OHEM_MANY, (2, 5, 8, 9)),
    (OHEM_MANY, (1, 19, 40, 24)), (OHEM_FEW, (2, 5, 8, 9)), (OHEM_FEW, (1, 19, 40, 24))])
def test_value_and_gradient(case, shape):
    main, aux, labels = batch(shape)
    options = {key: case[key] for key in ("threshold", "min_kept", "class_weights") if key in case}
    value, gradients = run(case["loss"], main, aux, labels)
    assert value == pytest.approx(expected_loss(main, labels, **options)
                                  + case["aux_weight"] * expected_loss(aux, labels, **options), rel=1e-5)
    for gradient in gradients:
        assert not gradient[:, :, :2].any()  # ignored
        assert gradient[:, :, 2:].any() and abs(gradient.sum(1)).max() < 1e-6  # softmax minus one-hot

    empty = np.full_like(labels, 255)
    value, gradients = run(case["loss"], main, aux, empty)
    assert value == 0.0 and not any(gradient.any() for gradient in gradients)


def test_gradient_is_the_slope_of_the_loss():
    main, aux, labels = batch((1, 3, 4, 5), seed=3)
    _, (gradient, _) = run(MEAN["loss"], main, aux, labels)
    step = np.random.default_rng(1).standard_normal(main.shape).astype(np.float32)
    above, below = (expected_loss(main + sign * 1e-3 * step, labels) for sign in (1, -1))
    assert (above - below) / 2e-3 == pytest.approx(float((gradient * step).sum()), rel=1e-3)


def test_literal_value():
    logits = np.zeros((1, 2, 1, 3), np.float32)
    logits[0, 0, 0, 0] = np.log(3)  # probabilities 3/4 and 1/4 in the first pixel
    labels = np.array([[[1, 0, 255]]], np.uint8)
    value, _ = run(MixSoftmaxCrossEntropy(0.5), logits, logits, labels)
    assert value == pytest.approx(1.5 * (np.log(4) + np.log(2)) / 2, rel=1e-6)


def test_weighted_ohem_scales_the_losses_before_choosing():
    logits = np.zeros((1, 2, 1, 4), np.float32)
    labels = np.array([[[0, 0, 0, 1]]], np.uint8)
    value, _ = run(OhemCrossEntropy(0.01, 0.25, aux_weight=0.0, class_weights=(1.0, 3.0)), logits, logits, labels)
    assert value == pytest.approx(3 * np.log(2), rel=1e-6)  # none is hard, so the largest quarter is kept


def test_large_logits_stay_finite():
    main, aux, labels = batch((1, 3, 4, 4))
    value, gradients = run(MEAN["loss"], 1e4 * main, 1e4 * aux, labels)
    assert np.isfinite(value) and all(np.isfinite(gradient).all() for gradient in gradients)
