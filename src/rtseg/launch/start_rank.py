"""What msrun starts in the place of train.py for each rank and for the scheduler; it turns into train.py.

msrun gives every process the same arguments, names the logs its own way, ignores SIGTERM and loses exit codes. So this
program adds the arguments of the rank and its log, waits until msrun has ended, which makes the launcher its parent,
and only then becomes train.py, whose exit code the launcher sees. It needs nothing but Python's own library.

    start_rank.py LAUNCHER_PROCESS_ID LOG_FOLDER TRAIN_COMMAND...
"""
import ctypes
import os
import signal
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def log_path(folder: Path, device_id) -> Path:
    """Where the process of a card writes: <folder>/device<i>/log.txt."""
    return Path(folder) / f"device{device_id}" / "log.txt"


def scheduler_log_path(folder: Path) -> Path:
    """Where msrun's scheduler, which only brings the ranks together, writes."""
    return Path(folder) / "scheduler.log"


def rank_arguments(rank, group_size, device_id) -> list:
    """What the command line of one rank has beyond that of the others."""
    return ["--is_distributed=1", f"--rank={rank}", f"--group_size={group_size}", f"--device_id={device_id}"]


def die_with_parent(parent: int) -> None:
    """Makes the kernel kill this process as soon as its parent, which must be process `parent`, has gone."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it went before that
        os._exit(1)


def main(launcher: int, folder: str, command: list) -> None:
    rank, group_size, device_id = (os.environ.get(name, "0") for name in ("RANK_ID", "RANK_SIZE", "DEVICE_ID"))
    is_worker = os.environ["MS_ROLE"] == "MS_WORKER"
    log = os.open(log_path(folder, device_id) if is_worker else scheduler_log_path(folder), os.O_WRONLY | os.O_APPEND)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    while os.getppid() != launcher:
        os.kill(launcher, 0)  # raises if the launcher has gone
        time.sleep(0.02)
    die_with_parent(launcher)
    os.execv(command[0], command + rank_arguments(rank, group_size, device_id))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
