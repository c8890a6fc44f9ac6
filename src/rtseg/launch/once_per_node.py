"""Work that one of the processes on a machine does for all of them, such as copying the data set."""
import json
import os
import shutil
import time
import uuid
from pathlib import Path
from typing import Any, Callable, Dict, Optional

import psutil
from filelock import FileLock, Timeout

from rtseg.utils.atomic import write_text
from rtseg.utils.errors import UserError


class NodeWorkError(UserError):
    """The process that does the work for this machine failed, or did not finish in time."""

    def __init__(self, message: str, exit_code: int = 1):
        super().__init__(message)
        self.exit_code = exit_code


def once_per_node(folder: Path, work: Callable[[Path], Any], *, timeout: float) -> Any:
    """Runs `work` in one of the processes that call this with the same `folder`; all of them get its result.

    The system drops the lock of a process that is killed; another one then does the work.

    Args:
        folder: on a disk of this machine; one for each job that runs at a time.
        work: takes an empty folder's path and returns what JSON can hold. It has to keep the time itself.
        timeout: seconds that the others wait.

    Raises:
        NodeWorkError: in all of them, with the message and exit code of the UserError with which `work` failed; or in
            one that has waited too long.
    """
    arrival = time.time()
    folder.mkdir(parents=True, exist_ok=True)
    lock, result_file = FileLock(folder / "lock"), folder / "result.json"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print("waiting for another process of this machine, which copies", flush=True)
        try:
            lock.acquire(timeout=timeout)
        except Timeout:
            raise NodeWorkError(f"waited {timeout:g} seconds (--copy_timeout) for another process of this machine to "
                                f"finish copying, to {folder}; see that process's log, or allow more time") from None
    try:
        outcome = _outcome_of_this_start(result_file, arrival)
        if outcome is None:
            outcome = _work(folder, result_file, work=work)
    finally:
        lock.release()
    if "error" in outcome:
        raise NodeWorkError(outcome["error"], outcome["exit_code"])
    return outcome["result"]


def _outcome_of_this_start(result_file: Path, arrival: float) -> Optional[Dict[str, Any]]:
    """What another process of this start of the job has left; None if it is that of an earlier start.

    It is of this start if its writer still runs, or if it was written while this process waited.
    """
    if not result_file.is_file():
        return None
    outcome = json.loads(result_file.read_text(encoding="utf-8"))
    try:
        alive = psutil.Process(outcome["process_id"]).create_time() == outcome["process_start"]
    except psutil.NoSuchProcess:
        alive = False
    return outcome if alive or outcome["time"] >= arrival else None


def _work(folder: Path, result_file: Path, *, work: Callable[[Path], Any]) -> Dict[str, Any]:
    result_file.unlink(missing_ok=True)
    for leftover in filter(Path.is_dir, folder.iterdir()):
        shutil.rmtree(leftover, ignore_errors=True)
    target = folder / uuid.uuid4().hex
    target.mkdir()
    outcome: Dict[str, Any] = {"process_id": os.getpid(), "process_start": psutil.Process().create_time()}
    try:
        outcome["result"] = work(target)
    except UserError as error:
        outcome.update(error=str(error), exit_code=error.exit_code)
    write_text(result_file, json.dumps({**outcome, "time": time.time()}))
    return outcome
