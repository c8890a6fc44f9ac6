"""ModelArts jobs as processes, against a fake of moxing whose buckets are folders: several, and whole runs."""
import csv
import hashlib
import json
import re
import signal
import subprocess
import sys
import time

import pytest
from moxing_helpers import calls, environment, tree
from script_helpers import PROJECT, TINY_TRAINING, TRAIN_TINY, untimed

from rtseg.models.weights import read_checkpoint
from rtseg.synthetic.generator import generate

# One process of a job that takes no time: copies in, writes a result, copies out.
RANK = """
import os
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
        if os.environ["RANK_ID"] == "0" and os.environ.get("MS_ROLE") != "MS_SCHED":  # the only one that saves
            result = Path(config.run.output_path) / "run" / "last.ckpt"
            result.parent.mkdir(parents=True, exist_ok=True)
            result.write_text("result")
        if "--max_steps=1" in sys.argv:
            print("working", flush=True)
            sys.stdin.readline()
    return 0

run_command(main)
"""


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
        results = [call for call in calls(bucket, "copy") if "obs://b/out" in call]
        assert len(results) == 2 * start, results  # last.ckpt and its spare, by one of the processes
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


@pytest.mark.slow
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


def test_a_job_whose_run_is_complete_ends_at_once_when_it_is_started_again(tmp_path):
    bucket = tmp_path / "buckets"
    generate(bucket / "b" / "cityscapes", train=2, val=1, test=0, height=64, width=128)
    outputs = []
    for start in ("one", "two"):  # each on a machine of its own
        job = [sys.executable, "-c", TRAIN_TINY, "--use_modelarts=1", "--data_url=obs://b/cityscapes",
               "--train_url=obs://b/out", "--resume_path=auto", "--epochs=1", f"--output_path={tmp_path / start}",
               f"--copy_path={tmp_path / 'cache'}", *TINY_TRAINING]
        done = subprocess.run(job, cwd=PROJECT, env=environment(bucket), capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        outputs.append(untimed(done.stdout))
    assert "nothing to continue in obs://b/out" in outputs[0] and "the run is complete with 1 epochs" in outputs[1]
    assert len(list((bucket / "b" / "out").iterdir())) == 1


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
