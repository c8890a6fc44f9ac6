"""How a field of the configuration is declared, written and described.

A field is declared once, as an annotated attribute of a pydantic model with `option(...)`. From that one declaration
follow its validation, its flag with help text, its row in docs/configuration.md and its entry in the JSON schema.
"""
import math
import os
from pathlib import Path
from typing import Annotated, Any, Dict, Literal, Mapping, Sequence, Tuple, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

# Larger numbers mean nothing here, and end in overflows or in more memory than there is.
LARGEST_INTEGER = 2 ** 31 - 1
LARGEST_NUMBER = 1e9
LARGEST_SIDE = 16384  # pixels

Side = Annotated[int, Field(ge=32, le=LARGEST_SIDE, multiple_of=32)]
SIZE_EXPECTED = f"one number or H,W, both positive multiples of 32 up to {LARGEST_SIDE}"  # of Tuple[Side, Side]

BOOLEANS = {"0": False, "1": True, "false": False, "true": True}


def option(help_text: str, default: Any = ..., *, commands: Sequence[str] = (), aliases: Sequence[str] = (),
           flag: str = "", metavar: str = "", expected: str = "", nargs: str = "", bare: str = "",
           **constraints: Any) -> Any:
    """A field of a section or of a command's options. Without `default` the value must be given.

    Args:
        help_text: for --help, the documentation and the JSON schema.
        commands: whose command lines have a flag for it.
        aliases: other names of the flag, with their dashes.
        flag: the flag's name and the flat key of old recipes, if it is not the field's name.
        metavar: what --help shows for the value, if the type does not say it.
        expected: what error messages expect, if the type does not say it.
        nargs: argparse's; makes a positional argument of the field.
        bare: the value that the flag means without one; "1" for booleans.
        constraints: pydantic's: ge, gt, le, multiple_of.
    """
    extra: Dict[str, Any] = {"commands": list(commands), "aliases": list(aliases), "flag": flag, "metavar": metavar,
                             "expected": expected, "nargs": nargs, "bare": bare}
    return Field(default, description=help_text, json_schema_extra=extra, **constraints)


def extra_of(field: FieldInfo) -> Dict[str, Any]:
    """The arguments of `option` that pydantic does not know."""
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


class Section(BaseModel):
    """A frozen group of fields that reads values as YAML and command lines write them: a section of the configuration,
    or the options of a command."""

    # The validators are built when a value is first read: --help needs none.
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, protected_namespaces=(),
                              defer_build=True)

    @field_validator("*", mode="before")
    @classmethod
    def _read(cls, value: Any, info: ValidationInfo) -> Any:
        return read_value(cls.model_fields[str(info.field_name)].annotation, value)


def read_value(annotation: Any, value: Any) -> Any:
    """`value`, possibly text from a command line, in the form that pydantic takes for `annotation`.

    Raises:
        ValueError: it cannot be that; an empty message where the field's description says all.
    """
    if is_optional(annotation):
        return None if value in (None, "", "None", "none") else read_value(without_none(annotation), value)
    kind = get_origin(annotation) or annotation
    if kind is tuple and get_args(annotation)[0] is str:
        if not isinstance(value, (list, tuple)):
            raise ValueError
        return [_text(item) for item in value]
    if kind is tuple:
        return _sequence(annotation, value)
    if kind is dict:
        return _pairs(value) if isinstance(value, str) else value
    if kind is Literal:
        return str(value)
    if kind is Union:  # a number or a word
        return value if isinstance(value, str) and value in words_of(annotation) else _number(float, value)
    if kind in (int, float):
        return _number(kind, value)
    reader = {str: _text, Path: _text, bool: _boolean}.get(kind)
    return reader(value) if reader else value


def _pairs(text: str) -> Dict[str, str]:
    pairs = [item.partition("=") for item in text.split(",") if item]
    if not all(separator for _, separator, _ in pairs):
        raise ValueError
    return {name: value for name, _, value in pairs}


