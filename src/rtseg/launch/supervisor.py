"""Runs the processes of one server until all are done, one fails, or a stop is asked for. Linux only; no MindSpore.

`msrun --join=True` starts the same processes with the same environment. It is not used because it does not
- let the ranks finish their step and save: Ctrl-C kills them with SIGKILL, and SIGTERM leaves them running;
- end with the exit code of the rank that failed first, or name it: it always ends with 1;
- put each rank's output into device<i>/log.txt, or start ranks from a rank table.
"""
import contextlib
import ctypes
import dataclasses
import functools
import os
import queue
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Dict, List, Optional, Sequence, TextIO, Tuple

import psutil

from rtseg.launch.rank_settings import cores_text

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_TAIL_LINES = 20
_FAILURE_SECONDS = 10    # that the other ranks have to end after one has failed; a collective may wait for ever
_TERM_SECONDS = 5        # between the last SIGTERM and SIGKILL
_KILL_SECONDS = 10       # after which a process that SIGKILL does not end is given up
_SCHEDULER_SECONDS = 60  # that the scheduler has to end when the ranks of this server have: others may still run
_NOISE = re.compile(r"\[(WARNING|INFO|DEBUG)\] [A-Z_]+\(")  # MindSpore's own lines; the log file has them


@dataclasses.dataclass(frozen=True)
class Process:
    """One process of the job.

    Args:
        name: what messages call it.
        environment: variables set for it, beyond those of this process.
        unset: variables it must not have.
        command: absolute path of the program, and its arguments.
        log: file for what it prints.
        cores: that it may use; empty for all.
    """

    name: str
    environment: Dict[str, str]
    unset: Tuple[str, ...]
    command: List[str]
    log: Path
    cores: Tuple[int, ...] = ()

    def shell_line(self) -> str:
        """The same as a line for the shell."""
        unset = [word for name in self.unset for word in ("-u", name)]
        values = [f"{name}={value}" for name, value in self.environment.items()]
        bound = ["taskset", "-c", cores_text(self.cores)] if self.cores else []
        return f"{shlex.join(['env', *unset, *values, *bound, *self.command])} > {shlex.quote(str(self.log))} 2>&1"


class Supervisor:
    """Runs the ranks of one server, and the scheduler if it is this server's.

    Args:
        ranks: one process per rank. The log of the first is shown on the screen while it grows.
        scheduler: brings the ranks together; None with a rank table or on other servers than the first.
        stop_seconds: time that the ranks have to finish their step and save when a stop is asked for.
        wait_for_scheduler: whether ranks of other servers may still need the scheduler when ours have ended.
    """

    def __init__(self, ranks: Sequence[Process], scheduler: Optional[Process] = None, *, stop_seconds: float = 60,
                 wait_for_scheduler: bool = False):
        self.ranks = list(ranks)
        self.scheduler = scheduler
        self.stop_seconds = stop_seconds
        self.wait_for_scheduler = wait_for_scheduler
        self.running: Dict[str, subprocess.Popen] = {}  # by name
        self.codes: Dict[str, int] = {}                 # of the processes that have ended
        self.exits: queue.Queue = queue.Queue()         # (process, exit code), in the order of their ends
        self.failure: Optional[Tuple[Process, int]] = None
        self.requests: List[int] = []                   # signals that asked for a stop
        self.handled_requests = 0
        self.stages: List[Tuple[int, float]] = []       # of stopping: signal to send, seconds until the next stage
        self.stopping = False
        self.deadline = float("inf")                    # of the present stage
        self.shown_bytes = 0                            # of the first rank's log
        self.start_time = time.time()

    def run(self) -> int:
        """Returns the exit code of the job: 0, that of the rank that failed first (128 + number if a signal killed it),
        or 128 + the signal that asked for a stop that was not graceful."""
        # Helpers that a rank leaves behind become our children instead of init's, so that we can end them.
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self._catch_signals()
        try:
            for process in filter(None, (self.scheduler, *self.ranks)):
                self._start(process)
            while not self._is_done():
                self._take_exits(seconds=0.2)
                self._show_log()
                self._handle_requests()
                if time.monotonic() > self.deadline:
                    self._next_stage()
            self._let_scheduler_end()
        finally:
            _kill_descendants()
        self._show_log()
        return self._report()

    def _catch_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # ignored under nohup
                signal.signal(number, lambda number, _frame: self.requests.append(number))

    def _start(self, process: Process) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in process.unset}
        process.log.parent.mkdir(parents=True, exist_ok=True)
        with open(process.log, "wb") as log:
            popen = subprocess.Popen(process.command, env={**environment, **process.environment},
                                     stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                     start_new_session=True,
                                     preexec_fn=functools.partial(
                                         _prepare, os.getpid(), process.cores, ignores_stop=process is self.scheduler))
        self.running[process.name] = popen
        threading.Thread(target=lambda: self.exits.put((process, popen.wait())), daemon=True).start()
        _print(f"{process.name}: process id {popen.pid}, log {process.log}")

    def _take_exits(self, seconds: float) -> None:
        """Notes the processes that have ended, after waiting up to `seconds` for the first."""
        try:
            while True:
                process, code = self.exits.get(timeout=seconds)
                seconds = 0
                code = 128 - code if code < 0 else code
                popen = self.running.pop(process.name)
                ranks_remain = any(rank.name in self.running for rank in self.ranks)
                self.codes[process.name] = code
                if code and (process is not self.scheduler or ranks_remain):
                    self._fail(process, code, pid=popen.pid)
        except queue.Empty:
            pass

    def _fail(self, process: Process, code: int, *, pid: int) -> None:
        if self.stopping or self.requests:  # it had the signal to stop, too
            return
        self.failure = (process, code)
        _print(f"error: {process.name} failed first: {_exit_text(code)}; the end of {process.log}:\n"
               f"{_tail(process.log)}", sys.stderr)
        device_log = find_plog(pid, since=self.start_time)
        if device_log:
            _print(f"CANN's log of {process.name}; the end of {device_log}:\n{_tail(device_log)}", sys.stderr)
        self._stop([(signal.SIGTERM, _FAILURE_SECONDS), (signal.SIGKILL, _KILL_SECONDS)])

    def _handle_requests(self) -> None:
        while self.handled_requests < len(self.requests):
            self.handled_requests += 1
            if self.stopping:
                self.deadline = 0  # asked again: the next, harder stage
                continue
            _print(f"stop requested: the ranks have {self.stop_seconds:g} s to finish their step and save; once more "
                   "to break off at once")
            self._stop([(signal.SIGTERM, self.stop_seconds), (signal.SIGTERM, _TERM_SECONDS),
                        (signal.SIGKILL, _KILL_SECONDS)])

    def _stop(self, stages: Sequence[Tuple[int, float]]) -> None:
        self.stopping, self.stages = True, list(stages)
        self._next_stage()

    def _next_stage(self) -> None:
        if not self.stages:
            return
        number, seconds = self.stages.pop(0)
        self.deadline = time.monotonic() + seconds
        for rank in self.ranks:  # not the scheduler, which they need until they have ended
            if rank.name in self.running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.running[rank.name].pid, number)

    def _is_done(self) -> bool:
        given_up = self.stopping and not self.stages and time.monotonic() > self.deadline
        return given_up or not any(rank.name in self.running for rank in self.ranks)

    def _let_scheduler_end(self) -> None:
        if self.scheduler and self.wait_for_scheduler and not self.stopping:
            end = time.monotonic() + _SCHEDULER_SECONDS
            while self.scheduler.name in self.running and not self.requests and time.monotonic() < end:
                self._take_exits(seconds=0.2)

    def _show_log(self) -> None:
        """Prints the complete lines that the first rank has written since the last time."""
        try:
            with open(self.ranks[0].log, "rb") as file:
                file.seek(self.shown_bytes)
                complete, newline, _ = file.read().rpartition(b"\n")
        except OSError:  # somebody removed it; that must not end the ranks
            return
        self.shown_bytes += len(complete) + len(newline)
        for line in _without_noise(complete):
            _print(line)

    def _report(self) -> int:
        if self.failure:
            process, code = self.failure
            _print(f"all processes have ended; {process.name} failed first: {_exit_text(code)}", sys.stderr)
            return code
        if not self.stopping:
            return 0
        if all(self.codes.get(rank.name) == 0 for rank in self.ranks):
            _print("stopped on request; all ranks have ended by themselves")
            return 0
        codes = {rank.name: self.codes.get(rank.name, 128 + signal.SIGKILL) for rank in self.ranks}
        _print("error: broken off: " + ", ".join(f"{name}: {_exit_text(code)}" for name, code in codes.items() if code),
               sys.stderr)
        return 128 + self.requests[0]


