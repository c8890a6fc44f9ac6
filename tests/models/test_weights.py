"""Which weights of a file a network takes; more of this is in tests/training/test_checkpoint.py."""
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn

from rtseg.models.weights import load_weights, save_weights
from rtseg.utils.errors import DataError


class Network(nn.Cell):
    """One weight, and one for each auxiliary head."""

    def __init__(self, value, aux):
        super().__init__()
        for name in ["weight", *(f"aux_heads.{i}.bias" for i in range(aux))]:
            self.insert_param_to_cell(name.replace(".", "_"), Parameter(Tensor(np.float32(value)), name=name))


@pytest.mark.parametrize("aux", [0, 1, 2])
def test_auxiliary_heads_that_the_network_lacks_are_left_out(tmp_path, aux):
    save_weights(tmp_path / "w.ckpt", Network(3, 2))
    network = Network(0, aux)
    load_weights(tmp_path / "w.ckpt", network)
    assert [float(value.asnumpy()) for value in network.get_parameters()] == [3.0] * (1 + aux)


def test_auxiliary_heads_that_the_file_lacks_are_missing(tmp_path):
    save_weights(tmp_path / "w.ckpt", Network(3, 1))
    with pytest.raises(DataError, match="missing 1: aux_heads.1.bias"):
        load_weights(tmp_path / "w.ckpt", Network(0, 2))
