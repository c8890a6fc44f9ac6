"""The package as `pip install .` leaves it: in an environment that knows nothing of the clone."""
import os
import shutil
import site
import subprocess
import sys
import sysconfig
import zipfile

import pytest
from script_helpers import PROJECT, run, skip_unless_installed

PACKAGED = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "requirements.txt", "requirements-test.txt",
            "requirements-benchmark.txt", "requirements-demo.txt", "requirements-tensorboard.txt", "configs",
            "pretrained", "src")
COMMANDS = ("train", "eval", "export", "predict", "preprocess", "score", "check-data", "build-cache", "convert-weights",
            "fetch-weights", "complexity", "parity", "doctor", "rank-table", "synthetic")


def pip(*arguments):
    done = run(sys.executable, "-m", "pip", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def build_wheel(source, folder):
    pip("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    (wheel,) = folder.glob("*.whl")
    return wheel


def new_environment(folder):
    """A virtual environment that borrows the packages of this one, not what its .pth files add (the clone)."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    borrowed = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()])
    (packages / "borrowed.pth").write_text("".join(f"{path}\n" for path in borrowed))
    return folder / "bin" / "python"


def run_there(python, *command):
    """Runs a command of the environment that `python` belongs to, outside of the clone."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([str(python.parent / command[0]), *map(str, command[1:])], cwd=python.parent, env=variables,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)


def ask(python, code):
    done = run_there(python, "python", "-c", code)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """What a package is built from; a build leaves files in the folder, so not in the clone."""
    skip_unless_installed("requirements.txt", "requirements-test.txt")
    folder = tmp_path_factory.mktemp("source")
    for name in PACKAGED:
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
        copy(PROJECT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    return build_wheel(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The Python of an environment with the wheel in it."""
    python = new_environment(tmp_path_factory.mktemp("installed"))
    pip("--python", python, "install", "--quiet", "--no-deps", "--no-index", "--ignore-installed", wheel)
    return python


def test_the_wheel_is_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"rtseg", f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"}
    recipes = {str(path.relative_to(PROJECT)) for path in (PROJECT / "configs").rglob("*.*") if path.is_file()}
    assert recipes >= {"configs/fast_scnn.yaml", "configs/datasets/cityscapes.yaml"}
    assert {name.removeprefix("rtseg/") for name in names if name.startswith("rtseg/configs/")} == recipes
    assert {name for name in names if name.endswith((".py", ".yaml")) and not name.startswith(
        ("rtseg/configs/", "rtseg/pretrained/"))} == {
        str(path.relative_to(PROJECT / "src")) for path in (PROJECT / "src").rglob("*.*")
        if path.suffix in (".py", ".yaml")}


def test_the_source_distribution_makes_the_same_wheel(source, wheel, tmp_path):
    done = run(sys.executable, "-c", f"from setuptools.build_meta import build_sdist; build_sdist({str(tmp_path)!r})",
               cwd=source)
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("rtseg-*.tar.gz")
    again = build_wheel(archive, tmp_path)
    assert zipfile.ZipFile(again).namelist() == zipfile.ZipFile(wheel).namelist()


def test_every_command_is_installed(installed):
    listed = run_there(installed, "rtseg", "--help")
    assert listed.returncode == 0, listed.stderr
    assert set(COMMANDS) <= {line.split()[0] for line in listed.stdout.splitlines() if line.startswith("  ")}
    assert run_there(installed, "python", "-m", "rtseg", "--help").stdout == listed.stdout
    for command in COMMANDS:
        done = run_there(installed, "rtseg", command, "--help")
        assert done.returncode == 0 and done.stdout.startswith("usage: "), (command, done.stderr)


def test_a_command_does_its_work_there(installed, tmp_path):
    done = run_there(installed, "rtseg", "synthetic", "--output", tmp_path / "data", "--train", "1", "--val", "1",
                     "--test", "0", "--height", "64", "--width", "128")
    assert done.returncode == 0, done.stderr
    done = run_there(installed, "rtseg", "preprocess", "--image_path", tmp_path / "data", "--out_dir", tmp_path / "bin",
                     "--image_height", "64", "--image_width", "128")
    assert done.returncode == 0, done.stderr
    assert [path.stat().st_size for path in (tmp_path / "bin" / "img_data").iterdir()] == [3 * 64 * 128 * 4]
    wrong = run_there(installed, "rtseg", "train", "--dataset", tmp_path / "nowhere")
    assert wrong.returncode == 3 and wrong.stderr.startswith("error: ")


def test_the_table_of_published_weights_is_in_the_package(installed):
    done = run_there(installed, "rtseg", "fetch-weights")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("fast_scnn_mmseg_cityscapes ")


def test_recipes_are_found_in_the_package(installed):
    assert ask(installed, "import sys; from rtseg.utils.files import configs_folder; folder = configs_folder()\n"
                          "print(folder.is_relative_to(sys.prefix))\n"
                          "from rtseg.config.recipe import load_config\n"
                          "from rtseg.data.dataset_spec import load_dataset_spec\n"
                          "print(load_config(folder / 'icnet.yaml').network.model)\n"
                          "print(load_dataset_spec('camvid').num_classes)"
               ) == ["True", "icnet", "11"]


def test_import_is_quick_and_without_mindspore(installed):
    code = ("import sys, time; start = time.process_time(); import rtseg; seconds = time.process_time() - start\n"
            "print(rtseg.__version__); print(sorted({'mindspore', 'cv2', 'matplotlib'} & set(sys.modules)))\n"
            "print(seconds)")
    version, slow_modules, _ = ask(installed, code)
    assert [version] == ask(installed, "import importlib.metadata; print(importlib.metadata.version('rtseg'))")
    assert slow_modules == "[]"
    assert min(float(ask(installed, code)[2]) for _ in range(3)) < 0.2


def test_editable_installation_runs_from_the_source(source, tmp_path):
    python = new_environment(tmp_path / "environment")
    pip("--python", python, "install", "--quiet", "--no-deps", "--no-index", "--ignore-installed",
        "--no-build-isolation", "--editable", source)
    assert ask(python, "import rtseg; from rtseg.utils.files import configs_folder\n"
                       "print(rtseg.__file__); print(configs_folder())") == [
        str(source / "src" / "rtseg" / "__init__.py"), str(source / "configs")]
    assert run_there(python, "rtseg", "complexity", "--help").returncode == 0


def test_the_python_interface_is_there_without_mindspore(installed):
    assert ask(installed, "import sys, rtseg; print(*rtseg.list_models()); print('mindspore' in sys.modules)") == [
        "bisenetv1 fast_scnn icnet", "False"]
