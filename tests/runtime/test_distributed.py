"""Several processes, through msrun as a user starts them, compute what one does, and none waits for another in vain."""
import csv
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import distributed_program
import numpy as np
import pytest
from script_helpers import PROJECT, untimed

from rtseg.data.loader import BatchLoader
from rtseg.models import registry as models
from rtseg.models.weights import read_checkpoint
from rtseg.runtime.distributed import ProcessGroup
from rtseg.synthetic.generator import generate

# All on one process of pytest, because of what they share; from the start, because they take minutes together.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("distributed")]

PROGRAM = Path(distributed_program.__file__)
RECIPE = distributed_program.RECIPE
IMAGES = 7  # of the validation split: neither 2 nor 4 divides them
FLAGS = ["--crop_size=64", "--base_size=64", "--lr=0.05", "--lr_end=0", "--aux=1", "--num_workers=0",
         "--log_interval=1", "--epochs=2", "--eval_steps=2"]
# The order of 11 images in the first two epochs of seed 1.
ORDER = {0: [7, 10, 5, 4, 0, 1, 8, 2, 9, 6, 3], 1: [7, 2, 4, 6, 1, 0, 3, 5, 9, 8, 10]}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("synthetic") / "data"
    generate(root, train=11, val=IMAGES, test=1, height=64, width=128)
    return root


def start_msrun(ranks, logs, *arguments, **variables):
    """Starts PROGRAM under msrun."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    programs = Path(sys.executable).parent  # msrun starts whatever `python` comes first
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", **variables}
    return subprocess.Popen([programs / "msrun", f"--worker_num={ranks}", f"--local_worker_num={ranks}",
                             f"--master_port={port}", f"--log_dir={logs}", "--join=True", PROGRAM,
                             *map(str, arguments)],
                            cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


def finish(process):
    """(exit code, output of msrun)"""
    try:
        output = process.communicate(timeout=300)[0]
    finally:
        process.kill()
    return process.returncode, output


def run_msrun(ranks, logs, *arguments, **variables):
    """Runs PROGRAM, which must end well."""
    code, output = finish(start_msrun(ranks, logs, *arguments, **variables))
    assert code == 0, output + "\n".join(log_of(logs, rank) for rank in range(ranks))


def log_of(logs, rank):
    """What a rank printed, without MindSpore's own lines and the time."""
    lines = untimed((logs / f"worker_{rank}.log").read_text()).splitlines()
    return "\n".join(line for line in lines if not re.match(r"\[(WARNING|INFO)\] ", line))


def run_folder(output) -> Path:
    return max(path for path in Path(output).iterdir() if path.is_dir())


# --- what every rank computes ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def failing(dataset, tmp_path_factory):
    """(msrun, folder) of a training in which rank 1 finds a damaged image. Its end is mostly waiting for msrun's
    scheduler, so it is started before the others."""
    folder = tmp_path_factory.mktemp("failing")
    process = start_msrun(2, folder / "logs", "train", folder, "--dataset", dataset, *FLAGS, "--is_distributed=1",
                          "--batch_size=1", "--output_path", folder / "out", DAMAGED="4")
    yield process, folder
    process.kill()


@pytest.fixture(scope="module")
def single(failing, dataset):
    """What one process finds."""
    mix = distributed_program.ten_steps("mix", 0, 1)
    return {"mix": mix, "mix accumulated": mix, "ohem": distributed_program.ten_steps("ohem", 0, 1),
            "evaluation": distributed_program.evaluate(ProcessGroup(), dataset)}


