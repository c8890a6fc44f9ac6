"""rtseg check-data: what it counts, and what it finds wrong."""
import subprocess
import sys

import numpy as np
import pytest
from data_helpers import write_png
from script_helpers import PROJECT
from spec_helpers import BY_IDS, fields

from rtseg.tools import check_dataset as check
from rtseg.utils.errors import ConfigError


def test_checker_counts_and_weighs(describe, tmp_path, capsys):
    fields(tmp_path, "a", ids=((7, 7), (7, 0)))
    fields(tmp_path, "b", ids=((9, 3), (0, 0)))
    flags = [f"--dataset={tmp_path}", f"--dataset_config={describe(BY_IDS)}", "--split=train"]
    assert check.main(flags) == 0
    lines = capsys.readouterr().out.splitlines()
    # soil: 4 of 7 pixels, weed 3 of 7; 1 / log(1.02 + 4 / 7) = 2.15, with 3 / 7 2.70; both are in all images, so that
    # the median is 0.5
    assert lines[2] == "train: 2 images, 2 of them good; width x height 2x2 (2)"
    assert [line.split() for line in lines[4:8]] == [
        ["soil", "57.14", "2", "2.15", "0.88"], ["maize", "0.00", "0", "n/a", "n/a"],
        ["weed", "42.86", "2", "2.70", "1.17"], ["(ignored)", "12.50", "1"]]
    assert lines[8] == "note: no label of train has maize"


def test_checker_counts_chinese_letters_as_two_columns(describe, tmp_path, capsys):
    fields(tmp_path, "a", ids=((7, 7), (0, 0)))
    spec = describe(BY_IDS, ("weed", "杂草"))
    assert check.main([f"--dataset={tmp_path}", f"--dataset_config={spec}", "--split=train"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (lines[4].index("50.00"), lines[6].index("50.00")) == (15, 13)


def test_checker_lists_everything_and_counts_the_good_ones(describe, tmp_path, capsys):
    fields(tmp_path, "good", "strange", "empty", "wide", "lonely")
    write_png(tmp_path / "truth" / "strange_id.png", np.array([[7, 77], [9, 78]], np.uint8))
    write_png(tmp_path / "truth" / "empty_id.png", np.array([[3, 3], [3, 3]], np.uint8))
    write_png(tmp_path / "truth" / "wide_id.png", np.array([[7, 7, 7], [9, 9, 9]], np.uint8))
    write_png(tmp_path / "truth" / "left_id.png", np.array([[7, 7]], np.uint8))
    (tmp_path / "truth" / "lonely_id.png").unlink()
    (tmp_path / "images" / "bad.png").write_bytes(b"no image, but some text")
    assert check.main([f"--dataset={tmp_path}", f"--dataset_config={describe(BY_IDS)}"]) == 3
    printed = capsys.readouterr()
    assert "train: 6 images, 2 of them good" in printed.out and "n/a" not in printed.out
    for problem in ("error: 6 problem(s) in train", "bad.png: is not a PNG file", "empty.png: every pixel of its label "
                    "is ignored", "lonely.png: has no label, expected truth/lonely_id.png", "strange_id.png: holds the "
                    "ids [77, 78], expected only 0, 3, 7, 9 and 255 (2 pixels)", "wide.png: is 2x2 (width x height), "
                    "but its label", "left_id.png: has no image next to it", "has no list file val.txt"):
        assert problem in printed.err
    assert printed.err.index("problem(s) in train") < printed.err.index("val.txt")


def test_checker_needs_no_mindspore_and_answers_wrong_usage(tmp_path):
    code = "import sys; sys.modules['mindspore'] = None; from rtseg.tools.check_dataset import main; main(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "--dataset_config" in done.stdout
    for flags, message in ((["--num_workers=0"], "--num_workers: expected an integer >= 1, found '0'"),
                           (["--dataset_config=none"], "--dataset_config none: expected")):
        with pytest.raises(ConfigError, match=message):
            check.main([f"--dataset={tmp_path}", *flags])
