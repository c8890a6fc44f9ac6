"""The curves of a training for TensorBoard."""
import logging
import math
from pathlib import Path
from typing import Dict

from rtseg.training.callbacks import Callback, Run
from rtseg.utils.event_file import EventFile
from rtseg.utils.logging import LOGGER_NAME

_LOG = logging.getLogger(LOGGER_NAME)


class TensorBoardWriter(Callback):
    """Writes an event file to tensorboard/ in the run's folder, by global step: loss and learning rate whenever there
    is a log line of them, images/s and the scores at the end of an epoch. Only rank 0 does.

    That a point cannot be written is no reason to end a training: a warning, and no more points.
    """

    def __init__(self, folder: Path):
        self.events = EventFile(folder / "tensorboard")

    def on_step_end(self, run: Run, loss) -> None:
        step, value = run.last_loss
        if step == run.global_step:
            self._add(step, {"train/loss": value, "train/learning_rate": run.lr_per_step[step - 1]})

    def on_epoch_end(self, run: Run) -> None:
        if run.stop_requested:
            return
        scalars = {"train/images_per_second": run.images_per_second}
        scalars.update(zip(("val/pixAcc", "val/mIoU"), run.epoch_scores or ()))
        self._add(run.global_step, {name: value for name, value in scalars.items() if math.isfinite(value)})

    def _add(self, step: int, scalars: Dict[str, float]) -> None:
        if self.events is None or not scalars:
            return
        try:
            self.events.add(step, scalars)
        except OSError as error:
            _LOG.warning(f"warning: {error}; no more points for TensorBoard")
            self.events.close()
            self.events = None

    def close(self, run: Run) -> None:
        if self.events is not None:
            self.events.close()
