"""What must be set before MindSpore is loaded, on each version."""
import os
import subprocess
import sys

import pytest
from script_helpers import PROJECT

from rtseg.runtime import device
from rtseg.utils.errors import ConfigError


@pytest.mark.parametrize("version, limit", [("2.7.2", None), ("2.8.0", None), ("2.9.0", "AVX2"), ("2.10.0", "AVX2")])
def test_slow_reference_convolution_is_avoided_from_2_9_on(monkeypatch, version, limit):
    monkeypatch.setattr(device.importlib.metadata, "version", lambda name: version)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "")  # so that the test's end restores what was there before
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    device.prepare_environment()
    assert os.environ.get("ONEDNN_MAX_CPU_ISA") == limit
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")
    device.prepare_environment()
    assert os.environ["ONEDNN_MAX_CPU_ISA"] == "AVX512_CORE"


def test_missing_mindspore_is_explained(monkeypatch):
    def missing(name):
        raise device.importlib.metadata.PackageNotFoundError(name)
    monkeypatch.setattr(device.importlib.metadata, "version", missing)
    with pytest.raises(ConfigError, match="MindSpore is not installed here; .*pip install -r requirements.txt"):
        device.prepare_environment()


def test_a_device_that_is_not_there_is_one_line_and_exit_code_2():
    done = subprocess.run([sys.executable, "train.py", "--dataset", "x", "--device_target", "Ascend"], cwd=PROJECT,
                          capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "error: --device_target Ascend --device_id 0 is not usable here" in done.stderr
