"""A training run from configuration to last checkpoint."""
import dataclasses
import logging
from contextlib import closing
from pathlib import Path
from typing import Any, Callable, Iterable, List, Optional, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor

from rtseg.config.config import FILE_NAME, Config
from rtseg.data.loader import BatchLoader
from rtseg.runtime.device import ascend_precision_mode
from rtseg.runtime.distributed import ProcessGroup
from rtseg.training import run_folder
from rtseg.training.batch_norm import average_statistics, synchronize_batch_norm
from rtseg.training.build import build_evaluator, build_loader, build_network, build_train_step, open_dataset
from rtseg.training.callbacks import (Callback, CheckpointCallback, EarlyStopping, EvalCallback, MetricsRecorder,
                                      ProgressLogger, UploadCallback, load_previous_metrics, stops_early)
from rtseg.training.checkpoint import checkpoint_path, count_parameters
from rtseg.training.context import Losses, TrainContext
from rtseg.training.lr_schedules import learning_rates
from rtseg.training.profiling import OperatorProfiler
from rtseg.training.result import report_result
from rtseg.training.resume import is_resumed, load_start, replica_fingerprint, resolve_auto, take_best
from rtseg.training.tensorboard import SAMPLES, TensorBoardWriter, require_tensorboard
from rtseg.training.timer import Timer
from rtseg.training.weight_average import WeightAverage
from rtseg.utils.atomic import write_text
from rtseg.utils.errors import DataError, UserError
from rtseg.utils.logging import LOGGER_NAME, setup_logger
from rtseg.utils.signals import on_stop_signal

_LOG = logging.getLogger(LOGGER_NAME)


def train(config: Config, upload: Optional[Callable[[], None]] = None, *, group: Optional[ProcessGroup] = None,
          may_be_complete: bool = False) -> None:
    """Trains as `config` says; the device is set up already. Everything goes to <output_path>/<time>/.

    Args:
        upload: called from time to time to bring the results so far to another place.
        group: the processes that share each batch; rank 0 writes. None for a single one.
        may_be_complete: whether a run to continue that has no epoch left, or has met its early stop, ends at once; it
            is an error, or trained on, otherwise.

    Raises:
        ConfigError, DataError: before training starts, if possible.
        TrainingDiverged: the loss became NaN or infinite.
    """
    group = group or ProcessGroup()
    config = resolve_auto(config)
    if config.run.profile:
        config = config.replace(max_steps=1 + config.run.profile)  # the first compiles
    may_be_complete = may_be_complete and not config.run.max_steps
    if config.run.tensorboard:
        require_tensorboard()

    train_set = open_dataset(config, config.data.train_split)
    does_evaluate = config.evaluation.eval_while_train and not config.run.max_steps
    eval_set = open_dataset(config, config.data.eval_split) if does_evaluate else None
    loader = build_loader(config, train_set)
    lr_per_step = learning_rates(config, len(loader))

    network = build_network(config, group)
    statistics_note = synchronize_batch_norm(network, group, device_target=config.run.device_target)
    step = build_train_step(config, network, lr_per_step=lr_per_step)
    average = WeightAverage(network, config.optimizer.ema_decay) if config.optimizer.ema_decay else None
    step_state = {**step.state(), **(average.state() if average else {})}
    state, start_note = load_start(config, network, step_state=step_state, steps_per_epoch=len(loader),
                                   may_be_complete=may_be_complete)
    if average and not is_resumed(config):
        average.restart()  # with the pretrained weights
    if group.size > 1:
        group.assert_replicas_equal(replica_fingerprint(
            config, network, lr_per_step=lr_per_step, state=state, train_set=train_set, eval_set=eval_set))

    has_all_epochs = state.epoch >= config.schedule.epochs
    finished_early = (may_be_complete and not has_all_epochs and state.step == 0
                      and stops_early(config, state, epochs=state.epoch))
    is_complete = has_all_epochs or finished_early
    context = TrainContext(
        config=config, folder=_folder_of(config) if is_complete else _start_run_folder(config, group),
        network=network, step_state=step_state, steps_per_epoch=len(loader), lr_per_step=lr_per_step, state=state,
        group=group, timer=Timer(config.global_batch_size), losses=Losses(), average=average,
        finished_early=finished_early)
    if is_complete:
        _finish_complete_run(context)
        return
    _log_start(context, train_set=train_set, eval_set=eval_set, notes=(start_note, statistics_note))
    callbacks = _build_callbacks(context, eval_set=eval_set, upload=upload)
    with on_stop_signal(context.ask_to_stop):
        try:
            _run_epochs(context, loader, step=step, callbacks=callbacks)
        except UserError as error:
            _LOG.debug(f"error: {error}")  # for the log file; the screen gets it from the program's end
            # The others, maybe rank 0 among them, wait in the next step until the launcher takes them down. But this
            # rank has the same weights as all, so it saves what they have learnt.
            if isinstance(error, DataError) and not config.run.max_steps:
                context.losses.fetch(context)
                context.save_state(state)
                _LOG.info(f"the state is in {context.folder / run_folder.LAST}")
            raise
        finally:
            for callback in callbacks:
                callback.close(context)


