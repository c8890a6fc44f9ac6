"""Values that are right one by one but not together, and what each command needs."""
import re
from pathlib import Path
from typing import Union

from rtseg.config.config import Config
from rtseg.config.sections import SAVE_KINDS
from rtseg.utils.errors import ConfigError
from rtseg.utils.files import pretrained_names

REMOTE_PREFIXES = ("obs://", "s3://")
AUTO_RESUME = "auto"
FOR_CPP_PROGRAM = ".om and .ms files run in the C++ program, see scripts/run_infer_310.sh"


def check_combinations(config: Config, path: Union[str, Path]) -> None:
    """Raises ConfigError for values that contradict each other; `path` is the recipe's."""
    data, optimizer, schedule, run = config.data, config.optimizer, config.schedule, config.run
    num_classes = data.dataset_config.num_classes
    problems = (
        (data.scale_range[0] > data.scale_range[1], "scale_range: expected smallest,largest, found "
         f"{data.scale_range[0]:g},{data.scale_range[1]:g}"),
        (schedule.warmup_epochs > schedule.epochs, f"warmup_epochs: expected at most epochs = {schedule.epochs}, found "
         f"{schedule.warmup_epochs:g}"),
        (optimizer.loss_scale == "dynamic" and optimizer.amp_level == "O0", "loss_scale: 'dynamic' needs amp_level "
         "O1, O2 or O3, found O0 (float32 gradients need no scaling; use 1)"),
        (optimizer.amp_level != "O0" and run.device_target == "GPU", "amp_level: expected O0 on GPU, found "
         f"{optimizer.amp_level}"),
        (schedule.lr_scheduler == "step" and not schedule.lr_milestones, "lr_milestones: the step schedule expects at "
         "least one epoch, found none"),
        (config.loss.class_weights and len(config.loss.class_weights) != num_classes, f"class_weights: expected "
         f"{num_classes}, one per class of the data set, found {len(config.loss.class_weights)}"),
        (config.learning_rate < schedule.lr_end, f"lr_end: expected at most the learning rate "
         f"{config.learning_rate:g}, found {schedule.lr_end:g}"),
        (run.rank is not None and run.group_size is not None and run.rank >= run.group_size, "rank: expected less than "
         f"group_size = {run.group_size}, found {run.rank}"),
        (not run.is_distributed and (run.rank or run.group_size != 1), "rank, group_size: expected is_distributed 1 "
         f"with them, found {run.rank} and {run.group_size} without it"),
    )
    for wrong, message in problems:
        if wrong:
            raise ConfigError(f"{path} and the flags do not go together: {message}")


def check_command(command: str, config: Config) -> None:
    """Raises ConfigError if train, eval, export or predict cannot start with `config`."""
    _check_remote(command, config)
    {"train": _check_train, "eval": _check_eval, "export": _check_export, "predict": _check_predict}[command](config)


def _check_remote(command: str, config: Config) -> None:
    for name in ("output_path", "file_name"):
        if config.value(name).startswith(REMOTE_PREFIXES):
            raise ConfigError(f"--{name} {config.value(name)}: expected a local path; results are written there "
                              "first, and copied to --outer_path with --use_modelarts 1")
    for name in ("dataset", "pretrained", "resume_path", "ckpt_file", "from_mindir"):
        if config.value(name).startswith(REMOTE_PREFIXES) and not config.modelarts.use_modelarts:
            expected = "a local path" if command == "predict" else "--use_modelarts 1, which copies it, or a local path"
            raise ConfigError(f"--{name} {config.value(name)}: expected {expected}")
    for name in ("prepared_cache", "calibration", "verify"):
        if config.value(name).startswith(REMOTE_PREFIXES):
            raise ConfigError(f"--{name} {config.value(name)}: expected a local path; --use_modelarts 1 does not copy "
                              "it")


def _check_dataset(config: Config) -> None:
    if not (config.data.dataset or config.modelarts.use_modelarts and config.modelarts.data_url):
        raise ConfigError("--dataset: expected the Cityscapes root (the folder with leftImg8bit/ and gtFine/), or that "
                          "of the data set in --dataset_config, found nothing")


def _check_train(config: Config) -> None:
    _check_dataset(config)
    config.data.dataset_config.parts(config.data.train_split)
    if config.schedule.early_stop and not config.evaluation.eval_while_train:
        raise ConfigError(f"--early_stop {config.schedule.early_stop}: expected --eval_while_train 1 with it, whose "
                          "scores it looks at, found 0")
    if config.evaluation.eval_while_train and not (config.run.max_steps or config.run.profile):
        config.data.dataset_config.parts(config.data.eval_split)