@pytest.mark.parametrize("ranks, losses", [(2, ["mix", "ohem", "mix accumulated"]), (4, ["mix"])])
def test_ranks_compute_together_what_one_process_does(ranks, losses, single, dataset, tmp_path):
    run_msrun(ranks, tmp_path / "logs", "checks", tmp_path, dataset, *losses)
    found = [json.loads((tmp_path / f"checks_{rank}.json").read_text()) for rank in range(ranks)]
    for rank, result in enumerate(found):
        assert (result["rank"], result["group_size"]) == (rank, ranks)
        assert result["exchanges"] == {
            "counts": [[ranks * (2 ** 53 - 1), 0, ranks * (2 ** 24 + 1)], {2: [3, 50331651, 14],
                                                                          4: [15, 167772170, 28]}[ranks]],
            "scalar": 5 * ranks, "any": [True, False], "gather": ["", "ü", "üü", "üüü"][:ranks],
            "broadcast": "of rank 0", "mismatch": found[0]["exchanges"]["mismatch"],
            "averages": {2: [[5.5] * 6, [0.5]], 4: [[277.75] * 6, [1.5]]}[ranks]}
        assert re.match(r"rank 1 differs from rank 0 in parameter encoder\.conv\.weight: expected \w{16}, found \w{16}",
                        result["exchanges"]["mismatch"])

        evaluation = result["evaluation"]
        assert evaluation["matrix"] == single["evaluation"]["matrix"] and evaluation["images"] == IMAGES - 1
        assert evaluation["boundary"] == single["evaluation"]["boundary"] and np.sum(evaluation["boundary"]) > 1000
        assert np.sum(evaluation["matrix"]) > 6 * 60 * 120
        assert evaluation["errors"] == ["image 2 is damaged"] and evaluation["stopped"]
        assert evaluation["seen"] == [index for index in range(rank, IMAGES, ranks) if index != 2]

        for loss in losses:
            np.testing.assert_allclose(result[loss]["losses"], single[loss]["losses"], rtol=1e-6)
            for weights, expected in zip(result[loss]["weights"], single[loss]["weights"]):
                np.testing.assert_allclose(weights, expected, rtol=0, atol=1e-6)
    for loss in losses:  # ranks stay equal to the last bit, and training moves far more than the tolerance
        assert all(result[loss] == found[0][loss] for result in found)
        assert np.abs(np.subtract(*single[loss]["weights"])).max() > 0.01


# --- one run that changes its number of processes in mid-epoch, twice -----------------------------------------------


def samples(folder, rank=0):
    return [tuple(map(int, line.split())) for line in (folder / f"samples_{rank}.txt").read_text().splitlines()]


