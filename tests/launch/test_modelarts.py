"""A ModelArts job in this process, against a fake of moxing whose buckets are folders."""
import re
import signal
import sys
from pathlib import Path

import pytest
from moxing_helpers import calls, tree
from script_helpers import PROJECT

from rtseg.config.arguments import parse_arguments
from rtseg.config.recipe import load_config
from rtseg.launch.modelarts import modelarts_job
from rtseg.launch.object_storage import TransferError
from rtseg.utils.errors import ConfigError, DataError

RECIPE = PROJECT / "configs" / "fast_scnn.yaml"


def job_config(tmp_path, **values):
    return load_config(RECIPE, {"use_modelarts": "1", "dataset": "obs://b/data", "copy_path": str(tmp_path / "cache"),
                                "output_path": str(tmp_path / "output"), **values})


def write_result(config, text="result"):
    path = Path(config.run.output_path) / "run" / "last.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_addresses_become_local_paths_and_results_are_brought(bucket, tmp_path):
    for name in ("weights/w.ckpt", "old/last.ckpt", "old/best_map.ckpt", "old/metrics.csv", "old/ckpt_0/x.ckpt"):
        (bucket / "b" / name).parent.mkdir(exist_ok=True, parents=True)
        (bucket / "b" / name).write_text(name)
    config = job_config(tmp_path, dataset="", data_url="s3://b/data/", train_url="obs://b/out/",
                        pretrained="obs://b/weights/w.ckpt", resume_path="obs://b/old/last.ckpt")
    with modelarts_job(config, "train") as (local, upload):
        assert (Path(local.data.dataset) / "z.txt").read_text() == "the last" and not local.modelarts.use_modelarts
        assert Path(local.run.pretrained).read_text() == "weights/w.ckpt"
        assert tree(Path(local.run.resume_path)) == {name: f"old/{name}" for name in (
            "best_map.ckpt", "last.ckpt", "metrics.csv")} and local.run.resume_name == "last.ckpt"
        state = write_result(local)
        upload()
        assert (bucket / "b" / "out" / "run" / "last.ckpt").read_text() == "result"
        state.write_text("at the end")
    assert (bucket / "b" / "out" / "run" / "last.ckpt").read_text() == "at the end"
    assert state.read_text() == "at the end"
    assert not list((tmp_path / "cache").rglob("*.*")) and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_an_evaluation_copies_the_one_checkpoint_that_it_needs(bucket, tmp_path):
    for name in ("a.ckpt", "b.ckpt"):
        (bucket / "b" / name).write_text(name)
    for flags in ({"resume_path": "obs://b/b.ckpt"}, {"resume_path": "obs://b/", "resume_name": "b.ckpt"}):
        with modelarts_job(job_config(tmp_path, **flags), "eval") as (local, _):
            assert tree(Path(local.run.resume_path)) == {"b.ckpt": "b.ckpt"} and local.run.resume_name == "b.ckpt"


@pytest.mark.parametrize("url, message", [
    ("obs://b/nothing", "obs://b/nothing: expected a checkpoint or the folder of one, found nothing"),
    ("obs://b/data", "obs://b/data: expected last.ckpt in it, found none that is complete"),
    ("obs://b/empty", "obs://b/empty: expected a folder with files in it, found nothing")])
