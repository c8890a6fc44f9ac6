"""MindSpore reads its environment while it is imported, so this comes before every test module."""
import os
import sys

import pytest
from script_helpers import PROJECT, SCRIPTS, run, skip_unless_installed

from rtseg.runtime.device import setup_device

os.environ["PYTHONPATH"] = str(PROJECT / "src")  # for the processes that tests start
setup_device("CPU")


@pytest.fixture(scope="session")
def quick_demo(tmp_path_factory):
    """(finished process of scripts/run_demo.sh in its quick form, its output folder, whose name has a space)"""
    skip_unless_installed("requirements.txt")
    output = tmp_path_factory.mktemp("quick demo")
    return run(SCRIPTS / "run_demo.sh", output, DEMO_QUICK="1", DEMO_VENV=sys.prefix), output
