"""Strict configuration: YAML recipe + command line -> one frozen `Config`.

A recipe's defaults stand in `configs/*.yaml` only; the defaults here are those of a run (paths, devices, logging).
The field names are the YAML keys and the flags of the doors.
"""
import argparse
import dataclasses
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Sequence, Tuple

import yaml

from src.utils.errors import ConfigError

PROJECT = Path(__file__).resolve().parent.parent
_DATA_DOORS = ("train", "eval")
_REQUIRED = object()


# --- one parser per kind of value: takes what YAML or the command line gives, raises ValueError("expected ...") ---

def _text(value):
    if not isinstance(value, (str, int, float)):
        raise ValueError("expected text")
    return str(value)


def _boolean(value):
    known = {"0": False, "1": True, "false": False, "true": True}
    if str(value).lower() not in known:
        raise ValueError("expected 0 or 1")
    return known[str(value).lower()]


def _integer(minimum):
    def parse(value):
        try:
            if isinstance(value, (bool, float)) or int(value) < minimum:
                raise ValueError
        except (TypeError, ValueError):
            raise ValueError(f"expected an integer >= {minimum}") from None
        return int(value)
    return parse


def _number(minimum, maximum=float("inf"), above=False):
    """A float in [minimum, maximum], or in (minimum, maximum] when `above`."""
    def parse(value):
        wanted = f"expected a number {'>' if above else '>='} {minimum:g}"
        wanted += f" and <= {maximum:g}" if maximum != float("inf") else ""
        try:
            number = float("nan" if isinstance(value, bool) else value)
        except (TypeError, ValueError):
            raise ValueError(wanted) from None
        if not minimum <= number <= maximum or number == float("inf") or (above and number == minimum):
            raise ValueError(wanted)
        return number
    return parse


def _choice(*names):
    def parse(value):
        if str(value) not in names:
            raise ValueError(f"expected one of {', '.join(names)}")
        return str(value)
    return parse


def _optional(parse_value):
    def parse(value):
        return None if value in (None, "", "None", "none") else parse_value(value)
    return parse


def _numbers(count, minimum, maximum=float("inf")):
    """A tuple of floats; `count` None for any number of them."""
    def parse(value):
        values = value.split(",") if isinstance(value, str) else value
        try:
            numbers = tuple(_number(minimum, maximum)(item) for item in values)
        except (TypeError, ValueError):
            numbers = ()
        if (count is not None and len(numbers) != count) or (values and not numbers):
            raise ValueError(f"expected {'a list of' if count is None else count} numbers >= {minimum:g}")
        return numbers
    return parse


def _size(value):
    """Height and width: one number for a square, "H,W", or a list of two."""
    wanted = "expected one number or H,W, both positive multiples of 32"
    values = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
    try:
        sizes = tuple(_integer(32)(item) for item in values)
    except ValueError:
        raise ValueError(wanted) from None
    if len(sizes) not in (1, 2) or any(size % 32 for size in sizes):
        raise ValueError(wanted)
    return sizes * 2 if len(sizes) == 1 else sizes


def _multiple_of_32(value):
    try:
        return _size([value])[0]
    except ValueError:
        raise ValueError("expected a positive multiple of 32") from None


def _factors(value):
    """Parameter-name prefix -> factor: a YAML mapping, or "prefix=factor,..." on the command line."""
    wanted = "expected a mapping from parameter-name prefix to factor >= 0, such as aux_heads=10"
    try:
        if isinstance(value, str):
            value = dict(item.split("=") for item in value.split(",") if item)
        return {str(prefix): _number(0)(factor) for prefix, factor in value.items()}
    except (AttributeError, ValueError):
        raise ValueError(wanted) from None


def _loss_scale(value):
    if str(value) == "dynamic":
        return "dynamic"
    try:
        return _number(0, above=True)(value)
    except ValueError:
        raise ValueError("expected a number > 0 or 'dynamic'") from None


def _option(parse: Callable, text: str, default=_REQUIRED, doors=_DATA_DOORS, aliases=()):
    """A field of Config. Without a default its value must stand in the YAML file."""
    return dataclasses.field(default=default, metadata={"parse": parse, "help": text, "doors": doors,
                                                        "aliases": aliases})


