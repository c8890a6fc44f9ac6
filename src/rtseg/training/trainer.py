"""A training run from configuration to last checkpoint."""
import logging
import signal
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Callable, Optional, Tuple

import mindspore as ms

from rtseg.config.config import Config
from rtseg.data.cache import with_cache
from rtseg.data.dataset import SegmentationDataset
from rtseg.data.loader import BatchLoader
from rtseg.data.sampler import DistributedSampler
from rtseg.data.transforms import TrainTransform
from rtseg.inference.evaluator import Evaluator
from rtseg.inference.predictor import network_predictor
from rtseg.losses.mix_softmax_cross_entropy import MixSoftmaxCrossEntropy
from rtseg.losses.ohem_cross_entropy import OhemCrossEntropy
from rtseg.models.mixed_precision import set_amp_level
from rtseg.models.registry import create_model
from rtseg.runtime.distributed import ProcessGroup
from rtseg.training.batch_norm import average_statistics, synchronize_batch_norm
from rtseg.training.callbacks import (LAST_NAME, CheckpointCallback, EvalCallback, LossMonitor, MetricsRecorder, Run,
                                      UploadCallback, copy_best_checkpoint, load_previous_metrics, save_progress)
from rtseg.training.checkpoint import (TrainState, checkpoint_path, count_parameters, digests, load_pretrained,
                                       load_state)
from rtseg.training.lr_schedules import learning_rates
from rtseg.training.optimizer import build_optimizer
from rtseg.training.tensorboard import TensorBoardWriter
from rtseg.training.train_step import DistributedTrainStep, TrainStep
from rtseg.utils.atomic import write_text
from rtseg.utils.errors import ConfigError, DataError
from rtseg.utils.logging import LOGGER_NAME, setup_logger

_LOG = logging.getLogger(LOGGER_NAME)
# Ranks that differ in one of these would wait for each other in vain, or learn different things.
_SAME_ON_ALL_RANKS = ("seed", "diff_seed", "batch_size", "epochs", "max_steps", "crop_size", "loss", "aux_weight",
                      "class_weights", "momentum", "weight_decay", "amp_level", "loss_scale", "eval_while_train",
                      "eval_steps", "eval_start_epoch", "log_interval")


def train(config: Config, upload: Optional[Callable[[], None]] = None, group: ProcessGroup = ProcessGroup()) -> None:
    """Trains as `config` says; the device is set up already. Everything goes to <output_path>/<time>/.

    `upload`, if given, is called from time to time to bring the results so far to another place. The processes of
    `group` share each batch, and rank 0 writes.

    Raises:
        ConfigError, DataError: before training starts, if possible.
        TrainingDiverged: the loss became NaN or infinite.
    """
    train_set = _open(config, config.data.train_split)
    train_set.check()
    eval_set = None
    if config.evaluation.eval_while_train and not config.run.max_steps:
        eval_set = _open(config, config.data.eval_split)
        eval_set.check()
    loader = build_loader(config, train_set)

    lr_per_step = learning_rates(config, len(loader))
    graph = config.network
    network = create_model(graph.model, graph.variant, config.data.dataset_config.num_classes, graph.aux, graph.dropout,
                           graph.bn_momentum, seed=config.run.seed + group.rank, backbone=graph.backbone)
    network.set_train(True)
    set_amp_level(network, config.optimizer.amp_level)
    statistics = synchronize_batch_norm(network, group, device_target=config.run.device_target)
    train_step = (TrainStep if group.size == 1 else DistributedTrainStep)(
        network, build_loss(config, network), build_optimizer(config, network, lr_per_step), config.data.mean,
        config.data.std, config.optimizer.loss_scale, group.size)
    progress, note = _starting_point(config, network, train_step)
    if progress.step > len(loader):
        raise DataError(f"{checkpoint_path(config, LAST_NAME)}: was saved after step {progress.step} of an epoch, but "
                        f"an epoch has {len(loader)}; expected the data set with which the run began")
    if group.size > 1:
        group.assert_replicas_equal(replica_fingerprint(config, network, lr_per_step, progress, train_set, eval_set))

    run = Run(config, make_run_folder(config, group), network, train_step, len(loader), lr_per_step, progress, group)
    _log_start(run, train_set, eval_set, note, statistics)
    callbacks = _build_callbacks(run, eval_set, upload)
    monitor = callbacks[0]
    with _stop_requests(run):
        try:
            _run_epochs(run, loader, callbacks)
        except DataError:
            # The others, maybe rank 0 among them, wait in the next step until the launcher takes them down. But this
            # rank has the same weights as all, so it saves what they have learnt.
            if not config.run.max_steps:
                monitor.fetch(run)
                save_progress(run, progress)
            raise
        finally:
            for callback in callbacks:
                callback.close(run)
    if config.run.max_steps:
        _LOG.info(monitor.performance_line(run))