def _sequence(annotation: Any, value: Any) -> Any:
    if value == "" and get_args(annotation)[-1] is Ellipsis:
        return []
    items = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
    kind = get_args(annotation)[0]
    kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    numbers = [_number(kind, item) for item in items]
    is_size = kind is int and len(get_args(annotation)) == 2 and len(numbers) == 1  # a square
    return numbers * 2 if is_size else numbers


def _number(kind: type, value: Any) -> Any:
    if isinstance(value, bool) or kind is int and isinstance(value, float):
        raise ValueError
    limit = LARGEST_INTEGER if kind is int else LARGEST_NUMBER
    try:
        number = kind(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError from None
    if kind is float and not math.isfinite(number):
        raise ValueError
    if number > limit:
        raise ValueError(f"expected a number <= {limit:g}" if kind is float else f"expected an integer <= {limit}")
    return number


def _boolean(value: Any) -> bool:
    if str(value).lower() not in BOOLEANS:
        raise ValueError
    return BOOLEANS[str(value).lower()]


def _text(value: Any) -> str:
    if not isinstance(value, (str, int, float)):
        raise ValueError
    text = str(value)
    if "\0" in text or text != text.encode(errors="ignore").decode():  # no path may have these
        raise ValueError("expected text in UTF-8 without null characters")
    # A shell leaves the ~ of --flag=~/folder, and YAML that of a recipe; a folder called ~ is easily removed wrongly.
    return os.path.expanduser(text) if text.startswith("~/") else text


def is_optional(annotation: Any) -> bool:
    """Whether None is a value of the type."""
    return get_origin(annotation) is Union and type(None) in get_args(annotation)


def without_none(annotation: Any) -> Any:
    """The type that `Optional[...]` wraps; other types as they are."""
    return next(part for part in get_args(annotation) if part is not type(None)) if is_optional(annotation) else \
        annotation


def words_of(annotation: Any) -> Tuple[str, ...]:
    """The words of a Literal, also of one in a Union."""
    if get_origin(annotation) is Union:
        return tuple(word for part in get_args(annotation) for word in words_of(part))
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def expected_value(field: FieldInfo) -> str:
    """What a value of the field must be, for error messages and documentation, such as "an integer >= 1"."""
    if extra_of(field).get("expected"):
        return extra_of(field)["expected"]
    annotation = without_none(field.annotation)
    kind = get_origin(annotation) or annotation
    if kind is Literal:
        return f"one of {', '.join(get_args(annotation))}"
    if kind is tuple and get_args(annotation)[0] is str:
        return "a list of texts"
    if kind is tuple:
        item, *others = get_args(annotation)
        count = "a list of" if others[-1] is Ellipsis else str(1 + len(others))
        return f"{count} numbers{_limits(getattr(item, '__metadata__', ()))}"
    if kind is int:
        return f"an integer{_limits(field.metadata)}"
    if kind is float:
        return f"a number{_limits(field.metadata)}"
    return {bool: "0 or 1", str: "text", Path: "a path"}.get(kind, str(annotation))


def _limits(metadata: Sequence[Any]) -> str:
    """The constraints in words, such as " >= 0 and <= 1"."""
    found: Dict[str, Any] = {}
    for item in metadata:
        for part in getattr(item, "metadata", None) or [item]:  # of Annotated[float, Field(...)], or of the field
            found.update({name: getattr(part, name) for name in ("ge", "gt", "le") if hasattr(part, name)})
    signs = {"ge": ">=", "gt": ">", "le": "<="}
    return "".join(f"{' and' if i else ''} {signs[name]} {limit:g}" for i, (name, limit) in enumerate(found.items()))


def problem_of(error: Mapping[str, Any], field: FieldInfo) -> str:
    """What one of pydantic's errors means to a user, such as "expected an integer >= 1"."""
    own_words = str(error.get("ctx", {}).get("error", ""))
    return own_words or f"expected {expected_value(field)}"


def shown(value: Any) -> str:
    """`value` for an error message, shortened."""
    try:
        text = repr(value)
    except ValueError:  # Python writes out no integer of thousands of digits
        text = "a huge number"
    return text if len(text) <= 200 else f"{text[:200]}..."
