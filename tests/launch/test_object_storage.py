"""Copies from and to object storage, against a fake of moxing that fails in every way that a connection can."""
import hashlib
import re
import tempfile
import time
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moxing_helpers import calls, tree
from script_helpers import PROJECT

from rtseg.config.recipe import load_config
from rtseg.launch.object_storage import Mirror, ObjectStorage, TransferError
from rtseg.training import callbacks, run_folder
from rtseg.utils.errors import DataError

RECIPE = PROJECT / "configs" / "fast_scnn.yaml"


@pytest.mark.parametrize("fault, sizes, attempts", [
    ("", "1", 1), ("copy_parallel:1:fail", "1", 2), ("copy_parallel:1-3:cut", "1", 4),
    ("copy_parallel:1:short", "1", 2), ("copy_parallel:1:lose", "1", 2), ("copy_parallel:1:lose", "0", 2),
    ("copy_parallel:1:cut", "0", 2),
    ("list_directory:2:fail", "1", 2), ("get_size:1:fail", "1", 2)])
def test_a_tree_is_copied_until_it_is_complete(bucket, faults, tmp_path, monkeypatch, fault, sizes, attempts):
    monkeypatch.setenv("MOXING_SIZES", sizes)
    (bucket / "b" / "data" / "empty").mkdir()
    faults(fault)
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "old").write_text("of an attempt before")
    ObjectStorage(30).fetch_tree("obs://b/data", tmp_path / "local")
    assert tree(tmp_path / "local") == {"leftImg8bit/val/a.png": "image", "gtFine/val/a.png": "label",
                                        "z.txt": "the last"}
    assert calls(bucket, "copy_parallel") == [f"obs://b/data {tmp_path / 'local'}"] * attempts


def test_a_tree_that_cannot_be_copied(bucket, faults, tmp_path):
    faults("copy_parallel:*:short")
    with pytest.raises(TransferError, match="copying obs://b/data to .* failed 4 times, at last with _Incomplete: "
                                            "obs://b/data has 18 bytes, and 14 bytes are here. Check the address"):
        ObjectStorage(30).fetch_tree("obs://b/data", tmp_path / "local")
    assert len(calls(bucket, "copy_parallel")) == 4


@pytest.mark.parametrize("url", ["obs://b/nothing", "obs://b/empty"])
def test_nothing_to_copy_is_said_at_once(bucket, tmp_path, url):
    (bucket / "b" / "empty").mkdir()
    with pytest.raises(DataError, match=f"{url}: expected a folder with files in it, found nothing"):
        ObjectStorage(30).fetch_tree(url, tmp_path / "local")
    assert len(calls(bucket, "exists")) == 1


def test_a_call_that_hangs_ends_with_the_time(bucket, faults, tmp_path):
    faults("copy_parallel:*:hang")
    start = time.monotonic()
    with pytest.raises(TransferError, match=r"moxing.file.copy_parallel\(obs://b/data, .*\) has not returned within "
                                            "--copy_timeout 0.5 seconds"):
        ObjectStorage(0.5).fetch_tree("obs://b/data", tmp_path / "local")
    assert time.monotonic() - start < 20


def mirror_of(output, url):
    """As a training job has it."""
    return Mirror(lambda: run_folder.files_of_rank(output, 0), root=output, url=url,
                  is_kept_twice=run_folder.is_resume_file)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(outcomes=st.lists(st.tuples(st.integers(0, 6), st.sampled_from(["fail", "cut", "short"])), min_size=1,
                         max_size=6), sizes=st.sampled_from(["0", "1"]))
def test_a_connection_lost_at_any_time_leaves_a_whole_checkpoint(bucket, faults, tmp_path_factory, monkeypatch,
                                                                 outcomes, sizes):
    """Whatever copies fail in whatever sync, a later job gets a whole file, no older than the last complete sync."""
    folder = tmp_path_factory.mktemp("job")
    url, state = f"obs://b/{folder.name}", folder / "output" / "run" / "last.ckpt"
    monkeypatch.setenv("MOXING_SIZES", sizes)
    state.parent.mkdir(parents=True)
    mirror, complete = mirror_of(folder / "output", url), 0
    for version, (call, fault) in enumerate(outcomes, 1):
        state.write_text(f"version {version} " * version)
        (state.parent / "metrics.csv").write_text(f"epoch\n{version}\n")
        if fault == "short" and sizes == "0":
            fault = "cut"  # nothing tells such a copy from a whole one
        faults(f"copy:{call}:{fault}")  # call 0 never comes
        try:
            mirror.sync(ObjectStorage(30, pauses=()))
            complete = version
        except TransferError:
            pass
        faults()
        read = folder / f"read {version}"
        if tree(bucket / "b" / folder.name):
            ObjectStorage(30).fetch_files(f"{url}/run", read)
        if (read / "last.ckpt").is_file():
            found = (read / "last.ckpt").read_text()
            number = int(found.split()[1])
            assert found == f"version {number} " * number and complete <= number <= version
            assert complete <= int((read / "metrics.csv").read_text().split()[1]) >= number
        else:
            assert not complete
    mirror.finish(ObjectStorage(30))
    assert tree(bucket / "b" / folder.name) == {**tree(folder / "output"), **(
        {f"run/{name}.spare": object_of(state.with_name(name)) for name in ("last.ckpt", "metrics.csv")}
        if sizes == "0" else {})}


