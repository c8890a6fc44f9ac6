"""The whole state of a run, with which it resumes exactly. The weights alone: rtseg.models.weights."""
import dataclasses
import hashlib
import json
import math
from pathlib import Path
from typing import Dict, Iterable, Optional

import mindspore as ms
from mindspore import nn

from rtseg.config.config import Config
from rtseg.models.parameter_names import is_weight
from rtseg.models.weights import STATE_PREFIX, TRAIN_STATE_KEY, PathLike, assign, read_checkpoint, write_checkpoint
from rtseg.training import run_folder
from rtseg.utils.errors import DataError

_BEST_KEY = STATE_PREFIX + "best"  # whoever loads weights, older versions too, passes over names with this prefix


@dataclasses.dataclass
class TrainState:
    """Where a run stands. The order of the data and its augmentation follow from `seed`, `epoch` and `step` alone, so
    these and the dropout layers' counters are all the random state there is."""

    epoch: int = 0          # complete epochs
    step: int = 0           # steps done in the epoch after them
    loss_sum: float = 0.0   # over those steps
    best_miou: float = -1.0
    best_epoch: int = 0
    last_miou: float = -1.0
    seed: int = 1
    global_batch_size: int = 0
    steps_per_epoch: int = 0  # 0: of an older version, which did not note it


def save_state(path: PathLike, network: nn.Cell, *, step_state: Dict[str, ms.Parameter],
               train_state: TrainState) -> None:
    """Writes weights, `step_state` (optimizer, loss scale and the like, by name) and `train_state`, atomically.

    Raises:
        UserError: a value is not finite; the file under this name stays as it was.
    """
    write_checkpoint(path, _parameters(network, step_state),
                     texts={TRAIN_STATE_KEY: json.dumps(dataclasses.asdict(train_state))})


def load_state(path: PathLike, network: nn.Cell, *, step_state: Dict[str, ms.Parameter]) -> TrainState:
    """Loads everything that `save_state` wrote; nothing is loaded unless everything fits.

    Raises:
        DataError: see `load_weights`; or the file holds weights only.
    """
    found = read_checkpoint(path)
    if TRAIN_STATE_KEY not in found:
        raise DataError(f"{path}: expected the state of a run ({run_folder.LAST}), found weights only. "
                        "Use --pretrained to start a new run from them.")
    train_state = _read_train_state(path, found.pop(TRAIN_STATE_KEY))
    assign(path, _parameters(network, step_state), found=found)
    return train_state


def save_best(path: PathLike, network: nn.Cell, *, train_state: TrainState) -> None:
    """Writes the network's weights, with `best_epoch` and `best_miou` of `train_state` as whose they are, atomically.

    Raises:
        UserError: a weight is not finite; the file under this name stays as it was.
    """
    best = {"best_epoch": train_state.best_epoch, "best_miou": train_state.best_miou}
    write_checkpoint(path, {name: parameter for name, parameter in network.parameters_dict().items()
                            if is_weight(name)}, texts={_BEST_KEY: json.dumps(best)})


def read_best(path: PathLike) -> Optional[TrainState]:
    """A state with the `best_epoch` and `best_miou` that `save_best` wrote; None for a file without them.

    Raises:
        DataError: the file is damaged.
    """
    text = read_checkpoint(path).get(_BEST_KEY)
    return None if text is None else _read_train_state(path, text)


def _parameters(network: nn.Cell, step_state: Dict[str, ms.Parameter]) -> Dict[str, ms.Parameter]:
    """By their names in the file."""
    return {**network.parameters_dict(), **{STATE_PREFIX + name: value for name, value in step_state.items()}}


def _read_train_state(path: PathLike, text: str) -> TrainState:
    try:
        state = TrainState(**json.loads(text))
        for field in dataclasses.fields(TrainState):
            value = getattr(state, field.name)
            if field.type is int and (type(value) is not int or not 0 <= value < 2 ** 31):
                raise ValueError(f"{field.name} is {value!r}")
            if not math.isfinite(value):
                raise ValueError(f"{field.name} is {value!r}")
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise DataError(f"{path}: expected the state of a run, found a damaged one ({error}). Use --pretrained to "
                        "start a new run from its weights.") from None
    return state


def checkpoint_path(config: Config, default_name: str) -> Path:
    """The file that --resume_path and --resume_name mean: path may be the file itself, or the folder of it."""
    path = Path(config.run.resume_path or ".")
    if path.is_file() and not config.run.resume_name:
        return path
    return path / (config.run.resume_name or default_name)


def digests(network: nn.Cell) -> Dict[str, str]:
    """Parameter name -> 16 hexadecimal digits that differ where any bit of its value does."""
    return {name: hashlib.sha256(parameter.asnumpy().tobytes()).hexdigest()[:16]
            for name, parameter in network.parameters_dict().items()}


def count_parameters(parameters: Iterable[ms.Parameter]) -> int:
    """Number of values in `parameters`."""
    return sum(math.prod(parameter.shape) for parameter in parameters)
