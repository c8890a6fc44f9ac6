"""A training run from configuration to last checkpoint."""
import logging
import signal
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Tuple

import mindspore as ms

from src.config import Config
from src.data.cityscapes import Cityscapes
from src.data.distributed_sampler import DistributedSampler
from src.data.loader import BatchLoader
from src.data.transforms import TrainTransform
from src.engine.callbacks import (LAST_NAME, CheckpointCallback, EvalCallback, LossMonitor, MetricsRecorder, Run,
                                  earlier_rows, take_over_best)
from src.engine.checkpoint import Progress, checkpoint_path, count_parameters, load_pretrained, load_state
from src.engine.evaluator import Evaluator
from src.engine.lr_scheduler import learning_rates
from src.engine.optimizer import build_optimizer
from src.engine.train_step import TrainStep
from src.losses.mix_softmax_cross_entropy import MixSoftmaxCrossEntropy
from src.losses.ohem_cross_entropy import OhemCrossEntropy
from src.models import build_model
from src.utils.atomic_file import write_text
from src.utils.errors import ConfigError, DataError
from src.utils.logger import LOGGER_NAME, setup_logger

_LOG = logging.getLogger(LOGGER_NAME)


def train(config: Config) -> None:
    """Trains as `config` says; the device is set up already. Everything goes to <output_path>/<time>/.

    Raises:
        ConfigError, DataError: before training starts, if possible.
        TrainingDiverged: the loss became NaN or infinite.
    """
    train_set = Cityscapes(config.dataset, config.train_split)
    train_set.check()
    eval_set = None
    if config.eval_while_train and not config.max_steps:
        eval_set = Cityscapes(config.dataset, config.eval_split)
        eval_set.check()
    loader = build_loader(config, train_set)

    rates = learning_rates(config, len(loader))
    network = build_model(config.model, config.variant, aux=config.aux, dropout=config.dropout,
                          bn_momentum=config.bn_momentum, seed=config.seed + config.rank, backbone=config.backbone)
    network.set_train(True)
    train_step = TrainStep(network, build_loss(config, network), build_optimizer(config, network, rates), config.mean,
                           config.std, config.amp_level, config.loss_scale)
    progress, note = _starting_point(config, network, train_step)

    folder = make_run_folder(config)
    run = Run(config, folder, network, train_step, len(loader), rates, progress)
    _log_start(run, train_set, eval_set, note)
    monitor = LossMonitor(config.log_interval)
    callbacks = [monitor]
    if not config.max_steps:
        rows = ()
        if config.resume_path or config.resume_name:
            old_folder = checkpoint_path(config, LAST_NAME).parent
            rows = earlier_rows(old_folder, progress.epoch)
            take_over_best(old_folder, run)
        if eval_set is not None:
            callbacks.append(EvalCallback(Evaluator(network, eval_set, config.mean, config.std,
                                                    num_workers=config.num_workers,
                                                    batch_size=config.eval_batch_size)))
        callbacks += [MetricsRecorder(rows), CheckpointCallback()]
    with _stop_requests(run):
        try:
            _run_epochs(run, loader, callbacks)
        except DataError:
            if not config.max_steps:
                monitor.fetch(run)
                _save_here(run)
            raise
        finally:
            for callback in callbacks:
                callback.close(run)
    if config.max_steps:
        _LOG.info(monitor.performance_line(run))


def build_loader(config: Config, dataset: Cityscapes) -> BatchLoader:
    """Shuffled, augmented batches of this rank."""
    transform = TrainTransform(
        crop_size=config.crop_size, base_size=config.base_size,
        pad_color=tuple(round(255 * mean) for mean in config.mean), scale_range=config.scale_range,
        blur_probability=config.blur_probability, color_jitter=config.color_jitter,
        max_class_ratio=config.max_class_ratio)
    sampler = DistributedSampler(len(dataset), config.rank, config.group_size, seed=config.seed)
    return BatchLoader(dataset, transform, sampler, config.batch_size, config.num_workers, config.seed)


def build_loss(config: Config, network):
    """The loss that `config.loss` names, for the outputs of `network`."""
    sizes = {"align_corners": network.align_corners, "labels_to_logits": network.labels_to_logits}
    if config.loss == "ohem":
        return OhemCrossEntropy(config.ohem_threshold, config.ohem_min_kept, config.aux_weight, **sizes)
    return MixSoftmaxCrossEntropy(config.aux_weight, **sizes)


