"""mmsegmentation's own Fast-SCNN, trained by its own loop under the protocol of `train.py`: the peer of a training.

    python benchmarks/mmsegmentation_training.py --dataset D --output_path FOLDER [--softmax] [flags of train.py, such
        as --config configs/camvid/fast_scnn.yaml --warmup_epochs 0 --epochs 40 --crop_size 352,480 --seed 1]

From the flags it takes data set, crops, scales, batch size, number of epochs, learning rates, weight decay, seed and
when to evaluate; images are flipped and distorted in colour by mmsegmentation's own transforms, and it keeps its own
first weights and loss (a sigmoid for each class, auxiliary heads 0.4; with --softmax the softmax over the classes, as
train.py has it). So what it shows is what a user of either gets from the same images and the same number of steps.
Prints a line for each evaluation and writes them to metrics.csv: epoch, pixel accuracy and mIoU as train.py's file of
that name has them, 0..1, and seconds since the start. Labels must be ids, as of camvid11. Needs PyTorch,
mmsegmentation, mmengine, ftfy, regex and mmcv-lite==2.1.0, which lacks compiled operators that Fast-SCNN doesn't need.
"""
import argparse
import csv
import sys
import time
import types
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "src")]

from rtseg.config.arguments import parse_arguments  # noqa: E402
from rtseg.config.config import Config  # noqa: E402
from rtseg.utils.errors import ConfigError, run_command  # noqa: E402


class _Missing(types.ModuleType):
    """Stands for mmcv.ops, which mmsegmentation imports from for other networks and mmcv-lite has not."""

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


sys.modules["mmcv.ops"] = _Missing("mmcv.ops")


def model_settings(config: Config, *, softmax: bool) -> dict:
    """The published model, with as many classes as the data set and without BatchNorm across devices."""
    import mmseg
    from mmengine import Config as File

    base = Path(mmseg.__file__).parent / ".mim" / "configs" / "_base_" / "models" / "fast_scnn.py"
    model = File.fromfile(str(base)).model
    model["data_preprocessor"].update(mean=[255 * value for value in config.data.mean],
                                      std=[255 * value for value in config.data.std], size=config.data.crop_size)
    for part in (model["backbone"], model["decode_head"], *model["auxiliary_head"]):
        part["norm_cfg"]["type"] = "BN"
    for head in (model["decode_head"], *model["auxiliary_head"]):
        head["num_classes"] = config.data.dataset_config.num_classes
        head["loss_decode"]["use_sigmoid"] = not softmax
    return model


def register_dataset(config: Config) -> None:
    """Makes mmsegmentation's data set of folders, with the ids of the specification, known to it as "ids"."""
    from mmseg.datasets import BaseSegDataset
    from mmseg.registry import DATASETS

    table = config.data.dataset_config.id_table

    class Dataset(BaseSegDataset):
        @classmethod
        def get_label_map(cls, new_classes=None):
            return dict(enumerate(table.tolist()))

    DATASETS.register_module(name="ids", module=Dataset)


def loader_settings(config: Config, split: str, *, train: bool) -> dict:
    """A data loader of one split; ids outside the classes are ignored."""
    import cv2

    data, spec = config.data, config.data.dataset_config
    folders = spec.splits[split]
    pipeline = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}]
    if train:
        first = min((Path(data.dataset) / folders.images).glob(f"*{spec.image_suffix}"))
        height, width = cv2.imread(str(first)).shape[:2]
        factor = data.base_size / min(height, width)
        pipeline += [
            {"type": "RandomResize", "scale": (round(width * factor), round(height * factor)),
             "ratio_range": tuple(data.scale_range), "keep_ratio": True},
            {"type": "RandomCrop", "crop_size": tuple(data.crop_size), "cat_max_ratio": data.max_class_ratio},
            {"type": "RandomFlip", "prob": 0.5}]
        pipeline += [{"type": "PhotoMetricDistortion"}] if data.color_jitter else []
    dataset = {
        "type": "ids", "data_root": data.dataset, "img_suffix": spec.image_suffix,
        "seg_map_suffix": spec.label_suffix, "pipeline": [*pipeline, {"type": "PackSegInputs"}],
        "data_prefix": {"img_path": folders.images, "seg_map_path": folders.labels}, "reduce_zero_label": False,
        "metainfo": {"classes": spec.class_names}}
    return {"batch_size": data.batch_size if train else 1, "num_workers": 1, "persistent_workers": True,
            "drop_last": train, "sampler": {"type": "DefaultSampler", "shuffle": train}, "dataset": dataset}


