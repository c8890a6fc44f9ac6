"""test/train_*.sh and scripts/sweep.sh on a network that compiles in a second."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from script_helpers import PROJECT, SCRIPTS, TRAIN_TINY, run, untimed

from rtseg.synthetic.generator import generate

FLAGS = ("--crop_size=64", "--base_size=64", "--lr_end=0", "--num_workers=0", "--aux=1", "--warmup_epochs=0",
         "--save_every=9", "--eval_steps=9")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A clone whose train.py has the small network, and a data set in data/."""
    folder = tmp_path_factory.mktemp("with space")
    shutil.copytree(PROJECT / "test", folder / "test", ignore=shutil.ignore_patterns("output"))
    shutil.copytree(SCRIPTS, folder / "scripts")
    for name in ("src", "configs"):
        (folder / name).symlink_to(PROJECT / name)
    (folder / "train.py").write_text(TRAIN_TINY)
    generate(folder / "data", train=4, val=2, test=1, height=64, width=128)
    return folder


def start(project, name, *flags, **variables):
    return run(project / "test" / name, f"--data_path={project / 'data'}", *FLAGS, *flags, cwd=project,
               DEVICE_TARGET="CPU", **variables)


def test_a_whole_training_on_one_device(project):
    done = start(project, "train_full_1p.sh", "--epochs=2", "--batch_size=2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", learning rate 0.0075 (" in done.stdout  # the recipe's 0.12 is for 32 images
    (result,) = (project / "test" / "output" / "fast_scnn_full_1p").glob("*/result.json")
    result = json.loads(result.read_text())
    assert (result["epochs"], result["global_batch_size"]) == (2, 2)
    report = re.search(r"^-+ Final result -+\nFinal Performance images/sec : ([\d.]+)\n"
                       r"Final Train Accuracy : ([\d.]+)\nE2E Training Duration sec : \d+\n\Z", done.stdout, re.M)
    assert report.groups() == (str(result["images_per_second"]), f"{100 * result['best_miou']:.2f}")
    assert untimed(done.stdout).count("\nepoch time: ") == 2


def test_performance_on_several_devices(project):
    done = start(project, "train_performance_8p.sh", "--max_steps=4", "--batch_size=1", "--epochs=3",
                 "--lr=0.5", f"--output_path={project / 'measured'}", RANK_SIZE="2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "global batch 2 = 1 x 2, 4 steps (2 per epoch), learning rate 0.5 (" in done.stdout
    measured = re.search(r"performance: 3 steps after the first, [\d.]+ ms per step, ([\d.]+) images/s$", done.stdout,
                         re.M)
    assert re.search(rf"^Final Performance images/sec : {measured[1]}\nE2E Training Duration sec : \d+\n\Z",
                     done.stdout, re.M)


@pytest.mark.parametrize("flags, code, message", [
    ((), 2, "--data_path: expected the folder of the data set, found nothing"),
    (("--data_path=nowhere",), 2, "dataset: expected the folder that holds leftImg8bit/"),
    (("--data_path=.", "--model=none"), 2, "none.yaml"), (("--data_path=.",), 3, "leftImg8bit")])
def test_what_goes_wrong_is_the_exit_code(project, flags, code, message):
    done = run(project / "test" / "train_full_1p.sh", *flags, cwd=project, DEVICE_TARGET="CPU")
    assert done.returncode == code and message in done.stdout + done.stderr, done.stdout + done.stderr
    assert "Final Performance" not in done.stdout


@pytest.mark.parametrize("name, environment", [
    ("train_full_1p.sh", "Ascend or CPU, default auto"),
    ("train_full_8p.sh", "Ascend (default) or CPU; RANK_SIZE: other than 8 devices")])
def test_help_says_what_the_environment_means_for_so_many_devices(name, environment):
    done = run(PROJECT / "test" / name, "--help")
    assert done.returncode == 0 and done.stdout.endswith(f"\n  DEVICE_TARGET  environment: {environment}\n")


@pytest.mark.parametrize("rank_size", ["0", "many"])
def test_a_wrong_number_of_devices_is_not_one_device(project, rank_size):
    done = start(project, "train_full_8p.sh", RANK_SIZE=rank_size)
    assert done.returncode == 2 and f"RANK_SIZE: expected an integer >= 1, found '{rank_size}'" in done.stderr


@pytest.mark.parametrize("code", [0, 7])
def test_a_training_that_was_stopped_has_no_result_of_an_earlier_one(project, tmp_path, code):
    """train.py ends as after a signal, or with an error."""
    for name in ("test", "scripts", "src", "configs"):
        (tmp_path / name).symlink_to(project / name)
    (tmp_path / "train.py").write_text(
        f"print('4 training images, no for evaluation; results in {tmp_path}/out/2'); raise SystemExit({code})")
    earlier = tmp_path / "out" / "1" / "result.json"
    earlier.parent.mkdir(parents=True)
    earlier.write_text(json.dumps({"best_miou": 0.5, "images_per_second": 77.0}))
    done = start(project, tmp_path / "test" / "train_full_1p.sh", f"--output_path={tmp_path / 'out'}")
    assert done.returncode == (code or 1) and "77.0" not in done.stdout, done.stdout + done.stderr
    assert ("No result: the training ended before its last step\nE2E Training" in done.stdout) == (code == 0)


def test_a_sweep_that_was_killed_as_a_training_ended_has_it_in_the_table(project, tmp_path):
    for rate, exit_code in (("0.01", None), ("0.02", "0\n")):
        run_folder = tmp_path / f"lr_{rate}_scale_1_O0" / "2026"
        run_folder.mkdir(parents=True)
        (run_folder / "result.json").write_text(json.dumps(
            {"last_miou": 0.25, "best_miou": 0.5, "best_epoch": 3, "images_per_second": 7.5}))
        if exit_code:
            (run_folder.parent / "exit_code").write_text(exit_code)
    done = run(project / "scripts" / "sweep.sh", project, project / "data", 4, 2, tmp_path, "--lr=0.01,0.02",
               cwd=project, DEVICE_TARGET="CPU")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "sweep.csv").read_text().splitlines()[1:] == [
        "0.01,1,O0,25.00,50.00,3,7.5,0", "0.02,1,O0,25.00,50.00,3,7.5,0"]


@pytest.mark.slow
def test_a_sweep_that_is_stopped_goes_on(project):
    command = [str(part) for part in (project / "scripts" / "sweep.sh", project, project / "data", 2000, 2,
                                      project / "stopped", *FLAGS, "--lr=0.01,0.02", "--eval_while_train=0")]
    log = project / "stopped" / "lr_0.01_scale_1_O0" / "log.txt"
    code, out, err = stop_when_logged(command, project, log=log, text="epoch: 1 step: 1,")
    assert code == 1 and err.endswith("the sweep was stopped; the same command goes on with it\n")
    assert "0.02" not in out and not (project / "stopped" / "sweep.csv").exists()
    (state,) = log.parent.glob("*/last.ckpt")
    assert stop_when_logged(command, project, log=log, text=f"resumed from {state}")[0] == 1


def stop_when_logged(command, folder, *, log, text):
    """(exit code, output, errors) of a command whose processes all get SIGTERM once `text` is in the log."""
    # Not SIGINT, which a shell in the background ignores, and then its children do, too.
    process = subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env={**os.environ, "PYTHON": sys.executable, "DEVICE_TARGET": "CPU"},
                               start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not (log.is_file() and text in log.read_text()):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGTERM)
        out, err = process.communicate(timeout=120)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, out, err


@pytest.mark.slow
def test_sweep(project):
    command = (project / "scripts" / "sweep.sh", project, project / "data", 4, 2, project / "sweep", *FLAGS,
               "--lr=0.01,1e9", "--loss_scale=1,128")
    (project / "sweep" / "lr_0.5_scale_1_O0").mkdir(parents=True)  # of a sweep that was killed
    done = run(*command, cwd=project, DEVICE_TARGET="CPU")
    assert done.returncode == 1, done.stdout + done.stderr  # the large rate diverges
    assert done.stdout.count("\nerror: ") == 2
    table = (project / "sweep" / "sweep.csv").read_text().splitlines()
    assert table[0] == "learning rate,loss scale,AMP level,final mIoU,best mIoU,epoch,images/s,exit code"
    assert [re.sub(r"\d+\.\d\d,(\d+\.\d\d),4,\d+\.\d+", r"scores", row) for row in table[1:]] == [
        "0.01,1,O0,scores,0", "0.01,128,O0,scores,0", "1e9,1,O0,-,-,-,-,1", "1e9,128,O0,-,-,-,-,1"]
    again = run(*command, cwd=project, DEVICE_TARGET="CPU")
    assert again.stdout.count("learning rate 0.01, ") == 0 and again.stdout.count("learning rate 1e9, ") == 2
    assert (project / "sweep" / "sweep.csv").read_text().splitlines() == table
