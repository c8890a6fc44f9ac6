"""The two forms of the loss, by matrix products and by operators, agree with each other and with NumPy in float64."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from rtseg.losses.mix_softmax_cross_entropy import MixSoftmaxCrossEntropy
from rtseg.losses.ohem_cross_entropy import OhemCrossEntropy

BATCH, CLASSES, SMALL, LARGE = 2, 5, (3, 4), (12, 16)


class LossAndGradient(nn.Cell):
    """(loss, gradient of the logits) in one graph."""

    def __init__(self, loss):
        super().__init__()
        self.loss = loss
        self.gradient = ms.value_and_grad(self.apply, 0)

    def apply(self, logits, labels):
        return self.loss((logits,), labels)

    def construct(self, logits, labels):
        return self.gradient(logits, labels)


def interpolation(length, size, align_corners):
    """(size, length) float64: the weights of a bilinear upsampling along one axis."""
    places = np.arange(size) * (length - 1) / (size - 1) if align_corners else np.clip(
        (np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(length)))


def oracle(logits, labels, align_corners, ohem=None):
    """(loss, gradient) in float64; `ohem`: (threshold, min_kept), or None for the mean over all valid pixels."""
    rows, columns = (interpolation(a, b, align_corners) for a, b in zip(SMALL, LARGE))
    upsampled = np.einsum("Hh,nchw,Ww->ncHW", rows, logits.astype(np.float64), columns)
    shifted = upsampled - upsampled.max(1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    valid = labels != 255
    one_hot = (np.where(valid, labels, 0)[:, None] == np.arange(CLASSES).reshape(1, -1, 1, 1)) * valid[:, None]
    losses = -(np.where(one_hot, log_probabilities, 0)).sum(1)
    share = valid.astype(np.float64)
    if ohem is not None:
        threshold, required = -np.log(ohem[0]), int(valid.sum() * ohem[1])
        share = (valid & (losses > threshold)).astype(np.float64)
        if share.sum() < required:
            share = np.zeros(losses.size)
            share[np.argsort(-losses.ravel(), kind="stable")[:required]] = 1
            share = share.reshape(losses.shape)
    share /= max(1, share.sum())
    gradient = (np.exp(log_probabilities) * valid[:, None] - one_hot) * share[:, None]
    return (losses * share).sum(), np.einsum("Hh,ncHW,Ww->nchw", rows, gradient, columns)


def apart(distance):
    """Neighbours of different best classes, `distance` apart from all other classes."""
    best = np.add.outer(np.arange(SMALL[0]), np.arange(SMALL[1])) % CLASSES
    logits = np.where(best == np.arange(CLASSES).reshape(-1, 1, 1), distance, 0).astype(np.float32)
    return np.stack([logits] * BATCH)


def random_logits(scale):
    return (scale * np.random.default_rng(1).standard_normal((BATCH, CLASSES, *SMALL))).astype(np.float32)


LOGITS = {"random": random_logits(3), "+-1e4": np.clip(random_logits(1e4), -1e4, 1e4), "86 apart": apart(86),
          "88 apart": apart(88), "200 apart": apart(200), "equal": np.zeros((BATCH, CLASSES, *SMALL), np.float32)}


def labels_of(kind):
    labels = np.random.default_rng(2).integers(0, CLASSES, (BATCH, *LARGE)).astype(np.uint8)
    labels[:, :3] = 255
    if kind != "usual":
        labels[...] = 255
    if kind == "one valid pixel":
        labels[1, 7, 9] = 3
    return labels


def assert_close(found, expected, tolerance=1e-5, least=1.0):
    """Relative, or absolute below `least`: a tiny loss is the difference of two logits, which float32 rounds."""
    assert np.isfinite(found).all()
    assert np.linalg.norm(found - expected) <= tolerance * max(np.linalg.norm(expected), least)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("by_products", [True, False], ids=["products", "operators"])
def test_value_and_gradient(by_products, align_corners):
    step = LossAndGradient(MixSoftmaxCrossEntropy(align_corners=align_corners, by_products=by_products))
    for logits in LOGITS.values():
        for kind in ("usual", "all ignored", "one valid pixel"):
            labels = labels_of(kind)
            value, gradient = (part.asnumpy() for part in step(Tensor(logits), Tensor(labels)))
            expected_value, expected_gradient = oracle(logits, labels, align_corners)
            assert_close(value, expected_value)
            assert_close(gradient, expected_gradient, least=0.01)
            if kind == "all ignored":
                assert value == 0 and not gradient.any()


@pytest.mark.parametrize("by_products", [True, False], ids=["products", "operators"])
def test_float16_logits_have_a_float32_loss(by_products):
    step = LossAndGradient(MixSoftmaxCrossEntropy(by_products=by_products))
    for name in ("random", "+-1e4", "200 apart"):
        logits, labels = LOGITS[name].astype(np.float16), labels_of("usual")
        value, gradient = step(Tensor(logits), Tensor(labels))
        assert (value.dtype, gradient.dtype) == (ms.float32, ms.float16)
        expected_value, expected_gradient = oracle(logits, labels, False)
        assert_close(value.asnumpy(), expected_value)
        assert_close(gradient.asnumpy(), expected_gradient, 2e-3)  # the gradient itself is float16


@pytest.mark.parametrize("by_products", [True, False], ids=["products", "operators"])
@pytest.mark.parametrize("options", [(0.7, 1 / 16), (1e-6, 1 / 4)], ids=["hard ones", "largest ones"])
def test_ohem(options, by_products):
    """CoinCheung/BiSeNet's definition: losses above -log(threshold), or the largest ones if these are too few."""
    step = LossAndGradient(OhemCrossEntropy(*options, by_products=by_products))
    for name in ("random", "+-1e4", "88 apart", "200 apart"):
        for kind in ("usual", "all ignored"):
            logits, labels = LOGITS[name], labels_of(kind)
            value, gradient = (part.asnumpy() for part in step(Tensor(logits), Tensor(labels)))
            expected_value, expected_gradient = oracle(logits, labels, False, options)
            assert_close(value, expected_value)
            if name in ("random", "+-1e4"):  # elsewhere many losses are equal, and which of them count is free
                assert_close(gradient, expected_gradient, least=0.01)
            assert np.isfinite(gradient).all() and not (kind == "all ignored" and gradient.any())


def test_sum_of_largest_shares_equal_losses():
    class Sum(nn.Cell):
        def __init__(self):
            super().__init__()
            self.gradient = ms.value_and_grad(OhemCrossEntropy().sum_of_largest, 0)

        def construct(self, losses, number):
            return self.gradient(losses, number)

    losses, step = Tensor([3.0, 1.0, 2.0, 1.0, 0.0, 1.0], ms.float32), Sum()
    for number, total, shares in [(0, 0, [0, 0, 0, 0, 0, 0]), (1, 3, [1, 0, 0, 0, 0, 0]), (2, 5, [1, 0, 1, 0, 0, 0]),
                                  (3, 6, [1, 1 / 3, 1, 1 / 3, 0, 1 / 3]), (6, 8, [1, 1, 1, 1, 1, 1])]:
        value, gradient = step(losses, Tensor(number, ms.int32))
        assert float(value.asnumpy()) == pytest.approx(total, abs=1e-6)
        np.testing.assert_allclose(gradient.asnumpy(), shares, atol=1e-6)
