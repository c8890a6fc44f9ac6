"""What happens around the training steps: log lines, evaluation, curves, checkpoints."""
import csv
import dataclasses
import io
import logging
import math
import shutil
import sys
import time
from pathlib import Path
from typing import Callable, List, Optional

from tqdm import tqdm

from rtseg.inference.evaluator import Evaluator, evaluation_lines
from rtseg.metrics.confusion_matrix import mean_iou, pixel_accuracy
from rtseg.runtime.distributed import ProcessGroup
from rtseg.training.checkpoint import TrainState, save_state, save_weights
from rtseg.utils.atomic import atomic_write, write_text
from rtseg.utils.errors import DataError, UserError
from rtseg.utils.logging import (LOGGER_NAME, best_checkpoint_line, best_result_line, epoch_time_line, evaluation_line,
                                 step_line)
from rtseg.visualization.plots import plot_curves

BEST_NAME = "best_map.ckpt"
LAST_NAME = "last.ckpt"
METRICS_NAME = "metrics.csv"
METRICS_COLUMNS = ("epoch", "step", "loss", "lr", "images_per_second", "pix_acc", "miou")
_LOG = logging.getLogger(LOGGER_NAME)


class TrainingDiverged(UserError):
    """The loss is NaN or infinite."""


@dataclasses.dataclass
class Run:
    """What the callbacks share. `progress` is what a checkpoint keeps; the rest belongs to this process."""

    config: object
    folder: Path
    network: object
    train_step: object
    steps_per_epoch: int
    lr_per_step: List[float]
    progress: TrainState
    group: ProcessGroup = ProcessGroup()
    stop_asked: bool = False      # of this process, by a signal
    stop_requested: bool = False  # agreed by all ranks: finish this step, save, end
    requests: object = None       # tensor: how many ranks had been asked before the last step
    images_per_second: float = math.nan
    last_loss: tuple = (0, math.nan)  # (global step, loss) that was fetched last
    epoch_scores: Optional[tuple] = None  # (pixel accuracy, mIoU) if this epoch was evaluated

    @property
    def epoch(self) -> int:
        """Number of the epoch under way, counted from 1."""
        return self.progress.epoch + 1

    @property
    def global_step(self) -> int:
        """Steps done since the beginning of the training."""
        return self.progress.epoch * self.steps_per_epoch + self.progress.step


class Callback:
    """Does nothing at each occasion; derived classes do what they are for."""

    def on_epoch_begin(self, run: Run) -> None:
        """Before the first step of an epoch, or of the rest of one that is resumed."""

    def on_step_end(self, run: Run, loss) -> None:
        """After every step; `loss` is a scalar tensor, which may still be on its way."""

    def on_epoch_end(self, run: Run) -> None:
        """After the last step of an epoch; not when the epoch was broken off."""

    def close(self, run: Run) -> None:
        """When training ends, for whatever reason."""


