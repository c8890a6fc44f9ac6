"""Puts the fake of moxing in the place of the real one, with folders for buckets and faults at will."""
import os

from script_helpers import PROJECT

FAKE = PROJECT / "tests" / "fake_moxing"


def environment(bucket, faults="", **variables):
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(FAKE), str(PROJECT / "src"))),
            "MOXING_BUCKETS": str(bucket), "MOXING_FAULTS": faults,
            "MOXING_CALLS": str(bucket.parent / "calls"), **variables}


def calls(bucket, function):
    lines = (bucket.parent / "calls").read_text().splitlines()
    return [line.split(" ", 2)[2] for line in lines if line.split()[1] == function]


def tree(folder):
    """Relative name -> text of every file in `folder`."""
    return {str(path.relative_to(folder)): path.read_text(errors="replace")
            for path in folder.rglob("*") if path.is_file()}