def train(config: Config, *, softmax: bool) -> None:
    """Trains, evaluates every `eval_steps` epochs and writes metrics.csv."""
    from mmengine.hooks import Hook
    from mmengine.runner import Runner

    from rtseg.data.dataset import SegmentationDataset
    from rtseg.training.lr_schedules import learning_rates

    register_dataset(config)
    data, sgd, schedule = config.data, config.optimizer, config.schedule
    images = len(SegmentationDataset(data.dataset, data.train_split, spec=data.dataset_config))
    steps = images // data.batch_size
    rate = learning_rates(config, steps)[0]
    output = Path(config.run.output_path)
    output.mkdir(parents=True, exist_ok=True)
    start, rows = time.time(), []

    class Report(Hook):
        """A line for each evaluation, in the log and in metrics.csv."""

        def after_val_epoch(self, runner, metrics=None):
            rows.append({"epoch": runner.epoch, "pix_acc": metrics["aAcc"] / 100, "miou": metrics["mIoU"] / 100,
                         "seconds": round(time.time() - start)})
            print(", ".join(f"{name}: {value}" for name, value in rows[-1].items()), flush=True)
            with (output / "metrics.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, rows[-1])
                writer.writeheader()
                writer.writerows(rows)

    Runner(
        model=model_settings(config, softmax=softmax), work_dir=str(output / "mmsegmentation"), default_scope="mmseg",
        train_dataloader=loader_settings(config, data.train_split, train=True),
        val_dataloader=loader_settings(config, data.eval_split, train=False),
        val_evaluator={"type": "IoUMetric", "iou_metrics": ["mIoU"]}, val_cfg={"type": "ValLoop"},
        train_cfg={"type": "EpochBasedTrainLoop", "max_epochs": schedule.epochs,
                   "val_interval": config.evaluation.eval_steps},
        optim_wrapper={"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": rate, "momentum": sgd.momentum,
                                                             "weight_decay": sgd.weight_decay}},
        param_scheduler=[{"type": "PolyLR", "power": schedule.lr_power, "eta_min": schedule.lr_end, "by_epoch": False,
                          "begin": 0, "end": steps * schedule.epochs}],
        default_hooks={"logger": {"type": "LoggerHook", "interval": steps},
                       "checkpoint": {"type": "CheckpointHook", "interval": schedule.epochs}},
        custom_hooks=[Report()], randomness={"seed": config.run.seed}, log_level="WARNING",
        env_cfg={"mp_cfg": {"mp_start_method": "fork", "opencv_num_threads": 0}}).train()


def main() -> None:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--softmax", action="store_true")
    arguments, flags = parser.parse_known_args()
    config = parse_arguments("train", __doc__, argv=flags)
    graph, schedule = config.network, config.schedule
    if (graph.model, schedule.lr_scheduler, schedule.warmup_epochs) != ("fast_scnn", "poly", 0):
        raise ConfigError(f"expected fast_scnn with --lr_scheduler poly and --warmup_epochs 0, found {graph.model}, "
                          f"{schedule.lr_scheduler} and {schedule.warmup_epochs}")
    train(config, softmax=arguments.softmax)


if __name__ == "__main__":
    run_command(lambda _: main())
