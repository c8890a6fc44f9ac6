"""The training step on a network of one convolution, small enough to compute by hand."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn
from script_helpers import PROJECT

from rtseg.config.recipe import load_config
from rtseg.losses.mix_softmax_cross_entropy import MixSoftmaxCrossEntropy
from rtseg.models.layers import Conv2d
from rtseg.models.mixed_precision import set_amp_level
from rtseg.training.build import build_train_step
from rtseg.training.optimizer import build_optimizer
from rtseg.training.train_step import TrainStep
from rtseg.training.weight_average import WeightAverage

MEAN, STD = (0.5, 0.25, 0.0), (0.5, 1.0, 0.25)


class OneConvolution(nn.Cell):
    """1x1 convolution to 2 classes; a tuple as the networks give in training."""

    def __init__(self):
        super().__init__()
        self.conv = Conv2d(3, 2, 1, has_bias=True, weight_init="zeros", bias_init="zeros")

    def construct(self, x):
        return (self.conv(x),)


def make_step(loss_scale=1.0, amp_level="O0", lr=0.5, clip_norm=0.0):
    network = OneConvolution().set_train(True)
    set_amp_level(network, amp_level)
    config = load_config(PROJECT / "configs" / "fast_scnn.yaml", {"momentum": 0, "weight_decay": 0})
    optimizer = build_optimizer(config, network, lr_per_step=[lr] * 10)
    return network, TrainStep(network, MixSoftmaxCrossEntropy(), optimizer=optimizer, mean=MEAN, std=STD,
                              loss_scale=loss_scale, clip_norm=clip_norm)


def batch():
    images = np.full((1, 2, 2, 3), 255, np.uint8)
    labels = np.array([[[0, 0], [0, 255]]], np.uint8)
    return Tensor(images), Tensor(labels)


@pytest.mark.parametrize("loss_scale, amp_level", [(1.0, "O0"), (1024.0, "O0"), (1024.0, "O2")])
def test_one_update_by_hand(loss_scale, amp_level):
    """Both logits are 0, so the gradient is softmax - one-hot = -1/2 and 1/2 times the input, which is (1, 0.75, 4)."""
    network, step = make_step(loss_scale, amp_level)
    loss = float(step(*batch()).asnumpy())
    assert loss == pytest.approx(np.log(2), rel=1e-5)
    x = np.array([1.0, 0.75, 4.0])
    np.testing.assert_allclose(network.conv.weight.asnumpy()[:, :, 0, 0], [0.25 * x, -0.25 * x], rtol=1e-3)
    np.testing.assert_allclose(network.conv.bias.asnumpy(), [0.25, -0.25], rtol=1e-3)


def test_dynamic_scale_shrinks_and_leaves_the_weights_when_gradients_overflow():
    network, step = make_step("dynamic", "O2")
    network.conv.bias.set_data(Tensor([np.inf, 0.0], ms.float32))
    scale = float(step.scaler.scale_value.asnumpy())
    step(*batch())
    assert float(step.scaler.scale_value.asnumpy()) == scale / 2
    assert not network.conv.weight.asnumpy().any()


def test_state_holds_all_that_a_resumed_run_needs():
    assert sorted(make_step()[1].state()) == ["global_step", "moments.conv.bias", "moments.conv.weight"]
    assert {"scale_value", "current_iterator_step"} & set(make_step("dynamic", "O2")[1].state())


@pytest.mark.parametrize("loss_scale", [1.0, 1024.0])
def test_gradients_are_clipped_by_their_global_norm(loss_scale):
    """The gradient of test_one_update_by_hand has the norm sqrt(2 (1 + 0.5625 + 16 + 1) / 4) = 3.0465."""
    network, step = make_step(loss_scale, clip_norm=1.0)
    step(*batch())
    x = np.array([1.0, 0.75, 4.0])
    np.testing.assert_allclose(network.conv.weight.asnumpy()[:, :, 0, 0], [0.25 / 3.0465 * x, -0.25 / 3.0465 * x],
                               rtol=1e-4)
    network, step = make_step(loss_scale, clip_norm=4.0)  # larger than the norm
    step(*batch())
    np.testing.assert_allclose(network.conv.weight.asnumpy()[:, :, 0, 0], [0.25 * x, -0.25 * x], rtol=1e-4)


class TwoHeads(nn.Cell):
    """A convolution with a main and an auxiliary classifier at half the size, without BatchNorm or dropout."""

    align_corners = False

    def __init__(self, labels_to_logits):
        super().__init__()
        rng = np.random.default_rng(5)
        self.labels_to_logits = labels_to_logits
        self.conv = Conv2d(3, 4, 3, stride=2, pad_mode="pad", padding=1, has_bias=False,
                           weight_init=Tensor(rng.normal(size=(4, 3, 3, 3)), ms.float32))
        self.main, self.aux = (Conv2d(4, 5, 1, has_bias=True, bias_init="zeros", weight_init=Tensor(
            rng.normal(size=(5, 4, 1, 1)), ms.float32)) for _ in range(2))

    def construct(self, x):
        x = self.conv(x)
        return self.main(x), self.aux(x)


@pytest.mark.parametrize("labels_to_logits, options", [
    (False, {"clip_norm": 0.1, "loss_scale": 1024}), (True, {"class_weights": (1.0, 2.0, 0.5, 1.0, 3.0)})])
def test_accumulated_parts_equal_the_whole_batch(labels_to_logits, options):
    """Images with no, few and many ignored pixels; three steps with momentum."""
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (3, 6, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 5, (3, 6, 32, 32), dtype=np.uint8)
    for i, rows in enumerate((0, 20, 31, 32, 5, 1)):
        labels[:, i, :rows] = 255

    def train(batch_size, accumulate):
        config = load_config(PROJECT / "configs" / "fast_scnn.yaml", {"loss": "mix"}).replace(
            batch_size=batch_size, accumulate=accumulate, **options)
        assert config.global_batch_size == 6
        network = TwoHeads(labels_to_logits).set_train(True)
        step = build_train_step(config, network, lr_per_step=[0.5] * 3)
        losses = [float(step(Tensor(images[i]), Tensor(labels[i])).asnumpy()) for i in range(3)]
        return losses, [parameter.asnumpy() for parameter in network.trainable_params()]

    (losses, weights), (expected_losses, expected_weights) = train(2, 3), train(6, 1)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    for found, expected in zip(weights, expected_weights):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert np.abs(expected_weights[0] - TwoHeads(False).conv.weight.asnumpy()).max() > 0.01


def test_weight_average_by_hand():
    """d = min(0.5, 2 / 11), then min(0.5, 3 / 12), of weights 0, 1 and 2."""
    network = OneConvolution()
    average = WeightAverage(network, 0.5)
    for step, value in ((1, 1.0), (2, 2.0)):
        network.conv.bias.set_data(Tensor([value, -value], ms.float32))
        average.update(step)
    expected = np.float32((1 - 2 / 11) * 0.25 + 2 * 0.75)
    assert sorted(average.state()) == ["average.conv.bias", "average.conv.weight"]
    np.testing.assert_allclose(average.state()["average.conv.bias"].asnumpy(), [expected, -expected], rtol=1e-6)
    with average.applied():
        np.testing.assert_allclose(network.conv.bias.asnumpy(), [expected, -expected], rtol=1e-6)
    assert network.conv.bias.asnumpy().tolist() == [2.0, -2.0]
    average.restart()
    assert average.state()["average.conv.bias"].asnumpy().tolist() == [2.0, -2.0]
