"""The networks compute what their reference implementations compute: outputs, losses, gradients, ten training steps."""
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from own_process import in_own_process

from rtseg.tools.golden_rules import reference_weights
from rtseg.tools.parity import ParityCheck, ParityResult, main, relative_error
from rtseg.utils.errors import ConfigError, DataError

PROJECT = Path(__file__).resolve().parents[2]
GOLDENS = PROJECT / "tests" / "goldens"


def test_golden():
    """By the command, which trains with both forms of the loss."""
    done = subprocess.run([sys.executable, "-m", "rtseg.tools.parity", "--golden",
                           str(GOLDENS / "fast_scnn_tramac.npz")], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()[1:]
    assert len(lines) >= 14 and all(line.endswith(" ok") for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("graph", ["bisenetv1_coincheung", "icnet_liminn", "fast_scnn_mmseg", "fast_scnn_segmentron",
                                   "fast_scnn_modelzoo", "bisenetv1_mmseg", "icnet_liminn_v1b", "icnet_mmseg"])
def test_golden_of_another_graph(graph):
    """The same with each form of the loss once: by products with frozen statistics, by operators in the training.

    Operators are what Ascend trains by; every other test of a training on a CPU trains by products.
    """
    in_own_process(compare_with_each_form_once, GOLDENS / f"{graph}.npz")


def compare_with_each_form_once(golden):
    check = ParityCheck(golden)
    results = check.inference() + check.frozen(True) + check.training(False)
    assert len(results) >= 8 and all(result.passed for result in results), results


def test_a_deviation_fails(monkeypatch, capsys):
    monkeypatch.setattr(ParityCheck, "report", lambda self: [
        ParityResult("good", 1e-5, 1e-4), ParityResult("bad", 2e-4, 1e-4),
        ParityResult("not a number", float("nan"), 1e-4)])
    assert main(["--golden", str(GOLDENS / "icnet_mmseg.npz")]) == 1
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()[1:]] == ["ok", "FAILED", "FAILED"]


def test_reference_weights_follow_the_rule():
    weights = reference_weights({"a.running_var": (3,), "a.num_batches_tracked": (), "conv.weight": (2, 1, 3, 3)})
    assert list(weights) == ["a.running_var", "conv.weight"] and weights["conv.weight"].dtype == np.float32
    assert weights["a.running_var"].min() >= 0.5 and weights["a.running_var"].max() < 1.5
    assert (reference_weights({"a.running_var": (3,)})["a.running_var"] == weights["a.running_var"]).all()


def test_reference_weights_know_the_names_of_mindspore():
    shape = (5,)
    weights = reference_weights({"a.moving_variance": shape, "a.moving_mean": shape, "a.beta": shape, "a.gamma": shape})
    assert weights["a.moving_variance"].min() >= 0.5 and weights["a.gamma"].min() >= 0.8
    assert abs(weights["a.moving_mean"]).max() < 0.5 and abs(weights["a.beta"]).max() < 0.5


def test_relative_error():
    assert relative_error([3.0, 4.5], [3.0, 4.0]) == pytest.approx(0.1)


def test_unknown_name_and_damaged_file(tmp_path):
    with pytest.raises(ConfigError, match="no graph is called 'other'; expected fast_scnn_tramac"):
        ParityCheck(tmp_path / "other.npz")
    (tmp_path / "icnet_mmseg.npz").write_bytes(b"PK not a file")
    with pytest.raises(DataError, match="expected a golden .npz file with its .keys.json"):
        ParityCheck(tmp_path / "icnet_mmseg.npz")
    damaged = bytearray((GOLDENS / "icnet_mmseg.npz").read_bytes())
    middle = len(damaged) // 2  # the directory of the archive, at its end, stays whole
    damaged[middle:middle + 100] = bytes(100)
    (tmp_path / "icnet_mmseg.npz").write_bytes(damaged)
    with pytest.raises(DataError, match="expected a golden .npz file with its .keys.json"):
        ParityCheck(tmp_path / "icnet_mmseg.npz")
    shutil.copy(GOLDENS / "bisenetv1_mmseg.npz", tmp_path)
    with pytest.raises(DataError, match="keys.json"):
        ParityCheck(tmp_path / "bisenetv1_mmseg.npz")
