"""A launch of scripts/run_distribute_train.sh with a train.py that needs no MindSpore."""
import os
import re
import socket
import subprocess
import sys
import time

from script_helpers import PROJECT, SCRIPTS, run, untimed

from rtseg.runtime.rank_table import Device, RankTable, Server

SCRIPT = SCRIPTS / "run_distribute_train.sh"

# Stands in for train.py: says how it was started, then does what the test says.
STAND_IN = """\
import json, os, signal, subprocess, sys, time
print(json.dumps({"arguments": sys.argv, "environment": dict(os.environ), "cores": sorted(os.sched_getaffinity(0))}),
      flush=True)
rank = int(os.environ["RANK_ID"])
if os.environ.get("MS_ROLE") == "MS_SCHED":
    time.sleep(100)
exec(os.environ["DO"])
"""
# A helper that the launcher has not started and that is in none of its process groups.
HELPER = "print(subprocess.Popen(['sleep', '100'], start_new_session=True).pid, flush=True)\n"
WAIT = "print('ready', flush=True)\ntime.sleep(100)"


class Place:
    """Folders for a launch of the fake, which runs the Python code `do`."""

    def __init__(self, path):
        self.path = path
        self.code, self.data, self.output = path / "code", path / "data", path / "output"
        self.data.mkdir(parents=True)
        self.code.mkdir()
        (self.code / "train.py").write_text(STAND_IN)
        for name in ("src", "configs"):
            (self.code / name).symlink_to(PROJECT / name)

    def table(self, devices=2, servers=1):
        path = self.path / "rank_table.json"
        RankTable(tuple(Server(f"10.0.0.{k + 1}", tuple(
            Device(devices * k + i, i, f"192.168.{100 + k}.{101 + i}") for i in range(devices)))
            for k in range(servers))).write(path)
        return path

    def command(self, *arguments):
        """`arguments`: the rank table, which may be left out, and flags."""
        return [str(part) for part in (SCRIPT, self.code, self.data, 3, 2, 0.1, self.output, *arguments)]

    def run(self, *arguments, do="", **variables):
        return run(*self.command(*arguments), cwd=self.path, DO=do, **variables)

    def start(self, *flags, do=WAIT):
        """Starts two ranks in front and returns the launcher once both have printed that they are ready."""
        launcher = subprocess.Popen(self.command(self.table(), "--foreground", *flags), cwd=self.path, text=True,
                                    env={**os.environ, "PYTHON": sys.executable, "RANK_SIZE": "2", "DO": do},
                                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.await_ready()
        return launcher

    def await_ready(self):
        for i in range(2):
            wait_for(lambda i=i: "ready" in self.lines(i))

    def lines(self, device):
        path = self.output / f"device{device}" / "log.txt"
        return untimed(path.read_text()).splitlines() if path.is_file() else []


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain"
        time.sleep(0.05)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def process_ids(output):
    return [int(number) for number in re.findall(r": process id (\d+), log ", output)]


def free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]
