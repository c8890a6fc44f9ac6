"""Runs commands with hostile input in this process and watches exit code, traceback, time, memory and writes.

HOSTILE_CASES multiplies the number of cases of every test that draws them (default 1, as in continuous integration).
"""
import contextlib
import io
import os
import random
import resource
import signal
import sys
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, settings

from rtseg.utils.errors import run_command

FACTOR = float(os.environ.get("HOSTILE_CASES", "1"))
SEED = 20240607
HANG_SECONDS = 300  # a machine under load compiles a network for more than a minute
# A command may take this much memory more than it had; what the bombs below claim is far beyond.
MOST_MEMORY_GROWTH = 1 << 30

CASES = Counter()        # kind of case -> how many ran; tests/hostile/conftest.py prints it
_WRITES = []             # paths that were written while a command was watched
_WATCHED = [False]
_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_RUNS_CODE = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pty.spawn", "webbrowser.open")


class Hang(BaseException):
    """A command took longer than HANG_SECONDS."""


def cases(number: int) -> int:
    """`number` scaled by HOSTILE_CASES, at least 1."""
    return max(1, round(number * FACTOR))


def examples(number: int):
    """Settings of a hypothesis test with `number` cases, the same in every run."""
    return settings(max_examples=cases(number), derandomize=True, deadline=None, database=None,
                    suppress_health_check=list(HealthCheck))


def count(kind: str, number: int = 1) -> None:
    """Adds cases to the summary that is printed at the end."""
    CASES[kind] += number


def random_of(*key) -> random.Random:
    """A generator that depends on `key` alone."""
    return random.Random(f"{SEED} {key}")


def _audit(event, arguments):
    if not _WATCHED[0]:
        return
    if event in _RUNS_CODE:
        raise AssertionError(f"a command started a program: {event} {arguments}")
    if event == "open" and isinstance(arguments[0], (str, bytes)) and (arguments[2] or 0) & _FLAGS:
        _WRITES.append(os.fsdecode(arguments[0]))
    elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.symlink", "os.link"):
        _WRITES.append(os.fsdecode(arguments[0]))
    elif event == "os.rename":
        _WRITES.extend(os.fsdecode(name) for name in arguments[:2])


sys.addaudithook(_audit)


@contextlib.contextmanager
def unwatched():
    """For what a test itself writes while a command runs."""
    watched, _WATCHED[0] = _WATCHED[0], False
    try:
        yield
    finally:
        _WATCHED[0] = watched


class Outcome:
    """What a command answered: exit code, what it printed, and the paths that it wrote, made or removed."""

    def __init__(self, code, stdout, stderr, writes):
        self.code = code
        self.stdout = stdout
        self.stderr = stderr
        self.writes = writes

    def __repr__(self):
        return f"exit code {self.code}\n{self.stdout}\n{self.stderr}"


@contextlib.contextmanager
def limits(seconds: int = HANG_SECONDS):
    """Fails a block that takes too long or too much memory; huge allocations raise MemoryError meanwhile."""
    def ring(_number, _frame):
        raise Hang(f"still running after {seconds} s")

    previous = signal.signal(signal.SIGALRM, ring)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert grown < MOST_MEMORY_GROWTH, f"took {grown / 1e9:.1f} GB"


def command(main, *arguments, kind: str, codes=(0, 1, 2, 3)) -> Outcome:
    """Runs `main` as `run_command` does, and checks what holds for every command and every input.

    Args:
        main: of the command.
        arguments: its command line.
        kind: of case, for the summary.
        codes: the exit codes that may be.
    """
    count(kind)
    stdout, stderr = io.StringIO(), io.StringIO()
    _WRITES.clear()
    code = None
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr), limits():
        _WATCHED[0] = True
        try:
            run_command(lambda _: main([str(argument) for argument in arguments]))
        except SystemExit as end:
            code = end.code
        finally:
            _WATCHED[0] = False
    outcome = Outcome(code, stdout.getvalue(), stderr.getvalue(), list(_WRITES))
    assert code in codes, outcome
    assert "Traceback" not in outcome.stdout + outcome.stderr, outcome
    if code == 3 or code == 1:
        assert "error" in outcome.stderr, outcome
    return outcome


def written_outside(outcome: Outcome, *folders: Path):
    """The paths that the command wrote outside of `folders`; matplotlib's own folders for its fonts are left out."""
    own = [Path.home() / ".cache" / "matplotlib", Path.home() / ".config" / "matplotlib", os.devnull]
    roots = [os.path.realpath(folder) for folder in (*folders, *own)]
    found = []
    for path in outcome.writes:
        real = os.path.join(os.path.realpath(os.path.dirname(path) or "."), os.path.basename(path))
        if not any(real == root or real.startswith(root + os.sep) for root in roots):
            found.append(path)
    return found


def tree(folder: Path):
    """{relative name: content} of everything under `folder`; None for what is no regular file."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() and not path.is_symlink() else None
            for path in sorted(folder.rglob("*"))}


def damaged(content: bytes, rng: random.Random, swap: bytes = b"") -> bytes:
    """`content` with one kind of damage: flipped bits, cut, emptied, grown, overwritten, repeated, or `swap`."""
    kind = rng.choice(["flip", "flips", "cut", "head", "grow", "overwrite", "repeat", "remove", "zeros", "ones"]
                      + ["noise", "empty", "swap"] * (rng.random() < 0.2))
    data, size = bytearray(content), len(content)
    at = rng.randrange(size) if size else 0
    length = min(size - at, 1 + int(rng.expovariate(1 / 12)))
    if kind in ("flip", "flips"):
        for _ in range(1 if kind == "flip" else 2 + rng.randrange(60)):
            if size:
                data[rng.randrange(size)] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del data[at:]
    elif kind == "head":
        del data[:at]
    elif kind == "grow":
        data += rng.randbytes(1 + rng.randrange(500))
    elif kind == "overwrite":
        data[at:at + length] = rng.randbytes(length)
    elif kind == "repeat":
        data[at:at] = data[at:at + length] * (1 + rng.randrange(4))
    elif kind == "remove":
        del data[at:at + length]
    elif kind in ("zeros", "ones"):
        data[at:at + length] = (b"\0" if kind == "zeros" else b"\xff") * length
    elif kind == "noise":
        data = bytearray(rng.randbytes(size))
    else:
        data = bytearray(swap if kind == "swap" else b"")
    return bytes(data)
