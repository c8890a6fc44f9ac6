"""Checkpoint files of MindSpore: writing them atomically, and loading the weights in them into a network.

The state of a run (rtseg.training.checkpoint) is such a file too, with more in it than weights.
"""
import os
from pathlib import Path
from typing import Dict, Optional, Sequence, Union

import mindspore as ms
import numpy as np
from mindspore import nn

from rtseg.config.config import Config
from rtseg.models.parameter_names import is_auxiliary, is_backbone, is_classifier, is_weight
from rtseg.models.reference_names import convert_modelzoo, is_modelzoo
from rtseg.models.registry import create_model
from rtseg.utils.atomic import atomic_write
from rtseg.utils.errors import DataError, UserError

PathLike = Union[str, Path]

# What the state of a run has besides weights.
STATE_PREFIX = "state."
AVERAGE_PREFIX = "average."  # of the averages of the weights among what a step keeps
TRAIN_STATE_KEY = "progress"  # the name of older versions, whose files stay readable


def save_weights(path: PathLike, network: nn.Cell) -> None:
    """Writes the network's weights to `path` (.ckpt), atomically.

    Raises:
        UserError: a weight is not finite; the file under this name stays as it was.
    """
    write_checkpoint(path, _weights_of(network))


def write_checkpoint(path: PathLike, parameters: Dict[str, ms.Tensor], *,
                     texts: Optional[Dict[str, str]] = None) -> None:
    """Writes parameters and texts by name to `path` (.ckpt), atomically.

    Raises:
        UserError: a value is not finite; the file under this name stays as it was.
    """
    broken = [name for name, parameter in parameters.items() if not np.isfinite(parameter.asnumpy()).all()]
    if broken:
        raise UserError(f"{path} is not written: expected finite weights, found NaN or infinity in {_some(broken)}")
    with atomic_write(path) as temporary:
        ms.save_checkpoint([{"name": name, "data": parameter} for name, parameter in parameters.items()],
                           str(temporary), append_dict=texts or {})
        os.chmod(temporary, 0o644)  # MindSpore leaves it read-only, which surprises whoever copies over it


def read_checkpoint(path: PathLike) -> Dict[str, ms.Parameter]:
    """All entries of a MindSpore checkpoint file.

    Raises:
        DataError: no such file, or not a checkpoint.
    """
    if not Path(path).is_file():
        raise DataError(f"expected a checkpoint file, found none at {path}")
    try:
        return ms.load_checkpoint(str(path))
    except (ValueError, TypeError, OSError, RuntimeError, KeyError, IndexError, AttributeError, OverflowError,
            MemoryError) as error:
        reason = [type(error).__name__, *str(error).splitlines()[:1]]
        raise DataError(f"{path}: expected a MindSpore checkpoint (.ckpt), found a file that cannot be read as one; it "
                        f"may be truncated or of another kind ({': '.join(reason)})") from None


def load_weights(path: PathLike, network: nn.Cell) -> None:
    """Loads weights (or the weights of a whole state) into `network`.

    Auxiliary heads that the network does not have are left out; nothing is loaded unless everything fits.

    Raises:
        DataError: no checkpoint, or parameters that are missing, extra or of another shape, all of them named.
    """
    found = _weights_in(path)
    wanted = _weights_of(network)
    found = {name: value for name, value in found.items() if name in wanted or not is_auxiliary(name)}
    assign(path, wanted, found=found)


def trained_network(config: Config, path: PathLike) -> nn.Cell:
    """The network that `config` describes, with the weights in `path` and without auxiliary heads.

    Raises:
        DataError: see `load_weights`.
    """
    graph = config.network
    network = create_model(graph.model, graph.variant, num_classes=config.data.dataset_config.num_classes,
                           backbone=graph.backbone)
    load_weights(path, network)
    return network