def _open(config: Config, split: str):
    data = config.data
    return with_cache(SegmentationDataset(data.dataset, split, data.dataset_config), data.prepared_cache)


def build_loader(config: Config, dataset) -> BatchLoader:
    """Shuffled, augmented batches of this rank."""
    transform = TrainTransform(
        crop_size=config.data.crop_size, base_size=config.data.base_size,
        pad_color=tuple(round(255 * mean) for mean in config.data.mean), scale_range=config.data.scale_range,
        blur_probability=config.data.blur_probability, color_jitter=config.data.color_jitter,
        max_class_ratio=config.data.max_class_ratio)
    sampler = DistributedSampler(len(dataset), config.run.rank, config.run.group_size, seed=config.run.seed,
                                 drop_last=True)
    return BatchLoader(dataset, transform, sampler, config.data.batch_size, config.data.num_workers,
                       config.run.seed + (config.run.rank if config.run.diff_seed else 0))


def build_loss(config: Config, network):
    """The loss that `config.loss.name` names, for the outputs of `network`."""
    options = {"align_corners": network.align_corners, "labels_to_logits": network.labels_to_logits,
               "class_weights": config.loss.class_weights, "group_size": config.run.group_size}
    if config.loss.name == "ohem":
        return OhemCrossEntropy(config.loss.ohem_threshold, config.loss.ohem_min_kept,
                                aux_weight=config.loss.aux_weight, **options)
    return MixSoftmaxCrossEntropy(config.loss.aux_weight, **options)


def make_run_folder(config: Config, group: ProcessGroup = ProcessGroup()) -> Path:
    """Rank 0 makes <output_path>/<time>/ with the resolved config.yaml in it, and starts train.log there."""
    if not group.is_master:
        setup_logger(rank=group.rank)
        return Path(group.broadcast(""))
    stamp = time.strftime("%Y-%m-%d_time_%H_%M_%S")
    for i in range(1000):  # runs that start in the same second
        folder = Path(config.run.output_path) / (f"{stamp}_{i}" if i else stamp)
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            continue
        except OSError as error:
            raise ConfigError(f"--output_path {config.run.output_path}: expected a folder that can be written; "
                              f"{error.strerror}") from None
    write_text(folder / "config.yaml", config.dump())
    setup_logger(folder / "train.log")
    return Path(group.broadcast(str(folder)))


def _starting_point(config: Config, network, train_step) -> Tuple[TrainState, str]:
    """Loads what the configuration says to start from, and says in a line what that was ("" for nothing)."""
    if not (config.run.resume_path or config.run.resume_name):  # a resumed run has its weights already
        note = load_pretrained(config.run.pretrained, network) if config.run.pretrained else ""
        return TrainState(seed=config.run.seed, global_batch_size=config.global_batch_size), note
    path = checkpoint_path(config, LAST_NAME)
    progress = load_state(path, network, train_step.state())
    if progress.seed != config.run.seed:
        raise ConfigError(f"{path}: expected --seed {progress.seed}, with which the run began, found {config.run.seed}")
    if progress.global_batch_size != config.global_batch_size:
        share, rest = divmod(progress.global_batch_size, config.run.group_size)
        raise ConfigError(f"{path}: expected a global batch of {progress.global_batch_size}, with which the run began, "
                          f"found {config.data.batch_size} x {config.run.group_size} = {config.global_batch_size}; use "
                          + (f"a number of processes that divides {progress.global_batch_size}" if rest else
                             f"--batch_size {share}"))
    if progress.epoch >= config.schedule.epochs:
        raise ConfigError(f"{path}: the run is complete with {progress.epoch} epochs; expected --epochs to be more, "
                          f"found {config.schedule.epochs}")
    return progress, f"resumed from {path} after epoch {progress.epoch}, step {progress.step} of the next"


def replica_fingerprint(config: Config, network, lr_per_step, progress: TrainState, train_set, eval_set) -> dict:
    """What must be the same on all ranks when training starts, the weights to the last bit."""
    facts = {f"--{name}": repr(config.value(name)) for name in _SAME_ON_ALL_RANKS}
    facts.update({"the number of training images": str(len(train_set)), "the learning rates": repr(sum(lr_per_step)),
                  "the number of evaluation images": str(eval_set and len(eval_set)),
                  "the progress of the run": repr(progress)})
    facts.update({f"parameter {name}": digest for name, digest in digests(network).items()})
    return facts