def object_of(path):
    digest = hashlib.sha256(path.read_bytes()).digest()
    return (path.read_bytes() + digest).decode(errors="replace")


def test_only_what_is_new_is_copied_and_checkpoints_come_last(bucket, tmp_path):
    output = tmp_path / "output"
    (output / "earlier run").mkdir(parents=True)
    (output / "earlier run" / "last.ckpt").write_text("not of this job")
    mirror = mirror_of(output, "obs://b/out")
    run = output / "run"
    (run / "ckpt_0").mkdir(parents=True)
    for name in ("best_map.ckpt", "config.yaml", "last.ckpt", "metrics.csv", "train.log", "ckpt_0/net-1_4.ckpt",
                 ".tmp-x"):
        (run / name).write_text(name)
    mirror.sync(ObjectStorage(30))
    assert [call.split("obs://b/out/run/")[1] for call in calls(bucket, "copy")] == [
        "ckpt_0/net-1_4.ckpt", "config.yaml", "train.log", "metrics.csv.spare", "metrics.csv", "best_map.ckpt.spare",
        "best_map.ckpt", "last.ckpt.spare", "last.ckpt"]
    (run / "ckpt_0" / "net-1_4.ckpt").unlink()
    (run / "train.log").write_text("more")
    mirror.sync(ObjectStorage(30))
    assert calls(bucket, "copy")[9:] == [f"{run / 'train.log'} obs://b/out/run/train.log"]
    mirror.finish(ObjectStorage(30))
    assert tree(bucket / "b" / "out") == {f"run/{name}": text for name, text in (
        ("best_map.ckpt", "best_map.ckpt"), ("config.yaml", "config.yaml"), ("last.ckpt", "last.ckpt"),
        ("metrics.csv", "metrics.csv"), ("train.log", "more"))}


def test_a_full_disk_is_a_copy_that_failed(bucket, tmp_path, monkeypatch):
    """The results stay where they are, and a training goes on."""
    def full(*_):
        raise OSError(28, "No space left on device")
    mirror = mirror_of(tmp_path / "output", "obs://b/out")
    (tmp_path / "output" / "run").mkdir(parents=True)
    (tmp_path / "output" / "run" / "last.ckpt").write_text("state")
    with monkeypatch.context() as patch, pytest.raises(
            TransferError, match="copying .*last.ckpt to obs://b/out/run/last.ckpt failed: .*No space left"):
        patch.setattr(tempfile, "TemporaryDirectory", full)
        mirror.sync(ObjectStorage(30))
    mirror.sync(ObjectStorage(30))
    assert (bucket / "b" / "out" / "run" / "last.ckpt").read_text() == "state"


def test_an_upload_that_fails_while_training_is_a_warning_and_brought_by_the_next(bucket, faults, tmp_path, caplog,
                                                                                  monkeypatch):
    monkeypatch.setattr(callbacks._LOG, "propagate", True)
    output = tmp_path / "output"
    (output / "run").mkdir(parents=True)
    mirror = mirror_of(output, "obs://b/out")
    upload = callbacks.UploadCallback(lambda: mirror.sync(ObjectStorage(30, pauses=())))
    faults("copy:2:cut")
    for epoch in range(1, 7):
        (output / "run" / "last.ckpt").write_text(f"epoch {epoch}")
        config = load_config(RECIPE, {"upload_every": 2, "epochs": 6, "warmup_epochs": 0})
        with caplog.at_level("INFO"):
            upload.on_epoch_end(SimpleNamespace(config=config, epoch=epoch, is_last_epoch=epoch == 6,
                                                stop_requested=False))
    failed, done = dict.fromkeys(caplog.messages)  # some pytests also listen to the logger itself: each comes twice
    assert re.fullmatch(r"copying .*last.ckpt to obs://b/out/run/last.ckpt failed 1 time, at last with "
                        r"ConnectionError: injected: connection lost half-way.* The training goes on; the next time is "
                        r"after epoch 4, or at the end", failed)
    assert re.fullmatch(r"copied the results of 4 epochs to outer_path in \d+\.\d s", done)
    assert (bucket / "b" / "out" / "run" / "last.ckpt").read_text() == "epoch 4"