def _check_averages(config: Config) -> None:
    prediction = config.prediction
    if prediction.overlap is not None and prediction.window is None:
        raise ConfigError("--overlap: expected --window with it, found none")
    if prediction.window is not None and prediction.overlap is not None and any(
            overlap >= length for overlap, length in zip(prediction.overlap, prediction.window)):
        raise ConfigError(f"--overlap: expected less than the window {prediction.window[0]},{prediction.window[1]}, "
                          f"found {prediction.overlap[0]},{prediction.overlap[1]}")


def _check_eval(config: Config) -> None:
    _check_averages(config)
    _check_dataset(config)
    if not (config.run.resume_path or config.run.resume_name):
        raise ConfigError("--resume_path: expected the folder of a checkpoint (and --resume_name its file), found "
                          "nothing")
    config.data.dataset_config.parts(config.data.eval_split)


def _check_predict(config: Config) -> None:
    _check_averages(config)
    unknown = [kind for kind in config.prediction.save_kinds if kind not in SAVE_KINDS]
    if unknown or not config.prediction.save_kinds:
        raise ConfigError(f"--save: expected some of {', '.join(SAVE_KINDS)}, found '{config.prediction.save}'")
    shard = re.fullmatch(r"([1-9]\d{0,8})/([1-9]\d{0,8})", config.prediction.shard)
    if shard is None or int(shard[1]) > int(shard[2]):
        raise ConfigError(f"--shard: expected i/n with 1 <= i <= n, such as 1/4, found '{config.prediction.shard}'")
    model_path, ckpt_file = config.prediction.model_path, config.run.ckpt_file
    if ckpt_file and model_path:
        raise ConfigError("--ckpt_file, --model_path: expected one of them, found both")
    by_name = model_path in ("", *pretrained_names())
    if not by_name and Path(model_path).suffix.lower() not in (".onnx", ".mindir"):
        raise ConfigError(f"--model_path {model_path}: expected an .onnx or .mindir file or one of "
                          f"{', '.join(pretrained_names())}; {FOR_CPP_PROGRAM}")
    is_onnx = not ckpt_file and (by_name or model_path.lower().endswith(".onnx"))
    if is_onnx and config.run.device_target not in ("auto", "CPU"):
        raise ConfigError(f"--device_target {config.run.device_target}: expected CPU for an .onnx, or a .mindir")


def _check_export(config: Config) -> None:
    from_mindir, ckpt_file, file_format = config.export.from_mindir, config.run.ckpt_file, config.export.file_format
    if bool(ckpt_file) == bool(from_mindir):
        raise ConfigError("--ckpt_file, --from_mindir: expected one of them, found "
                          f"{'both' if ckpt_file else 'neither'}")
    if from_mindir and file_format != "ONNX":
        raise ConfigError(f"--from_mindir: can only be converted to --file_format ONNX, found {file_format}")
    if from_mindir:
        decided = [f"--{name}" for name in ("export_batch_size", "image_height", "image_width", "input_type",
                                            "output_type") if config.was_given(name)]
        if decided:
            raise ConfigError(f"{', '.join(decided)}: expected none of these with --from_mindir, whose file has them; "
                              "export the checkpoint anew")
    if file_format != "ONNX" and (config.export.dynamic_batch or config.export.dynamic_size):
        raise ConfigError(f"--dynamic_batch, --dynamic_size: expected --file_format ONNX, found {file_format}")
    if config.export.precision == "int8" and (from_mindir or file_format != "ONNX"):
        raise ConfigError("--precision int8: expected a checkpoint that is exported with --file_format ONNX, found "
                          f"{'--from_mindir' if from_mindir else file_format}")
    if (config.export.precision == "int8") != bool(config.export.calibration):
        raise ConfigError("--precision int8, --calibration: expected both or neither, found "
                          f"{'no --calibration' if config.export.precision == 'int8' else 'float32'}")
    if config.export.verify and (from_mindir or file_format == "AIR"):
        raise ConfigError("--verify: expected a checkpoint that is exported as MINDIR or ONNX; rtseg verify compares "
                          "other files")
    if file_format == "AIR" and config.run.device_target not in ("auto", "Ascend"):
        raise ConfigError(f"--file_format AIR needs --device_target Ascend, found {config.run.device_target}; export "
                          "ONNX instead, which atc takes too")
