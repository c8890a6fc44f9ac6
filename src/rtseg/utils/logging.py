"""The training log: lines on the screen and in `train.log`, and the shapes of the lines that people grep."""
import datetime
import logging
import sys
from pathlib import Path
from typing import Optional, Union

from rtseg.utils.errors import ConfigError

LOGGER_NAME = "segmentation"
LINE_FORMAT = "%(asctime)s :%(levelname)s: %(message)s"  # 2026-06-25 09:59:00,682 :INFO: epoch: 1 step: 372, ...


class _WarnOnce(logging.Handler):
    """A handler that says once that its lines cannot be written, as on a full disk; logging would print a traceback for
    each."""

    has_failed = False

    def handleError(self, record: logging.LogRecord) -> None:
        if not self.has_failed:
            self.has_failed = True
            place = getattr(self, "baseFilename", "the screen")
            print(f"warning: {place} lacks lines from now on: {sys.exc_info()[1]}", file=sys.stderr)


class _LogFile(_WarnOnce, logging.FileHandler):
    """`train.log`."""


class _Screen(_WarnOnce, logging.StreamHandler):
    """Standard output; `tqdm.contrib.logging.logging_redirect_tqdm` takes its place while there is a bar."""


def setup_logger(log_file: Optional[Union[str, Path]] = None, rank: int = 0) -> logging.Logger:
    """Sets up the logger named LOGGER_NAME. DEBUG messages go to the file only.

    Calling it again replaces the earlier set-up, so lines never come twice.

    Args:
        log_file: UTF-8 file to append to, with missing folders made; None for no file. Every rank given the same file
            would write each line to it, so give each its own, or only rank 0 a file.
        rank: process number; only rank 0 prints to stdout.

    Raises:
        ConfigError: `log_file` cannot be opened; the earlier set-up stays as it was.
    """
    screen = _Screen(sys.stdout) if rank == 0 else logging.NullHandler()
    screen.addFilter(lambda record: record.levelno >= logging.INFO)
    handlers = [screen] if log_file is None else [screen, _open_log_file(Path(log_file))]

    logger = logging.getLogger(LOGGER_NAME)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    for handler in handlers:
        handler.setFormatter(logging.Formatter(LINE_FORMAT))
        logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    return logger


def _open_log_file(path: Path) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _LogFile(path, encoding="utf-8", errors="backslashreplace")  # of file names that are not UTF-8
    except OSError as error:
        raise ConfigError(f"expected a log file that can be written, {path}: {error}; choose another folder") from error


def step_line(epoch: int, step: int, *, loss: float) -> str:
    """`epoch: 1 step: 372, loss is 1.34`; epoch and step count from 1, the loss has up to six digits."""
    return f"epoch: {epoch} step: {step}, loss is {loss:.6g}"


def epoch_time_line(seconds: float, steps: int) -> str:
    """`epoch time: 58415.648 ms, per step time: 157.031 ms` for an epoch of `steps` steps that took `seconds`."""
    milliseconds = 1000 * seconds
    return f"epoch time: {milliseconds:.3f} ms, per step time: {milliseconds / steps:.3f} ms"


def evaluation_line(epoch: int, pixel_accuracy: float, *, mean_iou: float) -> str:
    """`epoch: 10, pixAcc: 83.40, mIou: 24.45`; takes shares 0..1, writes per cent."""
    return f"epoch: {epoch}, pixAcc: {100 * pixel_accuracy:.2f}, mIou: {100 * mean_iou:.2f}"


def best_result_line(mean_iou: float) -> str:
    """`update best result: 24.45`; takes a share 0..1, writes per cent."""
    return f"update best result: {100 * mean_iou:.2f}"


def best_checkpoint_line(path: Union[str, Path]) -> str:
    """`update best checkpoint at: <path>`."""
    return f"update best checkpoint at: {path}"


def end_line(mean_iou: float, epoch: int) -> str:
    """`End training, the best mIou is: 24.45, it's epoch is 10`; takes a share 0..1, writes per cent."""
    return f"End training, the best mIou is: {100 * mean_iou:.2f}, it's epoch is {epoch}"


def duration_text(seconds: float) -> str:
    """`1:02:03`, or `2 days, 1:02:03`."""
    return str(datetime.timedelta(seconds=round(seconds)))
