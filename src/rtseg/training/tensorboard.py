"""The curves, sample predictions and confusion matrix of a training for TensorBoard, written with tensorboardX."""
import logging
import math
import time
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

import numpy as np
from mindspore import Tensor

from rtseg.training import run_folder
from rtseg.training.callbacks import Callback
from rtseg.training.context import TrainContext
from rtseg.utils.errors import ConfigError
from rtseg.utils.logging import LOGGER_NAME
from rtseg.visualization.masks import overlay
from rtseg.visualization.plots import draw_confusion_matrix

SAMPLES = 4  # predictions shown per evaluation
_LOG = logging.getLogger(LOGGER_NAME)


def require_tensorboard() -> None:
    """Raises ConfigError without tensorboardX, which is an optional dependency."""
    try:
        import tensorboardX  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"--tensorboard 1 needs tensorboardX, which cannot be imported ({error}); install it with "
                          "pip install tensorboardX, or leave --tensorboard out") from None


class TensorBoardWriter(Callback):
    """Writes an event file to tensorboard/ in the run folder, by global step: loss and learning rate whenever there is
    a log line of them, images/s, scores, predictions and the confusion matrix at the end of an epoch.

    That an event cannot be written is no reason to end a training: a warning, and no more events. The records are
    written here and now: tensorboardX's SummaryWriter hands them to a thread, and when the disk is full that thread
    ends and the training waits for it for ever.

    Args:
        folder: of the run.
        class_names, palette: of the data set.
    """

    def __init__(self, folder: Path, *, class_names: Sequence[str], palette: Any):
        require_tensorboard()
        from tensorboardX.event_file_writer import EventsWriter

        self.class_names = class_names
        self.palette = palette
        target = folder / run_folder.TENSORBOARD
        target.mkdir(parents=True, exist_ok=True)
        self.events = EventsWriter(str(target / "events"))

    def on_step_end(self, context: TrainContext, loss: Tensor) -> None:
        step = context.global_step
        if context.losses.last_step == step:
            self._add(step, scalars={"train/loss": context.losses.last, "train/learning_rate": context.lr})

    def on_epoch_end(self, context: TrainContext) -> None:
        if context.stop_requested:
            return
        scalars, images = {"train/images_per_second": context.timer.epoch_rate}, {}
        if context.evaluation is not None:
            scalars.update(zip(("val/pixAcc", "val/mIoU"), context.scores or ()))
            images["val/confusion_matrix"] = draw_confusion_matrix(context.evaluation.matrix.matrix, self.class_names)
            for i, (image, label, prediction) in enumerate(context.samples):
                pair = [overlay(image, train_ids, palette=self.palette) for train_ids in (label, prediction)]
                images[f"val/sample_{i}_label_and_prediction"] = np.concatenate(pair, axis=1)
        self._add(context.global_step, scalars=scalars, images=images)

    def _add(self, step: int, *, scalars: Dict[str, float], images: Optional[Dict[str, np.ndarray]] = None) -> None:
        if self.events is None:
            return
        from tensorboardX import summary
        from tensorboardX.proto.event_pb2 import Event

        summaries = [summary.scalar(name, value) for name, value in scalars.items() if math.isfinite(value)]
        summaries += [summary.image(name, image, dataformats="HWC") for name, image in (images or {}).items()]
        try:
            for content in summaries:
                self.events.write_event(Event(wall_time=time.time(), step=step, summary=content))
            self.events.flush()
        except OSError as error:
            _LOG.warning(f"{error}; no more events for TensorBoard")
            self.events = None

    def close(self, context: TrainContext) -> None:
        if self.events is not None:
            self.events.close()
