"""What a data set is: its classes, how its label files say them, and where its files are. Needs no MindSpore.

A description is a YAML file, one of configs/datasets/ or the user's own, with these keys:

name             of the data set
classes          2 to 254, in the order of their train ids 0, 1, 2...; each has
                   name
                   color         [R, G, B] in which it is drawn
                   id            value in label files of ids, or a list of values that all mean this class; either all
                                 classes have it, or none: then it is the train id
                   label_colors  list of colours in label files of colours, if they are others than `color`
ignored          (none) what label files hold but nobody scores: a list of entries like those of `classes`, of which
                 only those in label files of colours have a colour. The id 255 is always ignored unless a class has it
label_form       (ids) ids: PNG files with one channel, or with a palette whose indices count; colors: PNG files in RGB
unknown_labels   (error) what an id or colour that stands nowhere here is: error or ignore
splits           one or more of train, val, test, each with
                   images, labels  folders below the data set's root; test may lack labels
                 or
                   list            text file below the root with the lines `image label`, paths relative to the root
image_suffix     needed with folders: what the name of an image (.png, .jpg) ends with, after the part that the names of
label_suffix     an image and its label have in common; both may be in sub-folders, which must have the same names then
train_id_suffix  (none) of label files that hold train ids already; taken where there is no other label
"""
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from reprlib import repr as short
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple, Union

import numpy as np

from rtseg.utils.errors import ConfigError
from rtseg.utils.files import configs_folder
from rtseg.utils.yaml_file import line_numbers, load_yaml

IGNORE_LABEL = 255
# Marks what the description does not have, so that a wrong label file is found instead of being read as "ignore".
UNKNOWN_ID = 254
MAX_CLASSES = 254
# What a split's name means in terms of the description's splits.
SPLIT_PARTS = {"train": ("train",), "val": ("val",), "trainval": ("train", "val"), "test": ("test",)}

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


@dataclass(frozen=True)
class DatasetSpec:
    """A checked description; the module's text explains the fields."""

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
        return tuple(entry.color for entry in self.classes)

    @cached_property
    def id_table(self) -> np.ndarray:
        """uint8[256]: `id_table[ids]` are train ids, IGNORE_LABEL or UNKNOWN_ID; for label files of ids."""
        return self._table(256, int)

    @cached_property
    def color_table(self) -> np.ndarray:
        """uint8[1 << 24]: the same by colour, as the number 0xRRGGBB; for label files of colours."""
        return self._table(1 << 24, color_number)

    @cached_property
    def train_id_table(self) -> np.ndarray:
        """uint8[256]: the same for label files that hold train ids already."""
        table = np.full(256, self._unknown, np.uint8)
        table[:self.num_classes] = np.arange(self.num_classes)
        table[IGNORE_LABEL] = IGNORE_LABEL
        table.flags.writeable = False
        return table

    @property
    def train_id_to_id(self) -> np.ndarray:
        """uint8[256]: train ids back to ids of label files; everything else becomes the first id that is ignored."""
        if self.label_form == "colors":
            return self.train_id_table
        table = np.full(256, self.ignored[0].values[0] if self.ignored else IGNORE_LABEL, np.uint8)
        table[:self.num_classes] = [entry.values[0] for entry in self.classes]
        return table

    def holds_train_ids(self, file_name: str) -> bool:
        """Whether a label file of this name holds train ids already."""
        suffixes = filter(None, (self.label_suffix, self.train_id_suffix))
        longest = max((suffix for suffix in suffixes if file_name.endswith(suffix)), key=len, default="")
        return longest != "" and longest == self.train_id_suffix

    @property
    def _unknown(self) -> int:
        return IGNORE_LABEL if self.unknown_labels == "ignore" else UNKNOWN_ID

    def _table(self, size: int, number: Callable) -> np.ndarray:
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
        """The names in `splits` that make up `split`: train, val, trainval or test.

        Raises:
            ConfigError: there is no such split, or `labelled` and it has no labels.
        """
        if split not in SPLIT_PARTS:
            raise ConfigError(f"unknown split '{split}': expected one of {', '.join(SPLIT_PARTS)}")
        for part in SPLIT_PARTS[split]:
            if part not in self.splits:
                raise ConfigError(f"split '{split}': the data set '{self.name}' has no '{part}', only "
                                  f"{', '.join(self.splits)}; expected one of them, or it in the description's splits")
            if labelled and not (self.splits[part].labels or self.splits[part].list):
                raise ConfigError(f"split '{split}': the data set '{self.name}' has no labels of it; expected a split "
                                  "with labels")
        return SPLIT_PARTS[split]


