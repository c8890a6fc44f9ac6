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
import mindspore as ms
import numpy as np
import pytest
from mindspore import communication
from script_helpers import PROJECT, untimed

from rtseg.config.arguments import parse_arguments
from rtseg.config.recipe import load_config
from rtseg.data.loader import BatchLoader
from rtseg.models import registry as models
from rtseg.models.weights import read_checkpoint
from rtseg.runtime import distributed
from rtseg.runtime.distributed import ProcessGroup, start
from rtseg.synthetic.generator import generate
from rtseg.training import resume
from rtseg.training.checkpoint import TrainState
from rtseg.utils.errors import ConfigError

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


# --- how a process starts ----------------------------------------------------------------------------------------


@pytest.fixture
def no_launcher(monkeypatch):
    for name in ("MS_ROLE", "OMPI_COMM_WORLD_SIZE", "RANK_TABLE_FILE", "RANK_ID", "DEVICE_ID", "ASCEND_DEVICE_ID"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
def engine(no_launcher):
    """Stands in for MindSpore's engine as rank 3 of 8 on Ascend, and notes the calls."""
    calls = []

    def noting(name, answer=None):
        return lambda *arguments, **options: calls.append((name, *arguments, *options.values())) or answer

    no_launcher.setattr(distributed, "setup_device", noting("set_device"))
    no_launcher.setattr(communication, "init", noting("init"))
    no_launcher.setattr(communication, "get_rank", noting("get_rank", 3))
    no_launcher.setattr(communication, "get_group_size", noting("get_group_size", 8))
    no_launcher.setattr(ms, "set_auto_parallel_context", noting("set_auto_parallel_context"))
    no_launcher.setenv("MS_ROLE", "MS_WORKER")
    return calls


def ascend(**flags):
    return load_config(RECIPE, {"is_distributed": "1", "device_target": "Ascend", **flags})


def test_the_order_of_the_start(engine):
    config, group = start(ascend(device_id="5"), seed=7)
    assert engine == [("set_device", "Ascend", 5, 7, "auto"), ("init",), ("get_rank",), ("get_group_size",),
                      ("set_auto_parallel_context", "data_parallel", True, 8)]
    assert (config.run.rank, config.run.group_size, group.rank, group.size) == (3, 8, 3, 8)
    assert config.global_batch_size == 8 * config.data.batch_size


def write_table(folder, ranks):
    devices = [{"device_id": str(i), "device_ip": f"192.168.1.{i}", "rank_id": str(i)} for i in range(ranks)]
    path = folder / "table.json"
    path.write_text(json.dumps({"version": "1.0", "server_count": "1", "status": "completed",
                                "server_list": [{"server_id": "10.0.0.1", "device": devices}]}))
    return str(path)


@pytest.mark.parametrize("flags, table_ranks, rank_id, message", [
    ({"rank": "3", "group_size": "8"}, 8, "3", ""),
    ({"rank": "2"}, None, "", "--rank: says that the rank is 2, but this process was started as rank 3 of 8"),
    ({"rank": "0"}, None, "", "--rank: says that the rank is 0"),
    ({"group_size": "4"}, None, "", "--group_size: says that the group size is 4"),
    ({}, 4, "3", "table.json: says that the group size is 4"),
    ({}, 8, "5", "RANK_ID: says that the rank is 5"),
])
def test_what_is_known_beforehand_is_checked(engine, no_launcher, tmp_path, flags, table_ranks, rank_id, message):
    if table_ranks:
        no_launcher.setenv("RANK_TABLE_FILE", write_table(tmp_path, table_ranks))
        no_launcher.setenv("RANK_ID", rank_id)
    if not message:
        assert start(ascend(**flags))[0].run.rank == 3
        return
    with pytest.raises(ConfigError) as caught:
        start(ascend(**flags))
    assert message in str(caught.value) and caught.value.exit_code == 2


@pytest.mark.parametrize("target, variables, message", [
    ("CPU", {}, "expected a process started by a launcher"),
    ("CPU", {"RANK_TABLE_FILE": "table.json", "RANK_ID": "0"}, "expected a process started by a launcher"),
    ("Ascend", {"RANK_TABLE_FILE": "table.json"}, "expected the number of this process in RANK_ID, found ''"),
])
def test_without_a_launcher_the_answer_is_a_command(no_launcher, target, variables, message):
    for name, value in variables.items():
        no_launcher.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        start(load_config(RECIPE, {"is_distributed": "1", "device_target": target, "group_size": "4"}))
    assert message in str(caught.value)
    assert "msrun --worker_num=4 --local_worker_num=4 --master_port=8118 --join=True train.py" in str(caught.value)


@pytest.mark.parametrize("variables, flags, device_id", [
    ({"DEVICE_ID": "3", "ASCEND_DEVICE_ID": "4"}, [], 3), ({"ASCEND_DEVICE_ID": "4"}, [], 4), ({}, [], 0),
    ({"DEVICE_ID": "3"}, ["--device_id=2"], 2)])
def test_device_of_the_environment(no_launcher, variables, flags, device_id):
    for name, value in variables.items():
        no_launcher.setenv(name, value)
    assert parse_arguments("train", "", argv=["--dataset", "d", *flags]).run.device_id == device_id


def test_the_saved_configuration_is_not_tied_to_the_number_of_processes(engine, tmp_path):
    config, _ = start(ascend())
    (tmp_path / "config.yaml").write_text(config.dump())
    again = load_config(tmp_path / "config.yaml")
    assert (again.run.is_distributed, again.run.rank, again.run.group_size) == (False, 0, 1)


@pytest.mark.parametrize("batch_size, ranks, advice", [
    (4, 1, "found 4 x 1 = 4; use --batch_size 12"), (12, 2, "found 12 x 2 = 24; use --batch_size 6"),
    (2, 5, "found 2 x 5 = 10; use a number of processes that divides 12")])
def test_another_global_batch_is_explained_with_the_flag_to_use(monkeypatch, batch_size, ranks, advice):
    monkeypatch.setattr(resume, "load_state", lambda *_, **__: TrainState(global_batch_size=12))
    config = load_config(RECIPE, {"batch_size": batch_size, "is_distributed": "1", "group_size": ranks,
                                  "resume_path": "run"})
    with pytest.raises(ConfigError) as caught:
        resume.load_start(config, None, step_state={}, steps_per_epoch=10)
    assert f"expected a global batch of 12, with which the run began, {advice}" in str(caught.value)


@pytest.mark.parametrize("flags, message", [
    ({"group_size": "2"}, "rank, group_size: expected is_distributed 1 with them, found 0 and 2"),
    ({"is_distributed": "1", "rank": "2", "group_size": "2"}, "rank: expected less than group_size = 2, found 2"),
    ({"rank": "x"}, "'--rank': expected an integer >= 0, found 'x'"),
])
def test_impossible_ranks(flags, message):
    with pytest.raises(ConfigError) as caught:
        load_config(RECIPE, flags)
    assert message in str(caught.value)
