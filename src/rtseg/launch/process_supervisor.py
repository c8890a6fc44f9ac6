"""Starts the processes of a job, watches them, and leaves none behind. Linux only; no MindSpore."""
import ctypes
import dataclasses
import functools
import os
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from rtseg.launch.start_rank import die_with_parent

_PR_SET_CHILD_SUBREAPER = 36
_TAIL_LINES = 20
_FAILURE_SECONDS = 10  # that the other ranks have to end after one has failed; a collective may wait for ever
_TERM_SECONDS = 5      # between the last SIGTERM and SIGKILL
_KILL_SECONDS = 10     # after which a process that SIGKILL does not end is given up
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
    """

    name: str
    environment: Dict[str, str]
    unset: Tuple[str, ...]
    command: List[str]
    log: Path

    def shell_line(self) -> str:
        """The same as a line for the shell."""
        unset = [word for name in self.unset for word in ("-u", name)]
        values = [f"{name}={value}" for name, value in self.environment.items()]
        return f"{shlex.join(['env', *unset, *values, *self.command])} > {shlex.quote(str(self.log))} 2>&1"


class Supervisor:
    """Runs the ranks of one server until all have ended well, one has failed, or a signal asks for a stop.

    Args:
        ranks: one process per rank. The log of the first is shown on the screen while it grows.
        scheduler: msrun's, which is no failure when it ends; None without msrun or on other servers than the first.
        starter: the msrun command that starts the ranks and the scheduler and ends; None to start the ranks here.
        stop_seconds: time that the ranks have to finish their step and save when a stop is asked for.
        scheduler_seconds: time that the scheduler has for ending once the ranks of this server have ended.
    """

    def __init__(self, ranks: Sequence[Process], scheduler: Optional[Process] = None,
                 starter: Optional[Process] = None, stop_seconds: float = 60, scheduler_seconds: float = 0):
        self.ranks = list(ranks)
        self.scheduler = scheduler
        self.starter = starter
        self.stop_seconds = stop_seconds
        self.scheduler_seconds = scheduler_seconds
        self.running: Dict[int, Process] = {}  # by process id
        self.codes: Dict[str, int] = {}        # exit codes of the ranks that have ended
        self.failure: Optional[Tuple[Process, int]] = None
        self.requests: List[int] = []          # signals that asked for a stop, in the order of their coming
        self.heeded = 0                        # number of those that have been acted upon
        self.stages: List[Tuple[int, float]] = []  # of stopping: what is still to be sent, and the seconds after it
        self.stopping = False
        self.deadline = float("inf")           # of this stage
        self.popens = []                       # a forgotten Popen would take the exit code
        self.shown = 0                         # bytes of the first rank's log

    def run(self) -> int:
        """Returns the exit code of the job: 0, that of the rank that failed first (128 + number if a signal killed it),
        or 128 + the signal that broke the job off."""
        # Whatever loses its parent below us becomes our child: ranks that msrun leaves behind, and their helpers.
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1):
            raise OSError(ctypes.get_errno(), "the kernel does not let this process adopt others")
        for process in filter(None, (*self.ranks, self.scheduler, self.starter)):
            process.log.parent.mkdir(parents=True, exist_ok=True)
            process.log.write_bytes(b"")
        wake = self._catch_signals()
        try:
            for process in [self.starter] if self.starter else self.ranks:
                self._start(process)
            while not self._ended():
                if select.select([wake], [], [], 0.2)[0]:
                    os.read(wake, 4096)
                self._reap()
                self._show()
                self._handle_signals()
                if time.monotonic() > self.deadline:
                    self._next_stage()
            self._await_scheduler()
        finally:
            self._kill_all()
        self._show()
        return self._report()

    def _catch_signals(self) -> int:
        """Returns a file descriptor that can be read when a child has ended or a stop is asked for."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, lambda number, _frame: self.requests.append(number))
        return reader

    def _start(self, process: Process) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in process.unset}
        with open(process.log, "ab") as log:
            popen = subprocess.Popen(process.command, env={**environment, **process.environment},
                                     stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                     start_new_session=True, preexec_fn=functools.partial(die_with_parent, os.getpid()))
        self.popens.append(popen)
        self._add(popen.pid, process)

    def _add(self, pid: int, process: Process) -> None:
        self.running[pid] = process
        if process is not self.starter:
            _log(f"{process.name}: process id {pid}, log {process.log}")

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            process = self.running.pop(pid, None)
            if process is None:  # a helper of a rank that was left behind
                continue
            code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
            if process in self.ranks:
                self.codes[process.name] = code
            if code and (process in self.ranks or len(self.codes) < len(self.ranks)):
                self._fail(process, code)
            if process is self.starter:
                self._adopt()

    def _adopt(self) -> None:
        """msrun has ended: its children are ours now, and their environment says who they are."""
        ranks = {process.environment["RANK_ID"]: process for process in self.ranks}
        for pid in _children():
            environment = _environment(pid)
            if environment.get("MS_ROLE") == "MS_SCHED":
                process = self.scheduler  # None if msrun takes this server for the first one: then it cannot matter
            else:
                process = ranks.pop(environment.get("RANK_ID"), None)
            if process is not None:
                self._add(pid, process)
                if self.stopping:
                    _send(pid, signal.SIGTERM)
        if self.scheduler is not None and self.scheduler not in self.running.values():
            self._fail(self.starter, 1, "has not started the scheduler: --master_addr is no address of this server")
        for process in ranks.values():
            self._fail(process, 1, "did not start")

    def _fail(self, process: Process, code: int, how: str = "") -> None:
        if self.stopping:
            return
        self.failure = (process, code)
        _log(f"error: {process.name} {how or 'failed first: ' + _exit_text(code)}; the end of {process.log}:\n"
             f"{_tail(process.log)}", sys.stderr)
        self._stop([(signal.SIGTERM, _FAILURE_SECONDS), (signal.SIGKILL, _KILL_SECONDS)])

    def _handle_signals(self) -> None:
        while self.heeded < len(self.requests):
            self.heeded += 1
            if self.stopping:
                self.deadline = 0  # asked again: the next, harder stage
                continue
            _log(f"stop requested: the ranks have {self.stop_seconds:g} s to finish their step and save; once more to "
                 "break off at once")
            self._stop([(signal.SIGTERM, self.stop_seconds), (signal.SIGTERM, _TERM_SECONDS),
                        (signal.SIGKILL, _KILL_SECONDS)])

    def _stop(self, stages) -> None:
        self.stopping, self.stages = True, list(stages)
        self._next_stage()

    def _next_stage(self) -> None:
        if not self.stages:
            self.deadline = 0
            return
        number, seconds = self.stages.pop(0)
        self.deadline = time.monotonic() + seconds
        for pid, process in self.running.items():
            if process is not self.scheduler:  # which the ranks need until they have ended
                _send(pid, number)

    def _ended(self) -> bool:
        if not self.stopping:
            return len(self.codes) == len(self.ranks)
        given_up = not self.stages and time.monotonic() > self.deadline
        return given_up or all(process is self.scheduler for process in self.running.values())

    def _show(self) -> None:
        """Prints the whole lines that the first rank has written since the last time."""
        with open(self.ranks[0].log, "rb") as file:
            file.seek(self.shown)
            lines = file.read().rpartition(b"\n")
        self.shown += len(lines[0]) + len(lines[1])
        for line in _without_noise(lines[0]):
            _log(line)

    def _await_scheduler(self) -> None:
        end = time.monotonic() + (0 if self.stopping else self.scheduler_seconds)
        while self.scheduler in self.running.values() and not self.requests and time.monotonic() < end:
            time.sleep(0.2)
            self._reap()

    def _kill_all(self) -> None:
        """Nothing that descends from us stays, helpers of the ranks included."""
        end = time.monotonic() + _KILL_SECONDS
        while time.monotonic() < end:
            children = _children()
            for pid in children:
                _send(pid, signal.SIGKILL)
            if not children:
                return
            time.sleep(0.05)
            self._reap()
        _log(f"warning: these processes do not end, perhaps a driver holds them: {_children()}", sys.stderr)

    def _report(self) -> int:
        if self.failure:
            process, code = self.failure
            _log(f"all processes have ended; {process.name} failed first: {_exit_text(code)}", sys.stderr)
            return code
        if not self.stopping:
            return 0
        if all(self.codes.get(process.name) == 0 for process in self.ranks):
            _log("stopped on request; all ranks have ended by themselves")
            return 0
        codes = (self.codes.get(process.name) for process in self.ranks)
        states = [f"{process.name}: {'not started' if code is None else _exit_text(code)}"
                  for process, code in zip(self.ranks, codes) if code != 0]
        _log(f"error: broken off: {', '.join(states)}", sys.stderr)
        return 128 + self.requests[0]