def _build_callbacks(run: Run, eval_set, upload: Optional[Callable[[], None]]) -> list:
    """The LossMonitor, and in all but a performance run what evaluates, records, saves and uploads, in that order."""
    config, group = run.config, run.group
    callbacks = [LossMonitor(config.run.log_interval)]
    if config.run.max_steps:
        return callbacks
    rows = ()
    if (config.run.resume_path or config.run.resume_name) and group.is_master:
        old_folder = checkpoint_path(config, LAST_NAME).parent
        rows = load_previous_metrics(old_folder, run.progress.epoch)
        copy_best_checkpoint(old_folder, run)
    if eval_set is not None:
        callbacks.append(EvalCallback(Evaluator(
            network_predictor(run.network, mean=config.data.mean, std=config.data.std), eval_set,
            num_classes=config.data.dataset_config.num_classes, num_workers=config.data.num_workers,
            batch_size=config.evaluation.eval_batch_size, group=group)))
    callbacks += [MetricsRecorder(rows), CheckpointCallback()]
    if config.run.tensorboard and group.is_master:
        callbacks.append(TensorBoardWriter(run.folder))
    return callbacks + ([UploadCallback(upload)] if upload is not None else [])


def _log_start(run: Run, train_set, eval_set, *notes: str) -> None:
    config = run.config
    parameters = count_parameters(run.network.trainable_params())
    steps = config.run.max_steps or config.schedule.epochs * run.steps_per_epoch
    heads = f"{config.network.aux} auxiliary head{'' if config.network.aux == 1 else 's'}"
    graph = ", ".join(filter(None, (config.network.variant, config.network.backbone, heads)))
    _LOG.info(f"{config.network.model} ({graph}), {parameters / 1e6:.3f} M parameters, "
              f"global batch {config.global_batch_size} = {config.data.batch_size} x {config.run.group_size}, "
              f"{steps} steps ({run.steps_per_epoch} per epoch), "
              f"learning rate {config.learning_rate:.5g} ({config.schedule.lr_scheduler}), "
              f"crop {config.data.crop_size[0]}x{config.data.crop_size[1]}, "
              f"{config.run.device_target} {config.run.device_id}, MindSpore {ms.__version__}")
    _LOG.info(f"{len(train_set)} training images, {len(eval_set) if eval_set is not None else 'no'} for evaluation; "
              f"results in {run.folder}")
    for note in filter(None, notes):
        _LOG.info(note)
    if config.optimizer.amp_level != "O0" and config.run.device_target == "CPU":
        _LOG.info(f"note: amp_level {config.optimizer.amp_level} on CPU is for checking only, it is slower than O0")
    _LOG.info("the first step compiles the graph, which takes a while")


def _run_epochs(run: Run, loader: BatchLoader, callbacks) -> None:
    config, progress = run.config, run.progress
    steps_left = config.run.max_steps or -1
    while progress.epoch < config.schedule.epochs:
        for callback in callbacks:
            callback.on_epoch_begin(run)
        with closing(loader.epoch(progress.epoch, progress.step)) as batches:
            for images, labels in batches:
                loss = _take_step(run, ms.Tensor.from_numpy(images), ms.Tensor.from_numpy(labels))
                progress.step += 1
                steps_left -= 1
                for callback in callbacks:
                    callback.on_step_end(run, loss)
                if run.stop_requested or steps_left == 0:
                    break
        if steps_left == 0:
            callbacks[0].fetch(run)
            return
        run.requests = None
        run.stop_requested = run.stop_requested or run.group.any_rank(run.stop_asked)
        if progress.step == run.steps_per_epoch:
            average_statistics(run.network, run.group)
            for callback in callbacks:
                callback.on_epoch_end(run)
        if run.stop_requested:
            _stop(run, callbacks[0])
            return
        progress.epoch, progress.step, progress.loss_sum = progress.epoch + 1, 0, 0.0


def _take_step(run: Run, images, labels):
    """Trains on a batch and returns the loss; with several ranks it also learns whether one has been asked to stop.

    All ranks must stop after the same step, since none can do a step alone. What counts is the answer of the step
    before: it is there already, so the device need not wait for it.
    """
    if run.group.size == 1:
        return run.train_step(images, labels)
    with run.group.collective_errors():
        loss, requests = run.train_step(images, labels, ms.Tensor([run.stop_asked], ms.float32))
    earlier, run.requests = run.requests, requests
    run.stop_requested = earlier is not None and bool(earlier.asnumpy()[0])
    return loss


def _stop(run: Run, monitor: LossMonitor) -> None:
    monitor.fetch(run)
    if run.config.run.max_steps:
        return
    average_statistics(run.network, run.group)
    if run.group.is_master:
        save_progress(run, run.progress)
    _LOG.info(f"stopped on request in epoch {run.epoch} after step {run.progress.step}; the state is in "
              f"{run.folder / LAST_NAME}. Continue with --resume_path {run.folder} --resume_name {LAST_NAME}")


@contextmanager
def _stop_requests(run: Run):
    """SIGINT and SIGTERM ask for a stop after the step; a second one acts as it would without us.

    Which of the two it was is not told apart: while a graph runs, MindSpore turns a SIGINT into a SIGTERM.
    """
    def ask(_number, _frame):
        run.stop_asked = True
        run.stop_requested = run.stop_requested or run.group.size == 1
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
