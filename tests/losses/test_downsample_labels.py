"""Losses of outputs that are smaller than the labels: labels are reduced to nearest, never mixed."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from rtseg.losses.mix_softmax_cross_entropy import MixSoftmaxCrossEntropy, downsample_labels

LABELS = np.random.default_rng(0).integers(0, 5, (2, 16, 32)).astype(np.int32)


@pytest.mark.parametrize("factor", [1, 4, 8, 16])
def test_takes_every_nth_pixel(factor):
    found = downsample_labels(Tensor(LABELS), (16 // factor, 32 // factor)).asnumpy()
    assert (found == LABELS[:, ::factor, ::factor]).all()


def test_a_size_that_does_not_divide():
    labels = Tensor(np.array([[[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 12, 13, 14]]], np.int32))
    assert downsample_labels(labels, (2, 3)).asnumpy().tolist() == [[[0, 1, 3], [5, 6, 8]]]


def test_loss_of_outputs_of_three_sizes():
    rng = np.random.default_rng(1)
    outputs = tuple(Tensor(rng.standard_normal((2, 5, 16 // f, 32 // f)), ms.float32) for f in (4, 8, 16))
    labels = LABELS.copy()
    labels[:, :4] = 255
    expected = 0
    for output, factor, weight in zip(outputs, (4, 8, 16), (1, 0.4, 0.4)):
        target, logits = labels[:, ::factor, ::factor], output.asnumpy().astype(np.float64)
        log_probability = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        valid = target != 255
        picked = np.take_along_axis(log_probability, np.where(valid, target, 0)[:, None], 1)[:, 0]
        expected += weight * (-picked[valid].mean() if valid.any() else 0)
    loss = MixSoftmaxCrossEntropy(0.4, labels_to_logits=True)(outputs, Tensor(labels.astype(np.uint8)))
    assert float(loss.asnumpy()) == pytest.approx(expected, rel=1e-5)
