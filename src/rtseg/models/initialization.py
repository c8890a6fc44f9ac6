"""The weights that each published graph starts from: part of its recipe, like its padding.

What the references do, read in their code:
- "tramac" and "segmentron" have no rule of their own, so they get PyTorch's defaults.
- "modelzoo" has none either, but was trained with the MindSpore of its time, whose convolutions started normal with
  deviation 0.01, biases zero.
- "liminn": Kaiming normal by fan-out in the ResNet, PyTorch's defaults around it.
- "coincheung": Kaiming normal with a=1 and zero biases, except in the ResNet, which has PyTorch's defaults until
  ImageNet weights replace them. (Its Xavier rule belongs to a block that this graph doesn't use.)
- "mmseg": Kaiming normal by fan-out, in classifiers normal with deviation 0.01, biases zero. The last BatchNorm
  of each residual block of a ResNet starts at zero, so that the block starts as the identity (arXiv 1706.02677, 5.1).

Every other BatchNorm starts at gamma 1 and beta 0, as MindSpore makes it.
"""
import math
import re
from typing import Callable, Dict, Optional, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from rtseg.models.resnet import BasicBlock, Bottleneck

Rule = Callable[[np.random.Generator, nn.Conv2d], None]


def _set(conv: nn.Conv2d, weight: np.ndarray, *, bias: Optional[np.ndarray] = None) -> None:
    """Sets the weight, and the bias if there is one: to `bias` or to zeros."""
    conv.weight.set_data(Tensor(weight.astype(np.float32)))
    if conv.has_bias:
        conv.bias.set_data(Tensor((np.zeros(len(weight)) if bias is None else bias).astype(np.float32)))


def _fan_in(conv: nn.Conv2d) -> int:
    return math.prod(conv.weight.shape[1:])  # (out, in / groups, kernel height, kernel width)


def pytorch_default(rng: np.random.Generator, conv: nn.Conv2d) -> None:
    """Weight and bias uniform within 1 / sqrt(fan-in), which is what `kaiming_uniform_(a=sqrt(5))` comes to."""
    bound = 1 / math.sqrt(_fan_in(conv))
    _set(conv, rng.uniform(-bound, bound, conv.weight.shape), bias=rng.uniform(-bound, bound, conv.weight.shape[0]))


def kaiming_fan_out(rng: np.random.Generator, conv: nn.Conv2d) -> None:
    """Normal with variance 2 / fan-out. As in PyTorch, the fan-out of a depthwise convolution counts all channels."""
    out_channels, _, height, width = conv.weight.shape
    _set(conv, rng.normal(0, math.sqrt(2 / (out_channels * height * width)), conv.weight.shape))


def kaiming_fan_in_linear(rng: np.random.Generator, conv: nn.Conv2d) -> None:
    """Normal with variance 1 / fan-in: `kaiming_normal_(a=1)`."""
    _set(conv, rng.normal(0, math.sqrt(1 / _fan_in(conv)), conv.weight.shape))


def normal_001(rng: np.random.Generator, conv: nn.Conv2d) -> None:
    """Normal with standard deviation 0.01."""
    _set(conv, rng.normal(0, 0.01, conv.weight.shape))


# Variant -> (pattern in the name of a convolution, its rule); the first that matches counts.
_RULES: Dict[str, Tuple[Tuple[str, Rule], ...]] = {
    "tramac": ((r"", pytorch_default),),
    "segmentron": ((r"", pytorch_default),),
    "modelzoo": ((r"", normal_001),),
    "liminn": ((r"\.backbone\.", kaiming_fan_out), (r"", pytorch_default)),
    "coincheung": ((r"\.backbone\.", pytorch_default), (r"", kaiming_fan_in_linear)),
    "mmseg": ((r"\.classifier$", normal_001), (r"", kaiming_fan_out)),
}


def initialize(network: nn.Cell, variant: str) -> None:
    """Draws the weights of a new network by the rule of its published graph.

    The draws follow MindSpore's global seed (`mindspore.set_seed`), so all ranks start equal and a run can be repeated;
    where none is set, every network is different.

    Args:
        network: a whole network of this package.
        variant: its published graph, such as "mmseg".
    """
    rng = np.random.default_rng(ms.get_seed())
    for name, cell in network.cells_and_names():
        if isinstance(cell, nn.Conv2d):
            rule = next(rule for pattern, rule in _RULES[variant] if re.search(pattern, name))
            rule(rng, cell)
        elif variant == "mmseg" and isinstance(cell, (BasicBlock, Bottleneck)):
            last = cell.conv3.bn if isinstance(cell, Bottleneck) else cell.conv2.bn
            last.gamma.set_data(Tensor(np.zeros(last.gamma.shape, np.float32)))
