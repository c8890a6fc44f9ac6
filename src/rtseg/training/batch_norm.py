"""BatchNorm statistics in a training on several processes."""
from typing import List, Optional

from mindspore import nn

from rtseg.models.layers import BatchNorm
from rtseg.runtime.distributed import ProcessGroup
from rtseg.training.weight_average import WeightAverage


def batch_norms(network: nn.Cell) -> List[BatchNorm]:
    """The BatchNorm layers of `network`."""
    return [cell for _, cell in network.cells_and_names() if isinstance(cell, BatchNorm)]


def synchronize_batch_norm(network: nn.Cell, group: ProcessGroup, *, device_target: str) -> str:
    """Makes the BatchNorm layers of `network` use the statistics of all ranks in training, where the device can.

    Returns:
        a line for the log, empty for a single process.
    """
    if group.size == 1:
        return ""
    if device_target != "Ascend":
        return (f"note: {device_target} has no synchronised BatchNorm; each process normalises with its own share of "
                "the batch, and the running statistics are averaged")
    for layer in batch_norms(network):
        layer.synchronize()
    return f"BatchNorm statistics are those of all {group.size} processes"


def average_statistics(network: nn.Cell, group: ProcessGroup, *, average: Optional[WeightAverage] = None) -> None:
    """Gives all ranks the means of their running statistics; with these the network is evaluated and saved.

    Training reads them only where a channel has a single value, and the mean of moving averages is the moving average
    of the means: it matters little how often this is done.
    """
    group.average([statistic for layer in batch_norms(network)
                   for statistic in (layer.moving_mean, layer.moving_variance)]
                  + (average.statistics() if average else []))
