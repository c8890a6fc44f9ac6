"""Strict configuration: YAML recipe + command line -> one frozen `Config`.

A recipe's defaults stand in `configs/*.yaml` only; the defaults here are those of a run (paths, devices, logging).
The field names are the YAML keys and the flags of the commands.
"""
import argparse
import dataclasses
import os
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Sequence, Tuple

import yaml

from rtseg.config.values import (LARGEST_SIDE, boolean, choice, factors, integer, loss_scale, multiple_of_32,
                                 name_or_description, number, numbers, optional, size, text, texts)
from rtseg.data.dataset_spec import DatasetSpec, description_of, load_dataset_spec
from rtseg.utils.errors import ConfigError
from rtseg.utils.files import configs_folder
from rtseg.utils.yaml_file import load_yaml

_DATA_DOORS = ("train", "eval")
REMOTE_PREFIXES = ("obs://", "s3://")
AUTO_RESUME = "auto"
# A CPU computes with the cores that more threads would take; a card's host has about 24 cores for each card.
_NUM_WORKERS = {"Ascend": 16, "CPU": 2, "GPU": 16}
_REQUIRED = object()


def _option(parse: Callable, text: str, default=_REQUIRED, commands=_DATA_DOORS, aliases=()):
    """A field of Config. Without a default its value must stand in the YAML file."""
    return dataclasses.field(default=default, metadata={"parse": parse, "help": text, "commands": commands,
                                                        "aliases": aliases})


