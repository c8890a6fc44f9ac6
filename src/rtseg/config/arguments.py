"""The command lines of train, eval, export and predict: one flag per field of the configuration."""
import argparse
import os
from typing import Any, Dict, Literal, Optional, Sequence, get_args, get_origin

from rtseg.config.checks import check_command
from rtseg.config.config import FIELDS, SECTIONS, Config, Entry
from rtseg.config.fields import extra_of, without_none
from rtseg.config.recipe import load_config, recipe_of

# What starts one process per device sets one of these.
_DEVICE_VARIABLES = ("DEVICE_ID", "ASCEND_DEVICE_ID")
_METAVARS = {int: "N", float: "X", str: "TEXT", bool: "{0,1}", tuple: "X,X,..."}


def parse_arguments(command: str, description: str, argv: Optional[Sequence[str]] = None) -> Config:
    """Reads the command line of a command and the YAML file it names.

    Args:
        command: "train", "eval", "export" or "predict"; which flags there are.
        description: what --help begins with.
        argv: arguments without the program's name; None for those of the process.

    Raises:
        ConfigError: the file, key or flag, what was expected and what was found.
        SystemExit: --help, or a flag that does not exist (code 2).
    """
    given = {name: value for name, value in vars(_parser(command, description).parse_args(argv)).items()
             if value is not None}
    for variable in _DEVICE_VARIABLES:
        if variable in os.environ:
            given.setdefault("device_id", os.environ[variable])
    path = given.pop("config", None)
    config = load_config(path or recipe_of(given.get("model", "fast_scnn")), given)
    check_command(command, config)
    return config


def _parser(command: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"{command}.py", description=description, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    if command == "predict":
        parser.add_argument("inputs", nargs="+", metavar="INPUT", help=FIELDS["inputs"].field.description)
    parser.add_argument("--config", metavar="FILE", help="YAML recipe (default: configs/<model>.yaml)")
    for section, model in SECTIONS.items():
        entries = {name: entry for name, entry in FIELDS.items()
                   if entry.section == section and command in extra_of(entry.field)["commands"]}
        if entries:
            group = parser.add_argument_group(section, model.__doc__)
            for name, entry in entries.items():
                _add_flag(group, name, entry)
    if command == "train":
        parser.add_argument("--no-validate", dest="eval_while_train", action="store_const", const="0",
                            help="the same as --eval_while_train 0")
    return parser


def _add_flag(group: "argparse._ArgumentGroup", name: str, entry: Entry) -> None:
    field = entry.field
    options: Dict[str, Any] = {"metavar": metavar_of(entry)}
    if field.annotation is bool:  # elsewhere many booleans are switches: --diff_seed means --diff_seed 1
        options.update(nargs="?", const="1")
    text = f"{field.description} ({default_of(entry)})"
    group.add_argument(f"--{name}", *extra_of(field)["aliases"], default=None, help=text.replace("%", "%%"), **options)


def metavar_of(entry: Entry) -> str:
    """What stands for the value in --help."""
    annotation = without_none(entry.field.annotation)
    if extra_of(entry.field)["metavar"]:
        return extra_of(entry.field)["metavar"]
    if get_origin(annotation) is Literal:
        return "{" + ",".join(get_args(annotation)) + "}"
    if get_origin(annotation) is tuple and get_args(annotation)[-1] is not Ellipsis:
        return ",".join("X" * len(get_args(annotation)))
    return _METAVARS.get(get_origin(annotation) or annotation, "VALUE")


def default_of(entry: Entry) -> str:
    """The default in words."""
    if entry.field.is_required():
        return "default: the recipe's"
    default = entry.field.default
    if default is None or default == "" or default == ():
        return "default: empty"
    return f"default: {int(default) if isinstance(default, bool) else default}"
