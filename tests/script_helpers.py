"""Runs shell scripts and programs of the project as a user does."""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).resolve().parent.parent
SCRIPTS = PROJECT / "scripts"

# Settings with which a training on the quick demo's images (64x128) takes seconds.
TINY_TRAINING = ("--batch_size=2", "--base_size=64", "--crop_size=64,128", "--num_workers=0", "--lr=0.01", "--aux=1")

# The true train.py. Only the network is another one, which compiles in a second.
TRAIN_TINY = f"""\
import sys
sys.path[0:0] = [{str(PROJECT / "src")!r}, {str(PROJECT / "tests")!r}]
from rtseg.models import registry as models
models.NETWORKS["fast_scnn"] = models.NETWORKS["fast_scnn"]._replace(path="distributed_program.tiny_network")
from rtseg.cli.train import main
from rtseg.utils.errors import run_command
run_command(main)
"""


def run(*command, cwd=PROJECT, **variables):
    """Runs a command with this interpreter as PYTHON, standard input closed, and returns the finished process."""
    # PIP_NO_INDEX: a test never downloads anything.
    environment = {**os.environ, "PYTHON": sys.executable, "PIP_NO_INDEX": "1", **variables}
    if str(command[0]).endswith(".sh"):  # works without an installed rtseg
        del environment["PYTHONPATH"]
    return subprocess.run([str(part) for part in command], cwd=cwd, env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=600)


def untimed(text):
    """Lines of a training log without the time and the level in front."""
    return re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} :[A-Z]+: ", "", text, flags=re.MULTILINE)


def skip_unless_installed(*requirement_files):
    """Skips where a script would have to install something first; scripts/run_tests.sh installs everything."""
    missing = run(sys.executable, SCRIPTS / "missing_requirements.py", *requirement_files).stdout.split("\n")[:-1]
    if missing:
        pytest.skip(f"this Python lacks {', '.join(missing)}; scripts/run_tests.sh installs it")


def fake_project(folder, script, *, programs, content):
    """A project of fakes, programs with the same `content`, around a real script; its path has a space."""
    project = folder / "the project"
    for name in ("scripts", "ascend310_infer"):
        (project / name).mkdir(parents=True)
    shutil.copy(SCRIPTS / script, project / "scripts")
    for name in (*programs, "export.py", "ascend310_infer/build.py", "ascend310_infer/program"):
        (project / name).write_text(content)
        (project / name).chmod(0o755)
    (project / "ascend310_infer" / "build.sh").write_text('exec "$PYTHON" "$(dirname "$0")/build.py" "$@"\n')
    return project


def flat_recipe(path):
    """The values of a recipe by the names of their flags, as older versions wrote recipes."""
    names = {("loss", "name"): "loss", ("export", "batch_size"): "export_batch_size"}
    content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    return {names.get((section, key), key): value for section, values in content.items()
            for key, value in values.items()}
