"""Event files: the curves and images of a training, and a disk that fills up."""
import errno
import struct
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from rtseg.metrics.confusion_matrix import ConfusionMatrix
from rtseg.training import tensorboard
from rtseg.training.tensorboard import TensorBoardWriter, require_tensorboard
from rtseg.utils.errors import ConfigError

event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
NAMES, PALETTE = ("road", "car"), ((128, 64, 128), (0, 0, 142))


def events(folder):
    """The events of the only file in `folder`."""
    (path,) = folder.iterdir()
    content, found = path.read_bytes(), []
    while content:
        length = struct.unpack("<Q", content[:8])[0]
        found.append(event_pb2.Event.FromString(content[12:12 + length]))
        content = content[16 + length:]
    return found


@pytest.fixture
def context():
    return SimpleNamespace(losses=SimpleNamespace(last_step=0, last=float("nan")), global_step=0, lr=0.5,
                           timer=SimpleNamespace(epoch_rate=float("nan")), evaluation=None, scores=None, samples=[],
                           stop_requested=False)


@pytest.fixture
def writer(tmp_path):
    return TensorBoardWriter(tmp_path, class_names=NAMES, palette=PALETTE)


def test_curves_and_images_of_a_training(context, writer, tmp_path):
    context.global_step, context.losses.last_step, context.losses.last = 1, 1, 3.0
    writer.on_step_end(context, None)
    context.global_step = 2  # its loss is not fetched yet
    writer.on_step_end(context, None)
    context.timer.epoch_rate, context.scores = 7.5, (0.75, 0.5)
    context.evaluation = SimpleNamespace(matrix=ConfusionMatrix(2))
    context.evaluation.matrix.add(np.array([[3, 1, 0], [0, 4, 0]]))
    image, label = np.full((8, 16, 3), 100, np.uint8), np.zeros((8, 16), np.uint8)
    context.samples = [(image, label, label + 1)]
    writer.on_epoch_end(context)
    context.stop_requested = True
    writer.on_epoch_end(context)
    writer.close(context)
    found = [(event.step, value.tag, value.simple_value, (value.image.height, value.image.width))
             for event in events(tmp_path / "tensorboard")[1:] for value in event.summary.value]
    assert found[:5] == [
        (1, "train/loss", 3.0, (0, 0)), (1, "train/learning_rate", 0.5, (0, 0)),
        (2, "train/images_per_second", 7.5, (0, 0)), (2, "val/pixAcc", 0.75, (0, 0)), (2, "val/mIoU", 0.5, (0, 0))]
    assert [entry[1] for entry in found[5:]] == ["val/confusion_matrix", "val/sample_0_label_and_prediction"]
    assert found[5][3] > (100, 100) and found[6][3] == (8, 32)


def test_a_full_disk_ends_the_events_and_not_the_training(context, writer, monkeypatch):
    warnings = []
    monkeypatch.setattr(tensorboard._LOG, "warning", warnings.append)

    def fail(_event):
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(writer.events, "write_event", fail)
    for step in (1, 2):
        context.global_step = context.losses.last_step = step
        context.losses.last = 3.0
        writer.on_step_end(context, None)
    writer.close(context)
    assert writer.events is None
    assert warnings == ["[Errno 28] No space left on device; no more events for TensorBoard"]


def test_without_tensorboardx_the_answer_is_a_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ConfigError, match="--tensorboard 1 needs tensorboardX, .*; install it with pip install"):
        require_tensorboard()