def load_pretrained(path: PathLike, network: nn.Cell) -> str:
    """Loads what a new run starts from: the weights of a whole network, or of its backbone alone.

    Auxiliary heads may be missing or extra, and classifiers of another number of classes stay fresh.

    Returns:
        one line that says what was taken.

    Raises:
        DataError: no checkpoint, or parameters that do not fit, all of them named.
    """
    found = _weights_in(path)
    wanted = _weights_of(network)
    backbone_only = all(map(is_backbone, found))
    other_classes = {name for name in wanted if name in found and _differs_in_classes(wanted[name], found[name])}
    fresh = {name for name in wanted if name in other_classes or name not in found and (
        is_auxiliary(name) or backbone_only and not is_backbone(name))}
    extra = {name for name in found if name not in wanted and is_auxiliary(name)}
    assign(path, {name: wanted[name] for name in wanted if name not in fresh},
           found={name: found[name] for name in found if name not in other_classes | extra})
    taken = "the backbone" if backbone_only else "the weights"
    return (f"pretrained: took {taken} from {path}, {len(wanted) - len(fresh)} of {len(wanted)} parameters"
            + (f"; fresh: {_some(sorted(fresh), 4)}" if fresh else ""))


def _differs_in_classes(wanted: ms.Parameter, found: ms.Parameter) -> bool:
    """Whether these are classifiers that differ in nothing but their number of classes, the first dimension."""
    return (is_classifier(wanted.name) and wanted.shape[0] != found.shape[0]
            and wanted.shape[1:] == found.shape[1:])


def _weights_of(network: nn.Cell) -> Dict[str, ms.Parameter]:
    return {name: parameter for name, parameter in network.parameters_dict().items() if is_weight(name)}


def _weights_in(path: PathLike) -> Dict[str, ms.Parameter]:
    """The weights alone of a checkpoint file: one of weights, the model zoo's Fast-SCNN, or the state of a run, whose
    averages count if there are any."""
    found = read_checkpoint(path)
    if is_modelzoo(found):
        found = convert_modelzoo(found)
    weights = {name: value for name, value in found.items()
               if not name.startswith(STATE_PREFIX) and name != TRAIN_STATE_KEY and is_weight(name)}
    prefix = STATE_PREFIX + AVERAGE_PREFIX
    weights.update({name[len(prefix):]: value for name, value in found.items() if name.startswith(prefix)})
    return weights


def assign(path: PathLike, wanted: Dict[str, ms.Parameter], *, found: Dict[str, ms.Parameter]) -> None:
    """Gives the parameters `wanted` the values `found` in `path`.

    Raises:
        DataError: parameters that are missing, extra or of another shape; nothing is assigned then.
    """
    missing = [name for name in wanted if name not in found]
    extra = [name for name in found if name not in wanted]
    shapes = [f"{name} (expected {tuple(wanted[name].shape)}, found {tuple(found[name].shape)})"
              for name in wanted if name in found and tuple(wanted[name].shape) != tuple(found[name].shape)]
    if shapes and not missing and not extra:
        _check_classes(path, wanted, found=found)
    if missing or extra or shapes:
        lines = [f"{title} {len(names)}: {_some(names)}" for title, names in
                 (("missing", missing), ("extra", extra), ("of another shape", shapes)) if names]
        raise DataError(f"{path} does not fit this network; parameters\n  " + "\n  ".join(lines) + "\nIs it of another "
                        "--model or variant? A run's own settings are in its config.yaml: pass it as --config.")
    for name, parameter in wanted.items():
        parameter.set_data(ms.Tensor(found[name].asnumpy(), parameter.dtype))


def _check_classes(path: PathLike, wanted: Dict[str, ms.Parameter], *, found: Dict[str, ms.Parameter]) -> None:
    """Raises DataError when nothing differs but the number of classes, the first dimension of all that differ."""
    shapes = [(wanted[name].shape, found[name].shape) for name in wanted if wanted[name].shape != found[name].shape]
    numbers = {(expected[:1], got[:1]) for expected, got in shapes}
    if len(numbers) == 1 and all(expected[1:] == got[1:] for expected, got in shapes):
        ((expected,), (got,)), = numbers
        raise DataError(f"{path}: expected a network for the {expected} classes of the data set, found one for {got}. "
                        "Give the data set that it was trained for: --config with the run's config.yaml, or "
                        "--dataset_config. To train it further with other classes, use --pretrained.")


def _some(names: Sequence[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
