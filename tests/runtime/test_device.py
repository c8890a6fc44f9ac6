"""What must be set before MindSpore is loaded, on each version."""
import importlib.metadata
import os
import subprocess
import sys
from typing import get_args

import numpy as np
import pytest
from script_helpers import PROJECT

from rtseg.config.sections import Run
from rtseg.runtime import device
from rtseg.utils.errors import ConfigError


@pytest.mark.parametrize("version, limit", [("2.7.2", None), ("2.8.0", None), ("2.9.0", "AVX2"), ("2.10.0", "AVX2")])
def test_slow_reference_convolution_is_avoided_from_2_9_on(monkeypatch, version, limit):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "")  # so that the test's end restores what was there before
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    device.prepare_environment()
    assert os.environ.get("ONEDNN_MAX_CPU_ISA") == limit
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")
    device.prepare_environment()
    assert os.environ["ONEDNN_MAX_CPU_ISA"] == "AVX512_CORE"


def test_missing_mindspore_is_explained(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)
    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(ConfigError, match="MindSpore is not installed here; .*pip install -r requirements.txt"):
        device.prepare_environment()


def test_a_device_that_is_not_there_is_one_line_and_exit_code_2():
    done = subprocess.run([sys.executable, "train.py", "--dataset", "x", "--device_target", "Ascend"], cwd=PROJECT,
                          capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "error: --device_target Ascend --device_id 0 is not usable here" in done.stderr


@pytest.mark.parametrize("precision_mode, soc, expected", [
    ("auto", "ascend910", "allow_fp32_to_fp16"), ("auto", "ascend910b", "must_keep_origin_dtype"),
    ("auto", "ascend910_93", "must_keep_origin_dtype"), ("force_fp16", "ascend910b", "force_fp16")])
def test_precision_mode_of_each_ascend(precision_mode, soc, expected):
    assert device.resolve_precision_mode(precision_mode, soc) == expected


def test_an_ascend_gets_its_precision_mode(monkeypatch):
    """With fakes for what only an Ascend build has; the real function is asked for its signature and its modes."""
    import mindspore as ms
    from mindspore import _c_expression

    precision_mode = ms.device_context.ascend.op_precision.precision_mode
    modes = get_args(Run.model_fields["precision_mode"].annotation)
    assert len(modes) == 9 and all(f"- {mode}:" in precision_mode.__doc__ for mode in modes if mode != "auto")

    class Context:
        @staticmethod
        def get_instance():
            return Context

        @staticmethod
        def get_ascend_soc_version():
            return "ascend910"

    calls = []
    monkeypatch.setattr(_c_expression, "MSContext", Context)
    monkeypatch.setattr(ms.device_context.ascend.op_precision, "precision_mode", calls.append)
    monkeypatch.setattr(ms, "set_device", lambda *arguments: calls.append(arguments))
    device.setup_device("Ascend", 3)
    assert calls == [("Ascend", 3), "allow_fp32_to_fp16"]
    device.setup_device("CPU")
    assert calls[2:] == [("CPU", 0)]


def test_a_seed_of_none_leaves_all_seeds_alone():
    import mindspore as ms

    before, state = ms.get_seed(), np.random.get_state()
    try:
        ms.set_seed(7)
        np.random.seed(8)
        expected = np.random.RandomState(8).rand()
        device.setup_device("CPU", seed=None)
        assert (ms.get_seed(), np.random.rand()) == (7, expected)
        device.setup_device("CPU")
        assert ms.get_seed() == 1
    finally:
        ms.set_seed(before)
        np.random.set_state(state)


class PluginReport:
    """A fake of what MindSpore knows about its Ascend plugin."""

    def __init__(self, monkeypatch, supported, error=""):
        from mindspore import _c_expression
        self.supported, self.error = supported, error
        monkeypatch.setattr(_c_expression, "MSContext", self)

    def get_instance(self):
        return self

    def is_pkg_support_device(self, name):
        return name == "Ascend" and self.supported

    def load_plugin_error(self):
        return self.error


LOAD_ERROR = "Load dynamic library: libmindspore_ascend.so.2 failed. libge_runner.so: cannot open it.\nmore"


@pytest.mark.parametrize("supported, files, expected", [(True, ["/dev/davinci0"], "Ascend"), (False, [], "CPU")])
def test_auto_takes_what_mindspore_reports_and_says_so(monkeypatch, capsys, supported, files, expected):
    PluginReport(monkeypatch, supported, "" if supported else LOAD_ERROR)
    monkeypatch.setattr(device.glob, "glob", lambda pattern: files)
    assert device.resolve_device_target("auto", print) == expected
    assert capsys.readouterr() == (f"device: {expected} (--device_target auto)\n", "")


def test_ascend_devices_that_cannot_be_used_give_a_loud_warning(monkeypatch, capsys):
    PluginReport(monkeypatch, False, LOAD_ERROR)
    monkeypatch.setattr(device.glob, "glob", lambda pattern: ["/dev/davinci1", "/dev/davinci0"])
    assert device.resolve_device_target("auto") == "CPU"
    assert capsys.readouterr().err == (
        "WARNING: this machine has Ascend devices (/dev/davinci0, /dev/davinci1), but the CPU is used,\n"
        "WARNING: because MindSpore cannot use them: libge_runner.so: cannot open it.\n"
        "WARNING: Install CANN and the MindSpore build that fits it, and source CANN's set_env.sh; or say "
        "--device_target CPU.\n")


def test_a_device_that_is_named_is_taken_without_a_question():
    assert [device.resolve_device_target(name) for name in ("CPU", "Ascend", "GPU")] == ["CPU", "Ascend", "GPU"]
