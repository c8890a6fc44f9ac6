"""Log lines: their literal shape, where they go, and a tqdm bar that stays whole."""
import io
import logging
import sys

import pytest

from rtseg.utils import logging as log
from rtseg.utils.errors import ConfigError


@pytest.fixture(autouse=True)
def close_log_files():
    yield
    log.setup_logger()


def test_literal_lines():
    assert log.step_line(1, 372, 1.34) == "epoch: 1 step: 372, loss is 1.34"
    assert log.step_line(2, 372, 1.00444098) == "epoch: 2 step: 372, loss is 1.00444"
    assert log.epoch_time_line(58.415648, 372) == "epoch time: 58415.648 ms, per step time: 157.031 ms"
    assert log.evaluation_line(10, 0.834, 0.24449) == "epoch: 10, pixAcc: 83.40, mIou: 24.45"
    assert log.best_result_line(0.24449) == "update best result: 24.45"
    assert log.best_checkpoint_line("run/best_map.ckpt") == "update best checkpoint at: run/best_map.ckpt"


def test_same_plain_line_on_screen_and_in_the_file(tmp_path, capsys):
    path = tmp_path / "new folder" / "train.log"
    logger = log.setup_logger(path)
    logger.info("epoch: 1 step: 372, loss is 1.34")
    logger.warning("no label: 道路")
    logger.debug("epoch: 1 step: 373, loss is 1.33")
    shown = "epoch: 1 step: 372, loss is 1.34\nno label: 道路\n"
    assert capsys.readouterr() == (shown, "")
    assert path.read_text(encoding="utf-8") == shown + "epoch: 1 step: 373, loss is 1.33\n"
    assert logger is logging.getLogger(log.LOGGER_NAME)


def test_second_setup_appends_and_does_not_double(tmp_path, capsys):
    path = tmp_path / "train.log"
    log.setup_logger(path).info("one")
    log.setup_logger(path).info("two")
    assert capsys.readouterr().out == "one\ntwo\n"
    assert path.read_text() == "one\ntwo\n"


def test_root_handlers_do_not_double_lines(capsys, caplog):
    log.setup_logger().info("once")
    assert capsys.readouterr().out == "once\n"
    assert not caplog.records


def test_only_rank_0_prints(tmp_path, capsys):
    log.setup_logger(tmp_path / "rank1.log", rank=1).warning("quiet")
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "rank1.log").read_text() == "quiet\n"
    log.setup_logger(rank=1).warning("nowhere")
    assert capsys.readouterr() == ("", "")


def test_log_file_that_cannot_be_opened_keeps_the_earlier_setup(tmp_path, capsys):
    log.setup_logger(tmp_path / "train.log")
    with pytest.raises(ConfigError, match="log file that can be written, .*choose another folder"):
        log.setup_logger(tmp_path)
    with pytest.raises(ConfigError, match="choose another folder"):
        log.setup_logger(tmp_path / "train.log" / "below a file.log")
    logging.getLogger(log.LOGGER_NAME).info("still there")
    assert capsys.readouterr().out == "still there\n"
    assert (tmp_path / "train.log").read_text() == "still there\n"


class Terminal(io.StringIO):
    """Keeps what a terminal would show: a carriage return goes back to the line's start, without erasing."""

    def isatty(self):
        return True

    def shown_lines(self):
        lines = []
        for line in self.getvalue().split("\n"):
            shown = ""
            for piece in line.split("\r"):
                shown = piece + shown[len(piece):]
            lines.append(shown.rstrip())
        return lines


def test_lines_do_not_tear_a_progress_bar(monkeypatch):
    tqdm = pytest.importorskip("tqdm", reason="tqdm is not installed").tqdm
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    logger = log.setup_logger()
    with tqdm(total=2, desc="epoch 1", ncols=60, mininterval=0, leave=True) as bar:
        for step in (1, 2):
            bar.update()
            logger.info(log.step_line(1, step, 0.5))
    lines = terminal.shown_lines()
    assert lines[:2] == ["epoch: 1 step: 1, loss is 0.5", "epoch: 1 step: 2, loss is 0.5"]
    assert lines[2].startswith("epoch 1: 100%|") and lines[3:] == [""]