_TRAIN = ("train",)
_EVAL = ("eval",)
_EXPORT = ("export",)
_ALL_DOORS = _DATA_DOORS + _EXPORT


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything a door needs to know. Read the field list as the reference of all YAML keys and flags."""

    # Network
    model: str = _option(_text, "network", doors=_ALL_DOORS, aliases=("--name",))
    variant: str = _option(_text, "which published graph of the network", doors=_ALL_DOORS)
    backbone: Optional[str] = _option(_optional(_text), "backbone of the network (empty: its first, or none)",
                                      default=None, doors=_ALL_DOORS)
    aux: int = _option(_integer(0), "number of auxiliary heads in training: 0, 1 or 2", doors=_ALL_DOORS)
    dropout: float = _option(_number(0, 0.99), "dropout probability before the classifiers", doors=_TRAIN)
    bn_momentum: Optional[float] = _option(
        _optional(_number(0, 0.9999)), "BatchNorm momentum (MindSpore's meaning; empty: the variant's own). Short runs "
        "need 0.9: the running statistics must settle before an evaluation means something", doors=_TRAIN)
    # Data
    mean: Tuple[float, ...] = _option(_numbers(3, 0, 1), "RGB mean of the normalisation, picture values in 0..1",
                                      doors=_ALL_DOORS)
    std: Tuple[float, ...] = _option(_numbers(3, 0.001, 1), "RGB standard deviation of the normalisation",
                                     doors=_ALL_DOORS)
    base_size: int = _option(_integer(32), "short side that scale 1 means, pixels")
    crop_size: Tuple[int, int] = _option(_size, "training crop, one number or H,W; also of --eval_mode crop")
    scale_range: Tuple[float, ...] = _option(_numbers(2, 0.01), "random scale, factors of base_size", doors=_TRAIN)
    max_class_ratio: float = _option(_number(0, 1, above=True), "crop again while one class fills more (1: off)",
                                     doors=_TRAIN)
    blur_probability: float = _option(_number(0, 1), "probability of a Gaussian blur", doors=_TRAIN)
    color_jitter: float = _option(_number(0, 1), "strength of brightness, contrast and saturation jitter (0: off)",
                                  doors=_TRAIN)
    # Loss
    loss: str = _option(_choice("mix", "ohem"), "cross entropy over all pixels (mix) or the hard ones (ohem)",
                        doors=_TRAIN)
    aux_weight: float = _option(_number(0), "weight of each auxiliary loss", doors=_TRAIN)
    ohem_threshold: float = _option(_number(0, 0.9999, above=True), "pixels below this probability are hard",
                                    doors=_TRAIN)
    ohem_min_kept: float = _option(_number(0, 1, above=True), "share of the valid pixels that OHEM always keeps",
                                   doors=_TRAIN)
    # Optimisation
    epochs: int = _option(_integer(1), "passes over the training split", doors=_TRAIN)
    batch_size: int = _option(_integer(1), "pictures per step and process", doors=_TRAIN,
                              aliases=("--train_batch_size",))
    base_lr: float = _option(_number(0, above=True), "learning rate for base_lr_batch_size pictures a step; the rate "
                             "used is proportional to the global batch", doors=_TRAIN)
    base_lr_batch_size: int = _option(_integer(1), "see base_lr", doors=_TRAIN)
    lr: Optional[float] = _option(_optional(_number(0, above=True)), "learning rate as it is, instead of base_lr",
                                  default=None, doors=_TRAIN, aliases=("--init_lr",))
    momentum: float = _option(_number(0, 1), "SGD momentum", doors=_TRAIN)
    weight_decay: float = _option(_number(0), "L2 weight decay", doors=_TRAIN)
    decay_bn_bias: bool = _option(_boolean, "weight decay on BatchNorm parameters and biases too", doors=_TRAIN)
    lr_factors: Dict[str, float] = _option(_factors, "learning-rate factors by parameter-name prefix", doors=_TRAIN)
    lr_scheduler: str = _option(_choice("poly", "cosine", "step", "constant"), "schedule after the warm-up",
                                doors=_TRAIN)
    lr_power: float = _option(_number(0, above=True), "exponent of the poly schedule", doors=_TRAIN)
    lr_end: float = _option(_number(0), "final rate of poly and cosine", doors=_TRAIN)
    lr_milestones: Tuple[float, ...] = _option(_numbers(None, 0), "epochs at which the step schedule decays",
                                               doors=_TRAIN)
    lr_gamma: float = _option(_number(0, 1, above=True), "factor of each step decay", doors=_TRAIN)
    warmup: str = _option(_choice("linear", "exponential"), "how the rate grows in the warm-up", default="linear",
                          doors=_TRAIN)
    warmup_epochs: float = _option(_number(0), "epochs of warm-up", doors=_TRAIN)
    warmup_factor: float = _option(_number(0, 1), "share of the rate at which the warm-up starts", doors=_TRAIN)
    amp_level: str = _option(_choice("O0", "O1", "O2", "O3"), "mixed precision: O0 is float32", doors=_TRAIN,
                             aliases=("--opt-level",))
    loss_scale: Any = _option(_loss_scale, "fixed loss scale, or 'dynamic'", doors=_TRAIN)
    # Run
    dataset: str = _option(_text, "Cityscapes root, with leftImg8bit/ and gtFine/", default="",
                           aliases=("--cityscapes_root",))
    train_split: str = _option(_choice("train", "trainval", "val"), "split to train on", default="train", doors=_TRAIN)
    eval_split: str = _option(_choice("val", "train", "trainval", "test"), "split to evaluate", default="val")
    num_workers: int = _option(_integer(0), "threads that load and augment pictures (0: none beside the main one)",
                               default=2)
    save_every: int = _option(_integer(1), "epochs between checkpoints", default=1, doors=_TRAIN)
    ckpt_save_max: int = _option(_integer(1), "checkpoints to keep in ckpt_<rank>", default=5, doors=_TRAIN)
    eval_while_train: bool = _option(_boolean, "evaluate while training and keep best_map.ckpt", default=True,
                                     doors=_TRAIN)
    eval_steps: int = _option(_integer(1), "epochs between evaluations", default=10, doors=_TRAIN)
    eval_start_epoch: int = _option(_integer(0), "no evaluation before this epoch", default=0, doors=_TRAIN)
    eval_batch_size: int = _option(_integer(1), "pictures per evaluation step", default=1,
                                   aliases=("--valid_batch_size",))
    eval_mode: str = _option(_choice("full", "crop", "ms_flip"), "full pictures; the model zoo's resized centre crop; "
                             "several scales and flipped", default="full", doors=_EVAL)
    save_mask: bool = _option(_boolean, "write coloured masks and overlays", default=True, doors=_EVAL)
    pretrained: str = _option(_text, "checkpoint to start from: a whole network's weights, or a backbone's", default="",
                              doors=_TRAIN, aliases=("--load-from",))
    resume_path: str = _option(_text, "folder of the checkpoint (or the file itself)", default="")
    resume_name: str = _option(_text, "file in resume_path (train: last.ckpt, eval: best_map.ckpt)", default="")
    output_path: str = _option(_text, "where results go; train makes a folder with the time in it", default="output")
    log_interval: int = _option(_integer(1), "steps between log lines", default=10, doors=_TRAIN)
    max_steps: int = _option(_integer(0), "performance run: so many steps, then images/s (0: off)", default=0,
                             doors=_TRAIN)
    seed: int = _option(_integer(0), "of weights, order and augmentation", default=1, doors=_TRAIN)
    diff_seed: bool = _option(_boolean, "another weight seed on each rank", default=False, doors=_TRAIN)
    device_target: str = _option(_choice("Ascend", "CPU", "GPU"), "device", default="CPU", doors=_ALL_DOORS)
    device_id: int = _option(_integer(0), "index of the card", default=0, doors=_ALL_DOORS,
                             aliases=("--gpu-id",))
    is_distributed: bool = _option(_boolean, "several processes; not in this version yet", default=False)
    rank: int = _option(_integer(0), "this process", default=0)
    group_size: int = _option(_integer(1), "number of processes", default=1)
    is_save_on_master: bool = _option(_boolean, "only rank 0 writes", default=True, doors=_TRAIN)
    use_modelarts: bool = _option(_boolean, "a ModelArts job; not in this version yet", default=False)
    data_url: str = _option(_text, "given by ModelArts", default="")
    train_url: str = _option(_text, "given by ModelArts", default="")
    outer_path: str = _option(_text, "remote folder of a ModelArts job", default="")
    # Export
    ckpt_file: str = _option(_text, "checkpoint to export", default="", doors=_EXPORT)
    from_mindir: str = _option(_text, "exported .mindir to convert instead, with --file_format ONNX", default="",
                               doors=_EXPORT)
    file_format: str = _option(_choice("MINDIR", "ONNX", "AIR"), "MINDIR, ONNX, or AIR (on Ascend only)",
                               default="MINDIR", doors=_EXPORT)
    file_name: str = _option(_text, "file to write, the suffix follows from the format (default: <model>, or the name "
                             "of the .mindir)", default="", doors=_EXPORT)
    image_height: int = _option(_multiple_of_32, "input height, pixels", default=1024, doors=_EXPORT)
    image_width: int = _option(_multiple_of_32, "input width, pixels", default=2048, doors=_EXPORT)
    export_batch_size: int = _option(_integer(1), "pictures that go through the exported network together", default=1,
                                     doors=_EXPORT, aliases=("--batch_size",))
    input_type: str = _option(_choice("float32", "uint8"), "float32: normalised pictures (N, 3, H, W); uint8: pictures "
                              "as they are (N, H, W, 3), normalised in the graph", default="float32", doors=_EXPORT)
    output_type: str = _option(_choice("logits", "class_map"), "logits: float32 (N, C, H, W); class_map: train ids, "
                               "uint8 (N, H, W)", default="logits", doors=_EXPORT)

    @property
    def global_batch_size(self) -> int:
        """Pictures per step over all processes."""
        return self.batch_size * self.group_size

    @property
    def learning_rate(self) -> float:
        """`lr` if given, else `base_lr` scaled with the global batch."""
        return self.lr if self.lr is not None else self.base_lr * self.global_batch_size / self.base_lr_batch_size

    def dump(self) -> str:
        """The whole configuration as YAML that `--config` takes again."""
        values = {key: list(value) if isinstance(value, tuple) else value
                  for key, value in dataclasses.asdict(self).items()}
        return yaml.safe_dump(values, sort_keys=False, default_flow_style=None)


_FIELDS = {field.name: field for field in dataclasses.fields(Config)}
_MISSING = [name for name, field in _FIELDS.items() if field.default is _REQUIRED]


def parse_arguments(door: str, description: str, argv: Optional[Sequence[str]] = None) -> Config:
    """Reads the command line of a door and the YAML file it names.

    Args:
        door: "train", "eval" or "export"; which flags there are.
        description: first line of --help.
        argv: arguments without the program's name; None for those of the process.

    Raises:
        ConfigError: the file, key or flag, what was expected and what was found.
        SystemExit: --help, or a flag that does not exist (code 2).
    """
    parser = argparse.ArgumentParser(prog=f"{door}.py", description=description, allow_abbrev=False)
    parser.add_argument("--config", default=None, help="YAML recipe (default: configs/<model>.yaml)")
    for name, field in _FIELDS.items():
        if door in field.metadata["doors"]:
            text = field.metadata["help"] + ("" if field.default in (_REQUIRED, None, "") else f" ({field.default})")
            parser.add_argument(f"--{name}", *field.metadata["aliases"], default=None, metavar="V",
                                help=text.replace("%", "%%"))
    if door == "train":
        parser.add_argument("--no-validate", dest="eval_while_train", action="store_const", const="0",
                            help="the same as --eval_while_train 0")
    given = {key: value for key, value in vars(parser.parse_args(argv)).items() if value is not None}
    path = given.pop("config", None)
    config = load_config(path or _recipe_of(given.get("model", "fast_scnn")), given)
    _check_door(door, config)
    return config


def load_config(path, overrides: Optional[Dict[str, Any]] = None) -> Config:
    """The recipe in the YAML file `path` with `overrides` (key -> text or value) on top.

    Raises:
        ConfigError: unknown or missing key, wrong type, impossible combination.
    """
    values = {name: field.default for name, field in _FIELDS.items() if field.default is not _REQUIRED}
    values.update(_parse_values(_read_yaml(path), f"{path}: key ", ""))
    values.update(_parse_values(overrides or {}, "", "--"))
    missing = [name for name in _MISSING if name not in values]
    if missing:
        raise ConfigError(f"{path}: expected all keys of a recipe, missing: {', '.join(missing)}. "
                          "Copy them from configs/fast_scnn.yaml.")
    config = Config(**values)
    _check_combinations(config, path)
    return config


def _recipe_of(model: str) -> Path:
    path = PROJECT / "configs" / f"{model}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml")))
        raise ConfigError(f"--model {model}: there is no {path.name} in configs/; expected one of {known}")
    return path


class _StrictLoader(yaml.SafeLoader):
    """Plain YAML that refuses a key given twice, of which YAML would silently take the last."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"the key '{key}' stands there {keys.count(key)} times")
        return super().construct_mapping(node, deep)


