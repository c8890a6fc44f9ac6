"""The functions of mox.file that the project uses, and faults in them.

obs://bucket/name is $MOXING_BUCKETS/bucket/name. $MOXING_FAULTS is a list, separated by blanks, of
function:calls:fault, with calls a number counted from 1 in each process, a range such as 2-3, or *, and fault one of

    fail    raises before anything is copied
    cut     copies half of the (last) file, then raises
    short   copies half of the (last) file and says nothing
    lose    leaves the last file out and says nothing
    kill    copies half of the file, then the process is killed
    hang    never returns
    slow    takes two seconds

$MOXING_CALLS, if set, is a file that gets a line per call: process id, function, arguments.
"""
import os
import shutil
import signal
import time
from pathlib import Path

_calls = {}


def copy_parallel(src_url, dst_url):
    fault = _begin("copy_parallel", src_url, dst_url)
    source, target = _path(src_url), _path(dst_url)
    files = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else []
    if not files:
        raise OSError(f"nothing to copy in {src_url}")
    for file in files:
        copied = target / file.relative_to(source)
        copied.parent.mkdir(parents=True, exist_ok=True)
        if file == files[-1] and fault == "lose":
            continue
        _copy(file, copied, fault if file == files[-1] else None)


def copy(src_url, dst_url):
    fault = _begin("copy", src_url, dst_url)
    source, target = _path(src_url), _path(dst_url)
    if not source.is_file():
        raise OSError(f"no such file: {src_url}")
    target.parent.mkdir(parents=True, exist_ok=True)
    _copy(source, target, fault)


def exists(url):
    _begin("exists", url)
    return _path(url).exists()


def is_directory(url):
    _begin("is_directory", url)
    return _path(url).is_dir()


def list_directory(url):
    _begin("list_directory", url)
    return sorted(path.name + "/" * path.is_dir() for path in _path(url).iterdir())


def make_dirs(url):
    _begin("make_dirs", url)
    _path(url).mkdir(parents=True, exist_ok=True)


if os.environ.get("MOXING_SIZES", "1") == "1":  # older versions lack these two
    def get_size(url, recursive=False):
        _begin("get_size", url)
        path = _path(url)
        if path.is_file():
            return path.stat().st_size
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if recursive else 0

    def remove(url):
        _begin("remove", url)
        _path(url).unlink()


def _path(url):
    if not url.startswith(("obs://", "s3://")):
        return Path(url)
    return Path(os.environ["MOXING_BUCKETS"]) / url.partition("://")[2]


def _begin(function, *arguments):
    """Counts and logs the call; returns the fault that the function has to commit itself."""
    _calls[function] = number = _calls.get(function, 0) + 1
    if "MOXING_CALLS" in os.environ:
        with open(os.environ["MOXING_CALLS"], "a", encoding="utf-8") as file:
            file.write(f"{os.getpid()} {function} {' '.join(arguments)}\n")
    for item in os.environ.get("MOXING_FAULTS", "").split():
        name, calls, fault = item.split(":")
        first, _, last = calls.partition("-")
        if name != function or calls != "*" and not int(first) <= number <= int(last or first):
            continue
        if fault == "fail":
            raise ConnectionError(f"injected: {function} call {number}")
        if fault == "hang":
            time.sleep(3600)
        if fault == "slow":
            time.sleep(2)
        return fault
    return None


def _copy(source, target, fault):
    if fault not in ("cut", "short", "kill"):
        shutil.copyfile(source, target)
        return
    content = source.read_bytes()
    target.write_bytes(content[:len(content) // 2])
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "cut":
        raise ConnectionError("injected: connection lost half-way")
