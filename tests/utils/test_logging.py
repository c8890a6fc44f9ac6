"""Log lines: their literal shape, where they go, and a tqdm bar that stays whole."""
import io
import logging
import re
import sys
import time

import pytest
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from rtseg.utils import logging as log
from rtseg.utils.errors import ConfigError

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} "


def untimed(text):
    """Lines without the time in front, which each must have."""
    lines = text.splitlines()
    assert all(re.match(TIME + ":[A-Z]+: ", line) for line in lines), text
    return [re.sub(f"^{TIME}", "", line) for line in lines]


@pytest.fixture(autouse=True)
def close_log_files():
    yield
    log.setup_logger()


def test_literal_lines():
    assert log.step_line(1, 372, loss=1.34) == "epoch: 1 step: 372, loss is 1.34"
    assert log.step_line(2, 372, loss=1.00444098) == "epoch: 2 step: 372, loss is 1.00444"
    assert log.epoch_time_line(58.415648, 372) == "epoch time: 58415.648 ms, per step time: 157.031 ms"
    assert log.evaluation_line(10, 0.834, mean_iou=0.24449) == "epoch: 10, pixAcc: 83.40, mIou: 24.45"
    assert log.best_result_line(0.24449) == "update best result: 24.45"
    assert log.best_checkpoint_line("run/best_map.ckpt") == "update best checkpoint at: run/best_map.ckpt"
    assert log.end_line(0.24449, 10) == "End training, the best mIou is: 24.45, it's epoch is 10"
    assert log.duration_text(3723.4) == "1:02:03"


def test_time_and_level_stand_in_front(capsys):
    logger = log.setup_logger()
    record = logger.makeRecord(logger.name, logging.INFO, "", 0, "epoch: 1 step: 372, loss is 1.34", (), None)
    record.created, record.msecs = time.mktime((2026, 6, 25, 9, 59, 0, 0, 0, -1)), 682
    logger.handle(record)
    assert capsys.readouterr().out == "2026-06-25 09:59:00,682 :INFO: epoch: 1 step: 372, loss is 1.34\n"


def test_same_line_on_screen_and_in_the_file(tmp_path, capsys):
    path = tmp_path / "new folder" / "train.log"
    logger = log.setup_logger(path)
    logger.info("epoch: 1 step: 372, loss is 1.34")
    logger.warning("no label: 道路")
    logger.debug("epoch: 1 step: 373, loss is 1.33")
    shown = [":INFO: epoch: 1 step: 372, loss is 1.34", ":WARNING: no label: 道路"]
    screen, errors = capsys.readouterr()
    assert untimed(screen) == shown and errors == ""
    text = path.read_text(encoding="utf-8")
    assert text.startswith(screen) and untimed(text) == [*shown, ":DEBUG: epoch: 1 step: 373, loss is 1.33"]
    assert logger is logging.getLogger(log.LOGGER_NAME)


def test_a_file_name_that_is_not_utf8_does_not_lose_its_line(tmp_path, capsys):
    log.setup_logger(tmp_path / "train.log", rank=1).info("cannot read \udcb5\udcc0.png")
    assert untimed((tmp_path / "train.log").read_text()) == [r":INFO: cannot read \udcb5\udcc0.png"]
    assert capsys.readouterr().err == ""


def test_second_setup_appends_and_does_not_double(tmp_path, capsys):
    path = tmp_path / "train.log"
    log.setup_logger(path).info("one")
    log.setup_logger(path).info("two")
    assert untimed(capsys.readouterr().out) == untimed(path.read_text()) == [":INFO: one", ":INFO: two"]


def test_root_handlers_do_not_double_lines(capsys, caplog):
    log.setup_logger().info("once")
    assert untimed(capsys.readouterr().out) == [":INFO: once"]
    assert not caplog.records


def test_only_rank_0_prints(tmp_path, capsys):
    log.setup_logger(tmp_path / "rank1.log", rank=1).warning("quiet")
    assert capsys.readouterr() == ("", "")
    assert untimed((tmp_path / "rank1.log").read_text()) == [":WARNING: quiet"]
    log.setup_logger(rank=1).warning("nowhere")
    assert capsys.readouterr() == ("", "")


def test_log_file_that_cannot_be_opened_keeps_the_earlier_setup(tmp_path, capsys):
    log.setup_logger(tmp_path / "train.log")
    with pytest.raises(ConfigError, match="log file that can be written, .*choose another folder"):
        log.setup_logger(tmp_path)
    with pytest.raises(ConfigError, match="choose another folder"):
        log.setup_logger(tmp_path / "train.log" / "below a file.log")
    logging.getLogger(log.LOGGER_NAME).info("still there")
    assert untimed(capsys.readouterr().out) == [":INFO: still there"]
    assert untimed((tmp_path / "train.log").read_text()) == [":INFO: still there"]


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
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    logger = log.setup_logger()
    with logging_redirect_tqdm([logger]), tqdm(total=2, desc="epoch 1", ncols=60, mininterval=0, leave=True) as bar:
        for step in (1, 2):
            bar.update()
            logger.info(log.step_line(1, step, loss=0.5))
            logger.debug("for the file only")
    lines = terminal.shown_lines()
    assert untimed("\n".join(lines[:2])) == [f":INFO: epoch: 1 step: {step}, loss is 0.5" for step in (1, 2)]
    assert lines[2].startswith("epoch 1: 100%|") and lines[3:] == [""]
