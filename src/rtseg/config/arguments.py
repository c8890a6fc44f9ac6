"""The one builder of command lines: a flag for each field of the configuration, or of a command's own options."""
import argparse
import os
import sys
from itertools import zip_longest
from pathlib import Path
from typing import Any, Dict, List, Literal, Mapping, Optional, Sequence, Type, TypeVar, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from rtseg.config.checks import check_command
from rtseg.config.chinese import texts
from rtseg.config.config import FIELDS, SECTIONS, Config
from rtseg.config.fields import BOOLEANS, Section, extra_of, problem_of, shown, without_none
from rtseg.config.recipe import config_beside, load_config, network_settings, recipe_of
from rtseg.utils.errors import ConfigError

# What starts one process per device sets one of these.
_DEVICE_VARIABLES = ("DEVICE_ID", "ASCEND_DEVICE_ID", "OMPI_COMM_WORLD_LOCAL_RANK")
# The model zoo's eval.py has these of its train.py too.
_TRAINING_FLAGS = ("train_split", "aux_weight", "epochs", "save_every", "batch_size", "lr", "momentum",
                   "weight_decay", "eval_while_train", "eval_steps", "eval_start_epoch", "is_save_on_master",
                   "ckpt_save_max")
_METAVARS = {int: "N", float: "X", str: "TEXT", bool: "{0,1}", tuple: "X,X,..."}

Options = TypeVar("Options", bound=Section)


def parse_arguments(command: str, description: str, *, argv: Optional[Sequence[str]] = None) -> Config:
    """Reads the command line of train, eval, export or predict, and the YAML recipe that it names.

    Args:
        command: which flags there are.
        description: what --help begins with.
        argv: arguments without the program's name; None for those of the process.

    Raises:
        ConfigError: the file, key or flag, what was expected and what was found.
        SystemExit: --help, or a flag that does not exist (code 2).
    """
    parser = _new_parser(f"{command}.py", description, usage=f"{command}.py {'INPUT ... ' * (command == 'predict')}"
                         "[--config FILE] [--flag VALUE ...]")
    if command == "predict":
        _add_argument(parser, "inputs", field=FIELDS["inputs"].field)
        argv = _with_values(sys.argv[1:] if argv is None else argv)
    parser.add_argument("--config", metavar="FILE", help="YAML recipe (default: configs/<model>.yaml)")
    for section, model in SECTIONS.items():
        fields = {name: entry.field for name, entry in FIELDS.items()
                  if entry.section == section and command in extra_of(entry.field)["commands"]}
        if fields:
            group = parser.add_argument_group(section, texts("sections").get(section, model.__doc__))
            for name, field in fields.items():
                _add_argument(group, name, field=field, required="the recipe's")
    if command == "train":
        parser.add_argument("--no-validate", dest="eval_while_train", action="store_const", const="0",
                            help="the same as --eval_while_train 0")
    if command == "eval":
        for name in _TRAINING_FLAGS:
            parser.add_argument(f"--{name}", nargs="?", const="", help=argparse.SUPPRESS)
    given = _given(parser, argv)
    unused = [f"--{name}" for name in _TRAINING_FLAGS if command == "eval" and given.pop(name, None) is not None]
    if unused:
        print(f"note: eval.py has no use for {', '.join(unused)}, which belong to train.py; images per step are "
              "--eval_batch_size", file=sys.stderr)
    for variable in _DEVICE_VARIABLES:
        if os.environ.get(variable):
            given.setdefault("device_id", os.environ[variable])
    names, path = set(given), given.pop("config", None)
    if not path and command != "train":
        given = {**_settings_of_run(given), **given}
    if path == "":
        raise ConfigError("--config: expected a recipe, a YAML file, found ''")
    config = load_config(path or recipe_of(given.get("model", "fast_scnn")), given, note=_note).with_given(names)
    check_command(command, config)
    return config


