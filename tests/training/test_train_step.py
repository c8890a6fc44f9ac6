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
from rtseg.training.optimizer import build_optimizer
from rtseg.training.train_step import TrainStep

MEAN, STD = (0.5, 0.25, 0.0), (0.5, 1.0, 0.25)


class OneConvolution(nn.Cell):
    """1x1 convolution to 2 classes; a tuple as the networks give in training."""

    def __init__(self):
        super().__init__()
        self.conv = Conv2d(3, 2, 1, has_bias=True, weight_init="zeros", bias_init="zeros")

    def construct(self, x):
        return (self.conv(x),)


def make_step(loss_scale=1.0, amp_level="O0", lr=0.5):
    network = OneConvolution().set_train(True)
    set_amp_level(network, amp_level)
    config = load_config(PROJECT / "configs" / "fast_scnn.yaml", {"momentum": 0, "weight_decay": 0})
    optimizer = build_optimizer(config, network, [lr] * 10)
    return network, TrainStep(network, MixSoftmaxCrossEntropy(), optimizer, MEAN, STD, loss_scale)


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
