"""The form of a data-set specification, a YAML file in configs/datasets/ or the user's own, as pydantic models.

From them follow the validation, docs/configuration.md and the JSON schema for editors.
"""
from pathlib import Path
from reprlib import repr as short
from typing import (Annotated, Any, Dict, Iterable, List, Literal, Mapping, Optional, Sequence, Tuple, Type, Union,
                    get_args)

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

MAX_CLASSES = 254


def _key(help_text: str, default: Any = ..., *, expected: str = "", items_expected: str = "") -> Any:
    """A key of the file; `expected` describes a value, or `items_expected` each item, in error messages."""
    return Field(default, description=help_text, json_schema_extra={"expected": expected,
                                                                    "items_expected": items_expected})


def _one_line(text: str) -> str:
    if not text.isprintable() or text.strip() != text:
        raise ValueError
    return text


_LineOrEmpty = Annotated[str, AfterValidator(_one_line)]
_Line = Annotated[_LineOrEmpty, Field(min_length=1)]
_Byte = Annotated[int, Field(ge=0, le=255)]
_Color = Annotated[List[_Byte], Field(min_length=3, max_length=3)]
_LINE = "text in one line (in quotes, if YAML takes it for something else)"
_COLOR = "[R, G, B] with three integers of 0..255"
_ID = "an id of 0..255, or a list of them"


