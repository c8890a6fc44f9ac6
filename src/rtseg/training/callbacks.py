"""What happens around the training steps: log lines, evaluation, curves, checkpoints."""
import contextlib
import csv
import dataclasses
import logging
import math
import sys
import time
from pathlib import Path
from typing import Callable, List, Sequence, Tuple

import numpy as np
from mindspore import Tensor
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from rtseg.config.config import Config
from rtseg.inference.evaluator import Evaluator, evaluation_lines
from rtseg.training import run_folder
from rtseg.training.checkpoint import TrainState
from rtseg.training.context import TrainContext
from rtseg.utils.atomic import write_csv
from rtseg.utils.errors import DataError, UserError
from rtseg.utils.logging import (LOGGER_NAME, best_checkpoint_line, best_result_line, duration_text, epoch_time_line,
                                 evaluation_line, step_line)
from rtseg.visualization.plots import plot_curves

METRICS_COLUMNS = ("epoch", "step", "loss", "lr", "images_per_second", "pix_acc", "miou")
_LOG = logging.getLogger(LOGGER_NAME)


class Callback:
    """Does nothing at each occasion; derived classes do what they are for."""

    def on_epoch_begin(self, context: TrainContext) -> None:
        """Before the first step of an epoch, or of the rest of one that is resumed."""

    def on_step_end(self, context: TrainContext, loss: Tensor) -> None:
        """After every step; `loss` is a scalar tensor, which may still be on its way."""

    def on_epoch_end(self, context: TrainContext) -> None:
        """After the last step of an epoch; not when the epoch was broken off."""

    def close(self, context: TrainContext) -> None:
        """When training ends, for whatever reason."""


class ProgressLogger(Callback):
    """Logs losses and speed, and shows a progress bar on a terminal.

    Losses are fetched every `log_interval` steps only, so that a device is not made to wait after each.
    """

    def __init__(self, log_interval: int):
        self.log_interval = log_interval
        self.is_first_step = True
        self.bar = tqdm(disable=True)
        self.open_bar = contextlib.ExitStack()

    def on_epoch_begin(self, context: TrainContext) -> None:
        context.timer.begin_epoch()
        if context.group.is_master and sys.stdout.isatty() and sys.stderr.isatty():
            self.open_bar.enter_context(logging_redirect_tqdm([_LOG]))
            self.bar = self.open_bar.enter_context(tqdm(
                total=context.steps_per_epoch, initial=context.state.step, unit="step", leave=False,
                desc=f"epoch {context.epoch}/{context.config.schedule.epochs}"))

    def on_step_end(self, context: TrainContext, loss: Tensor) -> None:
        context.losses.add(loss)
        step = context.state.step
        # The first step of the process is waited for because it compiles the graph.
        if step % self.log_interval == 0 or step == context.steps_per_epoch or self.is_first_step:
            context.losses.fetch(context)
            # On a terminal the bar shows the loss, and the line goes to train.log only.
            _LOG.log(logging.INFO if self.bar.disable else logging.DEBUG,
                     step_line(context.epoch, step, loss=context.losses.last))
            self.bar.set_postfix(loss=f"{context.losses.last:.4g}", refresh=False)
        self.is_first_step = False
        context.timer.end_step()
        self.bar.update()

    def on_epoch_end(self, context: TrainContext) -> None:
        self.close(context)
        timer, state = context.timer, context.state
        timer.end_steps()
        steps_left = context.config.schedule.epochs * context.steps_per_epoch - context.global_step
        _LOG.info(epoch_time_line(timer.epoch_seconds, max(1, timer.epoch_steps)))
        line = f"epoch: {context.epoch}, loss: {state.loss_sum / state.step:.4f}, lr: {context.lr:.6f}"
        if math.isfinite(timer.epoch_rate):  # unknown if the only step compiled the graph
            line += f", {timer.epoch_rate:.2f} images/s"
        if math.isfinite(timer.seconds_left(steps_left)):
            line += f", ETA {duration_text(timer.seconds_left(steps_left))}"
        _LOG.info(line)

    def close(self, context: TrainContext) -> None:
        self.open_bar.close()
        self.bar = tqdm(disable=True)


class EvalCallback(Callback):
    """Evaluates every `eval_steps` epochs from `eval_start_epoch` on, and after the last; keeps the best weights.

    Args:
        evaluator: of the network.
        samples: number of images whose predictions the other callbacks get.
    """

    def __init__(self, evaluator: Evaluator, *, samples: int = 0):
        self.evaluator = evaluator
        self.samples = samples

    def on_epoch_end(self, context: TrainContext) -> None:
        context.evaluation, context.samples = None, []
        config, epoch = context.config.evaluation, context.epoch
        is_due = epoch >= config.eval_start_epoch and (epoch - config.eval_start_epoch) % config.eval_steps == 0
        if not is_due and not context.is_last_epoch:
            return
        if context.group.is_master:
            context.save_state(context.state)  # an evaluation takes long: what ends it must not cost the epoch
        with context.averaged_weights():
            evaluation = self.evaluator.run(self._sampler(context), should_stop=lambda: context.stop_asked)
        if evaluation is None:
            context.stop_requested = True
            return
        if evaluation.errors:
            raise evaluation.errors[0]
        context.evaluation = evaluation
        accuracy, miou = evaluation.pixel_accuracy, evaluation.miou
        _LOG.info(evaluation_line(epoch, accuracy, mean_iou=miou))
        _LOG.info("evaluated " + evaluation_lines(evaluation))
        state = context.state
        state.last_miou = miou if math.isfinite(miou) else -1.0
        if miou > state.best_miou:
            state.best_miou, state.best_epoch = miou, epoch
            if context.group.is_master:
                context.save_best()
            _LOG.info(best_result_line(miou))
            _LOG.info(best_checkpoint_line(context.folder / run_folder.BEST))

    def _sampler(self, context: TrainContext) -> Callable[..., None]:
        def take(index: int, image: np.ndarray, *, label: np.ndarray, prediction: np.ndarray) -> None:
            if len(context.samples) < self.samples:
                context.samples.append((image, label, prediction))
        return take


