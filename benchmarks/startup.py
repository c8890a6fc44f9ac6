"""How long every program and script takes to answer --help and wrong arguments. The aim: less than a second.

    python benchmarks/startup.py [--rounds 3] [--json]

Each is a process of its own. "python -c pass" is what the interpreter takes by itself.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "src")]

from benchmarks.interleaved import measure, millisecond_medians  # noqa: E402
from rtseg.cli.main import COMMANDS  # noqa: E402

# The first hands its arguments to pytest, the others are not programs.
NOT_MEASURED = ("run_tests.sh", "common.sh", "venv.sh")
WRONG = "--no_such_flag"


def programs() -> list:
    """Commands without arguments of all commands, modules that are programs, and scripts."""
    commands = [[sys.executable, path.relative_to(PROJECT).as_posix()]
                for path in (*(path for path in sorted(PROJECT.glob("*.py")) if path.name != "setup.py"),
                             PROJECT / "scripts" / "make_rank_table.py")]
    modules = [[sys.executable, "-m", "rtseg", name] for name in COMMANDS]
    scripts = [["bash", f"scripts/{path.name}"] for path in sorted(PROJECT.glob("scripts/*.sh"))
               if path.name not in NOT_MEASURED]
    return commands + modules + scripts


def answer(command: list) -> int:
    """Runs a command and returns its exit code."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "src")}
    return subprocess.run(command, cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    commands = {" ".join(["python" if part == sys.executable else part for part in program] + [flag]): [*program, flag]
                for program in programs() for flag in ("--help", WRONG)}
    commands["python -c pass"] = [sys.executable, "-c", "pass"]
    codes = {}

    def run(name):
        def once():
            codes[name] = answer(commands[name])
        return once

    # A new process has nothing to warm up but the disk's cache, and the median leaves that out.
    medians = millisecond_medians(measure({name: run(name) for name in commands}, arguments.rounds, uncounted=0))
    slowest = max(medians, key=medians.get)
    result = {"python": platform.python_version(), "rounds": arguments.rounds, "median_ms": medians,
              "exit_codes": codes, "slowest": slowest, "slowest_ms": medians[slowest]}
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"Python {result['python']}, medians of {arguments.rounds} rounds")
    for name, value in sorted(medians.items(), key=lambda item: -item[1]):
        print(f"  {value:6.0f} ms  exit code {codes[name]}  {name}")


if __name__ == "__main__":
    main()
