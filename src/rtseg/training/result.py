"""What a finished training leaves behind: the last lines of its log, and result.json."""
import json
import logging
import math
import platform
import subprocess
from pathlib import Path
from typing import Any, Dict, Optional

import mindspore
import numpy as np

import rtseg
from rtseg.training import run_folder
from rtseg.training.context import TrainContext
from rtseg.utils.atomic import write_text
from rtseg.utils.logging import LOGGER_NAME, duration_text, end_line

_LOG = logging.getLogger(LOGGER_NAME)


def report_result(context: TrainContext) -> None:
    """Logs the best score, the total time and images/s; rank 0 also writes result.json."""
    state, timer = context.state, context.timer
    if state.best_epoch:
        _LOG.info(end_line(state.best_miou, state.best_epoch))
    rate = f", {timer.rate:.2f} images/s" if math.isfinite(timer.rate) else ""
    _LOG.info(f"total time: {duration_text(timer.total_seconds)}{rate}")
    if context.group.is_master:
        write_text(context.folder / run_folder.RESULT, json.dumps(result_of(context), indent=2) + "\n")


def result_of(context: TrainContext) -> Dict[str, Any]:
    """The content of result.json. Scores are shares 0..1; time and rate are those of this process, which may have
    continued an earlier one."""
    config, state, rate = context.config, context.state, context.timer.rate
    return {
        "model": config.network.model, "variant": config.network.variant, "backbone": config.network.backbone,
        "best_miou": state.best_miou if state.best_epoch else None, "best_epoch": state.best_epoch or None,
        "last_miou": state.last_miou if state.last_miou >= 0 else None,
        "epochs": context.epoch, "steps": context.global_step, "finished_early": context.finished_early,
        "global_batch_size": config.global_batch_size, "processes": context.group.size,
        "images_per_second": round(rate, 3) if math.isfinite(rate) else None,
        "duration_seconds": round(context.timer.total_seconds, 3),
        "device": config.run.device_target, "processor": platform.processor() or platform.machine(),
        "versions": {"rtseg": rtseg.__version__, "mindspore": mindspore.__version__, "numpy": np.__version__,
                     "python": platform.python_version()},
        "commit": _commit()}


def _commit() -> Optional[str]:
    """The commit of the clone that this program runs from; None if it does not run from one."""
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True,
                              check=True, timeout=10).stdout.strip()
    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # installed inside another project it is not tracked
        return git("rev-parse", "HEAD")
    except (OSError, subprocess.SubprocessError):
        return None
