"""What a data set is: its classes, how its label files say them, and where its files are. Needs no MindSpore.

A specification is a YAML file, one of configs/datasets/ or the user's own. Its keys are those of
rtseg.data.spec_file, explained in docs/configuration.md.
"""
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from rtseg.data.spec_file import ColorClass, Entry, IdClass, SpecError, parse_spec, values_of
from rtseg.utils.errors import ConfigError
from rtseg.utils.files import configs_folder
from rtseg.utils.yaml_file import line_numbers, load_yaml

if TYPE_CHECKING:  # the tables import NumPy when they are made, so that --help starts at once
    import numpy as np

IGNORE_LABEL = 255
# Marks what the specification does not have, so that a wrong label file is found instead of being read as "ignore".
UNKNOWN_ID = 254
# What a split's name means in terms of the specification's splits.
SPLIT_PARTS = {"train": ("train",), "val": ("val",), "trainval": ("train", "val"), "test": ("test",),
               "testval": ("test", "val")}

Color = Tuple[int, int, int]


class LabelEntry(NamedTuple):
    """A class, or something in label files that is ignored."""

    name: str
    color: Optional[Color]                    # RGB, of masks; None for an id that is ignored
    values: Tuple[Union[int, Color], ...]     # in label files: ids or RGB colours


class Split(NamedTuple):
    """Where the files of a split are, relative to the data set's root: two folders, or a list file."""

    images: str = ""
    labels: str = ""
    list: str = ""
    label_suffix: str = ""


@dataclass(frozen=True)
class DatasetSpec:
    """A checked specification."""

    name: str
    classes: Tuple[LabelEntry, ...]
    ignored: Tuple[LabelEntry, ...]
    label_form: str
    unknown_labels: str
    splits: Dict[str, Split]
    image_suffix: str
    label_suffix: str
    train_id_suffix: str
    origin: Union[str, Dict[str, Any]]  # `dataset_config` of a YAML file: a name in configs/datasets, or all keys

    @property
    def num_classes(self) -> int:
        """Number of classes that are scored."""
        return len(self.classes)

    @property
    def class_names(self) -> Tuple[str, ...]:
        """By train id."""
        return tuple(entry.name for entry in self.classes)

    @property
    def palette(self) -> Tuple[Color, ...]:
        """RGB by train id."""
        return tuple(entry.color for entry in self.classes if entry.color is not None)

    @cached_property
    def id_table(self) -> "np.ndarray":
        """uint8[256]: `id_table[ids]` are train ids, IGNORE_LABEL or UNKNOWN_ID; for label files of ids."""
        return self._table(256, int)

    @cached_property
    def color_table(self) -> "np.ndarray":
        """uint8[1 << 24]: the same by colour, as the number 0xRRGGBB; for label files of colours."""
        return self._table(1 << 24, color_number)

    @cached_property
    def train_id_table(self) -> "np.ndarray":
        """uint8[256]: the same for label files that hold train ids already."""
        import numpy as np
        table = np.full(256, self._unknown, np.uint8)
        table[:self.num_classes] = np.arange(self.num_classes)
        table[IGNORE_LABEL] = IGNORE_LABEL
        table.flags.writeable = False
        return table

    @property
    def train_id_to_id(self) -> "np.ndarray":
        """uint8[256]: train ids back to ids of label files; everything else becomes the first id that is ignored."""
        if self.label_form == "colors":
            return self.train_id_table
        import numpy as np
        table = np.full(256, self.ignored[0].values[0] if self.ignored else IGNORE_LABEL, np.uint8)
        table[:self.num_classes] = [entry.values[0] for entry in self.classes]
        return table

    def holds_train_ids(self, file_name: str) -> bool:
        """Whether a label file of this name holds train ids already."""
        suffixes = filter(None, (self.label_suffix, self.train_id_suffix,
                                 *(split.label_suffix for split in self.splits.values())))
        longest = max((suffix for suffix in suffixes if file_name.endswith(suffix)), key=len, default="")
        return longest != "" and longest == self.train_id_suffix

    @property
    def _unknown(self) -> int:
        return IGNORE_LABEL if self.unknown_labels == "ignore" else UNKNOWN_ID

    def _table(self, size: int, number: Callable) -> "np.ndarray":
        import numpy as np
        table = np.full(size, self._unknown, np.uint8)
        if size == 256:
            table[IGNORE_LABEL] = IGNORE_LABEL
        for entry in self.ignored:
            table[[number(value) for value in entry.values]] = IGNORE_LABEL
        for train_id, entry in enumerate(self.classes):
            table[[number(value) for value in entry.values]] = train_id
        table.flags.writeable = False
        return table

    def parts(self, split: str, labelled: bool = True) -> Tuple[str, ...]:
        """The names in `splits` that make up `split`: a key of SPLIT_PARTS.

        Raises:
            ConfigError: there is no such split, or `labelled` and it has no labels.
        """
        if split not in SPLIT_PARTS:
            raise ConfigError(f"unknown split '{split}': expected one of {', '.join(SPLIT_PARTS)}")
        for part in SPLIT_PARTS[split]:
            if part not in self.splits:
                raise ConfigError(f"split '{split}': the data set '{self.name}' has no '{part}', only "
                                  f"{', '.join(self.splits)}; expected one of them, or it in the specification's "
                                  "splits")
            if labelled and not (self.splits[part].labels or self.splits[part].list and not self.splits[part].images):
                raise ConfigError(f"split '{split}': the data set '{self.name}' has no labels of it; expected a split "
                                  "with labels")
        return SPLIT_PARTS[split]


