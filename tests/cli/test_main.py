"""The console command: what --help lists, how quickly it answers, and unknown commands."""
import subprocess
import sys

import pytest
from script_helpers import PROJECT

from rtseg.cli.main import COMMANDS, main
from rtseg.utils.errors import ConfigError


def test_help_lists_the_commands_in_groups(capsys):
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:6] == [
        "usage: rtseg COMMAND [--flag value ...]", "",
        "Each command has --help. In brackets: the program of a clone that does the same.", "",
        "Train and score:", "  train            train a network (train.py)"]
    assert "  score            score the result files of the C++ program (cal_mIoU.py)" in lines
    assert sum(line.startswith("  ") for line in lines) == len(COMMANDS)


def test_programs_that_it_names_are_there():
    named = [command.program for command in COMMANDS.values() if command.program]
    assert len(named) == 8 and [name for name in named if not (PROJECT / name).is_file()] == []


def test_unknown_command():
    with pytest.raises(ConfigError, match="rtseg: expected one of train, eval, .*, found 'trian'"):
        main(["trian"])


@pytest.mark.parametrize("command", ["train", "eval", "export", "predict"])
def test_help_needs_neither_numpy_nor_mindspore(command):
    code = ("import sys; sys.modules['mindspore'] = sys.modules['numpy'] = sys.modules['cv2'] = None\n"
            f"from rtseg.cli.main import main; main(['{command}', '--help'])")
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0 and "--device_target {auto,Ascend,CPU,GPU}" in done.stdout, done.stderr