def color_number(color: Color) -> int:
    """0xRRGGBB."""
    return color[0] << 16 | color[1] << 8 | color[2]


def load_dataset_spec(name: Union[str, Path]) -> DatasetSpec:
    """The description in the YAML file `name`, or, if it is a word without suffix, in configs/datasets/<name>.yaml.

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
    except _Wrong as wrong:
        lines = line_numbers(path)
        raise ConfigError(f"{path}, line {lines.get(wrong.key, 1)}: {wrong}") from None


def description_of(content: Dict[str, Any], source: str) -> DatasetSpec:
    """The description whose keys `content` has; `source` says in error messages where they stand.

    Raises:
        ConfigError: what is wrong in it.
    """
    try:
        return _build(content, content)
    except _Wrong as wrong:
        raise ConfigError(f"{source}: {wrong}") from None


class _Wrong(Exception):
    """Something in a description; `key` is where, such as "classes[3].color"."""

    def __init__(self, key: str, problem: str):
        super().__init__(f"key '{key}': {problem}" if key else problem)
        self.key = key


def _build(content, origin) -> DatasetSpec:
    _check_keys(content, "", ("name", "classes", "splits"), ("ignored", "label_form", "unknown_labels", "image_suffix",
                                                             "label_suffix", "train_id_suffix"))
    form = _choice(content, "label_form", ("ids", "colors"))
    classes = _entries(content, "classes", form)
    if not 2 <= len(classes) <= MAX_CLASSES:
        raise _Wrong("classes", f"expected 2 to {MAX_CLASSES} classes, found {len(classes)}")
    if form == "ids" and len({entry.values == () for entry in classes}) == 2:
        without = next(i for i, entry in enumerate(classes) if not entry.values)
        raise _Wrong(f"classes[{without}]", "expected an 'id', as other classes have one (or no 'id' anywhere: then it "
                     "is the class's position, counted from 0)")
    if form == "ids":
        classes = tuple(entry._replace(values=entry.values or (i,)) for i, entry in enumerate(classes))
    ignored = _entries(content, "ignored", form)
    _check_unique(classes, ignored)
    suffixes = [_text(content, key, default="") for key in ("image_suffix", "label_suffix", "train_id_suffix")]
    if suffixes[2] and suffixes[2] == suffixes[1]:
        raise _Wrong("train_id_suffix", f"expected another suffix than label_suffix, found {suffixes[2]} again")
    splits = _splits(content, *suffixes[:2])
    return DatasetSpec(_text(content, "name"), classes, ignored, form,
                              _choice(content, "unknown_labels", ("error", "ignore")), splits, *suffixes, origin)


def _entries(content, key: str, form: str) -> Tuple[LabelEntry, ...]:
    items = content.get(key, [])
    if not isinstance(items, list):
        raise _Wrong(key, f"expected a list of entries '- {{name: ..., color: [R, G, B]}}', found {short(items)}")
    return tuple(_entry(item, f"{key}[{i}]", form, is_class=key == "classes") for i, item in enumerate(items))


def _entry(item, where: str, form: str, is_class: bool) -> LabelEntry:
    if form == "ids":
        needed, optional = (("name", "color"), ("id",)) if is_class else (("name", "id"), ())
    else:
        needed, optional = ("name", "color"), ("label_colors",)
    _check_keys(item, where, needed, optional)
    name = _text(item, "name", where)
    color = _color(item["color"], f"{where}.color") if "color" in item else None
    if form == "ids":
        values = item.get("id", [])
        values = values if isinstance(values, list) else [values]
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 255:
                raise _Wrong(f"{where}.id", f"expected an id of 0..255, or a list of them, found {short(item['id'])}")
        if "id" in item and not values:
            raise _Wrong(f"{where}.id", "expected at least one id, found none")
        return LabelEntry(name, color, tuple(values))
    values = item.get("label_colors", [item["color"]])
    if not isinstance(values, list) or not values:
        raise _Wrong(f"{where}.label_colors", f"expected a list of colours [R, G, B], found {short(values)}")
    return LabelEntry(name, color, tuple(_color(value, f"{where}.label_colors[{i}]") for i, value in enumerate(values)))


def _splits(content, image_suffix: str, label_suffix: str) -> Dict[str, Split]:
    splits = {}
    _check_keys(content["splits"], "splits", (), ("train", "val", "test"))
    if not content["splits"]:
        raise _Wrong("splits", "expected one or more of train, val, test, found none")
    for name, item in content["splits"].items():
        where = f"splits.{name}"
        if isinstance(item, dict) and "list" in item:
            _check_keys(item, where, ("list",), ())
            splits[name] = Split(list=_text(item, "list", where))
            continue
        _check_keys(item, where, ("images",) if name == "test" else ("images", "labels"), ("labels",),
                    " (or 'list' alone)")
        split = Split(_text(item, "images", where), _text(item, "labels", where, default=""))
        for key, suffix in (("image_suffix", image_suffix), ("label_suffix", label_suffix)):
            if not suffix and (key == "image_suffix" or split.labels):
                raise _Wrong(key, f"expected what the names in the folders of {where} end with, such as .png, found "
                                  "nothing")
        if image_suffix == label_suffix and Path(split.images) == Path(split.labels):
            raise _Wrong(where, "expected images and labels to differ in their folder or their suffix, found the same")
        splits[name] = split
    return splits


def _check_keys(item, where: str, needed, optional, hint: str = "") -> None:
    if not isinstance(item, dict):
        raise _Wrong(where, f"expected 'key: value' lines, found {short(item)}")
    for key in item:
        if key not in needed + optional:
            raise _Wrong(f"{where}.{str(key)[:100]}".lstrip("."),
                         f"is unknown; expected {', '.join(dict.fromkeys(needed + optional))}{hint}")
    missing = [key for key in needed if key not in item]
    if missing:
        raise _Wrong(where, f"expected {', '.join(needed)}{hint}, found no {', no '.join(missing)}")


def _check_unique(classes, ignored) -> None:
    entries = [(f"{key}[{i}]", entry) for key, group in (("classes", classes), ("ignored", ignored))
               for i, entry in enumerate(group)]
    for what, values_of in (("name", lambda entry: [entry.name]), ("id or label colour", lambda entry: entry.values),
                            ("color", lambda entry: [entry.color])):
        seen = {}
        for where, entry in entries if what != "color" else entries[:len(classes)]:
            for value in values_of(entry):
                if value in seen:
                    raise _Wrong(where, f"expected another {what} than {seen[value]}, found {short(value)} again")
                seen[value] = where


def _text(item, key: str, where: str = "", default: Optional[str] = None) -> str:
    value = item.get(key, default)
    is_line = isinstance(value, str) and value.isprintable() and value.strip() == value
    if not is_line or (not value and default is None):
        raise _Wrong(f"{where}.{key}" if where else key, "expected text in one line (in quotes, if YAML takes it for "
                     f"something else), found {short(value)}")
    return value


def _choice(content, key: str, names) -> str:
    value = content.get(key, names[0])
    if value not in names:
        raise _Wrong(key, f"expected {' or '.join(names)}, found {short(value)}")
    return value


def _color(value, where: str) -> Color:
    if not (isinstance(value, list) and len(value) == 3
            and all(isinstance(part, int) and not isinstance(part, bool) and 0 <= part <= 255 for part in value)):
        raise _Wrong(where, f"expected [R, G, B] with three integers of 0..255, found {short(value)}")
    return tuple(value)
