"""Work that one of the processes on a machine does for all of them, such as copying the data set.

Nothing tells reliably which local ranks there are, so whoever locks `worker.lock` first does the work. The system drops
the lock when that process ends, however it ends, so what an earlier job or a killed one left behind is never taken for
the present one's:

    worker.lock     held by the worker to its end
    ready.lock      held by the worker to its end, once `start` is its own
    start           unique id of the worker's start
    <id>.done       the result, as JSON; or
    <id>.failed     the error's exit code and message, as JSON
    <id>/           folder for the work
"""
import json
import shutil
import time
import uuid
from pathlib import Path
from typing import Any, Callable

from rtseg.utils.atomic import write_text
from rtseg.utils.errors import UserError

_POLL_SECONDS = 0.2
_NO_WORKER_SECONDS = 60  # in which a process that only waits expects a worker to begin
_HELD = []  # files whose locks this process keeps: closing one would drop its lock


class NodeWorkError(UserError):
    """The process that does the work for this machine failed, ended, or did not finish in time."""

    def __init__(self, message: str, exit_code: int = 1):
        super().__init__(message)
        self.exit_code = exit_code


def once_per_node(folder: Path, work: Callable[[Path], Any], timeout: float, may_work: bool = True) -> Any:
    """Runs `work` in one of the processes that call this with the same `folder`; all of them get its result.

    Args:
        folder: on a disk of this machine; one for each job that runs at a time.
        work: takes an empty folder's path and returns what JSON can hold. It has to keep the time itself.
        timeout: seconds that the others wait.
        may_work: False for a process that only waits.

    Raises:
        NodeWorkError: in the processes that wait; with the message and exit code of the worker's error if it failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout
    no_worker_deadline = time.monotonic() + _NO_WORKER_SECONDS
    start = ""
    while time.monotonic() < deadline:
        if not start and may_work and _lock(folder / "worker.lock"):
            return _work(folder, work)
        alive = not _is_free(folder / "ready.lock")
        if alive and not start:
            start = (folder / "start").read_text(encoding="utf-8")
            print("waiting for another process of this machine, which copies", flush=True)
        if start:
            if (folder / f"{start}.failed").is_file():
                failure = json.loads((folder / f"{start}.failed").read_text(encoding="utf-8"))
                raise NodeWorkError(failure["message"], failure["exit_code"])
            if (folder / f"{start}.done").is_file():
                return json.loads((folder / f"{start}.done").read_text(encoding="utf-8"))
            if not alive:
                raise NodeWorkError("the process that copied for this machine ended before it was done; see its log")
        elif time.monotonic() > no_worker_deadline:
            break  # the worker may have failed before this process looked
        time.sleep(_POLL_SECONDS)
    if not start:
        raise NodeWorkError(f"no process of this machine has begun to copy, to {folder}; see the logs of the others")
    raise NodeWorkError(f"waited {timeout:g} seconds (--copy_timeout) for another process of this machine to finish "
                        f"copying, to {folder}; see that process's log, or allow more time")


def _work(folder: Path, work: Callable[[Path], Any]) -> Any:
    for leftover in folder.iterdir():
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        elif leftover.suffix != ".lock":
            leftover.unlink()
    start = uuid.uuid4().hex
    (folder / start).mkdir()
    write_text(folder / "start", start)
    _lock(folder / "ready.lock", wait=True)  # somebody may be looking at it this moment
    try:
        result = work(folder / start)
    except BaseException as error:
        known = isinstance(error, UserError)
        message = str(error) if known else f"the process that copied for this machine ended with {error!r}"
        write_text(folder / f"{start}.failed", json.dumps({"message": message,
                                                           "exit_code": error.exit_code if known else 1}))
        raise
    write_text(folder / f"{start}.done", json.dumps(result))
    return result


def _lock(path: Path, wait: bool = False) -> bool:
    """Takes the lock until this process ends. Unlike flock's, it is not inherited by processes that this one forks."""
    import fcntl  # not on Windows, where no ModelArts job runs
    file = open(path, "a", encoding="utf-8")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        file.close()
        return False
    _HELD.append(file)
    return True


def _is_free(path: Path) -> bool:
    """Whether nobody holds the lock."""
    import fcntl
    try:
        with open(path, encoding="utf-8") as file:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
