"""Mixed precision as a user runs it: train.py, resumed, evaluated and exported, in one process and in two."""
import csv
import re
import sys

import pytest
from script_helpers import PROJECT, SCRIPTS, run

from rtseg.synthetic.generator import generate

TINY = ("--crop_size=64", "--base_size=64", "--batch_size=2", "--lr=0.01", "--aux=1", "--log_interval=1",
        "--num_workers=0", "--eval_steps=1")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("synthetic") / "data"
    generate(root, train=4, val=2, test=1, height=64, width=128)
    return root


def program(name, working_folder, *flags):
    """Runs a program in a folder of its own, where it must leave nothing but its output."""
    working_folder.mkdir(exist_ok=True)
    done = run(sys.executable, PROJECT / name, *flags, cwd=working_folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list(working_folder.iterdir())
    return done.stdout


def newest(folder):
    return max(path for path in folder.iterdir() if path.is_dir())


@pytest.mark.slow
@pytest.mark.parametrize("level, scale", [("O1", "1024"), ("O2", "dynamic"), ("O3", "128")])
def test_trains_and_evaluates_and_goes_on(dataset, tmp_path, level, scale):
    flags = (f"--dataset={dataset}", f"--output_path={tmp_path / 'runs'}", f"--amp_level={level}",
             f"--loss_scale={scale}", *TINY)
    first = program("train.py", tmp_path / "here", "--epochs=1", *flags)
    folder = newest(tmp_path / "runs")
    assert re.search(r"epoch: 1, pixAcc: \d+\.\d\d, mIou: \d+\.\d\d", first)
    assert_finite_losses(folder, ["1"])
    if level != "O2":  # the others go on as this one, whose scale is part of the state
        return
    program("train.py", tmp_path / "here", "--epochs=2", f"--config={folder / 'config.yaml'}",
            f"--resume_path={folder}", f"--output_path={tmp_path / 'resumed'}")
    assert_finite_losses(newest(tmp_path / "resumed"), ["1", "2"])

    # What comes after training is float32 at every level.
    scored = program("eval.py", tmp_path / "here", f"--config={folder / 'config.yaml'}",
                     f"--resume_path={folder}", "--save_mask=0", f"--output_path={tmp_path / 'scores'}")
    logged = re.findall(r"update best result: ([\d.]+)", first)[-1]
    assert re.search(rf"^mIoU +{logged}$", scored, re.M)
    program("export.py", tmp_path / "here", f"--config={folder / 'config.yaml'}", "--file_format=ONNX",
            f"--ckpt_file={folder / 'best_map.ckpt'}", "--image_height=64", "--image_width=128",
            f"--file_name={tmp_path / 'model'}")
    assert (tmp_path / "model.onnx").stat().st_size > 1 << 20


def assert_finite_losses(folder, epochs):
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == epochs and all(0 < float(row["loss"]) < 10 for row in rows)


@pytest.mark.slow
def test_two_processes(dataset, tmp_path):
    done = run(SCRIPTS / "run_distribute_train.sh", PROJECT, dataset, 1, 1, 0.01, tmp_path / "out", "--foreground",
               "--amp_level=O2", "--loss_scale=dynamic", "--crop_size=64", "--base_size=64", "--aux=1",
               "--num_workers=0", "--eval_steps=1", DEVICE_TARGET="CPU", RANK_SIZE="2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"epoch: 1, pixAcc: \d+\.\d\d, mIou: \d+\.\d\d", done.stdout)
