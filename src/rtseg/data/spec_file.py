"""The form of a data-set specification, a YAML file in configs/datasets/ or the user's own, as pydantic models.

From them follow the validation, docs/configuration.md and the JSON schema for editors.
"""
from pathlib import Path
from reprlib import repr as short
from typing import (Annotated, Any, Dict, Iterable, List, Literal, Mapping, Optional, Sequence, Tuple, Type, Union,
                    get_args)

from pydantic import (AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError,
                      ValidatorFunctionWrapHandler, WrapValidator)

MAX_CLASSES = 254


def _expects(text: str) -> WrapValidator:
    """What an error message says about a value of the type, whatever is wrong with which part of it."""
    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise ValueError(text) from None
    return WrapValidator(validate)


def _expects_list(text: str) -> BeforeValidator:
    """The same about what is no list; its items speak for themselves."""
    def validate(value: Any) -> Any:
        if not isinstance(value, list):
            raise ValueError(text)
        return value
    return BeforeValidator(validate)


def _one_line(text: str) -> str:
    if not text.isprintable() or text.strip() != text:
        raise ValueError
    return text


_LINE = _expects("text in one line (in quotes, if YAML takes it for something else)")
_LABEL_FORM = _expects("ids or colors")
_ENTRIES = _expects_list("a list of entries '- {name: ..., color: [R, G, B]}'")
_ID_ENTRIES = _expects_list("a list of entries '- {name: ..., id: ...}'")
_Byte = Annotated[int, Field(ge=0, le=255)]
_LineOrEmpty = Annotated[str, AfterValidator(_one_line), _LINE]
_Line = Annotated[str, Field(min_length=1), AfterValidator(_one_line), _LINE]
_Color = Annotated[List[_Byte], Field(min_length=3, max_length=3), _expects("[R, G, B] with three integers of 0..255")]
_Colors = Annotated[List[_Color], _expects_list("a list of colours [R, G, B]")]
_Id = Annotated[Union[_Byte, List[_Byte]], _expects("an id of 0..255, or a list of them")]


class _Keys(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class IdClass(_Keys):
    """A class, by the ids that label files have for it."""

    name: _Line = Field(description="of the class")
    color: _Color = Field(description="[R, G, B] in which it is drawn")
    id: Optional[_Id] = Field(
        None, description="id in label files, or a list of ids that all mean this class; either all classes have it, "
                          "or none: then it is the train id")


class IgnoredId(_Keys):
    """An id that label files hold but nobody scores."""

    name: _Line = Field(description="of what it is")
    id: _Id = Field(description="id in label files, or a list of them")


class ColorClass(_Keys):
    """A class, or what is ignored, by its colours in label files."""

    name: _Line = Field(description="of the class")
    color: _Color = Field(description="[R, G, B] in which it is drawn")
    label_colors: Optional[_Colors] = Field(None, description="colours in label files, if they are others than `color`")


class SplitFiles(_Keys):
    """Where the files of a split are: two folders, a list file, or folders and the list of what counts in them."""

    images: Optional[_LineOrEmpty] = Field(None, description="folder of the images, below the data set's root")
    labels: Optional[_LineOrEmpty] = Field(None, description="folder of the labels; test may lack it")
    label_suffix: Optional[_LineOrEmpty] = Field(None, description="the label_suffix of this split, if it has another")
    list: Optional[_LineOrEmpty] = Field(
        None, description="text file below the root with a line for each image: with folders, the name without "
                          "suffix, such as aachen/aachen_000000_000019; alone, image and label, two paths below the "
                          "root with a blank, a tab or a comma between them")


class Splits(_Keys):
    """The splits that the data set has, one or more."""

    train: Optional[SplitFiles] = Field(None, description="training images")
    val: Optional[SplitFiles] = Field(None, description="images to evaluate on")
    test: Optional[SplitFiles] = Field(None, description="images that may lack labels")


class _SpecFile(_Keys):
    name: _Line = Field(description="of the data set")
    splits: Splits = Field(description="where the files of train, val and test are")
    unknown_labels: Annotated[Literal["error", "ignore"], _expects("error or ignore")] = Field(
        "error", description="what an id or colour is that stands nowhere here")
    image_suffix: Optional[_LineOrEmpty] = Field(
        None, description="needed with folders: what the name of an image (.png, .jpg) ends with, after the part that "
                          "the names of an image and its label have in common; both may be in sub-folders, which must "
                          "have the same names then")
    label_suffix: Optional[_LineOrEmpty] = Field(None, description="the same for label files")
    train_id_suffix: Optional[_LineOrEmpty] = Field(
        None, description="what the names of label files end with that hold train ids already; taken where there is "
                          "no other label")


class IdSpecFile(_SpecFile):
    """Label files are PNG files of ids, with one channel or with a palette whose indices count."""

    classes: Annotated[List[IdClass], _ENTRIES] = Field(
        description="2 to 254, in the order of their train ids 0, 1, 2...")
    ignored: Annotated[List[IgnoredId], _ID_ENTRIES] = Field(
        [], description="what label files hold but nobody scores; the first is what ignored pixels become on the way "
                        "back to ids. The id 255 is always ignored unless a class has it")
    label_form: Annotated[Literal["ids"], _LABEL_FORM] = Field(
        "ids", description="what label files hold: ids, or colors")


class ColorSpecFile(_SpecFile):
    """Label files are PNG files in RGB."""

    classes: Annotated[List[ColorClass], _ENTRIES] = Field(
        description="2 to 254, in the order of their train ids 0, 1, 2...")
    ignored: Annotated[List[ColorClass], _ENTRIES] = Field([], description="what label files hold but nobody scores")
    label_form: Annotated[Literal["colors"], _LABEL_FORM] = Field(description="what label files hold")


Entry = Union[IdClass, IgnoredId, ColorClass]
SpecFile = Union[IdSpecFile, ColorSpecFile]
_UNKNOWN = ("extra_forbidden", "invalid_key")


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
        found = errors.errors(include_url=False)
        unknown = [error for error in found if error["type"] in _UNKNOWN]  # maybe why others are missing
        raise _spec_error(model, (unknown or found)[0]) from None
    _check_classes(spec)
    _check_splits(spec)
    return spec


def _spec_error(model: Type[BaseModel], error: Mapping[str, Any]) -> SpecError:
    """One of pydantic's errors in our words."""
    *location, last = error["loc"]
    if error["type"] not in ("missing", *_UNKNOWN):
        expected = error["ctx"]["error"] if error["type"] == "value_error" else "'key: value' lines"
        return SpecError(_key_text(error["loc"]), f"expected {expected}, found {short(error['input'])}")
    for key in location:
        model = model if isinstance(key, int) else _model_in(model.model_fields[key].annotation)
    if error["type"] == "missing":
        needed = [name for name, field in model.model_fields.items() if field.is_required()]
        return SpecError(_key_text(location), f"expected {', '.join(_ordered(needed))}, found no {last}")
    return SpecError(_key_text([*location, str(last)[:100]]),
                     f"is unknown; expected {', '.join(_ordered(model.model_fields))}")


def _model_in(annotation: Any) -> Type[BaseModel]:
    """The model, or that in Optional[Model] or List[Model]."""
    return annotation if isinstance(annotation, type) else _model_in(get_args(annotation)[0])


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