def color_number(color: Color) -> int:
    """0xRRGGBB."""
    return color[0] << 16 | color[1] << 8 | color[2]


def load_dataset_spec(name: Union[str, Path]) -> DatasetSpec:
    """The specification in the YAML file `name`, or, if it is a word without suffix, in configs/datasets/<name>.yaml.

    Raises:
        ConfigError: no such file, or what is wrong in it: the line, the key, what was expected and what was found.
    """
    path, origin = Path(name), None
    if path.name == str(name) and not path.suffix:
        path, origin = configs_folder() / "datasets" / f"{name}.yaml", str(name)
        if not os.path.isfile(path):  # unlike Path.is_file, False for a name that is too long
            known = ", ".join(sorted(file.stem for file in (configs_folder() / "datasets").glob("*.yaml")))
            raise ConfigError(f"--dataset_config {name}: expected a YAML file or one of {known}, found neither")
    content = load_yaml(path, "--dataset_config")
    try:
        return _build(content, origin or content)
    except SpecError as wrong:
        raise ConfigError(f"{path}, line {line_numbers(path).get(wrong.key, 1)}: {wrong}") from None


def dataset_spec_of(content: Dict[str, Any], source: str) -> DatasetSpec:
    """The specification whose keys `content` has; `source` says in error messages where they stand.

    Raises:
        ConfigError: what is wrong in it.
    """
    try:
        return _build(content, content)
    except SpecError as wrong:
        raise ConfigError(f"{source}: {wrong}") from None


def _build(content: Mapping[str, Any], origin: Union[str, Dict[str, Any]]) -> DatasetSpec:
    file = parse_spec(content)
    class_entries: Sequence[Union[IdClass, ColorClass]] = file.classes
    ignored_entries: Sequence[Entry] = file.ignored
    classes = tuple(LabelEntry(entry.name, _rgb(entry.color), values_of(entry) or (train_id,))
                    for train_id, entry in enumerate(class_entries))
    ignored = tuple(LabelEntry(entry.name, _rgb(getattr(entry, "color", None)), values_of(entry))
                    for entry in ignored_entries)
    splits = {name: Split(files.images or "", files.labels or "", files.list or "",
                          files.label_suffix or file.label_suffix or "")
              for name, files in file.splits if files is not None}
    return DatasetSpec(file.name, classes, ignored, file.label_form, file.unknown_labels, splits,
                       file.image_suffix or "", file.label_suffix or "", file.train_id_suffix or "", origin)


def _rgb(color: Optional[Sequence[int]]) -> Optional[Color]:
    return None if color is None else (color[0], color[1], color[2])