def _print(text: str, file: Optional[TextIO] = None) -> None:
    """Prints at once; a screen that has gone away must not end the ranks before they have saved."""
    with contextlib.suppress(OSError):
        print(text, file=file or sys.stdout, flush=True)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value):
        raise OSError(ctypes.get_errno(), "prctl failed")


def _prepare(parent: int, cores: Tuple[int, ...], *, ignores_stop: bool) -> None:
    """Binds this process to `cores`, and makes the kernel kill it as soon as its parent, process `parent`, has gone."""
    if ignores_stop:  # the ranks need the scheduler to finish their step, also where every process gets the signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if cores:
        os.sched_setaffinity(0, cores)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it went before that
        os._exit(1)


def _kill_descendants() -> None:
    """Nothing that descends from us stays, helpers of the ranks included."""
    for _ in range(3):  # one may have forked while it was being killed
        processes = psutil.Process().children(recursive=True)
        if not processes:
            return
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        _, alive = psutil.wait_procs(processes, timeout=_KILL_SECONDS)
        if alive:
            _print("warning: these processes do not end, perhaps a driver holds them: "
                   f"{[process.pid for process in alive]}", sys.stderr)
            return


def _exit_text(code: int) -> str:
    try:
        return f"killed by {signal.Signals(code - 128).name} (exit code {code})"
    except ValueError:
        return f"exit code {code}"


def find_plog(pid: int, *, since: float) -> Optional[Path]:
    """The newest log that CANN has written for process `pid` since that time; None without CANN or errors.

    Source: CANN's log reference and ASCEND_PROCESS_LOG_PATH, ASCEND_WORK_PATH among its environment variables.
    """
    work = os.environ.get("ASCEND_WORK_PATH")
    folder = os.environ.get("ASCEND_PROCESS_LOG_PATH") or (
        os.path.join(work, "log") if work else os.path.expanduser("~/ascend/log"))
    found = []
    for path in Path(folder).glob(f"debug/plog/plog-{pid}_*.log"):
        with contextlib.suppress(OSError):  # CANN removes old ones
            found.append((path.stat().st_mtime, path))
    modified, newest = max(found, default=(0.0, None))
    return newest if modified >= since else None  # an earlier process may have had the same number


def _without_noise(text: bytes) -> List[str]:
    return [line for line in text.decode(errors="replace").splitlines() if not _NOISE.match(line)]


def _tail(log: Path) -> str:
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 50000))
            lines = _without_noise(file.read())
    except OSError as error:  # removed while the process ran
        return f"({error.strerror})"
    return "\n".join(lines[-_TAIL_LINES:]) or "(it is empty)"
