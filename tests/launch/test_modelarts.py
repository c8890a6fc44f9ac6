"""ModelArts jobs against a fake of moxing whose buckets are folders: one process, several, and whole runs."""
import csv
import hashlib
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from moxing_helpers import bucket, calls, environment, faults, tree  # noqa: F401  the first and fourth are fixtures
from script_helpers import PROJECT, TINY_TRAINING, untimed

from rtseg.config.arguments import parse_arguments
from rtseg.config.recipe import load_config
from rtseg.launch.modelarts import modelarts_job
from rtseg.launch.object_storage import TransferError
from rtseg.models.weights import read_checkpoint
from rtseg.synthetic.generator import generate
from rtseg.utils.errors import ConfigError, DataError

RECIPE = PROJECT / "configs" / "fast_scnn.yaml"

# One process of a job that takes no time: copies in, writes a result, copies out.
RANK = """
import sys
from pathlib import Path
from rtseg.config.arguments import parse_arguments
from rtseg.launch import object_storage
from rtseg.launch.modelarts import modelarts_job
from rtseg.utils.errors import run_command

object_storage._PAUSES = (0.3, 0.3)

def main(_):
    with modelarts_job(parse_arguments("train", "", argv=sys.argv[1:]), "train") as (config, upload):
        dataset = Path(config.data.dataset)
        print("dataset", dataset, sorted(path.name for path in dataset.rglob("*.*")), flush=True)
        result = Path(config.run.output_path) / "run" / "last.ckpt"
        result.parent.mkdir(parents=True, exist_ok=True)
        result.write_text("result")
        if "--max_steps=1" in sys.argv:
            print("working", flush=True)
            sys.stdin.readline()
    return 0

run_command(main)
"""


# --- a job in this process ---

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


@pytest.mark.parametrize("rank, on_master, expected", [
    ("0", "1", {"run/train.log", "run/ckpt_0/a.ckpt"}), ("3", "1", None), ("3", "0", {"run/ckpt_3/a.ckpt"})])
def test_each_rank_brings_what_it_writes(bucket, tmp_path, monkeypatch, rank, on_master, expected):
    monkeypatch.setenv("RANK_ID", rank)
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
    (["--dataset", "obs://b/d"], "--dataset obs://b/d: addresses are copied with --use_modelarts 1 only"),
    (["--dataset", "d", "--output_path", "s3://b/o"], "--output_path s3://b/o: expected a local path"),
    (["--use_modelarts", "1"], "--dataset: expected the Cityscapes root"),
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


# --- several processes ---

def start_rank(bucket, faults="", *flags, rank=0, **variables):
    job = ["--use_modelarts=1", "--data_url=obs://b/data", "--train_url=obs://b/out", "--is_distributed=1",
           f"--output_path={bucket.parent / 'output'}", f"--copy_path={bucket.parent / 'cache'}", *flags]
    return subprocess.Popen([sys.executable, "-c", RANK, *job], cwd=PROJECT, stdin=subprocess.PIPE, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env=environment(bucket, faults, RANK_ID=str(rank), **variables))


def finish(*processes):
    outcomes = []
    for process in processes:
        out, err = process.communicate(timeout=300)
        outcomes.append((process.returncode, out, err))
    return outcomes


def test_one_process_copies_and_the_others_wait(bucket):
    for start in (1, 2):  # what the first start left behind does not count for the second
        ranks = [start_rank(bucket, "copy_parallel:1:slow", rank=rank) for rank in (0, 1)]
        scheduler = start_rank(bucket, rank=0, MS_ROLE="MS_SCHED")
        outcomes = finish(*ranks, scheduler)
        assert [code for code, _, _ in outcomes] == [0, 0, 0], outcomes
        lines = {line for _, out, _ in outcomes for line in out.splitlines() if line.startswith("dataset")}
        assert len(lines) == 1 and lines.pop().endswith(" ['a.png', 'a.png', 'z.txt']")
        assert len(calls(bucket, "copy_parallel")) == start
    assert tree(bucket / "b" / "out") == {"run/last.ckpt": "result"}
    (job,) = (bucket.parent / "cache").glob("*/job-*")
    assert len([path for path in job.iterdir() if path.is_dir()]) == 1  # that of the first start is gone


def test_a_copy_that_fails_ends_all_processes_with_its_message(bucket):
    outcomes = finish(*[start_rank(bucket, "copy_parallel:*:cut", rank=rank) for rank in (0, 1)])
    assert [code for code, _, _ in outcomes] == [1, 1]
    messages = {err for _, _, err in outcomes}
    assert len(messages) == 1 and "error: copying obs://b/data to " in messages.pop()
    assert [code for code, _, _ in finish(start_rank(bucket))] == [0]  # the failure was that start's


def test_a_worker_that_is_killed_or_hangs_keeps_nobody_waiting(bucket):
    worker = start_rank(bucket, "copy_parallel:1:kill")
    wait_for(bucket.parent / "calls", "copy_parallel")
    killed, other = finish(worker, start_rank(bucket, "copy_parallel:1:slow", rank=1))
    assert killed[0] == -signal.SIGKILL
    assert other[0] == 0  # it came after the end of the first, and copied itself
    worker = start_rank(bucket, "copy_parallel:1:hang", "--copy_timeout=3")
    outcomes = finish(worker, start_rank(bucket, "copy_parallel:1:hang", "--copy_timeout=3", rank=1))
    assert [code for code, _, _ in outcomes] == [1, 1] and all("--copy_timeout" in err for _, _, err in outcomes)


def wait_for(path, text):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if path.is_file() and text in path.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"no {text} in {path}")


