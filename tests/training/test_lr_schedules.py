"""Schedules against literal lists."""
import pytest
from script_helpers import PROJECT

from rtseg.config.recipe import load_config
from rtseg.training.lr_schedules import constant, cosine, learning_rates, poly, step_decay, warm_up


def test_poly():
    assert poly(1.0, 4, power=1.0) == [1.0, 0.75, 0.5, 0.25]
    assert poly(0.1, 4, power=0.9) == pytest.approx([0.1, 0.0771890, 0.0535887, 0.0287175], abs=1e-7)
    assert poly(1.0, 2, power=2.0, end=0.2) == pytest.approx([1.0, 0.4])


def test_cosine():
    assert cosine(1.0, 4) == pytest.approx([1.0, 0.8535534, 0.5, 0.1464466])
    assert cosine(1.0, 2, end=0.5) == pytest.approx([1.0, 0.75])


def test_step_decay():
    assert step_decay(1.0, 6, milestones=[2, 4], gamma=0.1) == pytest.approx([1.0, 1.0, 0.1, 0.1, 0.01, 0.01])


def test_constant():
    assert constant(0.3, 3) == [0.3, 0.3, 0.3]


def test_warm_up():
    assert warm_up([1.0] * 6, 4, factor=0.0) == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    assert warm_up([2.0, 1.0, 0.5], 2, factor=0.5) == [1.0, 0.75, 0.5]
    assert warm_up([1.0, 2.0], 0, factor=0.1) == [1.0, 2.0]
    assert warm_up([1.0] * 3, 2, factor=0.01, shape="exponential") == pytest.approx([0.01, 0.1, 1.0])


@pytest.mark.parametrize("scheduler, expected", [
    ("poly", [0.1, 0.4583333, 0.6666667, 0.5, 0.3333333, 0.1666667]),
    ("constant", [0.1, 0.55, 1.0, 1.0, 1.0, 1.0]),
    ("step", [0.1, 0.55, 1.0, 1.0, 0.5, 0.5]),
    ("cosine", [0.1, 0.5131570, 0.75, 0.5, 0.25, 0.0669873]),
])
def test_a_whole_run_of_three_epochs_of_two_steps(scheduler, expected):
    config = load_config(PROJECT / "configs" / "fast_scnn.yaml", {
        "lr": 1, "epochs": 3, "lr_scheduler": scheduler, "lr_power": 1, "lr_end": 0, "lr_milestones": "2",
        "lr_gamma": 0.5, "warmup_epochs": 1, "warmup_factor": 0.1})
    assert learning_rates(config, 2) == pytest.approx(expected, abs=1e-6)
