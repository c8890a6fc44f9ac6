"""What the trainer and its callbacks share: the parts of a training, where it stands, and requests to stop."""
import dataclasses
import logging
import math
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, List, Optional, Tuple

from mindspore import Tensor, nn

from rtseg.config.config import Config
from rtseg.inference.evaluator import Evaluation
from rtseg.models.weights import save_weights
from rtseg.runtime.distributed import ProcessGroup
from rtseg.training import run_folder
from rtseg.training.checkpoint import TrainState, save_best, save_state
from rtseg.training.timer import Timer
from rtseg.training.weight_average import WeightAverage
from rtseg.utils.errors import UserError
from rtseg.utils.logging import LOGGER_NAME

_LOG = logging.getLogger(LOGGER_NAME)


class TrainingDiverged(UserError):
    """The loss is NaN or infinite."""


class Losses:
    """The losses since they were last fetched: tensors that may still be on their way from the device."""

    def __init__(self) -> None:
        self.pending: List[Tensor] = []
        self.last_step = 0         # global step whose loss is `last`
        self.last = math.nan

    def add(self, loss: Tensor) -> None:
        """Takes the loss of a step without waiting for it."""
        self.pending.append(loss)

    def fetch(self, context: "TrainContext") -> None:
        """Waits for the pending losses and adds them to the state's sum.

        Raises:
            TrainingDiverged: one of them is NaN or infinite.
        """
        values = [float(loss.asnumpy()) for loss in self.pending]
        first = context.state.step - len(values) + 1
        self.pending = []
        for step, value in enumerate(values, first):
            if not math.isfinite(value):
                raise TrainingDiverged(
                    f"training stopped: the loss of epoch {context.epoch} step {step} is {value}; expected a finite "
                    f"number. The last good state is kept ({context.folder / run_folder.LAST} if an epoch was saved). "
                    f"Lower --lr (now {context.lr:.3g}), lengthen --warmup_epochs, or check the labels.")
            context.state.loss_sum += value
            self.last_step, self.last = context.global_step, value


@dataclasses.dataclass
class TrainContext:
    """What the trainer and the callbacks share. `state` is what a checkpoint keeps; the rest is of this process."""

    config: Config
    folder: Path
    network: nn.Cell
    step_state: dict                         # name -> parameter: what a resumed run needs next to the network
    steps_per_epoch: int
    lr_per_step: List[float]
    state: TrainState
    group: ProcessGroup
    timer: Timer
    losses: Losses
    average: Optional[WeightAverage] = None  # of the weights; evaluated and saved in their place
    evaluation: Optional[Evaluation] = None  # of this epoch
    samples: List[Tuple[Any, ...]] = dataclasses.field(default_factory=list)  # images, labels, predictions of it
    stop_asked: bool = False                 # of this process, by a signal
    stop_requested: bool = False             # agreed by all ranks: finish this step, save, end
    finished_early: bool = False             # no better score for long enough

    @property
    def epoch(self) -> int:
        """Number of the epoch under way, counted from 1."""
        return self.state.epoch + 1

    @property
    def is_last_epoch(self) -> bool:
        """Whether no epoch follows."""
        return self.epoch == self.config.schedule.epochs or self.finished_early

    @property
    def global_step(self) -> int:
        """Steps done since the beginning of the training."""
        return self.state.epoch * self.steps_per_epoch + self.state.step

    @property
    def lr(self) -> float:
        """Learning rate of the last step; behind steps that a loss scale left out, the optimizer's own lags."""
        return self.lr_per_step[max(0, self.global_step - 1)]

    @property
    def scores(self) -> Optional[Tuple[float, float]]:
        """Pixel accuracy and mIoU, 0..1, if this epoch was evaluated."""
        if self.evaluation is None:
            return None
        return self.evaluation.pixel_accuracy, self.evaluation.miou

    def ask_to_stop(self) -> None:
        """Asks for a stop after the step, as a signal does; with several ranks all of them have to agree."""
        self.stop_asked = True
        self.stop_requested = self.stop_requested or self.group.size == 1
        _LOG.info("stop requested: finishing this step, then saving; once more to break off at once")

    def averaged_weights(self) -> AbstractContextManager:
        """The network has the averaged weights, if there are any, inside the block."""
        return nullcontext() if self.average is None else self.average.applied()

    def save_weights(self, path: Path) -> None:
        """Writes the weights that are evaluated."""
        with self.averaged_weights():
            save_weights(path, self.network)

    def save_best(self) -> None:
        """Writes best_map.ckpt: the weights that are evaluated, and the state's best epoch and mIoU."""
        with self.averaged_weights():
            save_best(self.folder / run_folder.BEST, self.network, train_state=self.state)

    def save_state(self, state: TrainState) -> None:
        """Writes last.ckpt: everything that a run that continues this one needs."""
        save_state(self.folder / run_folder.LAST, self.network, step_state=self.step_state, train_state=state)
