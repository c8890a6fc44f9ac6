"""Learning-rate schedules as pure functions: every step's rate is known before training starts."""
import math
from typing import List, Sequence

from rtseg.config.config import Config
from rtseg.utils.errors import ConfigError

_MOST_STEPS = 10_000_000  # each has its rate in memory


def poly(lr: float, steps: int, *, power: float = 0.9, end: float = 0.0) -> List[float]:
    """end + (lr - end) * (1 - i / steps) ** power for i = 0 .. steps - 1."""
    return [end + (lr - end) * (1 - i / steps) ** power for i in range(steps)]


def cosine(lr: float, steps: int, *, end: float = 0.0) -> List[float]:
    """Half a cosine from lr down to end (Loshchilov and Hutter, arXiv 1608.03983, without restarts)."""
    return [end + (lr - end) * (1 + math.cos(math.pi * i / steps)) / 2 for i in range(steps)]


def step_decay(lr: float, steps: int, *, milestones: Sequence[int], gamma: float = 0.1) -> List[float]:
    """lr times gamma for every milestone (a step number) that has been reached."""
    return [lr * gamma ** sum(i >= milestone for milestone in milestones) for i in range(steps)]


def constant(lr: float, steps: int) -> List[float]:
    """lr at every step."""
    return [lr] * steps


def warm_up(lr_per_step: Sequence[float], warmup_steps: int, *, factor: float, shape: str = "linear") -> List[float]:
    """Multiplies the first `warmup_steps` lr_per_step by a factor that grows from `factor` to 1.

    "linear": by the same amount each step. "exponential": by the same ratio (as CoinCheung/BiSeNet does).
    """
    def growth(done: float) -> float:
        return factor + (1 - factor) * done if shape == "linear" else factor ** (1 - done)

    return [rate * growth(i / warmup_steps) if i < warmup_steps else rate for i, rate in enumerate(lr_per_step)]


def learning_rates(config: Config, steps_per_epoch: int) -> List[float]:
    """The rate of every step of a run.

    Args:
        config: its schedule and learning rate.
        steps_per_epoch: optimizer steps in an epoch.

    Returns:
        epochs * steps_per_epoch floats.

    Raises:
        ConfigError: more steps than any training takes.
    """
    schedule = config.schedule
    lr, steps = config.learning_rate, schedule.epochs * steps_per_epoch
    if steps > _MOST_STEPS:
        raise ConfigError(f"--epochs {schedule.epochs}: expected at most {_MOST_STEPS} steps in all, found {steps} "
                          f"({steps_per_epoch} in an epoch)")
    if schedule.lr_scheduler == "poly":
        lr_per_step = poly(lr, steps, power=schedule.lr_power, end=schedule.lr_end)
    elif schedule.lr_scheduler == "cosine":
        lr_per_step = cosine(lr, steps, end=schedule.lr_end)
    elif schedule.lr_scheduler == "step":
        milestones = [round(epoch * steps_per_epoch) for epoch in schedule.lr_milestones]
        lr_per_step = step_decay(lr, steps, milestones=milestones, gamma=schedule.lr_gamma)
    else:
        lr_per_step = constant(lr, steps)
    warmup_steps = round(schedule.warmup_epochs * steps_per_epoch)
    return warm_up(lr_per_step, warmup_steps, factor=schedule.warmup_factor, shape=schedule.warmup)