class LossMonitor(Callback):
    """Shows progress, adds up the loss, times the steps, and stops a run whose loss is not finite.

    Losses are fetched every `log_interval` steps only, so that a device is not made to wait after each.
    """

    def __init__(self, log_interval: int):
        self.log_interval = log_interval
        self.on_terminal = sys.stdout.isatty() and sys.stderr.isatty()
        self.pending = []
        self.compiled = False
        self.steps_since_compiled = 0
        self.bar = None

    def on_epoch_begin(self, run: Run) -> None:
        self.pending = []
        self.start = self.timed_from = time.perf_counter()
        self.first_step = self.timed_steps_from = run.progress.step
        if self.on_terminal:
            self.bar = tqdm(total=run.steps_per_epoch, initial=run.progress.step, unit="step", leave=False,
                            desc=f"epoch {run.epoch}/{run.config.schedule.epochs}")

    def on_step_end(self, run: Run, loss) -> None:
        self.pending.append(loss)
        step = run.progress.step
        if step % self.log_interval == 0 or step == run.steps_per_epoch or not self.compiled:
            last = self.fetch(run)
            run.last_loss = (run.global_step, last)
            # On a terminal the bar shows the loss, and the line goes to train.log only.
            _LOG.log(logging.DEBUG if self.bar else logging.INFO, step_line(run.epoch, step, last))
            if self.bar:
                self.bar.set_postfix(loss=f"{last:.4g}", refresh=False)
        if self.compiled:
            self.steps_since_compiled += 1
        else:  # the first step includes the compilation of the graph
            self.compiled = True
            self.compiled_at = self.timed_from = time.perf_counter()
            self.timed_steps_from = step
        if self.bar:
            self.bar.update()

    def fetch(self, run: Run) -> float:
        """Takes in the losses since the last time and returns the newest.

        Raises:
            TrainingDiverged: one of them is NaN or infinite.
        """
        values = [float(loss.asnumpy()) for loss in self.pending]
        first = run.progress.step - len(values)
        self.pending = []
        for i, value in enumerate(values):
            if not math.isfinite(value):
                raise TrainingDiverged(
                    f"training stopped: the loss of epoch {run.epoch} step {first + i + 1} is {value}; expected a "
                    f"finite number. The last good state is kept ({run.folder / LAST_NAME} if an epoch was saved). "
                    f"Lower --lr (now {run.lr_per_step[run.global_step - 1]:.3g}), lengthen --warmup_epochs, or check "
                    "the labels.")
            run.progress.loss_sum += value
        return values[-1] if values else math.nan

    def on_epoch_end(self, run: Run) -> None:
        self._close_bar()
        now, step = time.perf_counter(), run.progress.step
        steps = step - self.timed_steps_from
        run.images_per_second = steps * run.config.global_batch_size / (now - self.timed_from) if steps else math.nan
        _LOG.info(epoch_time_line(now - self.start, max(1, step - self.first_step)))
        rate = f", {run.images_per_second:.2f} images/s" if steps else ""  # unknown if the only step compiled the graph
        _LOG.info(f"epoch: {run.epoch}, loss: {run.progress.loss_sum / step:.4f}, "
                  f"lr: {run.lr_per_step[run.global_step - 1]:.6f}{rate}")

    def performance_line(self, run: Run) -> str:
        """images/s and ms per step since the first step of the process, which compiles the graph."""
        steps = self.steps_since_compiled
        seconds = time.perf_counter() - self.compiled_at
        if not steps:
            return "performance: expected at least 2 steps, the first one compiles the graph"
        return (f"performance: {steps} steps after the first, {1000 * seconds / steps:.1f} ms per step, "
                f"{steps * run.config.global_batch_size / seconds:.2f} images/s")

    def close(self, run: Run) -> None:
        self._close_bar()

    def _close_bar(self) -> None:
        if self.bar:
            self.bar.close()
            self.bar = None


class EvalCallback(Callback):
    """Evaluates every `eval_steps` epochs from `eval_start_epoch` on, and after the last; keeps the best weights."""

    def __init__(self, evaluator: Evaluator):
        self.evaluator = evaluator

    def on_epoch_end(self, run: Run) -> None:
        run.epoch_scores = None
        start, interval, epoch = run.config.evaluation.eval_start_epoch, run.config.evaluation.eval_steps, run.epoch
        due = epoch >= start and (epoch - start) % interval == 0
        if not due and epoch != run.config.schedule.epochs:
            return
        evaluation = self.evaluator.run(should_stop=lambda: run.stop_asked)
        if evaluation is None:
            run.stop_requested = True
            return
        if evaluation.errors:
            raise evaluation.errors[0]
        accuracy, miou = pixel_accuracy(evaluation.matrix.matrix), mean_iou(evaluation.matrix.matrix)
        run.epoch_scores = (accuracy, miou)
        _LOG.info(evaluation_line(epoch, accuracy, miou))
        _LOG.info("evaluated " + evaluation_lines(evaluation))
        if miou > run.progress.best_miou:
            run.progress.best_miou, run.progress.best_epoch = miou, epoch
            path = run.folder / BEST_NAME
            if run.group.is_master:
                save_weights(path, run.network)
            _LOG.info(best_result_line(miou))
            _LOG.info(best_checkpoint_line(path))