def _read_yaml(path) -> Dict[str, Any]:
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), _StrictLoader)
    except OSError as error:
        raise ConfigError(f"--config {path}: expected a readable YAML file; {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path}: not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"--config {path}: expected 'key: value' lines, found {type(content).__name__}")
    return content


def _parse_values(raw: Dict[str, Any], source: str, prefix: str) -> Dict[str, Any]:
    values = {}
    for key, value in raw.items():
        if key not in _FIELDS:
            import difflib
            close = difflib.get_close_matches(str(key), _FIELDS, 1)
            raise ConfigError(f"{source}'{prefix}{key}' is unknown; expected one of the keys in src/config.py"
                              + (f", perhaps '{close[0]}'" if close else ""))
        try:
            values[key] = _FIELDS[key].metadata["parse"](value)
        except ValueError as error:
            raise ConfigError(f"{source}'{prefix}{key}': {error}, found {value!r}") from None
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
        (config.learning_rate < config.lr_end, f"lr_end: expected at most the learning rate {config.learning_rate:g}, "
         f"found {config.lr_end:g}"),
        (config.rank >= config.group_size, f"rank: expected less than group_size = {config.group_size}, found "
         f"{config.rank}"),
        (config.group_size > 1 or config.is_distributed, "is_distributed, group_size: this version trains in one "
         "process; expected is_distributed 0 and group_size 1"),
        (config.use_modelarts, "use_modelarts: this version has no ModelArts support yet; expected 0"),
    )
    for wrong, message in problems:
        if wrong:
            raise ConfigError(f"{path} and the flags do not go together: {message}")


def _check_door(door: str, config: Config) -> None:
    if door == "export":
        _check_export(config)
        return
    if not config.dataset:
        raise ConfigError("--dataset: expected the Cityscapes root (the folder with leftImg8bit/ and gtFine/), found "
                          "nothing")
    if door == "eval" and not (config.resume_path or config.resume_name):
        raise ConfigError("--resume_path: expected the folder of a checkpoint (and --resume_name its file), found "
                          "nothing")
    if door == "eval" and config.eval_split == "test":
        raise ConfigError("--eval_split test: the test split has no public labels to score; expected val, train or "
                          "trainval")


def _check_export(config: Config) -> None:
    if bool(config.ckpt_file) == bool(config.from_mindir):
        raise ConfigError("--ckpt_file, --from_mindir: expected one of them, found "
                          f"{'both' if config.ckpt_file else 'neither'}")
    if config.from_mindir and config.file_format != "ONNX":
        raise ConfigError(f"--from_mindir: can only be converted to --file_format ONNX, found {config.file_format}")
    if config.file_format == "AIR" and config.device_target != "Ascend":
        raise ConfigError(f"--file_format AIR needs --device_target Ascend, found {config.device_target}; export ONNX "
                          "instead, which atc takes too")
