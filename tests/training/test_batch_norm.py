"""BatchNorm statistics of several processes."""
from mindspore import nn

from rtseg.models.layers import BatchNorm
from rtseg.runtime.distributed import ProcessGroup
from rtseg.training.batch_norm import synchronize_batch_norm


def test_batch_norm_uses_the_statistics_of_all_ranks_on_ascend(monkeypatch):
    class Synchronised:
        def __init__(self, num_features, eps, momentum):
            self.bn_train = ("synchronised", num_features, eps, round(momentum, 6))

    monkeypatch.setattr(nn, "SyncBatchNorm", Synchronised)
    network = nn.SequentialCell(BatchNorm(4, eps=1e-5, momentum=0.97))
    assert "no synchronised BatchNorm" in synchronize_batch_norm(network, ProcessGroup(1, 8), device_target="CPU")
    assert synchronize_batch_norm(network, ProcessGroup(), device_target="Ascend") == "" and not network[0].across_ranks
    note = synchronize_batch_norm(network, ProcessGroup(1, 8), device_target="Ascend")
    assert note == "BatchNorm statistics are those of all 8 processes"
    assert network[0].bn_train == ("synchronised", 4, 1e-5, 0.97) and network[0].across_ranks