def test_nothing_to_resume(bucket, tmp_path, url, message):
    (bucket / "b" / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        with modelarts_job(job_config(tmp_path, resume_path=url), "train"):
            pass


def test_an_export_copies_the_checkpoint_in_and_model_and_metadata_out(bucket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("net.mindir", "net.json"):
        (bucket / "b" / name).write_text(name)
    (tmp_path / "else.txt").write_text("not a result")
    config = job_config(tmp_path, dataset="", data_url="obs://b/data", from_mindir="obs://b/net.mindir",
                        outer_path="obs://b/out")
    with modelarts_job(config, "export") as (local, _):
        assert tree(Path(local.export.from_mindir).parent) == {"net.mindir": "net.mindir", "net.json": "net.json"}
        assert (local.export.file_name, local.data.dataset) == ("net", "")
        for suffix in ("onnx", "json"):
            Path(f"net.{suffix}").write_text(suffix)
    assert tree(bucket / "b" / "out") == {"net.onnx": "onnx", "net.json": "json"}
    assert not calls(bucket, "copy_parallel")


def test_local_paths_are_used_as_they_are_and_need_no_moxing(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "moxing", None)  # any import of it fails
    config = job_config(tmp_path, dataset="data/", train_url=str(tmp_path / "kept"), pretrained="w.ckpt",
                        resume_path="auto")
    with modelarts_job(config, "train") as (local, upload):
        assert (local.data.dataset, local.run.pretrained, upload) == ("data/", "w.ckpt", None)
        # The training looks for the newest run itself.
        assert (local.run.resume_path, local.run.output_path) == ("auto", str(tmp_path / "kept"))
    with modelarts_job(config, "export") as (local, _):
        assert local.export.file_name == str(tmp_path / "kept" / "fast_scnn")
    assert f"the results go to {tmp_path / 'kept'}" in capsys.readouterr().out
    with modelarts_job(load_config(RECIPE, {"dataset": "d"}), "train") as (local, upload):
        assert local == load_config(RECIPE, {"dataset": "d"}) and upload is None


def test_auto_continues_the_newest_whole_run(bucket, faults, tmp_path):
    auto = {"resume_path": "auto", "outer_path": "obs://b/out"}
    with modelarts_job(job_config(tmp_path, **auto), "train") as (local, _):
        assert (local.run.resume_path, local.run.resume_name) == ("", "")
    out = bucket / "b" / "out"
    for run, files in (("2026-01-01", ["last.ckpt"]), ("2026-01-02", ["last.ckpt", "metrics.csv"]),
                       ("2026-01-03", ["last.ckpt.spare"]), ("2026-01-04", ["train.log"]), ("mask", ["x.png"])):
        (out / run).mkdir(parents=True)
        for name in files:  # the spare is what a job leaves that was killed in its first copy
            (out / run / name).write_text(f"{run}/{name}")
    with modelarts_job(job_config(tmp_path, **auto), "train") as (local, _):
        assert tree(Path(local.run.resume_path)) == {"last.ckpt": "2026-01-02/last.ckpt",
                                                 "metrics.csv": "2026-01-02/metrics.csv"}


def test_results_are_brought_when_the_work_fails(bucket, faults, tmp_path, capsys):
    config = job_config(tmp_path, outer_path="obs://b/out")
    with pytest.raises(DataError, match="a bad image"):
        with modelarts_job(config, "train") as (local, _):
            write_result(local, "so far")
            raise DataError("a bad image")
    assert (bucket / "b" / "out" / "run" / "last.ckpt").read_text() == "so far"
    faults("copy:*:fail")
    with pytest.raises(DataError, match="a bad image"):  # not hidden by what goes wrong after it
        with modelarts_job(config, "train") as (local, _):
            write_result(local, "more")
            raise DataError("a bad image")
    assert "warning: the results are not all at obs://b/out: " in capsys.readouterr().err


def test_results_that_cannot_be_brought_at_the_end_are_an_error_and_stay(bucket, faults, tmp_path):
    faults("copy:*:fail")
    with pytest.raises(TransferError) as caught:
        with modelarts_job(job_config(tmp_path, outer_path="obs://b/out"), "train") as (local, _):
            state = write_result(local)
    assert re.fullmatch(r"the results are not all at obs://b/out: copying .* failed 4 times, .* They are kept in "
                        rf"{tmp_path / 'output'} on this machine\.", str(caught.value))
    assert caught.value.exit_code == 1 and state.read_text() == "result"
    faults("copy:1-3:cut")  # three of the four attempts
    with modelarts_job(job_config(tmp_path, outer_path="obs://b/out"), "train") as (local, _):
        write_result(local, "second try")
    assert tree(bucket / "b" / "out") == {"run/last.ckpt": "second try"}


@pytest.mark.parametrize("variable, rank, on_master, expected", [
    ("RANK_ID", "0", "1", {"run/train.log", "run/ckpt_0/a.ckpt"}), ("RANK_ID", "3", "1", None),
    ("OMPI_COMM_WORLD_RANK", "3", "1", None), ("RANK_ID", "3", "0", {"run/ckpt_3/a.ckpt"})])
def test_each_rank_brings_what_it_writes(bucket, tmp_path, monkeypatch, variable, rank, on_master, expected):
    monkeypatch.setenv(variable, rank)
    config = job_config(tmp_path, is_distributed="1", is_save_on_master=on_master, outer_path="obs://b/out")
    with modelarts_job(config, "train") as (local, upload):
        for name in ("train.log", "ckpt_0/a.ckpt", "ckpt_3/a.ckpt"):
            path = Path(local.run.output_path) / "run" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        assert (upload is None) == (expected is None)
    assert set(tree(bucket / "b" / "out")) == (expected or set())


def test_the_unrelated_moxing_and_none_are_refused(tmp_path, monkeypatch):
    (tmp_path / "moxing").mkdir()
    (tmp_path / "moxing" / "__init__.py").write_text("class LanguageModel: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "moxing", raising=False)
    with pytest.raises(ConfigError, match=r"the moxing in .*__init__.py has no file.copy_parallel, so it is not "
                                          r"Huawei's.* unrelated language-model wrapper"):
        with modelarts_job(job_config(tmp_path), "train"):
            pass
    monkeypatch.setitem(sys.modules, "moxing", None)
    with pytest.raises(ConfigError, match="need the Python module moxing, which cannot be imported here"):
        with modelarts_job(job_config(tmp_path), "train"):
            pass
    assert not list((tmp_path / "cache").rglob("*.*"))


@pytest.mark.parametrize("flags, message", [
    (["--dataset", "obs://b/d"], "--dataset obs://b/d: expected --use_modelarts 1, which copies it, or a local path"),
    (["--dataset", "d", "--output_path", "s3://b/o"], "--output_path s3://b/o: expected a local path"),
    (["--use_modelarts", "1"], "--dataset: expected the Cityscapes root"),
    (["--use_modelarts", "1", "--dataset", "obs://b/d", "--prepared_cache", "obs://b/c"],
     "--prepared_cache obs://b/c: expected a local path; --use_modelarts 1 does not copy it"),
])
def test_flags_that_do_not_go_together(flags, message):
    with pytest.raises(ConfigError, match=message):
        parse_arguments("train", "", argv=flags)


def test_everything_is_copied_before_the_device_and_the_group_start(bucket, tmp_path, monkeypatch):
    """With the environment of ModelArts' boot file on device 3; the rank table is read and converted by `start`."""
    for name, value in (("RANK_TABLE_FILE", str(tmp_path)), ("RANK_ID", "3"), ("RANK_SIZE", "8"),
                        ("ASCEND_DEVICE_ID", "3")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("DEVICE_ID", raising=False)
    monkeypatch.syspath_prepend(str(PROJECT))
    from rtseg.cli import train

    def start(config, seed):
        assert (Path(config.data.dataset) / "z.txt").read_text() == "the last"
        raise ConfigError(f"as far as this test goes, on device {config.run.device_id}")
    monkeypatch.setattr("rtseg.runtime.distributed.start", start)
    with pytest.raises(ConfigError, match="as far as this test goes, on device 3"):
        train.main(["--use_modelarts=1", "--data_url=obs://b/data", f"--train_url={tmp_path}", "--is_distributed=1",
                    "--device_target=Ascend", f"--copy_path={tmp_path / 'cache'}"])