class MetricsRecorder(Callback):
    """Writes a row per epoch to metrics.csv and draws curves.png from it.

    Args:
        rows: of the epochs before this process, when the run is resumed.
    """

    def __init__(self, rows=()):
        self.rows = list(rows)

    def on_epoch_end(self, run: Run) -> None:
        if run.stop_requested or not run.group.is_master:
            return  # the evaluation may have been broken off, and the epoch's end will be repeated
        accuracy, miou = run.epoch_scores or ("", "")
        rate = round(run.images_per_second, 3) if math.isfinite(run.images_per_second) else ""
        self.rows.append((run.epoch, run.global_step, run.progress.loss_sum / run.progress.step,
                          run.lr_per_step[run.global_step - 1], rate, accuracy, miou))
        self._write(run)
        plot_curves(run.folder / METRICS_NAME, run.folder / "curves.png")

    def close(self, run: Run) -> None:
        if self.rows and run.group.is_master and not (run.folder / METRICS_NAME).is_file():
            self._write(run)  # stopped before the end of its first epoch, a resumed run still hands the rows on

    def _write(self, run: Run) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(METRICS_COLUMNS)
        writer.writerows(self.rows)
        write_text(run.folder / METRICS_NAME, text.getvalue())


class CheckpointCallback(Callback):
    """Saves the state of the run every `save_every` epochs: last.ckpt, and weights in ckpt_<rank>/.

    Only rank 0 does, but for ckpt_<rank>/ if the configuration says so.
    """

    def on_epoch_end(self, run: Run) -> None:
        if run.epoch % run.config.run.save_every and run.epoch != run.config.schedule.epochs or run.stop_requested:
            return
        # What is saved is the beginning of the next epoch.
        after = dataclasses.replace(run.progress, epoch=run.epoch, step=0, loss_sum=0.0)
        if run.group.is_master:
            save_progress(run, after)
        if run.config.run.is_save_on_master and not run.group.is_master:
            return
        folder = run.folder / f"ckpt_{run.group.rank}"
        save_weights(folder / f"{run.config.network.model}-{run.epoch}_{run.steps_per_epoch}.ckpt", run.network)
        kept = sorted(folder.glob("*.ckpt"), key=lambda path: int(path.stem.split("-")[-1].split("_")[0]))
        for path in kept[:-run.config.run.ckpt_save_max]:
            path.unlink(missing_ok=True)


def save_progress(run: Run, progress: TrainState) -> None:
    """Writes last.ckpt: the state of the run, and where it stands."""
    save_state(run.folder / LAST_NAME, run.network, run.train_step.state(), progress)


class UploadCallback(Callback):
    """Brings the results so far to where a ModelArts job keeps them, every `upload_every` epochs.

    Args:
        upload: does it. That it fails (UserError) is no reason to stop: the next time brings everything.
    """

    def __init__(self, upload: Callable[[], None]):
        self.upload = upload

    def on_epoch_end(self, run: Run) -> None:
        is_last = run.epoch == run.config.schedule.epochs
        if run.epoch % run.config.modelarts.upload_every or is_last or run.stop_requested:
            return  # at the end of the run everything is brought anyway
        start = time.perf_counter()
        try:
            self.upload()
        except UserError as error:
            _LOG.warning(f"warning: {error} The training goes on; the next time is after epoch "
                         f"{run.epoch + run.config.modelarts.upload_every}, or at the end")
        else:
            _LOG.info(f"copied the results of {run.epoch} epochs to outer_path in {time.perf_counter() - start:.1f} s")


def load_previous_metrics(folder: Path, epochs: int) -> list:
    """Rows of the first `epochs` epochs of metrics.csv in `folder`; none if there is no such file.

    Raises:
        DataError: it is damaged.
    """
    try:
        with open(folder / METRICS_NAME, newline="", encoding="utf-8") as file:
            rows = [tuple(row) for row in list(csv.reader(file))[1:] if row]
        for row in rows:
            numbers = [float(value or 0) for value in row]
            if len(numbers) != len(METRICS_COLUMNS):
                raise ValueError(f"expected {len(METRICS_COLUMNS)} numbers in a row, found {len(numbers)}")
        return [row for row in rows if int(row[0]) <= epochs]
    except OSError:
        return []
    except (ValueError, csv.Error) as error:
        raise DataError(f"{folder / METRICS_NAME}: expected the metrics of a run, found a damaged file ({error}); mend "
                        "or remove it") from None


def copy_best_checkpoint(old_folder: Path, run: Run) -> None:
    """Copies the best checkpoint of the run that is resumed, so that this run's folder is complete."""
    source = old_folder / BEST_NAME
    if run.progress.best_epoch and source.is_file() and source.resolve() != (run.folder / BEST_NAME).resolve():
        with atomic_write(run.folder / BEST_NAME) as temporary:
            shutil.copyfile(source, temporary)
