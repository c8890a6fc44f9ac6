"""What a resumed run takes over, and which runs cannot be resumed."""
import json

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn
from script_helpers import PROJECT

from rtseg.config.recipe import load_config
from rtseg.models.weights import load_weights, save_weights
from rtseg.runtime.distributed import ProcessGroup
from rtseg.training import resume
from rtseg.training.checkpoint import TrainState, load_state, read_best
from rtseg.training.context import Losses, TrainContext
from rtseg.training.timer import Timer
from rtseg.utils.errors import ConfigError, DataError


class Network(nn.Cell):
    def __init__(self, value=0.0):
        super().__init__()
        self.weight = Parameter(Tensor(np.full(3, value, np.float32)), name="conv.weight")


def load_start(monkeypatch, state, **parameters):
    monkeypatch.setattr(resume, "load_state", lambda *_, **__: state)
    config = load_config(PROJECT / "configs" / "fast_scnn.yaml", {
        "batch_size": 2, "epochs": 6, "warmup_epochs": 0, "resume_path": "run"})
    return resume.load_start(config, None, step_state={}, steps_per_epoch=4, **parameters)


def test_a_data_set_of_another_size_is_refused(monkeypatch):
    with pytest.raises(ConfigError) as caught:
        load_start(monkeypatch, TrainState(epoch=4, global_batch_size=2, steps_per_epoch=2))
    assert str(caught.value) == (
        "run/last.ckpt: expected the data set with which the run began, 2 steps per epoch, found 4; use that one, or "
        "--pretrained run/last.ckpt in place of --resume_path to begin a new run from the weights")
    for known in (0, 4):  # 0: an older version's
        state, note = load_start(monkeypatch, TrainState(epoch=4, step=1, global_batch_size=2, steps_per_epoch=known))
        assert (state.steps_per_epoch, note) == (4, "resumed from run/last.ckpt after epoch 4, step 1 of the next")


def test_a_complete_run_is_an_error_unless_it_may_be(monkeypatch):
    with pytest.raises(ConfigError, match="complete with 6 epochs; expected --epochs to be more, found 6"):
        load_start(monkeypatch, TrainState(epoch=6, global_batch_size=2))
    assert load_start(monkeypatch, TrainState(epoch=6, global_batch_size=2), may_be_complete=True)[0].epoch == 6


def context_in(folder, state, network):
    config = load_config(PROJECT / "configs" / "fast_scnn.yaml")
    return TrainContext(config=config, folder=folder, network=network, step_state={}, steps_per_epoch=4,
                        lr_per_step=[], state=state, group=ProcessGroup(), timer=Timer(2), losses=Losses())


@pytest.mark.parametrize("in_state", [(2, 0.5), (0, -1.0)])
def test_the_best_weights_are_of_the_epoch_that_they_say(tmp_path, in_state):
    """Killed between best_map.ckpt of epoch 3 and the state of it, which knows the best of epoch 2, or none."""
    old, new = tmp_path / "old", tmp_path / "new"
    context_in(old, TrainState(best_epoch=3, best_miou=0.1 + 0.2), Network(7.0)).save_best()
    context = context_in(new, TrainState(epoch=2, best_epoch=in_state[0], best_miou=in_state[1]), None)
    resume.take_best(context, old)
    assert (context.state.best_epoch, context.state.best_miou) == (3, 0.1 + 0.2)
    assert (new / "best_map.ckpt").read_bytes() == (old / "best_map.ckpt").read_bytes()

    network = Network()
    load_weights(new / "best_map.ckpt", network)
    assert network.weight.asnumpy().tolist() == [7, 7, 7]
    with pytest.raises(DataError, match="found weights only"):
        load_state(new / "best_map.ckpt", network, step_state={})


def test_best_weights_of_older_versions(tmp_path):
    save_weights(tmp_path / "old" / "best_map.ckpt", Network(7.0))
    for best in ((2, 0.5), (0, -1.0)):  # the state alone knows whether there is a best
        new = tmp_path / str(best[0])
        context = context_in(new, TrainState(epoch=2, best_epoch=best[0], best_miou=best[1]), None)
        resume.take_best(context, tmp_path / "old")
        assert (context.state.best_epoch, context.state.best_miou) == best
        assert (new / "best_map.ckpt").is_file() == bool(best[0])


def test_a_damaged_note_in_the_best_weights(tmp_path):
    path = tmp_path / "best_map.ckpt"
    for text in ("{", json.dumps({"best_epoch": -1}), json.dumps({"best_miou": "x"})):
        ms.save_checkpoint(Network(), str(path), append_dict={"state.best": text})
        with pytest.raises(DataError, match="best_map.ckpt: expected the state of a run, found a damaged one"):
            read_best(path)
