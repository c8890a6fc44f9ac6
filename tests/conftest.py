"""Sorts the test modules into tiers, and sets MindSpore up before the modules that use it.

A module's tier is its place: all of tests/hostile is `hostile`, what UNIT names is `unit`, the rest is `integration`.
With `-m unit` the other modules are not even imported, and a test fails if MindSpore is imported all the same.
"""
import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from script_helpers import PROJECT, SCRIPTS, run, skip_unless_installed

os.environ["PYTHONPATH"] = str(PROJECT / "src")  # for the processes that tests start

TESTS = Path(__file__).resolve().parent
# Folders and modules that neither import MindSpore nor start a process that does.
UNIT = ("config", "data", "launch/test_rank_settings.py", "metrics", "models/test_reference_names.py",
        "runtime/test_rank_table.py", "synthetic", "test_architecture.py", "test_dockerfile.py",
        "tools/test_doctor.py", "training/test_lr_schedules.py", "utils", "visualization")


def tier_of(path: Path) -> str:
    """The tier of a test module."""
    place = path.relative_to(TESTS)
    if place.parts[0] == "hostile":
        return "hostile"
    return "unit" if any(name in UNIT for name in (place.parts[0], place.as_posix())) else "integration"


def pytest_ignore_collect(collection_path, config):
    """Leaves out the modules that `-m unit` would deselect, because importing them takes MindSpore's ten seconds."""
    if config.option.markexpr == "unit" and collection_path.suffix == ".py" and TESTS in collection_path.parents:
        return True if tier_of(collection_path) != "unit" else None
    return None


def pytest_pycollect_makemodule(module_path, parent):
    """MindSpore reads its environment while it is imported, so this comes before every module that may import it."""
    if tier_of(module_path) != "unit":
        from rtseg.runtime.device import setup_device
        setup_device("CPU")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items):
    """Where several tests run at a time, a module's stay together (--dist loadgroup), but each slow test is on its own.

    The slow ones come first and the quick tier last, so that no process is left alone with a long one. One that uses
    the quick demo is the very first and makes it; the others of these are last among the slow ones and need not wait.
    """
    for item in items:
        item.add_marker(tier_of(item.path))
        if not item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    makes_demo = next((item for item in items if item.get_closest_marker("slow") and "quick_demo" in item.fixturenames),
                      None)

    def place(item):
        if item is makes_demo:
            return 0
        if item.get_closest_marker("slow"):
            return 2 if "quick_demo" in item.fixturenames else 1
        if "training" in item.path.parts:  # the longest of the other modules
            return 3
        return 5 if item.get_closest_marker("unit") else 4
    items.sort(key=place)


def pytest_runtest_teardown(item):
    if item.config.option.markexpr == "unit" and "mindspore" in sys.modules:
        pytest.fail("MindSpore was imported: this module, or one before it, belongs to the integration tier")


@pytest.fixture(scope="session")
def quick_demo(tmp_path_factory):
    """(finished process of scripts/run_demo.sh in its quick form, its output folder, whose name has a space)"""
    skip_unless_installed("requirements.txt")
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # that of all processes: one makes the demo, the others wait for it
    output, log = folder / "quick demo", folder / "quick demo.log"
    with FileLock(f"{output}.lock"):
        if not log.exists():
            done = run(SCRIPTS / "run_demo.sh", output, DEMO_QUICK="1", DEMO_VENV=sys.prefix)
            log.write_text(repr((done.args, done.returncode, done.stdout, done.stderr)))
    return subprocess.CompletedProcess(*ast.literal_eval(log.read_text())), output