def _run_epochs(context: TrainContext, loader: BatchLoader, *, step: Callable, callbacks: List[Callback]) -> None:
    config, state = context.config, context.state
    steps_left = config.run.max_steps or -1
    while True:
        for callback in callbacks:
            callback.on_epoch_begin(context)
        requests = None
        with closing(loader.epoch(state.epoch, state.step)) as batches:
            for images, labels in batches:
                loss, requests = _take_step(context, step, images=images, labels=labels, earlier_requests=requests)
                state.step += 1
                steps_left -= 1
                if context.average:
                    context.average.update(context.global_step)
                for callback in callbacks:
                    callback.on_step_end(context, loss)
                if context.stop_requested or steps_left == 0:
                    break
        is_over = state.step == context.steps_per_epoch and context.is_last_epoch and not context.stop_requested
        if steps_left == 0 or config.run.max_steps and is_over:  # the whole training may be shorter
            _finish_performance_run(context)
            return
        context.stop_requested = context.stop_requested or context.group.any_rank(context.stop_asked)
        if state.step == context.steps_per_epoch:
            average_statistics(context.network, context.group, average=context.average)
            for callback in callbacks:
                callback.on_epoch_end(context)
        if context.stop_requested:
            _stop(context)
            return
        if context.is_last_epoch:
            report_result(context)
            return
        state.epoch, state.step, state.loss_sum = state.epoch + 1, 0, 0.0


def _take_step(context: TrainContext, step: Callable, *, images: np.ndarray, labels: np.ndarray,
               earlier_requests: Optional[Tensor]) -> Tuple[Tensor, Optional[Tensor]]:
    """Trains on a batch and returns the loss; with several ranks it also learns whether one has been asked to stop.

    All ranks must stop after the same step, since none can do a step alone. What counts is the answer of the step
    before: it is there already, so the device need not wait for it.
    """
    batch = Tensor.from_numpy(images), Tensor.from_numpy(labels)
    if context.group.size == 1:
        return step(*batch), None
    with context.group.collective_errors():
        loss, requests = step(*batch, Tensor([context.stop_asked], ms.float32))
    context.stop_requested = earlier_requests is not None and bool(earlier_requests.asnumpy()[0])
    return loss, requests


def _stop(context: TrainContext) -> None:
    context.losses.fetch(context)
    if context.config.run.max_steps:
        return
    average_statistics(context.network, context.group, average=context.average)
    if context.group.is_master:
        context.save_state(context.state)
    _LOG.info(f"stopped on request in epoch {context.epoch} after step {context.state.step}; the state is in "
              f"{context.folder / run_folder.LAST}. Continue with --config {context.folder / FILE_NAME} --resume_path "
              f"{context.folder}")


def _finish_performance_run(context: TrainContext) -> None:
    context.losses.fetch(context)
    timer = context.timer
    timer.end_steps()
    if not timer.steps:
        _LOG.info("performance: expected at least 2 steps, the first one compiles the graph")
        return
    _LOG.info(f"performance: {timer.steps} steps after the first, {1000 * timer.step_seconds / timer.steps:.1f} ms per "
              f"step, {timer.rate:.2f} images/s")