def test_a_waiting_process_takes_over_when_the_worker_is_killed(bucket):
    worker = start_rank(bucket, "copy_parallel:1:hang")
    wait_for(bucket.parent / "calls", "copy_parallel")
    waiting = start_rank(bucket, rank=1)
    assert waiting.stdout.readline() == "waiting for another process of this machine, which copies\n"
    worker.kill()
    (_, (code, out, err)) = finish(worker, waiting)
    assert code == 0 and out.endswith(" ['a.png', 'a.png', 'z.txt']\n"), err


def test_termination_brings_the_results(bucket):
    process = start_rank(bucket, "", "--max_steps=1")
    while process.stdout.readline() != "working\n":
        pass
    process.send_signal(signal.SIGTERM)
    ((code, _, err),) = finish(process)
    assert code == 128 + signal.SIGTERM and "Traceback" not in err
    assert tree(bucket / "b" / "out") == {"run/last.ckpt": "result"}


# --- whole jobs, as ModelArts starts them ---

def boot(bucket, name, *flags, faults=""):
    job = [sys.executable, name, "--use_modelarts=1", f"--copy_path={bucket.parent / 'cache'}", *flags]
    return subprocess.Popen(job, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env=environment(bucket, faults))


def progress_of(path):
    return json.loads(read_checkpoint(path)["progress"])


def test_a_preempted_training_goes_on_and_is_evaluated_and_exported(tmp_path):
    bucket = tmp_path / "buckets"
    out = bucket / "b" / "out"
    generate(bucket / "b" / "cityscapes", train=8, val=2, test=0, height=64, width=128)
    command = ("train.py", "--data_url=obs://b/cityscapes/", "--train_url=obs://b/out/", "--resume_path=auto",
               "--epochs=4", "--eval_steps=2", "--upload_every=1", "--log_interval=1", *TINY_TRAINING)

    # Copies after the first epoch: four files, metrics.csv and last.ckpt twice each; after the second epoch three
    # files, and metrics.csv, best_map.ckpt and last.ckpt twice each. The machine goes in the middle of the last one.
    first = boot(bucket, *command, f"--output_path={tmp_path / 'one'}", faults="copy:17:kill")
    ((code, log, err),) = finish(first)
    assert code == -signal.SIGKILL and "nothing to continue in obs://b/out" in log, err
    (run,) = out.iterdir()
    whole = next((tmp_path / "one").glob("*/last.ckpt")).stat().st_size
    assert (run / "last.ckpt").stat().st_size == whole // 2
    assert (run / "last.ckpt.spare").stat().st_size == whole + 32

    second = boot(bucket, *command, f"--output_path={tmp_path / 'two'}")
    log = []
    for line in second.stdout:
        log.append(untimed(line))
        if log[-1].startswith("epoch: 3 step: 2,"):
            second.send_signal(signal.SIGTERM)
    ((code, _, err),) = finish(second)
    assert code == 0, err
    assert re.search(r"^resumed from .*/last.ckpt after epoch 2, step 0 of the next$", "".join(log), re.M)
    run = max(out.iterdir())
    assert sorted(path.name for path in run.iterdir()) == [
        "best_map.ckpt", "config.yaml", "last.ckpt", "metrics.csv", "train.log"]
    progress = progress_of(run / "last.ckpt")
    assert progress["epoch"] == 2 and progress["step"] >= 2 and progress["best_epoch"] == 2
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert [(row["epoch"], row["step"], bool(row["miou"])) for row in rows] == [("1", "4", False), ("2", "8", True)]

    best = run.relative_to(bucket)

    evaluation = boot(bucket, "eval.py", "--data_url=obs://b/cityscapes", f"--resume_path=obs://{best}/best_map.ckpt",
                      "--outer_path=obs://b/scores", f"--output_path={tmp_path / 'scores'}", *TINY_TRAINING[1:4])
    export = boot(bucket, "export.py", f"--ckpt_file=obs://{best}/best_map.ckpt", "--data_url=obs://b/cityscapes",
                  "--outer_path=obs://b/models", f"--file_name={tmp_path / 'net'}", "--image_height=64",
                  "--image_width=128")
    ((code, _, err), (export_code, _, export_err)) = finish(evaluation, export)
    assert code == 0, err
    results = (bucket / "b" / "scores" / "eval_results.txt").read_text()
    assert re.search(rf"^mIoU +{100 * progress['best_miou']:.2f}$", results, re.M)
    assert len(list((bucket / "b" / "scores" / "mask").iterdir())) == 2
    assert export_code == 0, export_err
    assert json.loads((bucket / "b" / "models" / "net.json").read_text())["checkpoint_sha256"] == hashlib.sha256(
        (run / "best_map.ckpt").read_bytes()).hexdigest()
    assert (bucket / "b" / "models" / "net.mindir").read_bytes() == (tmp_path / "net.mindir").read_bytes()


def test_a_command_says_in_one_line_what_is_wrong(tmp_path):
    (tmp_path / "other" / "moxing").mkdir(parents=True)
    (tmp_path / "other" / "moxing" / "__init__.py").write_text("")
    wrong = environment(tmp_path / "buckets", PYTHONPATH=str(tmp_path / "other"))
    right = environment(tmp_path / "buckets")
    for variables, code, message in ((wrong, 2, "so it is not Huawei's"),
                                     (right, 3, "obs://b/data: expected a folder with files")):
        done = subprocess.run([sys.executable, "train.py", "--use_modelarts=1", "--data_url=obs://b/data",
                               f"--copy_path={tmp_path}"], cwd=PROJECT, env=variables, text=True, capture_output=True)
        assert done.returncode == code and done.stderr.count("\n") == 1 and message in done.stderr