_TRAIN = ("train",)
_EVAL = ("eval",)
_EXPORT = ("export",)
_PREDICT = ("predict",)
_ALL_DOORS = _DATA_DOORS + _EXPORT
_NETWORK_DOORS = _ALL_DOORS + _PREDICT


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything a command needs to know. Read the field list as the reference of all YAML keys and flags."""

    # Network
    model: str = _option(text, "network", commands=_NETWORK_DOORS, aliases=("--name",))
    variant: str = _option(text, "which published graph of the network", commands=_NETWORK_DOORS)
    backbone: Optional[str] = _option(optional(text), "backbone of the network (empty: its first, or none)",
                                      default=None, commands=_NETWORK_DOORS)
    aux: int = _option(integer(0), "number of auxiliary heads in training: 0, 1 or 2", commands=_ALL_DOORS)
    dropout: float = _option(number(0, 0.99), "dropout probability before the classifiers", commands=_TRAIN)
    bn_momentum: Optional[float] = _option(
        optional(number(0, 0.9999)), "BatchNorm momentum (MindSpore's meaning; empty: the variant's own). Short runs "
        "need 0.9: the running statistics must settle before an evaluation means something", commands=_TRAIN)
    # Data
    mean: Tuple[float, ...] = _option(numbers(3, 0, 1), "RGB mean of the normalisation, image values in 0..1",
                                      commands=_NETWORK_DOORS)
    std: Tuple[float, ...] = _option(numbers(3, 0.001, 1), "RGB standard deviation of the normalisation",
                                     commands=_NETWORK_DOORS)
    base_size: int = _option(integer(32, LARGEST_SIDE), "short side that scale 1 means, pixels")
    crop_size: Tuple[int, int] = _option(size, "training crop, one number or H,W; also of --eval_mode crop")
    scale_range: Tuple[float, ...] = _option(numbers(2, 0.01), "random scale, factors of base_size", commands=_TRAIN)
    max_class_ratio: float = _option(number(0, 1, above=True), "crop again while one class fills more (1: off)",
                                     commands=_TRAIN)
    blur_probability: float = _option(number(0, 1), "probability of a Gaussian blur", commands=_TRAIN)
    color_jitter: float = _option(number(0, 1), "strength of brightness, contrast and saturation jitter (0: off)",
                                  commands=_TRAIN)
    # Loss
    loss: str = _option(choice("mix", "ohem"), "cross entropy over all pixels (mix) or the hard ones (ohem)",
                        commands=_TRAIN)
    aux_weight: float = _option(number(0), "weight of each auxiliary loss", commands=_TRAIN)
    ohem_threshold: float = _option(number(0, 0.9999, above=True), "pixels below this probability are hard",
                                    commands=_TRAIN)
    ohem_min_kept: float = _option(number(0, 1, above=True), "share of the valid pixels that OHEM always keeps",
                                   commands=_TRAIN)
    class_weights: Tuple[float, ...] = _option(
        numbers(None, 0), "factor of each class in the loss, as many as classes (empty: all equal); python3 -m "
        "rtseg.tools.check_dataset suggests some", default=(), commands=_TRAIN)
    # Optimisation
    epochs: int = _option(integer(1), "passes over the training split", commands=_TRAIN)
    batch_size: int = _option(integer(1), "images per step and process", commands=_TRAIN,
                              aliases=("--train_batch_size",))
    base_lr: float = _option(number(0, above=True), "learning rate for base_lr_batch_size images a step; the rate "
                             "used is proportional to the global batch", commands=_TRAIN)
    base_lr_batch_size: int = _option(integer(1), "see base_lr", commands=_TRAIN)
    lr: Optional[float] = _option(optional(number(0, above=True)), "learning rate as it is, instead of base_lr",
                                  default=None, commands=_TRAIN, aliases=("--init_lr",))
    momentum: float = _option(number(0, 1), "SGD momentum", commands=_TRAIN)
    weight_decay: float = _option(number(0), "L2 weight decay", commands=_TRAIN)
    decay_bn_bias: bool = _option(boolean, "weight decay on BatchNorm parameters and biases too", commands=_TRAIN)
    lr_factors: Dict[str, float] = _option(factors, "learning-rate factors by parameter-name prefix", commands=_TRAIN)
    lr_scheduler: str = _option(choice("poly", "cosine", "step", "constant"), "schedule after the warm-up",
                                commands=_TRAIN)
    lr_power: float = _option(number(0, above=True), "exponent of the poly schedule", commands=_TRAIN)
    lr_end: float = _option(number(0), "final rate of poly and cosine", commands=_TRAIN)
    lr_milestones: Tuple[float, ...] = _option(numbers(None, 0), "epochs at which the step schedule decays",
                                               commands=_TRAIN)
    lr_gamma: float = _option(number(0, 1, above=True), "factor of each step decay", commands=_TRAIN)
    warmup: str = _option(choice("linear", "exponential"), "how the rate grows in the warm-up", default="linear",
                          commands=_TRAIN)
    warmup_epochs: float = _option(number(0), "epochs of warm-up", commands=_TRAIN)
    warmup_factor: float = _option(number(0, 1), "share of the rate at which the warm-up starts", commands=_TRAIN)
    amp_level: str = _option(choice("O0", "O1", "O2", "O3"), "mixed precision: O0 is float32", commands=_TRAIN,
                             aliases=("--opt-level",))
    loss_scale: Any = _option(loss_scale, "fixed loss scale, or 'dynamic'", commands=_TRAIN, aliases=("--loss-scale",))
    # Run
    dataset: str = _option(text, "root of the data set; Cityscapes: the folder with leftImg8bit/ and gtFine/",
                           default="", aliases=("--cityscapes_root", "--data_path", "--dataset_path"))
    dataset_config: DatasetSpec = _option(
        name_or_description, "what the data set is: a name in configs/datasets/ or a YAML file, explained in "
        "src/rtseg/data/dataset_spec.py", default="cityscapes", commands=_NETWORK_DOORS)
    train_split: str = _option(choice("train", "trainval", "val"), "split to train on", default="train",
                               commands=_TRAIN)
    eval_split: str = _option(choice("val", "train", "trainval", "test"), "split to evaluate", default="val")
    prepared_cache: str = _option(text, "cache of the dataset, made by scripts/prepare_cache.sh (empty: read the "
                              "PNG files)", default="")
    num_workers: Optional[int] = _option(optional(integer(0, 1024)), "threads that load and augment images (0: "
                                         "none next to the main one; default: 2 on CPU, 16 on a card)", default=None,
                                         commands=_DATA_DOORS + _PREDICT)
    save_every: int = _option(integer(1), "epochs between checkpoints", default=1, commands=_TRAIN)
    ckpt_save_max: int = _option(integer(1), "checkpoints to keep in ckpt_<rank>", default=5, commands=_TRAIN)
    eval_while_train: bool = _option(boolean, "evaluate while training and keep best_map.ckpt", default=True,
                                     commands=_TRAIN)
    eval_steps: int = _option(integer(1), "epochs between evaluations", default=10, commands=_TRAIN)
    eval_start_epoch: int = _option(integer(0), "no evaluation before this epoch", default=0, commands=_TRAIN)
    eval_batch_size: int = _option(integer(1), "images per evaluation step", default=1,
                                   aliases=("--valid_batch_size",))
    eval_mode: str = _option(choice("full", "crop", "ms_flip"), "full images; the model zoo's resized centre crop; "
                             "several scales and flipped", default="full", commands=_EVAL)
    save_mask: bool = _option(boolean, "write coloured masks and overlays", default=True, commands=_EVAL)
    pretrained: str = _option(text, "checkpoint to start from: a whole network's weights, or a backbone's; or a name "
                              "of `rtseg fetch-weights`", default="",
                              commands=_TRAIN, aliases=("--load-from", "--finetune-from"))
    resume_path: str = _option(text, "folder of the checkpoint (or the file itself); train: auto continues the "
                               "newest run in output_path (ModelArts: outer_path), if there is one", default="",
                               aliases=("--resume-from", "--checkpoint_path"))
    resume_name: str = _option(text, "file in resume_path (train: last.ckpt, eval: best_map.ckpt)", default="")
    output_path: str = _option(text, "where results go; train makes a folder with the time in it", default="output",
                              commands=_DATA_DOORS + _PREDICT, aliases=("--work-dir",))
    log_interval: int = _option(integer(1), "steps between log lines", default=10, commands=_TRAIN)
    tensorboard: bool = _option(boolean, "write an event file for TensorBoard to tensorboard/ in the run's folder",
                                default=False, commands=_TRAIN)
    max_steps: int = _option(integer(0), "performance run: so many steps, then images/s (0: off)", default=0,
                             commands=_TRAIN)
    seed: int = _option(integer(0), "of weights, order and augmentation", default=1, commands=_TRAIN)
    diff_seed: bool = _option(boolean, "the augmentation depends on the rank too (weights, order of the images: "
                              "never)", default=False, commands=_TRAIN)
    device_target: str = _option(choice("Ascend", "CPU", "GPU"), "device", default="CPU", commands=_NETWORK_DOORS)
    device_id: int = _option(integer(0), "index of the card; the environment's DEVICE_ID or ASCEND_DEVICE_ID if not "
                             "given", default=0, commands=_NETWORK_DOORS, aliases=("--gpu-id", "--gpu-ids"))
    is_distributed: bool = _option(boolean, "one of several processes, started by msrun or with a rank table",
                                   default=False)
    rank: Optional[int] = _option(optional(integer(0)), "this process; the launcher knows it, a value given is "
                                  "checked", default=None)
    group_size: Optional[int] = _option(optional(integer(1)), "number of processes; the launcher knows it, a value "
                                        "given is checked", default=None)
    is_save_on_master: bool = _option(boolean, "only rank 0 writes; 0: each rank writes its ckpt_<rank>", default=True,
                                      commands=_TRAIN)
    use_modelarts: bool = _option(boolean, "a ModelArts job: what obs:// or s3:// addresses name is copied in, and "
                                  "the results are copied to outer_path", default=False, commands=_ALL_DOORS)
    data_url: str = _option(text, "given by ModelArts: dataset, if that is empty", default="", commands=_ALL_DOORS)
    train_url: str = _option(text, "given by ModelArts: outer_path, if that is empty", default="", commands=_ALL_DOORS)
    outer_path: str = _option(text, "where the results of a ModelArts job are kept, obs://, s3:// or a folder",
                              default="", commands=_ALL_DOORS)
    upload_every: int = _option(integer(1), "epochs between copies of the results to outer_path", default=5,
                                commands=_TRAIN)
    copy_path: str = _option(text, "folder for what a ModelArts job copies in (empty: /cache, or the system's folder "
                             "for temporary files)", default="", commands=_ALL_DOORS)
    copy_timeout: float = _option(number(0, above=True), "seconds that copying in, or copying the results once, may "
                                  "take", default=3600.0, commands=_ALL_DOORS)
    # Prediction
    inputs: Tuple[str, ...] = _option(texts, "images (PNG, JPEG), videos, folders of them, and quoted patterns such "
                                      "as 'day1/*.jpg'", default=(), commands=())
    model_path: str = _option(text, "exported .onnx or .mindir instead of a checkpoint; its metadata next to it says "
                              "all about the network", default="", commands=_PREDICT)
    submit: bool = _option(boolean, "write label ids as the Cityscapes test server takes them, and nothing else",
                           default=False, commands=_PREDICT)
    # Export
    ckpt_file: str = _option(text, "checkpoint to export, or to predict with", default="", commands=_EXPORT + _PREDICT,
                             aliases=("--ckpt-file",))
    from_mindir: str = _option(text, "exported .mindir to convert instead, with --file_format ONNX", default="",
                               commands=_EXPORT)
    file_format: str = _option(choice("MINDIR", "ONNX", "AIR"), "MINDIR, ONNX, or AIR (on Ascend only)",
                               default="MINDIR", commands=_EXPORT)
    file_name: str = _option(text, "file to write, the suffix follows from the format (default: <model>, or the name "
                             "of the .mindir)", default="", commands=_EXPORT)
    image_height: int = _option(multiple_of_32, "input height, pixels", default=1024, commands=_EXPORT)
    image_width: int = _option(multiple_of_32, "input width, pixels", default=2048, commands=_EXPORT)
    export_batch_size: int = _option(integer(1, 1024), "images that go through the exported network together",
                                     default=1, commands=_EXPORT, aliases=("--batch_size",))
    input_type: str = _option(choice("float32", "uint8"), "float32: normalised images (N, 3, H, W); uint8: images "
                              "as they are (N, H, W, 3), normalised in the graph", default="float32", commands=_EXPORT)
    output_type: str = _option(choice("logits", "class_map", "head_logits"), "logits: float32 (N, C, H, W); "
                               "class_map: train ids, uint8 (N, H, W); head_logits: before the network's last "
                               "upsampling, float32 (N, C, H/8, W/8), or H/4 and W/4 for liminn", default="logits",
                               commands=_EXPORT)

    @property
    def global_batch_size(self) -> int:
        """Images per step over all processes, as far as their number is known."""
        return self.batch_size * (self.group_size or 1)

    @property
    def learning_rate(self) -> float:
        """`lr` if given, else `base_lr` scaled with the global batch."""
        return self.lr if self.lr is not None else self.base_lr * self.global_batch_size / self.base_lr_batch_size

    def dump(self) -> str:
        """The configuration as YAML that `--config` takes again, on any number of processes: what only this start had
        is left out."""
        values = {key: list(value) if isinstance(value, tuple) else value
                  for key, value in dataclasses.asdict(self).items() if key not in _OF_THIS_START}
        values["dataset_config"] = self.dataset_config.origin
        return yaml.safe_dump(values, sort_keys=False, default_flow_style=None)


_OF_THIS_START = ("is_distributed", "rank", "group_size", "inputs")
_FIELDS = {field.name: field for field in dataclasses.fields(Config)}
_MISSING = [name for name, field in _FIELDS.items() if field.default is _REQUIRED]


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
    parser = argparse.ArgumentParser(prog=f"{command}.py", description=description, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    if command == "predict":
        parser.add_argument("inputs", nargs="+", metavar="INPUT", help=_FIELDS["inputs"].metadata["help"])
    parser.add_argument("--config", default=None, help="YAML recipe (default: configs/<model>.yaml)")
    for name, field in _FIELDS.items():
        if command in field.metadata["commands"]:
            text = field.metadata["help"] + ("" if field.default in (_REQUIRED, None, "") else f" ({field.default})")
            # Elsewhere many booleans are switches: --diff_seed means --diff_seed 1.
            switch = {"nargs": "?", "const": "1"} if field.metadata["parse"] is boolean else {}
            parser.add_argument(f"--{name}", *field.metadata["aliases"], default=None, metavar="V",
                                help=text.replace("%", "%%"), **switch)
    if command == "train":
        parser.add_argument("--no-validate", dest="eval_while_train", action="store_const", const="0",
                            help="the same as --eval_while_train 0")
    given = {key: value for key, value in vars(parser.parse_args(argv)).items() if value is not None}
    for variable in ("DEVICE_ID", "ASCEND_DEVICE_ID"):  # set by whatever starts one process per card
        if variable in os.environ:
            given.setdefault("device_id", os.environ[variable])
    path = given.pop("config", None)
    config = load_config(path or _recipe_of(given.get("model", "fast_scnn")), given)
    _check_command(command, config)
    return config


def load_config(path, overrides: Optional[Dict[str, Any]] = None) -> Config:
    """The recipe in the YAML file `path` with `overrides` (key -> text or value) on top.

    Raises:
        ConfigError: unknown or missing key, wrong type, impossible combination.
    """
    values = {name: field.default for name, field in _FIELDS.items() if field.default is not _REQUIRED}
    values.update(_parse_values(load_yaml(path, "--config"), f"{path}: key ", ""))
    values.update(_parse_values(overrides or {}, "", "--"))
    missing = [name for name in _MISSING if name not in values]
    if missing:
        raise ConfigError(f"{path}: expected all keys of a recipe, missing: {', '.join(missing)}. "
                          "Copy them from configs/fast_scnn.yaml.")
    if not values["is_distributed"]:  # otherwise the launcher's answer is waited for
        values.update({name: default for name, default in (("rank", 0), ("group_size", 1)) if values[name] is None})
    if values["num_workers"] is None:
        values["num_workers"] = _NUM_WORKERS[values["device_target"]]
    described = values["dataset_config"]
    values["dataset_config"] = (description_of(described, f"{path}: dataset_config") if isinstance(described, dict)
                                else load_dataset_spec(described))
    config = Config(**values)
    _check_combinations(config, path)
    return config


def _recipe_of(model: str) -> Path:
    path = configs_folder() / f"{model}.yaml"
    if not os.path.isfile(path):  # unlike Path.is_file, False for a name that is too long
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml")))
        raise ConfigError(f"--model {model}: there is no {path.name} in configs/; expected one of {known}")
    return path


def _shown(value) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes out no integer of thousands of digits
        text = "a huge number"
    return text if len(text) <= 200 else f"{text[:200]}..."


def _parse_values(raw: Dict[str, Any], source: str, prefix: str) -> Dict[str, Any]:
    values = {}
    for key, value in raw.items():
        if key not in _FIELDS:
            import difflib
            name = key[:100] if isinstance(key, str) else _shown(key)
            close = difflib.get_close_matches(name, _FIELDS, 1)
            raise ConfigError(f"{source}'{prefix}{name}' is unknown; expected one of the keys in "
                              "src/rtseg/config/config.py" + (f", perhaps '{close[0]}'" if close else ""))
        try:
            values[key] = _FIELDS[key].metadata["parse"](value)
        except ValueError as error:
            raise ConfigError(f"{source}'{prefix}{key}': {error}, found {_shown(value)}") from None
    return values


def _check_combinations(config: Config, path) -> None:
    problems = (
        (config.scale_range[0] > config.scale_range[1], "scale_range: expected smallest,largest, found "
         f"{config.scale_range[0]:g},{config.scale_range[1]:g}"),
        (config.warmup_epochs > config.epochs, f"warmup_epochs: expected at most epochs = {config.epochs}, found "
         f"{config.warmup_epochs:g}"),
        (config.loss_scale == "dynamic" and config.amp_level == "O0", "loss_scale: 'dynamic' needs amp_level O1, O2 or "
         "O3, found O0 (float32 gradients need no scaling; use 1)"),
        (config.amp_level != "O0" and config.device_target == "GPU", "amp_level: expected O0 on GPU, found "
         f"{config.amp_level}"),
        (config.lr_scheduler == "step" and not config.lr_milestones, "lr_milestones: the step schedule expects at "
         "least one epoch, found none"),
        (config.class_weights and len(config.class_weights) != config.dataset_config.num_classes, "class_weights: "
         f"expected {config.dataset_config.num_classes}, one per class of the data set, found "
         f"{len(config.class_weights)}"),
        (config.learning_rate < config.lr_end, f"lr_end: expected at most the learning rate {config.learning_rate:g}, "
         f"found {config.lr_end:g}"),
        (None not in (config.rank, config.group_size) and config.rank >= config.group_size, "rank: expected less than "
         f"group_size = {config.group_size}, found {config.rank}"),
        (not config.is_distributed and (config.rank or config.group_size != 1), "rank, group_size: expected "
         f"is_distributed 1 with them, found {config.rank} and {config.group_size} without it"),
    )
    for wrong, message in problems:
        if wrong:
            raise ConfigError(f"{path} and the flags do not go together: {message}")


def _check_remote(config: Config) -> None:
    for name in ("output_path", "file_name"):
        if getattr(config, name).startswith(REMOTE_PREFIXES):
            raise ConfigError(f"--{name} {getattr(config, name)}: expected a local path; results are written there "
                              "first, and copied to --outer_path with --use_modelarts 1")
    for name in ("dataset", "pretrained", "resume_path", "ckpt_file", "from_mindir"):
        if getattr(config, name).startswith(REMOTE_PREFIXES) and not config.use_modelarts:
            raise ConfigError(f"--{name} {getattr(config, name)}: addresses are copied with --use_modelarts 1 only; "
                              "expected that, or a local path")


def _check_command(command: str, config: Config) -> None:
    _check_remote(config)
    if command == "export":
        _check_export(config)
        return
    if command == "predict":
        _check_predict(config)
        return
    if not (config.dataset or config.use_modelarts and config.data_url):
        raise ConfigError("--dataset: expected the Cityscapes root (the folder with leftImg8bit/ and gtFine/), or that "
                          "of the data set in --dataset_config, found nothing")
    if command == "eval" and not (config.resume_path or config.resume_name):
        raise ConfigError("--resume_path: expected the folder of a checkpoint (and --resume_name its file), found "
                          "nothing")
    if command == "train":
        config.dataset_config.parts(config.train_split)
    if command == "eval" or config.eval_while_train and not config.max_steps:
        config.dataset_config.parts(config.eval_split)


def _check_predict(config: Config) -> None:
    if bool(config.ckpt_file) == bool(config.model_path):
        raise ConfigError("--ckpt_file, --model_path: expected one of them, found "
                          f"{'both' if config.ckpt_file else 'neither'}")
    if config.model_path and Path(config.model_path).suffix.lower() not in (".onnx", ".mindir"):
        raise ConfigError(f"--model_path {config.model_path}: expected an .onnx or .mindir file; .om and .ms files run "
                          "in the C++ program, see scripts/run_infer_310.sh")
    if config.model_path.lower().endswith(".onnx") and config.device_target != "CPU":
        raise ConfigError(f"--device_target {config.device_target}: expected CPU for an .onnx, or a .mindir")


def _check_export(config: Config) -> None:
    if bool(config.ckpt_file) == bool(config.from_mindir):
        raise ConfigError("--ckpt_file, --from_mindir: expected one of them, found "
                          f"{'both' if config.ckpt_file else 'neither'}")
    if config.from_mindir and config.file_format != "ONNX":
        raise ConfigError(f"--from_mindir: can only be converted to --file_format ONNX, found {config.file_format}")
    if config.file_format == "AIR" and config.device_target != "Ascend":
        raise ConfigError(f"--file_format AIR needs --device_target Ascend, found {config.device_target}; export ONNX "
                          "instead, which atc takes too")