def _finish_complete_run(context: TrainContext) -> None:
    """Writes the result of a run that was killed after its last state. It has no epoch left, which is all that a
    platform that starts a job again and again needs to know."""
    setup_logger(rank=context.group.rank)
    _LOG.info(f"the run is complete with {context.state.epoch} epochs; results in {context.folder}")
    if not (context.folder / run_folder.RESULT).is_file():
        context.state = dataclasses.replace(  # as at the end of its last epoch
            context.state, epoch=context.state.epoch - 1, step=context.steps_per_epoch)
        report_result(context)


def _folder_of(config: Config) -> Path:
    """The folder of the run that is continued."""
    return checkpoint_path(config, run_folder.LAST).parent


def _start_run_folder(config: Config, group: ProcessGroup) -> Path:
    """Rank 0 makes <output_path>/<time>/ with the resolved config.yaml in it, and starts train.log there."""
    if not group.is_master:
        setup_logger(rank=group.rank)
        return Path(group.broadcast(""))
    folder = run_folder.make_run_folder(config.run.output_path)
    write_text(folder / FILE_NAME, config.dump())
    setup_logger(folder / run_folder.LOG)
    return Path(group.broadcast(str(folder)))


def _build_callbacks(context: TrainContext, *, eval_set: Any, upload: Optional[Callable[[], None]]) -> List[Callback]:
    """What logs, evaluates, records, saves and uploads, in that order; a performance run only logs."""
    config, group = context.config, context.group
    callbacks: List[Callback] = [ProgressLogger(config.run.log_interval)]
    if config.run.profile and group.is_master:
        callbacks.append(OperatorProfiler())
    if config.run.max_steps:
        return callbacks
    rows = []
    if is_resumed(config):
        if group.is_master:
            rows = load_previous_metrics(_folder_of(config), context.state.epoch)
        take_best(context, _folder_of(config))
    writes_events = config.run.tensorboard and group.is_master
    if eval_set is not None:
        evaluator = build_evaluator(config, context.network, dataset=eval_set, group=group)
        callbacks.append(EvalCallback(evaluator, samples=SAMPLES if writes_events else 0))
        if config.schedule.early_stop:
            callbacks.append(EarlyStopping())
    if group.is_master:
        callbacks.append(MetricsRecorder(rows))
    callbacks.append(CheckpointCallback())
    if writes_events:
        spec = config.data.dataset_config
        callbacks.append(TensorBoardWriter(context.folder, class_names=spec.class_names, palette=spec.palette))
    if upload is not None:
        callbacks.append(UploadCallback(upload))
    return callbacks


def _log_start(context: TrainContext, *, train_set: Any, eval_set: Any, notes: Iterable[str]) -> None:
    config = context.config
    graph, optimizer, run = config.network, config.optimizer, config.run
    parameters = count_parameters(context.network.trainable_params())
    heads = f"{graph.aux} auxiliary head{'' if graph.aux == 1 else 's'}"
    graph_text = ", ".join(filter(None, (graph.variant, graph.backbone, heads)))
    parts = f" x {optimizer.accumulate} accumulated" if optimizer.accumulate > 1 else ""
    steps = run.max_steps or config.schedule.epochs * context.steps_per_epoch
    crop = "x".join(map(str, config.data.crop_size))
    device = f"{run.device_target} {run.device_id}"
    if run.device_target == "Ascend":
        device += f" with precision mode {ascend_precision_mode(run.precision_mode)}"
    _LOG.info(f"{graph.model} ({graph_text}), {parameters / 1e6:.3f} M parameters, global batch "
              f"{config.global_batch_size} = {config.data.batch_size} x {run.group_size}{parts}, {steps} steps "
              f"({context.steps_per_epoch} per epoch), learning rate {config.learning_rate:.5g} "
              f"({config.schedule.lr_scheduler}), crop {crop}, {device}, MindSpore "
              f"{ms.__version__}")
    _LOG.info(f"{len(train_set)} training images, {len(eval_set) if eval_set is not None else 'no'} for evaluation; "
              f"results in {context.folder}")
    for note in filter(None, notes):
        _LOG.info(note)
    if optimizer.amp_level != "O0" and run.device_target == "CPU":
        _LOG.info(f"note: amp_level {optimizer.amp_level} on CPU is for checking only, it is slower than O0")
    _LOG.info("the first step compiles the graph, which takes a while")