def _log(text: str, file=None) -> None:
    """Prints at once; a screen that has gone away must not end the ranks before they have saved."""
    try:
        print(text, file=file or sys.stdout, flush=True)
    except OSError:
        pass


def _send(pid: int, number: int) -> None:
    """Sends a signal to the process group of a child, in which its helpers are."""
    try:
        group = os.getpgid(pid)
        if group == os.getpgrp():
            os.kill(pid, number)
        else:
            os.killpg(group, number)
    except ProcessLookupError:
        pass


def _children() -> List[int]:
    """The process ids of our children, those that have ended but were not waited for included."""
    children = []
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        try:
            parent = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:  # it has just gone
            continue
        if int(parent) == os.getpid():
            children.append(int(entry))
    return children


def _environment(pid: int) -> Dict[str, str]:
    """Environment variables of a process; none if it has ended."""
    text = ""
    for _ in range(50):
        try:
            text = Path("/proc", str(pid), "environ").read_bytes().decode(errors="replace")
        except OSError:
            break
        if text:
            break
        time.sleep(0.02)  # just turning into another program, for which a moment without any is normal
    return dict(entry.partition("=")[::2] for entry in text.split("\0") if entry)


def _exit_text(code: int) -> str:
    if code <= 128:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(code - 128).name} (exit code {code})"
    except ValueError:
        return f"exit code {code}"


def _without_noise(text: bytes) -> List[str]:
    return [line for line in text.decode(errors="replace").splitlines() if not _NOISE.match(line)]


def _tail(log: Path) -> str:
    with open(log, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 50000))
        lines = _without_noise(file.read())
    return "\n".join(lines[-_TAIL_LINES:]) or "(it is empty)"
