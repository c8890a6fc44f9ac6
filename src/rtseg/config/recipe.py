"""Reads a YAML recipe with the command line's values on top, and checks it before anything slow starts."""
import difflib
import os
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Union

from pydantic import ValidationError

from rtseg.config.checks import check_combinations
from rtseg.config.config import FIELDS, FILE_NAME, FLAG_OF, SECTIONS, Config, nested
from rtseg.config.fields import problem_of, read_value, shown
from rtseg.data.dataset_spec import DatasetSpec, dataset_spec_of, load_dataset_spec
from rtseg.utils.errors import ConfigError
from rtseg.utils.files import configs_folder
from rtseg.utils.yaml_file import load_yaml


def load_config(path: Union[str, Path], overrides: Optional[Mapping[str, Any]] = None, *,
                note: Callable[[str], None] = lambda text: None) -> Config:
    """The recipe in the YAML file `path` with `overrides` (name of a flag -> text or value) on top.

    `note` is called with what differs from the recipe though nobody asked for it.

    Raises:
        ConfigError: unknown or missing key, wrong type, impossible combination.
    """
    recipe, given = _flatten(load_yaml(path, "--config"), path), dict(overrides or {})
    for name in given:
        if name not in FIELDS:
            raise ConfigError(f"'--{_shown_name(name)}' is unknown{_nearest(name)}")
    origins = {**dict.fromkeys(recipe, f"{path}: key "), **dict.fromkeys(given, "--")}
    missing = [name for name, entry in FIELDS.items() if entry.field.is_required() and name not in origins]
    if missing:
        raise ConfigError(f"{path}: expected all keys of a recipe, missing: {', '.join(missing)}. "
                          "Copy them from configs/fast_scnn.yaml.")
    if "resume_path" in given:  # configurations of older versions have the name of what their run continued
        recipe.pop("resume_name", None)
    values = {**recipe, **given}
    values["dataset_config"] = _dataset_spec(values, origins.get("dataset_config", ""), path=path)
    if "aux" in given:
        values["aux"] = _number_of_heads(given["aux"], recipe.get("aux"))
    config = _complete(_validate(values, origins))
    if "epochs" in given and "warmup_epochs" not in given:
        config = _shorten_warm_up(config, recipe.get("epochs"), note=note)
    check_combinations(config, path)
    return config


def recipe_of(model: str) -> Path:
    """The recipe that is taken when the command line names none.

    Raises:
        ConfigError: there is no such recipe.
    """
    path = configs_folder() / f"{model}.yaml"
    if not os.path.isfile(path):  # unlike Path.is_file, False for a name that is too long
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml")))
        raise ConfigError(f"--model {model}: there is no {path.name} in configs/; expected one of {known}")
    return path


def config_beside(checkpoint: Path) -> Optional[Path]:
    """The configuration of the run that `checkpoint`, a file or a folder, belongs to; None if there is none."""
    # Checkpoints that are kept as history are in ckpt_<rank>/ of the run's folder.
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    return next((path for path in (folder / FILE_NAME, folder.parent / FILE_NAME) if path.is_file()), None)


def network_settings(path: Path) -> Dict[str, Any]:
    """What a run's configuration says of its network, its classes and its images: name of a flag -> value.

    Raises:
        ConfigError: an unknown key, or no YAML.
    """
    return {name: value for name, value in _flatten(load_yaml(path, "--config"), path).items()
            if FIELDS[name].section == "network" or name in ("dataset_config", "mean", "std", "crop_size")}


def _flatten(content: Mapping[Any, Any], path: Union[str, Path]) -> Dict[str, Any]:
    """Values by flag name, of a recipe with sections, or without as older versions wrote them, or mixed."""
    flat: Dict[str, Any] = {}
    for key, value in content.items():
        in_section = key in SECTIONS and isinstance(value, (dict, type(None)))  # None: nothing stands below its name
        for name, item in (value or {}).items() if in_section else ((key, value),):
            flag = FLAG_OF.get((key, name)) if in_section else name
            where = f"{key}.{_shown_name(name)}" if in_section else _shown_name(name)
            if flag not in FIELDS:
                raise ConfigError(f"{path}: key '{where}' is unknown" + _nearest(name, key if in_section else None))
            if flag in flat:
                raise ConfigError(f"{path}: key '{where}': expected it once, found it inside a section and outside")
            flat[flag] = item
    return flat


def _validate(values: Mapping[str, Any], origins: Mapping[str, str]) -> Config:
    try:
        return Config.model_validate({**{section: {} for section in SECTIONS}, **nested(values)})
    except ValidationError as errors:
        error = errors.errors(include_url=False, include_input=False)[0]
        flag = FLAG_OF[(str(error["loc"][0]), str(error["loc"][1]))]
        raise ConfigError(f"{_named(flag, origins[flag])}: {problem_of(error, FIELDS[flag].field)}, found "
                          f"{shown(values[flag])}") from None


def _named(flag: str, origin: str) -> str:
    return f"'--{flag}'" if origin == "--" else f"{origin}'{flag}'"


def _dataset_spec(values: Mapping[str, Any], origin: str, *, path: Union[str, Path]) -> DatasetSpec:
    found = values.get("dataset_config", FIELDS["dataset_config"].field.default)
    if isinstance(found, DatasetSpec):
        return found
    if isinstance(found, dict):
        return dataset_spec_of(found, f"{path}: dataset_config")
    try:
        return load_dataset_spec(read_value(str, found))
    except ValueError as error:
        expected = str(error) or "expected a name or a YAML file"
        raise ConfigError(f"{_named('dataset_config', origin)}: {expected}, found {shown(found)}") from None


def _complete(config: Config) -> Config:
    """Fills in what follows from other values."""
    if config.run.is_distributed:  # the launcher's answer is waited for
        return config
    return config.replace(rank=config.run.rank or 0, group_size=config.run.group_size or 1)


def _number_of_heads(given: Any, recipe: Any) -> Any:
    """What --aux=True, a switch in other code bases, means as a number."""
    switch = {"true": max(recipe, 1) if isinstance(recipe, int) else 1, "false": 0}
    return switch.get(str(given).lower(), given)


def _shorten_warm_up(config: Config, recipe_epochs: Any, *, note: Callable[[str], None]) -> Config:
    """A short run keeps the share of warm-up that its recipe has, if the recipe's warm-up is longer than the run."""
    epochs, warmup = config.schedule.epochs, config.schedule.warmup_epochs
    if warmup <= epochs or not isinstance(recipe_epochs, int) or recipe_epochs < warmup:
        return config
    shorter = warmup * epochs / recipe_epochs
    note(f"the recipe's warm-up of {warmup:g} epochs is longer than this run of {epochs}; it is shortened to "
         f"{shorter:g}, the same share of the run")
    return config.replace(warmup_epochs=shorter)


def _shown_name(name: Any) -> str:
    return name[:100] if isinstance(name, str) else shown(name)


def _nearest(name: Any, section: Optional[str] = None) -> str:
    known = list(FIELDS) if section is None else list(SECTIONS[section].model_fields)
    close = difflib.get_close_matches(_shown_name(name), known, 1)
    listed = "one of the keys in docs/configuration.md" if section is None else f"one of {', '.join(known)}"
    return f"; expected {listed}" + (f", perhaps '{close[0]}'" if close else "")
