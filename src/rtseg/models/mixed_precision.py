"""Mixed-precision training: which layers compute in float16.

`mindspore.amp.auto_mixed_precision` is not used. Its O1 rewrites the network's source code, which breaks on subclasses
of BatchNorm and on several operators of MindSpore 2.7 and leaves folders behind; its O2 and O3 hand float16 to every
operator, constants or not. Here a level is a white list of layers that cast for themselves. Weights, gradients of
weights, BatchNorm statistics, loss and optimizer state are float32 at every level, and a network that is not in
training computes in float32.
"""
from mindspore import nn

from rtseg.models.layers import BatchNorm, Conv2d


def set_amp_level(network: nn.Cell, level: str) -> None:
    """Sets how `network` computes in training.

    Args:
        network: built of the layers in layers.py.
        level: "O0": float32. "O1": convolutions compute in float16 and hand on float32. "O2": they hand on float16, so
            that all between them is float16 too, except BatchNorm, which computes in float32. "O3": BatchNorm takes and
            gives float16 as well; its statistics stay float32.
    """
    for _, cell in network.cells_and_names():
        if isinstance(cell, Conv2d):
            cell.float16_compute = level != "O0"
            cell.float16_output = level in ("O2", "O3")
        elif isinstance(cell, BatchNorm):
            cell.float32_compute = level == "O2"