@pytest.fixture(scope="module")
def elastic(dataset, tmp_path_factory):
    """Folders of three parts of one run of two epochs of five steps: on 2 processes, on 1 and on 2 again."""
    folders = [tmp_path_factory.mktemp(name) for name in ("two", "one", "two again")]
    common = ["--dataset", dataset, *FLAGS]
    run_msrun(2, folders[0] / "logs", "train", folders[0], *common, "--is_distributed=1", "--batch_size=1",
              "--output_path", folders[0] / "out", STOP_RANK="1", STOP_AFTER="2")

    resumed = ["--resume_path", run_folder(folders[0] / "out"), "--output_path", folders[1] / "out", "--batch_size=2"]
    done = subprocess.run([sys.executable, PROGRAM, "train", *map(str, [folders[1], *common, *resumed])],
                          cwd=PROJECT, env={**os.environ, "STOP_RANK": "0", "STOP_AFTER": "6"}, capture_output=True,
                          text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr

    resumed = ["--config", run_folder(folders[1] / "out") / "config.yaml",
               "--resume_path", run_folder(folders[1] / "out"), "--output_path", folders[2] / "out"]
    run_msrun(2, folders[2] / "logs", "both", folders[2], *resumed, "--is_distributed=1", "--batch_size=1",
              "--is_save_on_master=0")
    return folders


def test_a_stop_asked_of_one_rank_ends_all_after_the_same_step(elastic):
    log = log_of(elastic[0] / "logs", 0)
    assert "global batch 2 = 1 x 2, 10 steps (5 per epoch)" in log
    assert "note: CPU has no synchronised BatchNorm" in log
    folder = run_folder(elastic[0] / "out")
    # Rank 1 is asked before step 2, all hear of it in step 2 and stop after the one that is under way then.
    assert f"stopped on request in epoch 1 after step 3; the state is in {folder / 'last.ckpt'}" in log
    assert len(samples(elastic[0], 0)) == len(samples(elastic[0], 1)) == 3
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml", "last.ckpt", "train.log"]
    assert list((elastic[0] / "out").iterdir()) == [folder]
    assert log_of(elastic[0] / "logs", 1) == (
        "device: CPU (--device_target auto)\nrank 1 of 2 on CPU 1; the log is that of rank 0")


def test_resuming_on_another_number_of_processes_goes_on_with_the_next_samples(elastic):
    steps = []  # (epoch, set of samples), as the processes loaded them
    for folder, ranks in zip(elastic, (2, 1, 2)):
        shares = [samples(folder, rank) for rank in range(ranks)]
        if ranks == 1:
            shares = [shares[0][0::2], shares[0][1::2]]
        steps += [(first[0], {first[1], second[1]}) for first, second in zip(*shares)]
    assert steps == [(epoch, set(order[i:i + 2])) for epoch, order in ORDER.items() for i in range(0, 10, 2)]
    for folder, epoch, step in zip(elastic[1:], (0, 1), (3, 1)):
        log = untimed((run_folder(folder / "out") / "train.log").read_text())
        assert f"after epoch {epoch}, step {step} of the next" in log


def test_only_rank_0_writes_unless_told_otherwise(elastic):
    folder = run_folder(elastic[2] / "out")
    assert sorted(path.name for path in folder.iterdir()) == [
        "best_map.ckpt", "ckpt_0", "ckpt_1", "config.yaml", "curves.png", "last.ckpt", "metrics.csv", "result.json",
        "train.log"]
    names = [path.name for rank in (0, 1) for path in (folder / f"ckpt_{rank}").iterdir()]
    assert names == ["tiny-2_5.ckpt"] * 2
    first, second = (read_checkpoint(folder / f"ckpt_{rank}" / "tiny-2_5.ckpt") for rank in (0, 1))
    assert first.keys() == second.keys()
    assert all((first[name].asnumpy() == second[name].asnumpy()).all() for name in first)
    progress = json.loads(read_checkpoint(folder / "last.ckpt")["progress"])
    assert (progress["epoch"], progress["step"], progress["global_batch_size"]) == (2, 0, 2)
    assert [row["step"] for row in csv.DictReader((folder / "metrics.csv").open())] == ["5", "10"]


def test_eval_command_shares_the_images(elastic, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [
        "program", "eval", str(tmp_path), "--dataset", str(dataset), "--resume_path",
        str(run_folder(elastic[2] / "out")), "--output_path", str(tmp_path / "one")])
    for table in (models.NETWORKS, models.MODEL_VARIANTS, models.MODEL_BACKBONES):
        monkeypatch.setitem(table, "tiny", None)  # so that it is gone again after this test
    monkeypatch.setattr(BatchLoader, "_fill", BatchLoader._fill)
    assert distributed_program.main(None) == 0
    folders = [tmp_path / "one", elastic[2] / "two"]
    alone, shared = [(folder / "eval_results.txt").read_text().splitlines() for folder in folders]
    assert alone[:-1] == shared[:-1] and shared[-1].startswith(f"{IMAGES} images in ")
    masks = [{path.name: path.read_bytes() for path in (folder / "mask").iterdir()} for folder in folders]
    assert len(masks[0]) == IMAGES and masks[0] == masks[1]
    assert "pixAcc  " in log_of(elastic[2] / "logs", 0) and "pixAcc" not in log_of(elastic[2] / "logs", 1)


def test_a_rank_that_cannot_read_a_image_saves_what_all_have_learnt(failing):
    process, folder = failing
    code, output = finish(process)
    assert code != 0 and "Error code: 3" in output
    assert "error: image 4 is damaged" in log_of(folder / "logs", 1)
    assert samples(folder, 1) == [(0, 10), (0, 4)] and "Traceback" not in log_of(folder / "logs", 0)
    progress = json.loads(read_checkpoint(run_folder(folder / "out") / "last.ckpt")["progress"])
    assert (progress["epoch"], progress["step"]) == (0, 1)