def make_run_folder(config: Config) -> Path:
    """Makes <output_path>/<time>/ with the resolved config.yaml in it, and starts train.log there."""
    stamp = time.strftime("%Y-%m-%d_time_%H_%M_%S")
    for i in range(1000):  # runs that start in the same second
        folder = Path(config.output_path) / (f"{stamp}_{i}" if i else stamp)
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            continue
        except OSError as error:
            raise ConfigError(f"--output_path {config.output_path}: expected a folder that can be written; "
                              f"{error.strerror}") from None
    write_text(folder / "config.yaml", config.dump())
    setup_logger(folder / "train.log", config.rank)
    return folder


def _starting_point(config: Config, network, train_step) -> Tuple[Progress, str]:
    """Loads what the configuration says to start from, and says in a line what that was ("" for nothing)."""
    if not (config.resume_path or config.resume_name):  # a resumed run has its weights already
        note = load_pretrained(config.pretrained, network) if config.pretrained else ""
        return Progress(seed=config.seed, global_batch_size=config.global_batch_size), note
    path = checkpoint_path(config, LAST_NAME)
    progress = load_state(path, network, train_step.state())
    for name in ("seed", "global_batch_size"):
        if getattr(progress, name) != getattr(config, name):
            raise ConfigError(f"{path}: expected {name} {getattr(progress, name)}, with which the run began, found "
                              f"{getattr(config, name)}; a resumed run needs the same --seed and --batch_size")
    if progress.epoch >= config.epochs:
        raise ConfigError(f"{path}: the run is complete with {progress.epoch} epochs; expected --epochs to be more, "
                          f"found {config.epochs}")
    return progress, f"resumed from {path} after epoch {progress.epoch}, step {progress.step} of the next"


def _log_start(run: Run, train_set, eval_set, note: str) -> None:
    config = run.config
    parameters = count_parameters(run.network.trainable_params())
    steps = config.max_steps or config.epochs * run.steps_per_epoch
    graph = ", ".join(filter(None, (config.variant, config.backbone, f"{config.aux} auxiliary head{'' if config.aux == 1 else 's'}")))
    _LOG.info(f"{config.model} ({graph}), {parameters / 1e6:.3f} M parameters, "
              f"global batch {config.global_batch_size} = {config.batch_size} x {config.group_size}, "
              f"{steps} steps ({run.steps_per_epoch} per epoch), "
              f"learning rate {config.learning_rate:.5g} ({config.lr_scheduler}), "
              f"crop {config.crop_size[0]}x{config.crop_size[1]}, {config.device_target} {config.device_id}, "
              f"MindSpore {ms.__version__}")
    _LOG.info(f"{len(train_set)} training pictures, {len(eval_set) if eval_set is not None else 'no'} for evaluation; "
              f"results in {run.folder}")
    if note:
        _LOG.info(note)
    if config.amp_level != "O0" and config.device_target == "CPU":
        _LOG.info(f"note: amp_level {config.amp_level} on CPU is for checking only, it is slower than O0")
    _LOG.info("the first step compiles the graph, which takes a while")


def _run_epochs(run: Run, loader: BatchLoader, callbacks) -> None:
    config, progress = run.config, run.progress
    steps_left = config.max_steps or -1
    while progress.epoch < config.epochs:
        for callback in callbacks:
            callback.on_epoch_begin(run)
        with closing(loader.epoch(progress.epoch, progress.step)) as batches:
            for images, labels in batches:
                loss = run.train_step(ms.Tensor(images), ms.Tensor(labels))
                progress.step += 1
                steps_left -= 1
                for callback in callbacks:
                    callback.on_step_end(run, loss)
                if run.stop_requested or steps_left == 0:
                    break
        if steps_left == 0:
            callbacks[0].fetch(run)
            return
        if progress.step == run.steps_per_epoch:
            for callback in callbacks:
                callback.on_epoch_end(run)
        if run.stop_requested:
            _stop(run, callbacks[0])
            return
        progress.epoch, progress.step, progress.loss_sum = progress.epoch + 1, 0, 0.0


def _stop(run: Run, monitor: LossMonitor) -> None:
    monitor.fetch(run)
    if run.config.max_steps:
        return
    path = _save_here(run)
    _LOG.info(f"stopped on request in epoch {run.epoch} after step {run.progress.step}; the state is in {path}. "
              f"Continue with --resume_path {run.folder} --resume_name {LAST_NAME}")


def _save_here(run: Run) -> Path:
    CheckpointCallback.save(run, run.progress)
    return run.folder / LAST_NAME


@contextmanager
def _stop_requests(run: Run):
    """SIGINT and SIGTERM ask for a stop after the step; a second one acts as it would without us.

    Which of the two it was is not told apart: while a graph runs, MindSpore turns a SIGINT into a SIGTERM.
    """
    def ask(_number, _frame):
        run.stop_requested = True
        for number, handler in previous.items():
            signal.signal(number, handler)
        _LOG.info("stop requested: finishing this step, then saving; once more to break off at once")

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in previous:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
