"""What the callbacks do when something fails around them."""
import csv
from types import SimpleNamespace

import pytest
from script_helpers import PROJECT

from rtseg.config.recipe import load_config
from rtseg.runtime.distributed import ProcessGroup
from rtseg.training import callbacks
from rtseg.training.callbacks import EvalCallback, MetricsRecorder
from rtseg.training.checkpoint import TrainState
from rtseg.training.context import Losses, TrainContext
from rtseg.training.timer import Timer


@pytest.fixture
def context(tmp_path):
    """At the end of the first of two epochs of four steps."""
    config = load_config(PROJECT / "configs" / "fast_scnn.yaml", {"epochs": 2, "warmup_epochs": 0, "eval_steps": 1})
    return TrainContext(
        config=config, folder=tmp_path, network=None, step_state={}, steps_per_epoch=4, lr_per_step=[0.1] * 8,
        state=TrainState(step=4, loss_sum=2.0), group=ProcessGroup(), timer=Timer(2), losses=Losses())


def test_curves_on_a_full_disk_end_no_training(context, monkeypatch, caplog):
    def plot_curves(_, output_path):
        raise OSError(28, "No space left on device", str(output_path))
    monkeypatch.setattr(callbacks, "plot_curves", plot_curves)
    monkeypatch.setattr(callbacks._LOG, "propagate", True)
    recorder = MetricsRecorder()
    for epoch in (0, 1):
        context.state.epoch = epoch
        recorder.on_epoch_end(context)
    rows = list(csv.DictReader((context.folder / "metrics.csv").open()))
    assert [(row["epoch"], row["loss"]) for row in rows] == [("1", "0.5"), ("2", "0.5")]
    assert [record.getMessage() for record in caplog.records] == [
        f"[Errno 28] No space left on device: '{context.folder / 'curves.png'}'; the training goes on without new "
        "curves"]


def test_an_evaluation_that_fails_costs_no_epoch(context, monkeypatch):
    saved = []
    monkeypatch.setattr(context, "save_state", lambda state: saved.append((state.epoch, state.step)))

    def run(*_, **__):
        raise OSError(5, "Input/output error")
    with pytest.raises(OSError, match="Input/output error"):
        EvalCallback(SimpleNamespace(run=run)).on_epoch_end(context)
    assert saved == [(0, 4)]
