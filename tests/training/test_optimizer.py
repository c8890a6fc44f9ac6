"""Parameter groups, and the update against its formula."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn
from script_helpers import PROJECT

from rtseg.config.recipe import load_config
from rtseg.training.optimizer import build_optimizer, parameter_groups
from rtseg.utils.errors import ConfigError


def parameter(name, value=0.0):
    return Parameter(Tensor(np.array([value], np.float32)), name=name)


PARAMETERS = [parameter("backbone.conv.weight"), parameter("backbone.bn.gamma"), parameter("backbone.bn.beta"),
              parameter("aux_heads.0.classifier.weight"), parameter("aux_heads.0.classifier.bias")]


def described(groups):
    return [([p.name for p in group["params"]], group.get("lr"), group["weight_decay"]) for group in groups]


def test_one_group_when_nothing_differs():
    assert described(parameter_groups(PARAMETERS, [0.1, 0.2], weight_decay=5e-4)) == [
        ([p.name for p in PARAMETERS], None, 5e-4)]


def test_groups_share_one_rate_unless_there_are_factors():
    groups = parameter_groups(PARAMETERS, [0.1, 0.2], weight_decay=5e-4, decay_bn_bias=False)
    assert [(rate, decay) for _, rate, decay in described(groups)] == [(None, 5e-4), (None, 0.0)]
    assert not nn.Momentum(groups, learning_rate=[0.1, 0.2], momentum=0.9).is_group_lr


def test_no_decay_for_batch_norm_and_biases_and_factors_by_longest_prefix():
    groups = parameter_groups(PARAMETERS, [0.5], weight_decay=1e-4, decay_bn_bias=False,
                              lr_factors={"aux_heads": 10, "aux_heads.0.classifier.bias": 2})
    assert described(groups) == [
        (["backbone.conv.weight"], [0.5], 1e-4),
        (["backbone.bn.gamma", "backbone.bn.beta"], [0.5], 0.0),
        (["aux_heads.0.classifier.weight"], [5.0], 1e-4),
        (["aux_heads.0.classifier.bias"], [1.0], 0.0)]


def test_a_prefix_that_fits_nothing_is_an_error():
    with pytest.raises(ConfigError, match="found 'head', which fits none"):
        parameter_groups(PARAMETERS, [0.1], weight_decay=0.0, lr_factors={"head": 10})


def test_a_recipe_may_name_auxiliary_heads_that_a_run_leaves_out():
    groups = parameter_groups(PARAMETERS[:1], [0.1], weight_decay=0.0, lr_factors={"backbone": 2, "aux_heads": 10})
    assert described(groups) == [(["backbone.conv.weight"], [0.2], 0.0)]


@pytest.mark.parametrize("factor_of_fast", [10, 1])
def test_three_updates_equal_the_formula(factor_of_fast):
    """v = m v + (g + wd w), w = w - lr v, with another rate at each step, and another decay or factor in each group."""
    class Network(nn.Cell):
        def __init__(self):
            super().__init__()
            self.slow = Parameter(Tensor([1.0], ms.float32), name="slow.weight")
            self.fast = Parameter(Tensor([1.0], ms.float32), name="fast.weight")
            self.bias = Parameter(Tensor([1.0], ms.float32), name="fast.bias")

        def construct(self):
            return self.slow + self.fast + self.bias

    network = Network()
    config = load_config(PROJECT / "configs" / "fast_scnn.yaml", {
        "momentum": 0.5, "weight_decay": 0.1, "decay_bn_bias": 0,
        **({} if factor_of_fast == 1 else {"lr_factors": f"fast={factor_of_fast}"})})
    lr_per_step = [0.1, 0.01, 0.001]
    optimizer = build_optimizer(config, network, lr_per_step=lr_per_step)
    gradients = {"slow.weight": 2.0, "fast.weight": 3.0, "fast.bias": -1.0}
    for _ in lr_per_step:
        optimizer(tuple(Tensor([gradients[p.name]], ms.float32) for p in optimizer.parameters))

    for found, factor, decay in ((network.slow, 1, 0.1), (network.fast, factor_of_fast, 0.1),
                                 (network.bias, factor_of_fast, 0.0)):
        weight, velocity = 1.0, 0.0
        for rate in lr_per_step:
            velocity = 0.5 * velocity + gradients[found.name] + decay * weight
            weight -= rate * factor * velocity
        assert float(found.asnumpy()[0]) == pytest.approx(weight, rel=1e-5)
