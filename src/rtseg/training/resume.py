"""Where a training begins: fresh or pretrained weights, or the state of an earlier run."""
import json
import logging
import shutil
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from mindspore import Parameter, nn

from rtseg.config.checks import AUTO_RESUME
from rtseg.config.config import Config
from rtseg.models.weights import load_pretrained
from rtseg.training import run_folder
from rtseg.training.checkpoint import TrainState, checkpoint_path, digests, load_state, read_best
from rtseg.training.context import TrainContext
from rtseg.utils.atomic import atomic_write
from rtseg.utils.errors import ConfigError, DataError
from rtseg.utils.logging import LOGGER_NAME

# Ranks that differ in one of these would wait for each other in vain, or learn different things.
_SAME_ON_ALL_RANKS = ("seed", "diff_seed", "batch_size", "accumulate", "epochs", "max_steps", "crop_size", "loss",
                      "aux_weight", "class_weights", "momentum", "weight_decay", "clip_norm", "ema_decay", "amp_level",
                      "loss_scale", "eval_while_train", "eval_steps", "eval_start_epoch", "early_stop", "log_interval")
_LOG = logging.getLogger(LOGGER_NAME)


def resolve_auto(config: Config) -> Config:
    """With `--resume_path auto` the configuration that continues the newest run in output_path, if there is one."""
    if config.run.resume_path != AUTO_RESUME:
        return config
    newest = run_folder.newest_run(config.run.output_path)
    return config.replace(resume_path=str(newest or ""), resume_name="")


def is_resumed(config: Config) -> bool:
    """Whether the run continues another one."""
    return bool(config.run.resume_path or config.run.resume_name)


def load_start(config: Config, network: nn.Cell, *, step_state: Dict[str, Parameter],
               steps_per_epoch: int, may_be_complete: bool = False) -> Tuple[TrainState, str]:
    """Loads what the configuration says to start from.

    Args:
        step_state: name -> parameter of what a resumed run needs next to the network's.
        may_be_complete: a run that has no epoch left is no error.

    Returns:
        where the training stands, and a line that says what was loaded ("" for nothing).

    Raises:
        ConfigError, DataError: the run cannot be continued like this.
    """
    run = config.run
    if not is_resumed(config):
        note = load_pretrained(run.pretrained, network) if run.pretrained else ""
        return TrainState(seed=run.seed, global_batch_size=config.global_batch_size,
                          steps_per_epoch=steps_per_epoch), note
    path = checkpoint_path(config, run_folder.LAST)
    state = load_state(path, network, step_state=step_state)
    if state.seed != run.seed:
        raise ConfigError(f"{path}: expected --seed {state.seed}, with which the run began, found {run.seed}")
    if state.global_batch_size != config.global_batch_size:
        raise ConfigError(_wrong_batch(config, path, expected=state.global_batch_size))
    if state.steps_per_epoch not in (0, steps_per_epoch):
        # The optimizer counts its steps, and takes each step's learning rate by that count.
        raise ConfigError(f"{path}: expected the data set with which the run began, {state.steps_per_epoch} steps per "
                          f"epoch, found {steps_per_epoch}; use that one, or --pretrained {path} in place of "
                          "--resume_path to begin a new run from the weights")
    if state.epoch >= config.schedule.epochs and not may_be_complete:
        raise ConfigError(f"{path}: the run is complete with {state.epoch} epochs; expected --epochs to be more, found "
                          f"{config.schedule.epochs}")
    if state.step > steps_per_epoch:
        raise DataError(f"{path}: was saved after step {state.step} of an epoch, but an epoch has {steps_per_epoch}; "
                        "expected the data set with which the run began")
    state.steps_per_epoch = steps_per_epoch
    return state, f"resumed from {path} after epoch {state.epoch}, step {state.step} of the next"


def _wrong_batch(config: Config, path: Path, *, expected: int) -> str:
    parts, ranks = config.optimizer.accumulate, config.run.group_size or 1
    share, rest = divmod(expected, ranks * parts)
    product = f"{config.data.batch_size} x {ranks}" + (f" x {parts}" if parts > 1 else "")
    advice = f"a number of processes that divides {expected}" if rest else f"--batch_size {share}"
    return (f"{path}: expected a global batch of {expected}, with which the run began, found {product} = "
            f"{config.global_batch_size}; use {advice}")


def take_best(context: TrainContext, source: Path) -> None:
    """Copies the best checkpoint of the run in `source`, which this one continues, and takes its epoch and mIoU.

    They are those in the file: a run that was killed after writing it did not save them in its state.

    Raises:
        DataError: the file is damaged.
    """
    path, state, found = source / run_folder.BEST, context.state, ""
    if context.group.is_master and path.is_file():
        best = read_best(path) or state  # older versions noted it in the state only
        if best.best_epoch:
            with atomic_write(context.folder / run_folder.BEST) as temporary:
                shutil.copyfile(path, temporary)
            found = json.dumps([best.best_epoch, best.best_miou])
    found = context.group.broadcast(found)
    if state.best_epoch and not found:
        _LOG.warning(f"{source}: expected {run_folder.BEST} of epoch {state.best_epoch}, found none; the best of "
                     "this run begins anew")
    state.best_epoch, state.best_miou = json.loads(found) if found else (0, -1.0)


def replica_fingerprint(config: Config, network: nn.Cell, *, lr_per_step: List[float], state: TrainState,
                        train_set: Any, eval_set: Optional[Any]) -> Dict[str, str]:
    """What must be the same on all ranks when training starts, the weights to the last bit."""
    facts = {f"--{name}": repr(config.value(name)) for name in _SAME_ON_ALL_RANKS}
    facts.update({"the number of training images": str(len(train_set)), "the learning rates": repr(sum(lr_per_step)),
                  "the number of evaluation images": str(eval_set and len(eval_set)),
                  "the progress of the run": repr(state)})
    facts.update({f"parameter {name}": digest for name, digest in digests(network).items()})
    return facts
