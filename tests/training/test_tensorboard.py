"""Event files: the bytes that TensorBoard reads, the points of a training, and a disk that fills up."""
import errno
import math
import struct
from types import SimpleNamespace

import pytest

from rtseg.training import tensorboard
from rtseg.training.tensorboard import TensorBoardWriter
from rtseg.utils import event_file
from rtseg.utils.event_file import EventFile, masked_checksum


def messages(folder):
    """The Event messages of the only file in `folder`, without their nine bytes of time."""
    (path,) = folder.iterdir()
    assert path.name.startswith("events.out.tfevents.")
    content, found = path.read_bytes(), []
    while content:
        length = struct.unpack("<Q", content[:8])[0]
        event = content[12:12 + length]
        assert content[8:12] == masked_checksum(content[:8])
        assert content[12 + length:16 + length] == masked_checksum(event)
        assert event[:1] == b"\x09"
        found.append(event[9:])
        content = content[16 + length:]
    return found


def test_checksum_is_that_of_the_published_vector():
    # CRC-32C of "123456789" is 0xE3069283 (RFC 3720); rotated by 15 bits and 0xA282EAD8 added: 0xC78AB0E5.
    assert masked_checksum(b"123456789") == bytes.fromhex("e5b08ac7")


def test_bytes_are_literal(tmp_path, monkeypatch):
    """TensorBoard 2.21 has read such a file."""
    monkeypatch.setattr(event_file.time, "time", lambda: 1000.5)
    events = EventFile(tmp_path)
    events.add(0, {"train/loss": 1.5})
    events.add(300, {"a": -2.0, "é": math.inf})
    events.close()
    assert messages(tmp_path) == [
        b"\x1a\x0dbrain.Event:2",
        b"\x10\x00\x2a\x13\x0a\x11\x0a\x0atrain/loss\x15\x00\x00\xc0\x3f",
        b"\x10\xac\x02\x2a\x15\x0a\x08\x0a\x01a\x15\x00\x00\x00\xc0\x0a\x09\x0a\x02\xc3\xa9\x15\x00\x00\x80\x7f"]
    assert next(tmp_path.iterdir()).read_bytes()[12:21] == b"\x09" + struct.pack("<d", 1000.5)


@pytest.fixture
def run():
    return SimpleNamespace(last_loss=(0, math.nan), global_step=0, lr_per_step=[0.5, 0.25, 0.125],
                           images_per_second=math.nan, epoch_scores=None, stop_requested=False)


class Recorder:
    """Stands in for an event file."""

    def __init__(self, fails=False):
        self.points, self.fails, self.is_closed = [], fails, False

    def add(self, step, scalars):
        if self.fails:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.points.append((step, scalars))

    def close(self):
        self.is_closed = True


def test_points_of_a_training(run, tmp_path):
    writer = TensorBoardWriter(tmp_path)
    assert len(messages(tmp_path / "tensorboard")) == 1
    writer.events.close()
    writer.events = recorder = Recorder()
    run.global_step, run.last_loss = 1, (1, 3.0)
    writer.on_step_end(run, None)
    run.global_step = 2  # its loss is not fetched yet
    writer.on_step_end(run, None)
    run.global_step, run.last_loss = 3, (3, 2.0)
    writer.on_step_end(run, None)
    writer.on_epoch_end(run)
    run.images_per_second, run.epoch_scores = 7.5, (0.75, 0.5)
    writer.on_epoch_end(run)
    run.stop_requested = True
    writer.on_epoch_end(run)
    writer.close(run)
    assert recorder.is_closed and recorder.points == [
        (1, {"train/loss": 3.0, "train/learning_rate": 0.5}), (3, {"train/loss": 2.0, "train/learning_rate": 0.125}),
        (3, {"train/images_per_second": 7.5, "val/pixAcc": 0.75, "val/mIoU": 0.5})]


def test_a_full_disk_ends_the_points_and_not_the_training(run, tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(tensorboard._LOG, "warning", warnings.append)
    writer = TensorBoardWriter(tmp_path)
    writer.events.close()
    writer.events = recorder = Recorder(fails=True)
    for step in (1, 2):
        run.global_step, run.last_loss = step, (step, 3.0)
        writer.on_step_end(run, None)
    writer.on_epoch_end(run)
    writer.close(run)
    assert recorder.is_closed and writer.events is None
    assert warnings == ["warning: [Errno 28] No space left on device; no more points for TensorBoard"]
