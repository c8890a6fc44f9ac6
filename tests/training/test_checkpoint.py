"""Checkpoint files: atomically, and every misfit is named."""
import random
import signal
import subprocess
import sys
import time

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn
from script_helpers import PROJECT

from rtseg.models.weights import load_pretrained, load_weights, save_weights
from rtseg.training import checkpoint
from rtseg.training.checkpoint import TrainState, load_state, save_state
from rtseg.utils.errors import DataError, UserError


class Network(nn.Cell):
    def __init__(self, value=0.0, shape=(2, 3), extra=(), dropout_step=0):
        super().__init__()
        self.weight = Parameter(Tensor(np.full(shape, value, np.float32)), name="conv.weight")
        self.counter = Parameter(Tensor(dropout_step, ms.int32), name="classifier.dropout.dropout_step",
                                 requires_grad=False)
        self.extra = nn.CellList()
        for name in extra:
            self.insert_param_to_cell(name.replace(".", "_"), Parameter(Tensor([value], ms.float32), name=name))


def state(value):
    return {"moments.conv.weight": Parameter(Tensor(np.full((2, 3), value, np.float32)), name="moments.conv.weight"),
            "global_step": Parameter(Tensor([int(value)], ms.int32), name="global_step")}


def test_state_comes_back_exactly(tmp_path):
    path = tmp_path / "last.ckpt"
    progress = TrainState(epoch=3, step=7, loss_sum=1 / 3, best_miou=0.1 + 0.2, best_epoch=2, seed=5,
                          global_batch_size=8)
    save_state(path, Network(1.5, dropout_step=11), step_state=state(4), train_state=progress)
    network, loaded = Network(), state(0)
    assert load_state(path, network, step_state=loaded) == progress
    assert (network.weight.asnumpy() == 1.5).all() and int(network.counter.asnumpy()) == 11
    assert (loaded["moments.conv.weight"].asnumpy() == 4).all() and loaded["global_step"].asnumpy().tolist() == [4]
    assert path.stat().st_mode & 0o200 and [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_weights_load_from_weights_and_from_a_whole_state(tmp_path):
    save_weights(tmp_path / "w.ckpt", Network(2.0, extra=["aux_heads.0.bias"]))
    save_state(tmp_path / "s.ckpt", Network(3.0), step_state=state(1), train_state=TrainState())
    network = Network()
    load_weights(tmp_path / "w.ckpt", network)  # a network without auxiliary heads leaves them out
    assert (network.weight.asnumpy() == 2).all()
    load_weights(tmp_path / "s.ckpt", network)
    assert (network.weight.asnumpy() == 3).all()


def test_every_misfit_is_named_and_nothing_is_loaded(tmp_path):
    path = tmp_path / "w.ckpt"
    save_weights(path, Network(1.0, shape=(4, 3), extra=["old.bias"]))
    network = Network(extra=["new.bias", "aux_heads.0.bias"])
    with pytest.raises(DataError) as caught:
        load_weights(path, network)
    message = str(caught.value)
    assert "missing 2: new.bias, aux_heads.0.bias" in message and "extra 1: old.bias" in message
    assert "of another shape 1: conv.weight (expected (2, 3), found (4, 3))" in message
    assert caught.value.exit_code == 3 and not network.weight.asnumpy().any()


def test_weights_are_no_state(tmp_path):
    save_weights(tmp_path / "w.ckpt", Network())
    with pytest.raises(DataError, match="found weights only. Use --pretrained"):
        load_state(tmp_path / "w.ckpt", Network(), step_state=state(0))


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "missing", "folder"])
def test_broken_files(tmp_path, damage):
    path = tmp_path / "w.ckpt"
    save_weights(path, Network(1.0))
    whole = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes({"truncated": whole[:len(whole) // 2], "empty": b"", "text": b"hello\n" * 50}[damage])
    with pytest.raises(DataError, match="w.ckpt"):
        load_weights(path, Network())


def test_weights_that_are_not_finite_are_not_written(tmp_path):
    path = tmp_path / "w.ckpt"
    save_weights(path, Network(1.0))
    before = path.read_bytes()
    with pytest.raises(UserError, match="found NaN or infinity in conv.weight"):
        save_weights(path, Network(float("nan")))
    assert path.read_bytes() == before


def test_a_write_that_fails_half_way_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "w.ckpt"
    save_weights(path, Network(1.0))

    def half(parameters, file, append_dict):
        with open(file, "wb") as opened:
            opened.write(b"half")
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(checkpoint.ms, "save_checkpoint", half)
    with pytest.raises(OSError, match="No space left"):
        save_weights(path, Network(2.0))
    monkeypatch.undo()
    network = Network()
    load_weights(path, network)
    assert (network.weight.asnumpy() == 1).all() and [p.name for p in tmp_path.iterdir()] == ["w.ckpt"]


_WRITER = """
import sys
from rtseg.runtime.device import setup_device
setup_device("CPU")
from rtseg.models.weights import save_weights
from rtseg.models.registry import create_model
network = create_model("fast_scnn", "mmseg", num_classes=19)
while True:
    save_weights(sys.argv[1], network)
    print("written", flush=True)
"""


def test_kill_9_while_writing_never_leaves_a_broken_file(tmp_path):
    path = tmp_path / "w.ckpt"
    process = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], cwd=PROJECT, stdout=subprocess.PIPE)
    for _ in range(3):
        process.stdout.readline()
    delays = random.Random(0)
    for _ in range(8):  # looked at while it is being replaced
        time.sleep(delays.uniform(0, 0.05))
        assert len(checkpoint.read_checkpoint(path)) > 100
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert len(checkpoint.read_checkpoint(path)) > 100
    assert all(name == "w.ckpt" or name.startswith(".tmp-") for name in (p.name for p in tmp_path.iterdir()))


class BackboneAndHead(nn.Cell):
    """Parameters named as those of a network with a backbone."""

    def __init__(self, value, classes=19, aux=True):
        super().__init__()
        shapes = {"encoder.backbone.conv.weight": (2,), "neck.weight": (3,), "head.classifier.weight": (classes, 4)}
        if aux:
            shapes["aux_heads.0.classifier.bias"] = (classes,)
        for name, shape in shapes.items():
            self.insert_param_to_cell(name.replace(".", "_"),
                                      Parameter(Tensor(np.full(shape, value, np.float32)), name=name))

    def values(self):
        return {p.name: float(p.asnumpy().flat[0]) for p in self.get_parameters()}


def test_pretrained_backbone_leaves_the_rest_fresh(tmp_path):
    path = tmp_path / "resnet.ckpt"
    ms.save_checkpoint([{"name": "encoder.backbone.conv.weight", "data": Tensor([7.0, 7.0], ms.float32)}], str(path))
    network = BackboneAndHead(0)
    assert load_pretrained(path, network) == (
        f"pretrained: took the backbone from {path}, 1 of 4 parameters; fresh: aux_heads.0.classifier.bias, "
        "head.classifier.weight, neck.weight")
    assert network.values() == {"encoder.backbone.conv.weight": 7, "neck.weight": 0, "head.classifier.weight": 0,
                                "aux_heads.0.classifier.bias": 0}


@pytest.mark.parametrize("classes, fresh", [(19, 0), (5, 2)])
def test_pretrained_network_even_with_another_number_of_classes(tmp_path, classes, fresh):
    save_weights(tmp_path / "w.ckpt", BackboneAndHead(7, classes))
    network = BackboneAndHead(0)
    note = load_pretrained(tmp_path / "w.ckpt", network)
    assert f"took the weights from {tmp_path / 'w.ckpt'}, {4 - fresh} of 4" in note
    assert list(network.values().values()) == ([7, 7, 7, 7] if not fresh else [7, 7, 0, 0])


def test_pretrained_that_does_not_fit_names_what_is_missing(tmp_path):
    save_weights(tmp_path / "w.ckpt", Network(1.0))
    with pytest.raises(DataError, match="missing 3: encoder.backbone.conv.weight, neck.weight, head.classifier.weight"):
        load_pretrained(tmp_path / "w.ckpt", BackboneAndHead(0))
