"""The shell scripts as a user runs them: from anywhere, with spaces in paths, in the background, and wrongly."""
import importlib.metadata
import importlib.util
import os
import re
import stat
import sys
import time

import cv2
import numpy as np
import pytest
from script_helpers import PROJECT, SCRIPTS, TINY_TRAINING, run, skip_unless_installed

TRAIN, EVAL = SCRIPTS / "run_train.sh", SCRIPTS / "run_eval.sh"
SOURCED = ("common.sh", "venv.sh")
PROGRAMS = [path for path in sorted(SCRIPTS.glob("*.sh")) if path.name not in SOURCED]


@pytest.fixture
def folders(tmp_path):
    """A dataset folder that exists, a checkpoint file, and an output path that does not exist yet."""
    (tmp_path / "data set").mkdir()
    (tmp_path / "best_map.ckpt").write_bytes(b"")
    return tmp_path / "data set", tmp_path, tmp_path / "out put"


def wait_for(text, log, seconds=180):
    """The log once `text` is in it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if log.is_file() and text in log.read_text():
            return log.read_text()
        time.sleep(0.2)
    pytest.fail(f"no '{text}' within {seconds} s in {log}: {log.read_text() if log.is_file() else 'no such file'}")


def test_demo_ends_with_equal_scores_and_a_image(quick_demo):
    demo, output = quick_demo
    assert demo.returncode == 0, demo.stdout + demo.stderr
    honest, scores, image = demo.stdout.splitlines()[-3:]
    assert honest == "These scores on synthetic images say that the software works, and nothing about real streets."
    found = re.fullmatch(r"mIoU of the best checkpoint: (\S+) while training, (\S+) by eval.py, (\S+) through C\+\+",
                         scores)
    logged, evaluated, through_cpp = found.groups()
    assert logged == evaluated and 0 < float(logged) < 100
    assert abs(float(through_cpp) - float(evaluated)) <= 0.1
    assert image == f"Image to look at (image, prediction, label, errors): {output}/eval/contact_sheet.png"
    assert (output / "eval" / "contact_sheet.png").read_bytes().startswith(b"\x89PNG")


def test_the_demos_network_predicts_the_readers_image(quick_demo, tmp_path):
    _, demo = quick_demo
    image = np.random.default_rng(0).integers(0, 256, (150, 100, 3), np.uint8)
    assert cv2.imwrite(str(tmp_path / "my image.jpg"), image)
    done = run(sys.executable, PROJECT / "predict.py", "my image.jpg", "--model_path", demo / "model.mindir",
               "--output_path", "seen", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (overlay,) = (tmp_path / "seen" / "overlay").iterdir()
    assert cv2.imread(str(overlay)).shape == (150, 100, 3)


def test_background_training_and_evaluation(quick_demo, tmp_path):
    _, demo = quick_demo
    (run_folder,) = (demo / "train").iterdir()
    train_output, eval_output = tmp_path / "train out", tmp_path / "eval out"
    training = run(TRAIN, PROJECT, demo / "data_64x128", 9, 2, 0.01, train_output, *TINY_TRAINING, "--max_steps=3",
                   cwd=tmp_path)
    dataset, checkpoints = (os.path.relpath(folder, tmp_path) for folder in (demo / "data_64x128", run_folder))
    evaluation = run(EVAL, PROJECT, dataset, checkpoints, "best_map.ckpt", "eval out",
                     f"--config={run_folder}/config.yaml", "--save_mask=0", cwd=tmp_path)
    for process, output in ((training, train_output), (evaluation, eval_output)):
        assert process.returncode == 0, process.stderr
        assert re.fullmatch(rf"process id: \d+\nlog: {re.escape(str(output))}/log\.txt\n", process.stdout)
    assert "performance: 2 steps after the first" in wait_for("performance: ", train_output / "log.txt")
    score = re.search(r"^mIoU .*$", wait_for("images in", eval_output / "log.txt"), re.MULTILINE)[0]
    assert score in (demo / "eval" / "eval_results.txt").read_text()


def test_foreground_keeps_the_exit_code_of_the_program(folders):
    dataset, _, output = folders
    process = run(TRAIN, PROJECT, dataset, 1, 2, 0.01, output, *TINY_TRAINING, FOREGROUND="1")
    assert process.returncode == 3
    assert f"the dataset folder {dataset} has no folder leftImg8bit/train" in process.stderr
    assert not (output / "log.txt").exists()


@pytest.mark.parametrize("script, given, first_line", [
    (TRAIN, (".", "data", "1", "2", "0.1"), "Usage: run_train.sh [train_code_path] [dataset] [epochs] [batch_size] "
     "[lr] [output_path] [--flag=value ...]"),
    (TRAIN, (".", "data", "1", "2", "0.1", "--aux=1"), "Usage: run_train.sh"),
    (EVAL, (".", "data", "run", "best_map.ckpt"), "Usage: run_eval.sh [train_code_path] [dataset] [resume_path] "
     "[resume_name] [output_path] [--flag=value ...]"),
    (EVAL, (), "Usage: run_eval.sh"),
    (SCRIPTS / "run_demo.sh", ("one", "two"), "Usage: run_demo.sh [output_path]"),
    (SCRIPTS / "run_demo.sh", ("--unknown",), "Usage: run_demo.sh"),
])
def test_usage_on_wrong_count(script, given, first_line):
    process = run(script, *given)
    assert process.returncode == 2 and process.stdout == ""
    assert process.stderr.startswith(first_line)


@pytest.mark.parametrize("script", [path for path in PROGRAMS if path.name != "run_tests.sh"],
                         ids=lambda path: path.name)
def test_help(script):
    process = run(script, "--help")
    assert process.returncode == 0 and f"{script.name} [" in process.stdout and process.stderr == ""


@pytest.mark.parametrize("changes, message", [
    ({0: "nowhere"}, "error: train_code_path: expected the folder that holds train.py, found 'nowhere'"),
    ({1: "nowhere"}, "error: dataset: expected the folder that holds leftImg8bit/ and gtFine/, found no folder "
     "'nowhere'"),
    ({2: "many"}, "error: '--epochs': expected an integer >= 1, found 'many'"),
    ({4: "0"}, "error: '--lr': expected a number > 0, found '0'"),
    ({5: "/dev/null"}, "error: output_path: expected a folder that can be written, found '/dev/null'"),
    ({6: "--aux=3"}, "error: aux: expected 0 to 2 auxiliary heads, found 3"),
    ({6: "--unknown=3"}, "error: unrecognized arguments: --unknown=3"),
    ({6: "3"}, "error: expected --flag=value after the 6 positions, found '3'"),
    ({6: "--config=nowhere.yaml"}, "error: --config nowhere.yaml: expected a readable YAML file"),
])
def test_wrong_training_arguments_are_found_before_the_background(folders, changes, message):
    dataset, _, output = folders
    positions = dict(enumerate((PROJECT, dataset, "1", "2", "0.1", output)))
    process = run(TRAIN, *{**positions, **changes}.values())
    assert process.returncode == 2
    assert message in process.stderr
    assert not (output / "log.txt").exists()


def test_wrong_evaluation_arguments_are_found_before_the_background(folders):
    dataset, folder, output = folders
    process = run(EVAL, PROJECT, dataset, folder, "other.ckpt", output)
    assert process.returncode == 2
    assert process.stderr == ("error: resume_path and resume_name: expected a checkpoint file, found no "
                              f"'{folder}/other.ckpt'\n")
    process = run(EVAL, PROJECT, dataset, folder, "best_map.ckpt", output, "--eval_mode=half")
    assert process.returncode == 2
    assert "error: '--eval_mode': expected one of full, crop, ms_flip, found 'half'" in process.stderr
    assert not (output / "log.txt").exists()


@pytest.mark.parametrize("name, count", [("run_train", 6), ("prepare_cache", 2), ("sweep", 5), ("train_camvid", 2)])
def test_interpreter_that_does_not_exist(name, count):
    process = run(SCRIPTS / f"{name}.sh", *["."] * count, PYTHON="no-such-python")
    assert process.returncode == 2
    assert process.stderr == "error: PYTHON: expected a Python interpreter, found no 'no-such-python'\n"


@pytest.mark.parametrize("flags, message", [
    (("--lr=0.1,fast",), "error: '--lr': expected a number > 0, found 'fast'"),
    (("--lr=0.1", "--amp_level=O1,O22"), "error: '--amp_level': expected one of O0, O1, O2, O3, found 'O22'"),
    (("--lr=0.1", "--unknown=3"), "error: unrecognized arguments: --unknown=3"),
    ((), "error: --lr: expected the learning rates to try, such as --lr=0.01,0.045, found none")])
def test_wrong_arguments_of_a_sweep_are_found_before_the_first_training(folders, flags, message):
    dataset, _, output = folders
    process = run(SCRIPTS / "sweep.sh", PROJECT, dataset, 1, 2, output, *flags)
    assert process.returncode == 2 and message in process.stderr and process.stdout == ""
    assert list(output.iterdir()) == []


def test_a_sweep_trains_nothing_again_whatever_its_folder_is_called(folders):
    dataset, folder, _ = folders
    run_folder = folder / "out [1]" / "lr_0.1_scale_1_O0" / "20261122"
    run_folder.mkdir(parents=True)
    (run_folder / "result.json").write_text(
        '{"last_miou": 0.5, "best_miou": 0.625, "best_epoch": 1, "images_per_second": 3}')
    (run_folder.parent / "exit_code").write_text("0\n")
    process = run(SCRIPTS / "sweep.sh", PROJECT, dataset, 1, 2, folder / "out [1]", "--lr=0.1")
    assert process.returncode == 0 and "learning rate 0.1" not in process.stdout, process.stderr
    assert (folder / "out [1]" / "sweep.csv").read_text().splitlines()[1:] == ["0.1,1,O0,50.00,62.50,1,3,0"]


def fake_versions(folder, *arguments):
    """The table of test_versions.sh with an environment that is there, and what was asked of its Python."""
    binaries = folder / "my versions" / "2.7.2-3.11" / "bin"
    for path in (folder / "bin" / "python3.11", binaries / "pytest", binaries / "python"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    (binaries / "python").write_text(f'''\
#!/bin/sh
if [ "$1" = -c ]; then echo 1.26.4; exit; fi
printf '%s\\n' "$@" >> "{folder}/calls"
echo "== 3 passed, 1 skipped in 2.5s =="
''')
    done = run(SCRIPTS / "test_versions.sh", *arguments, cwd=folder, VERSIONS_FOLDER="my versions",
               PATH=f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return done, (folder / "calls").read_text().splitlines() if (folder / "calls").exists() else []


def test_table_of_versions(tmp_path):
    done, words = fake_versions(tmp_path, "2.7.2:3.11", "2.7.2:3.99")
    assert done.returncode == 0, done.stdout + done.stderr
    outcome = "3 passed, 1 skipped in 2.5s"
    assert done.stdout.splitlines()[2:] == [f"| 2.7.2 | 3.11 | 1.26.4 | {outcome} | {outcome} |",
                                            "| 2.7.2 | 3.99 | | no interpreter here | |"]
    chosen = [word for word in words if word.startswith("tests/")]
    assert len(chosen) == 5
    found = run(sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *chosen)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("wrong", ["--bogus", "2.10.0", "2.10.0:", ""])
def test_versions_that_are_none(tmp_path, wrong):
    done, words = fake_versions(tmp_path, "2.7.2:3.11", wrong)
    assert (done.returncode, done.stdout, words) == (2, "", [])
    assert done.stderr == f"error: expected MINDSPORE:PYTHON such as 2.10.0:3.12, found '{wrong}'\n"


def test_unsuitable_python_is_refused(tmp_path):
    python = tmp_path / "python3.14"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    process = run(SCRIPTS / "run_tests.sh", PYTHON=str(python), TEST_VENV=str(tmp_path / "venv"))
    assert process.returncode == 1
    assert process.stderr == ("error: expected Python 3.9, 3.10, 3.11 or 3.12, which MindSpore has packages for, found "
                              f"{python}. Install one, or name it: PYTHON=/path/to/python3.11\n")
    assert not (tmp_path / "venv").exists()


def test_run_tests_passes_arguments_and_exit_code(tmp_path):
    skip_unless_installed("requirements.txt", "requirements-test.txt")
    process = run(SCRIPTS / "run_tests.sh", "no_such_test.py", cwd=tmp_path, TEST_VENV=sys.prefix)
    assert process.returncode == 4  # pytest's code for wrong usage
    assert "no_such_test.py" in process.stderr


def test_missing_requirements(monkeypatch):
    spec = importlib.util.spec_from_file_location("missing_requirements", SCRIPTS / "missing_requirements.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    versions = {"numpy": "1.26.4", "opencv-python": "4.11.0.86", "mindspore": "2.10.0"}

    def version(name):
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert module.is_installed("numpy>=1.20,<2")
    assert not module.is_installed("numpy>=2")
    assert module.is_installed("mindspore>=2.7,<2.11")
    assert not module.is_installed("pyyaml>=5.4")
    assert module.is_installed("opencv-python-headless>=4.5")  # opencv-python is the same module
    assert not module.is_installed("opencv-python-headless>=5")


@pytest.mark.parametrize("script", [*PROGRAMS, PROJECT / ".ci" / "run"], ids=lambda path: path.name)
def test_scripts_are_executable_and_strict(script):
    assert script.stat().st_mode & stat.S_IXUSR
    text = script.read_text()
    lines = text.splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in lines
    text += "".join((SCRIPTS / name).read_text() for name in SOURCED if f"/{name}\"\n" in text)
    assert "$(cd " not in text or "\nunset CDPATH" in text


def test_cdpath_leads_no_script_astray():
    process = run("scripts/prepare_cache.sh", "nowhere", "cache", CDPATH=".")
    assert process.returncode == 3 and process.stderr.startswith("error: the dataset folder ")


def test_ci_runs_the_test_command_of_the_readme():
    assert "/scripts/run_tests.sh" in (PROJECT / ".ci" / "run").read_text()
    assert "```bash\nscripts/run_tests.sh\n```" in (PROJECT / "README.md").read_text(encoding="utf-8")


def test_a_relative_interpreter_is_still_found_in_another_folder(tmp_path):
    """Scripts change folder; and the link of a virtual environment is not to be followed."""
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to(sys.executable)
    shown = run("bash", "-c", 'source "$0/common.sh"; cd /; echo "$PYTHON"; "$PYTHON" -c "print(1)"', SCRIPTS,
                cwd=tmp_path, PYTHON="venv/bin/python")
    assert shown.stdout == f"{tmp_path}/venv/bin/python\n1\n", shown.stderr
