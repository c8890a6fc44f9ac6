"""`Config`: the sections together, and where in them the value of each flag is."""
from typing import Any, Dict, FrozenSet, Iterable, Mapping, NamedTuple, Type, cast

import yaml
from pydantic import PrivateAttr
from pydantic.fields import FieldInfo

from rtseg.config.fields import Section, extra_of
from rtseg.config.sections import (Data, Evaluation, Export, Loss, ModelArts, Network, Optimizer, Prediction, Run,
                                   Schedule)

# A CPU computes with the cores that more threads would take; the host of NPUs has about 24 cores for each.
_NUM_WORKERS = {"Ascend": 16, "CPU": 2, "GPU": 16}
FILE_NAME = "config.yaml"  # of the resolved configuration, in a run's folder
# Only of this start: a saved configuration can be used on any number of processes, and with its own run's checkpoints.
_NOT_SAVED = ("is_distributed", "rank", "group_size", "inputs", "resume_path", "resume_name")


class Config(Section):
    """Everything that a command needs to know."""

    network: Network
    data: Data
    loss: Loss
    optimizer: Optimizer
    schedule: Schedule
    evaluation: Evaluation
    run: Run
    modelarts: ModelArts
    prediction: Prediction
    export: Export
    _given: FrozenSet[str] = PrivateAttr(default=frozenset())

    def with_given(self, flags: Iterable[str]) -> "Config":
        """The same, which knows that the command line had these flags."""
        self._given = frozenset(flags)
        return self

    def was_given(self, flag: str) -> bool:
        """Whether `--<flag>` was on the command line, rather than in the recipe or nowhere."""
        return flag in self._given

    @property
    def global_batch_size(self) -> int:
        """Images per update over all processes, as far as their number is known."""
        return self.data.batch_size * self.optimizer.accumulate * (self.run.group_size or 1)

    @property
    def num_workers(self) -> int:
        """`num_workers` if given, else what suits the device."""
        given = self.data.num_workers
        return _NUM_WORKERS.get(self.run.device_target, _NUM_WORKERS["CPU"]) if given is None else given

    @property
    def learning_rate(self) -> float:
        """`lr` if given, else `base_lr` scaled with the global batch."""
        optimizer = self.optimizer
        if optimizer.lr is not None:
            return optimizer.lr
        return optimizer.base_lr * self.global_batch_size / optimizer.base_lr_batch_size

    def value(self, flat_name: str) -> Any:
        """The value of the flag `--<flat_name>`."""
        entry = FIELDS[flat_name]
        return getattr(getattr(self, entry.section), entry.name)

    def replace(self, **values: Any) -> "Config":
        """A copy with other values of the flags `values`, which are not checked again."""
        return self.model_copy(update={section: getattr(self, section).model_copy(update=changes)
                                       for section, changes in nested(values).items()})

    def dump(self) -> str:
        """YAML that `--config` reads back."""
        values = {name: self.value(name) for name in FIELDS if name not in _NOT_SAVED}
        values["dataset_config"] = self.data.dataset_config.origin
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        return yaml.safe_dump(nested(plain), sort_keys=False, default_flow_style=None)


class Entry(NamedTuple):
    """Where a flag's value is in `Config`."""

    section: str
    name: str
    field: FieldInfo


SECTIONS: Dict[str, Type[Section]] = {name: cast(Type[Section], field.annotation)
                                      for name, field in Config.model_fields.items()}
# By the names of the flags, which are also the keys of recipes without sections.
FIELDS: Dict[str, Entry] = {extra_of(field)["flag"] or name: Entry(section, name, field)
                            for section, model in SECTIONS.items() for name, field in model.model_fields.items()}
FLAG_OF = {(entry.section, entry.name): flat for flat, entry in FIELDS.items()}


def nested(flat: Mapping[str, Any]) -> Dict[str, Dict[str, Any]]:
    """Values by section and field, of values by flag."""
    sections: Dict[str, Dict[str, Any]] = {}
    for flag, value in flat.items():
        sections.setdefault(FIELDS[flag].section, {})[FIELDS[flag].name] = value
    return sections