class _Keys(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class IdClass(_Keys):
    """A class, by the ids that label files have for it."""

    name: _Line = _key("of the class", expected=_LINE)
    color: _Color = _key("[R, G, B] in which it is drawn", expected=_COLOR)
    id: Optional[Union[_Byte, List[_Byte]]] = _key(
        "id in label files, or a list of ids that all mean this class; either all classes have it, or none: then it is "
        "the train id", None, expected=_ID)


class IgnoredId(_Keys):
    """An id that label files hold but nobody scores."""

    name: _Line = _key("of what it is", expected=_LINE)
    id: Union[_Byte, List[_Byte]] = _key("id in label files, or a list of them", expected=_ID)


class ColorClass(_Keys):
    """A class, or what is ignored, by its colours in label files."""

    name: _Line = _key("of the class", expected=_LINE)
    color: _Color = _key("[R, G, B] in which it is drawn", expected=_COLOR)
    label_colors: Optional[List[_Color]] = _key("colours in label files, if they are others than `color`", None,
                                                expected="a list of colours [R, G, B]", items_expected=_COLOR)


class SplitFiles(_Keys):
    """Where the files of a split are: two folders, a list file, or folders and the list of what counts in them."""

    images: Optional[_LineOrEmpty] = _key("folder of the images, below the data set's root", None, expected=_LINE)
    labels: Optional[_LineOrEmpty] = _key("folder of the labels; test may lack it", None, expected=_LINE)
    label_suffix: Optional[_LineOrEmpty] = _key("the label_suffix of this split, if it has another", None,
                                                expected=_LINE)
    list: Optional[_LineOrEmpty] = _key(
        "text file below the root with a line for each image: with folders, the name without suffix, such as "
        "aachen/aachen_000000_000019; alone, image and label, two paths below the root with a blank, a tab or a comma "
        "between them", None, expected=_LINE)


class Splits(_Keys):
    """The splits that the data set has, one or more."""

    train: Optional[SplitFiles] = _key("training images", None)
    val: Optional[SplitFiles] = _key("images to evaluate on", None)
    test: Optional[SplitFiles] = _key("images that may lack labels", None)


class _SpecFile(_Keys):
    name: _Line = _key("of the data set", expected=_LINE)
    splits: Splits = _key("where the files of train, val and test are")
    unknown_labels: Literal["error", "ignore"] = _key("what an id or colour is that stands nowhere here", "error",
                                                      expected="error or ignore")
    image_suffix: Optional[_LineOrEmpty] = _key(
        "needed with folders: what the name of an image (.png, .jpg) ends with, after the part that the names of an "
        "image and its label have in common; both may be in sub-folders, which must have the same names then", None,
        expected=_LINE)
    label_suffix: Optional[_LineOrEmpty] = _key("the same for label files", None, expected=_LINE)
    train_id_suffix: Optional[_LineOrEmpty] = _key(
        "what the names of label files end with that hold train ids already; taken where there is no other label",
        None, expected=_LINE)


class IdSpecFile(_SpecFile):
    """Label files are PNG files of ids, with one channel or with a palette whose indices count."""

    classes: List[IdClass] = _key("2 to 254, in the order of their train ids 0, 1, 2...",
                                  expected="a list of entries '- {name: ..., color: [R, G, B]}'")
    ignored: List[IgnoredId] = _key(
        "what label files hold but nobody scores; the first is what ignored pixels become on the way back to ids. The "
        "id 255 is always ignored unless a class has it", [], expected="a list of entries '- {name: ..., id: ...}'")
    label_form: Literal["ids"] = _key("what label files hold: ids, or colors", "ids", expected="ids or colors")


class ColorSpecFile(_SpecFile):
    """Label files are PNG files in RGB."""

    classes: List[ColorClass] = _key("2 to 254, in the order of their train ids 0, 1, 2...",
                                     expected="a list of entries '- {name: ..., color: [R, G, B]}'")
    ignored: List[ColorClass] = _key("what label files hold but nobody scores", [],
                                     expected="a list of entries '- {name: ..., color: [R, G, B]}'")
    label_form: Literal["colors"] = _key("what label files hold", expected="ids or colors")


Entry = Union[IdClass, IgnoredId, ColorClass]
SpecFile = Union[IdSpecFile, ColorSpecFile]
_UNKNOWN = ("extra_forbidden", "invalid_key")
_MAPPING = "'key: value' lines"


class SpecError(Exception):
    """Something wrong in a specification; `key` is where, such as "classes[3].color"."""

    def __init__(self, key: str, problem: str):
        super().__init__(f"key '{key}': {problem}" if key else problem)
        self.key = key


def parse_spec(content: Mapping[str, Any]) -> SpecFile:
    """The checked content of a specification.

    Raises:
        SpecError: the first thing that is wrong in it.
    """
    model = ColorSpecFile if content.get("label_form") == "colors" else IdSpecFile
    try:
        spec: SpecFile = model.model_validate(content)
    except ValidationError as errors:
        found = errors.errors(include_url=False, include_input=False)
        unknown = [error for error in found if error["type"] in _UNKNOWN]  # maybe why others are missing
        raise _spec_error(model, content, error=(unknown or found)[0]) from None
    _check_classes(spec)
    _check_splits(spec)
    return spec


def _spec_error(owner: Type[BaseModel], value: Any, *, error: Mapping[str, Any]) -> SpecError:
    """One of pydantic's errors in our words, at the innermost key or item that says what is expected."""
    *location, last = error["loc"]
    is_about_key = error["type"] in ("missing", *_UNKNOWN)
    where: List[Any] = []
    expected, items_expected = "", ""
    for part in location if is_about_key else [*location, last]:
        where.append(part)
        value = value[part]
        if isinstance(part, int) and items_expected:
            expected = items_expected
            break
        if isinstance(part, int):
            expected = ""
            continue
        field = owner.model_fields[part]
        extra: Dict[str, Any] = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        expected, items_expected = extra["expected"], extra["items_expected"]
        inner = _model_in(field.annotation)
        if inner is None and not (items_expected and isinstance(value, list) and len(where) < len(error["loc"])):
            break
        owner = inner or owner
    if error["type"] == "missing":
        needed = [name for name, field in owner.model_fields.items() if field.is_required()]
        return SpecError(_key_text(where), f"expected {', '.join(_ordered(needed))}, found no {last}")
    if error["type"] in _UNKNOWN:
        return SpecError(_key_text([*where, str(last)[:100]]),
                         f"is unknown; expected {', '.join(_ordered(owner.model_fields))}")
    return SpecError(_key_text(where), f"expected {expected or _MAPPING}, found {short(value)}")


def _model_in(annotation: Any) -> Optional[Type[BaseModel]]:
    """The model in Optional[Model] or List[Model]."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def _key_text(parts: Sequence[Any]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")


def _ordered(names: Iterable[str]) -> List[str]:
    """As a file has them: name and classes first."""
    first = ("name", "classes", "splits", "ignored", "label_form")
    return [name for name in first if name in names] + [name for name in names if name not in first]


def values_of(entry: Entry) -> Tuple[Any, ...]:
    """The ids, or the colours, that label files have for the entry; none if it is the train id."""
    if isinstance(entry, ColorClass):
        return tuple(tuple(color) for color in entry.label_colors or [entry.color])
    return () if entry.id is None else tuple(entry.id) if isinstance(entry.id, list) else (entry.id,)


def _check_classes(spec: SpecFile) -> None:
    if not 2 <= len(spec.classes) <= MAX_CLASSES:
        raise SpecError("classes", f"expected 2 to {MAX_CLASSES} classes, found {len(spec.classes)}")
    classes: Sequence[Union[IdClass, ColorClass]] = spec.classes
    ignored: Sequence[Entry] = spec.ignored
    entries: List[Tuple[str, Entry]]
    entries = [(f"{key}[{i}]", entry) for key, group in (("classes", classes), ("ignored", ignored))
               for i, entry in enumerate(group)]
    for where, entry in entries:
        if isinstance(entry, ColorClass) and entry.label_colors == []:
            raise SpecError(f"{where}.label_colors", "expected a list of colours [R, G, B], found []")
        if getattr(entry, "id", None) == []:
            raise SpecError(f"{where}.id", "expected at least one id, found none")
    without = [i for i, entry in enumerate(classes) if not values_of(entry)]
    if without and len(without) < len(classes):
        raise SpecError(f"classes[{without[0]}]", "expected an 'id', as other classes have one (or no 'id' anywhere: "
                        "then it is the class's position, counted from 0)")
    _check_unique("name", [(where, [entry.name]) for where, entry in entries])
    values = [(where, values_of(entry) or (i,)) for i, (where, entry) in enumerate(entries)]
    _check_unique("id or label colour", values)
    _check_unique("color", [(f"classes[{i}]", [tuple(entry.color)]) for i, entry in enumerate(classes)])


def _check_unique(what: str, entries: Iterable[Tuple[str, Iterable[Any]]]) -> None:
    seen: Dict[Any, str] = {}
    for where, values in entries:
        for value in values:
            if value in seen:
                raise SpecError(where, f"expected another {what} than {seen[value]}, found {short(value)} again")
            seen[value] = where


def _check_splits(spec: SpecFile) -> None:
    if spec.train_id_suffix and spec.train_id_suffix == spec.label_suffix:
        raise SpecError("train_id_suffix", f"expected another suffix than label_suffix, found "
                        f"{spec.label_suffix} again")
    splits = {name: files for name, files in spec.splits if files is not None}
    if not splits:
        raise SpecError("splits", "expected one or more of train, val, test, found none")
    for name, files in splits.items():
        where = f"splits.{name}"
        if files.list and not (files.images or files.labels):
            continue
        missing = [key for key in ("images", "labels") if not getattr(files, key) and (key, name) != ("labels", "test")]
        if missing:
            needed = "images" if name == "test" else "images, labels"
            raise SpecError(where, f"expected {needed} (or 'list' alone), found no {', no '.join(missing)}")
        label_suffix = files.label_suffix or spec.label_suffix
        for key, suffix in (("image_suffix", spec.image_suffix), ("label_suffix", label_suffix)):
            if not suffix and (key == "image_suffix" or files.labels):
                raise SpecError(key, f"expected what the names in the folders of {where} end with, such as .png, found "
                                "nothing")
        if spec.image_suffix == label_suffix and Path(files.images or "") == Path(files.labels or ""):
            raise SpecError(where, "expected images and labels to differ in their folder or their suffix, found the "
                            "same")