class EarlyStopping(Callback):
    """Ends the training when `early_stop` evaluations in a row have brought no better mIoU."""

    def on_epoch_end(self, context: TrainContext) -> None:
        if context.evaluation is None or context.is_last_epoch:
            return
        if stops_early(context.config, context.state, epochs=context.epoch):
            context.finished_early = True
            _LOG.info(f"early stop: no better mIoU than {100 * context.state.best_miou:.2f} since epoch "
                      f"{context.state.best_epoch}")


def stops_early(config: Config, state: TrainState, *, epochs: int) -> bool:
    """Whether `early_stop` ends a run after so many complete epochs."""
    # From what the state has, so that a resumed run goes on counting.
    patience = config.schedule.early_stop * config.evaluation.eval_steps
    return bool(patience and state.best_epoch) and epochs - state.best_epoch >= patience


class MetricsRecorder(Callback):
    """Writes a row per epoch to metrics.csv and draws curves.png from it.

    That the curves cannot be drawn, as on a full disk, is no reason to end a training: a warning, the first time.

    Args:
        rows: of the epochs before this process, when the run is resumed.
    """

    def __init__(self, rows: Sequence[Tuple] = ()):
        self.rows = list(rows)
        self.has_warned = False

    def on_epoch_end(self, context: TrainContext) -> None:
        if context.stop_requested:
            return  # the evaluation may have been broken off, and the epoch's end will be repeated
        rate = context.timer.epoch_rate
        self.rows.append((context.epoch, context.global_step, context.state.loss_sum / context.state.step, context.lr,
                          round(rate, 3) if math.isfinite(rate) else "", *(context.scores or ("", ""))))
        self._write(context.folder)
        try:
            plot_curves(context.folder / run_folder.METRICS, context.folder / run_folder.CURVES)
        except OSError as error:
            if not self.has_warned:
                self.has_warned = True
                _LOG.warning(f"{error}; the training goes on without new curves")

    def close(self, context: TrainContext) -> None:
        if self.rows and not (context.folder / run_folder.METRICS).is_file():
            self._write(context.folder)  # stopped before the end of its first epoch, a resumed run hands the rows on

    def _write(self, folder: Path) -> None:
        write_csv(folder / run_folder.METRICS, METRICS_COLUMNS, rows=self.rows)


def load_previous_metrics(folder: Path, epochs: int) -> List[Tuple[str, ...]]:
    """Rows of the first `epochs` epochs of metrics.csv in `folder`; none if there is no such file.

    Raises:
        DataError: it is damaged.
    """
    path = folder / run_folder.METRICS
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [tuple(row) for row in list(csv.reader(file))[1:] if row]
        for row in rows:
            numbers = [float(value or 0) for value in row]
            if len(numbers) != len(METRICS_COLUMNS):
                raise ValueError(f"expected {len(METRICS_COLUMNS)} numbers in a row, found {len(numbers)}")
        return [row for row in rows if int(row[0]) <= epochs]
    except OSError:
        return []
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path}: expected the metrics of a run, found a damaged file ({error}); repair or remove "
                        "it") from None


class CheckpointCallback(Callback):
    """Saves the state of the run every `save_every` epochs: last.ckpt, and weights in ckpt_<rank>/.

    EvalCallback saves the state, too, before it evaluates.

    Only rank 0 does, but for ckpt_<rank>/ if the configuration says so.
    """

    def on_epoch_end(self, context: TrainContext) -> None:
        config, rank = context.config.run, context.group.rank
        if context.epoch % config.save_every and not context.is_last_epoch or context.stop_requested:
            return
        # What is saved is the beginning of the next epoch.
        if context.group.is_master:
            context.save_state(dataclasses.replace(context.state, epoch=context.epoch, step=0, loss_sum=0.0))
        if config.is_save_on_master and not context.group.is_master:
            return
        context.save_weights(run_folder.weights_path(
            context.folder, rank, model=context.config.network.model, epoch=context.epoch,
            steps_per_epoch=context.steps_per_epoch))
        for path in run_folder.saved_weights(context.folder, rank)[:-config.ckpt_save_max]:
            path.unlink(missing_ok=True)


class UploadCallback(Callback):
    """Brings the results so far to where a ModelArts job keeps them, every `upload_every` epochs.

    Args:
        upload: does it. That it fails (UserError) is no reason to stop: the next time brings everything.
    """

    def __init__(self, upload: Callable[[], None]):
        self.upload = upload

    def on_epoch_end(self, context: TrainContext) -> None:
        interval = context.config.modelarts.upload_every
        if context.epoch % interval or context.is_last_epoch or context.stop_requested:
            return  # at the end of the run everything is brought anyway
        start = time.perf_counter()
        try:
            self.upload()
        except UserError as error:
            _LOG.warning(f"{error} The training goes on; the next time is after epoch {context.epoch + interval}, or "
                         "at the end")
        else:
            _LOG.info(f"copied the results of {context.epoch} epochs to outer_path in "
                      f"{time.perf_counter() - start:.1f} s")