def parse_options(options: Type[Options], prog: str, *, description: str,
                  argv: Optional[Sequence[str]] = None) -> Options:
    """Reads the command line of a command with options of its own.

    Args:
        options: a flag for each field; those without a default must be given.
        prog: the command's name in --help.
        description: what --help begins with.
        argv: arguments without the program's name; None for those of the process.

    Raises:
        ConfigError: the flag, what was expected and what was found.
        SystemExit: --help, or a flag that does not exist or is missing (code 2).
    """
    parser = _new_parser(prog, description)
    for name, field in options.model_fields.items():
        _add_argument(parser, name, field=field)
    given = _given(parser, argv)
    try:
        return options.model_validate(given)
    except ValidationError as errors:
        error = errors.errors(include_url=False, include_input=False)[0]
        name = str(error["loc"][0])
        raise ConfigError(f"--{name}: {problem_of(error, options.model_fields[name])}, found {shown(given[name])}"
                          ) from None


def _settings_of_run(given: Mapping[str, Any]) -> Dict[str, Any]:
    """What the run of the checkpoint in `given` says of its network; nothing if another network is asked for."""
    checkpoint = given.get("ckpt_file") or os.path.join(given.get("resume_path", ""), given.get("resume_name", ""))
    path = config_beside(Path(checkpoint)) if checkpoint else None
    settings = network_settings(path) if path else {}
    if not path or given.get("model", settings.get("model")) != settings.get("model"):
        return {}
    _note(f"network and classes are those of {path}")
    return settings


def _with_values(argv: Sequence[str]) -> List[str]:
    """`--flip street.png` as `--flip=1 street.png`: what follows a switch may be an input."""
    switches = {f"--{name}" for name, entry in FIELDS.items() if entry.field.annotation is bool}
    return [f"{word}=1" if word in switches and following.lower() not in BOOLEANS else word
            for word, following in zip_longest(argv, argv[1:], fillvalue="")]


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def _new_parser(prog: str, description: str, *, usage: Optional[str] = None) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(prog=prog, usage=usage, description=description, allow_abbrev=False,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)


def _given(parser: argparse.ArgumentParser, argv: Optional[Sequence[str]]) -> Dict[str, Any]:
    return {name: value for name, value in vars(parser.parse_args(argv)).items() if value not in (None, [])}


def _add_argument(parser: "argparse._ActionsContainer", name: str, *, field: FieldInfo, required: str = "") -> None:
    """Adds the field's flag; `required` says where a value without a default comes from, if not from the flag."""
    extra = extra_of(field)
    if extra["nargs"]:
        text = texts("flags").get(name, field.description)
        parser.add_argument(name, nargs=extra["nargs"], metavar=extra["metavar"], help=text)
        return
    options: Dict[str, Any] = {"metavar": metavar_of(field)}
    if get_origin(field.annotation) is tuple and get_args(field.annotation)[0] is str:
        options["nargs"] = "+"
    bare = "1" if field.annotation is bool else extra["bare"]
    if bare:  # elsewhere many flags are switches: --diff_seed means --diff_seed 1
        options.update(nargs="?", const=bare)
    text = _help_of(name, field, required=required)
    parser.add_argument(f"--{name}", *extra["aliases"], dest=name, default=None, help=text.replace("%", "%%"),
                        required=field.is_required() and not required, **options)


def _help_of(name: str, field: FieldInfo, *, required: str) -> str:
    """The meaning of a flag and its default, in Chinese if the environment asks for that."""
    text = str(field.description)
    default = required if field.is_required() else "" if "empty: " in text else default_of(field)
    if name in texts("flags") and FIELDS[name].field is field:
        shown_default = "见配方" if field.is_required() else default
        return texts("flags")[name] + (f"（默认：{shown_default}）" if default else "")
    if field.is_required() and not required:
        return f"{text} (required)"
    return f"{text} (default: {default})" if default else text


def metavar_of(field: FieldInfo) -> str:
    """What stands for the value in --help."""
    annotation = without_none(field.annotation)
    if extra_of(field)["metavar"]:
        return extra_of(field)["metavar"]
    if get_origin(annotation) is Literal:
        return "{" + ",".join(get_args(annotation)) + "}"
    if get_origin(annotation) is tuple and get_args(annotation)[-1] is not Ellipsis:
        return ",".join("X" * len(get_args(annotation)))
    return _METAVARS.get(get_origin(annotation) or annotation, "VALUE")


def default_of(field: FieldInfo) -> str:
    """The default as a user would write it."""
    default = field.default
    if default is None or default == "" or default == ():
        return "empty"
    return str(int(default) if isinstance(default, bool) else default)
