"""SGD with momentum over parameter groups."""
from typing import Any, Dict, List, Optional, Sequence, Tuple

from mindspore import Parameter, nn

from rtseg.config.config import Config
from rtseg.models.parameter_names import is_auxiliary
from rtseg.utils.errors import ConfigError


def parameter_groups(parameters: Sequence[Parameter], lr_per_step: Sequence[float], *, weight_decay: float,
                     decay_bn_bias: bool = True, lr_factors: Optional[Dict[str, float]] = None) -> List[Dict[str, Any]]:
    """Groups for a MindSpore optimizer: one per pair of learning-rate factor and weight decay that occurs.

    Without factors the groups have no rate of their own but the optimizer's. A rate in a group, even the same one,
    makes MindSpore look it up for each parameter, which takes eight seconds of compiling Fast-SCNN's training step.

    Args:
        parameters: the trainable parameters.
        lr_per_step: learning rate of every step.
        weight_decay: of the parameters that decay.
        decay_bn_bias: False exempts BatchNorm's gamma and beta and all biases.
        lr_factors: parameter-name prefix -> factor; the longest prefix that fits counts, 1 where none does.

    Raises:
        ConfigError: a prefix that no parameter has, other than of auxiliary heads.
    """
    lr_factors = lr_factors or {}
    for prefix in lr_factors:
        # Recipes name the auxiliary heads, which --aux 0 leaves out.
        if not is_auxiliary(f"{prefix}.") and not any(parameter.name.startswith(prefix) for parameter in parameters):
            raise ConfigError(f"lr_factors: expected prefixes of parameter names such as '{parameters[0].name}', "
                              f"found '{prefix}', which fits none")
    members: Dict[Tuple[float, bool], List[Parameter]] = {}
    for parameter in parameters:
        prefixes = [prefix for prefix in lr_factors if parameter.name.startswith(prefix)]
        factor = lr_factors[max(prefixes, key=len)] if prefixes else 1.0
        decays = decay_bn_bias or not parameter.name.endswith((".gamma", ".beta", ".bias"))
        members.setdefault((factor, decays), []).append(parameter)
    groups: List[Dict[str, Any]] = []
    for (factor, decays), group in members.items():
        rate = {"lr": [rate * factor for rate in lr_per_step]} if lr_factors else {}
        groups.append({"params": group, "weight_decay": weight_decay if decays else 0.0, **rate})
    return groups


def build_optimizer(config: Config, network: nn.Cell, *, lr_per_step: Sequence[float]) -> nn.Momentum:
    """SGD with momentum as PyTorch defines it: v = m v + (g + wd w), w = w - lr v.

    Args:
        config: its optimizer.
        network: whose trainable parameters are optimised.
        lr_per_step: learning rate of every step, see lr_schedules.learning_rates.
    """
    sgd = config.optimizer
    groups = parameter_groups(network.trainable_params(), lr_per_step, weight_decay=sgd.weight_decay,
                              decay_bn_bias=sgd.decay_bn_bias, lr_factors=sgd.lr_factors)
    return nn.Momentum(groups, learning_rate=list(lr_per_step), momentum=sgd.momentum)
