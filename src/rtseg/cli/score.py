"""Scores the inference program's result files: the IoU of each class, mIoU, pixel accuracy, mean accuracy,
frequency-weighted IoU. Needs no MindSpore.

Every label needs its result and every result its label; what is missing, extra or damaged is listed, and the exit code
is 3, but the others are scored.
"""
from pathlib import Path
from typing import Optional, Sequence, Tuple, Union

import numpy as np
from tqdm import tqdm

from rtseg.config.arguments import parse_options
from rtseg.config.fields import Section, option
from rtseg.config.sections import OutputType
from rtseg.data.dataset_spec import load_dataset_spec
from rtseg.data.loader import prefetch
from rtseg.inference.bin_files import LABEL_SUFFIX, RESULT_SUFFIX, list_files, read_label, read_result
from rtseg.inference.metadata import read_metadata
from rtseg.metrics.boundary_iou import BoundaryIoU
from rtseg.metrics.confusion_matrix import ConfusionMatrix
from rtseg.utils.errors import ConfigError, DataError, report_errors
from rtseg.visualization.masks import colorize, save_png


class ScoreOptions(Section):
    """Flags of cal_mIoU.py."""

    label_path: str = option("folder of labels", "preprocess_Result/label", metavar="DIR")
    output_path: str = option("folder of results", "result_Files", metavar="DIR")
    image_height: Optional[int] = option("height of the labels, pixels; empty: the metadata's, or 1024", None, ge=1)
    image_width: Optional[int] = option("width of the labels, pixels; empty: the metadata's, or 2048", None, ge=1)
    dataset_config: Optional[str] = option("data-set specification: a name in configs/datasets/ or a YAML file; empty: "
                                           "that of the metadata, else cityscapes", None, metavar="NAME|FILE")
    metadata: Optional[str] = option("the exported model's .json, which has the classes too", None,
                                     aliases=("--model_card",), metavar="FILE")
    output_type: Optional[OutputType] = option(
        "what the results are, without metadata; empty: a class map or logits, as their bytes say", None)
    align_corners: bool = option("head logits without metadata: how the network upsamples them", False)
    boundary_iou: bool = option("also score boundary IoU (Cheng et al. 2021, 2 % of the diagonal)", False)
    save_mask: bool = option("write coloured masks", False)
    mask_result_path: str = option("folder for the masks", "mask_Result", metavar="DIR")


def main(argv: Optional[Sequence[str]] = None) -> int:
    options = parse_options(ScoreOptions, "cal_mIoU.py", description=__doc__, argv=argv)
    if options.dataset_config and options.metadata:
        raise ConfigError("--dataset_config, --metadata: both have the classes, expected one of them")
    labels = list_files(Path(options.label_path), LABEL_SUFFIX)
    results = list_files(Path(options.output_path), RESULT_SUFFIX)
    if not labels:
        raise DataError(f"expected *{LABEL_SUFFIX} files in {options.label_path}, found none; run preprocess.py first")
    if not results:
        raise DataError(f"expected *{RESULT_SUFFIX} files in {options.output_path}, found none; run the inference "
                        "program first")
    problems = [f"{labels[name]}: has no result {name}{RESULT_SUFFIX}" for name in labels if name not in results]
    problems += [f"{results[name]}: has no label {name}{LABEL_SUFFIX}" for name in results if name not in labels]

    stride, align_corners = None, options.align_corners
    height, width = options.image_height or 1024, options.image_width or 2048
    if options.metadata is None:
        if options.output_type == "head_logits" and options.dataset_config is None:
            raise ConfigError("--output_type head_logits: expected --metadata, or --dataset_config for the number of "
                              "classes; missing: --dataset_config")
        spec = load_dataset_spec(options.dataset_config or "cityscapes")
        class_names, palette = spec.class_names, spec.palette
        if options.output_type == "head_logits":
            stride = head_stride(list(results.values()), height, width=width, num_classes=spec.num_classes)
    else:
        metadata = read_metadata(options.metadata).resized(height=options.image_height, width=options.image_width)
        _, height, width = metadata.size
        class_names, palette = metadata.classes, metadata.palette
        stride, align_corners = metadata.output.stride, bool(metadata.output.align_corners)
    matrix, boundary = ConfusionMatrix(len(class_names)), BoundaryIoU(len(class_names))

    def read(name: str) -> Union[Tuple[np.ndarray, np.ndarray], DataError]:
        """Prediction and label, both uint8 (H, W) train ids, or what is wrong with the files."""
        try:
            return (read_result(results[name], height, width=width, num_classes=len(class_names), stride=stride,
                                align_corners=align_corners), read_label(labels[name], height, width=width))
        except DataError as error:
            return error

    names = [name for name in labels if name in results]
    pairs = prefetch(read, names, num_workers=2)
    for name, pair in zip(names, tqdm(pairs, total=len(names), unit="image", disable=None)):
        if isinstance(pair, DataError):
            problems.append(str(pair))
            continue
        prediction, label = pair
        try:
            matrix.update(prediction, label)
        except DataError as error:
            problems.append(f"{labels[name]}: {error}")
            continue
        if options.boundary_iou:
            boundary.update(prediction, label)
        if options.save_mask:
            save_png(Path(options.mask_result_path) / f"{name}_mask.png", colorize(prediction, palette))
    print(matrix.summary(class_names, [("mBIoU", boundary.mean())] if options.boundary_iou else []), end="")
    return report_errors(f"{len(problems)} files are not in this score:", problems)


def head_stride(results: Sequence[Path], height: int, *, width: int, num_classes: int) -> int:
    """The stride of head logits, from the bytes of the first result file that has those of a stride.

    Raises:
        DataError: none has.
    """
    strides = {size * num_classes * (height // stride) * (width // stride): stride
               for size in (2, 4)  # float16, float32
               for stride in (32, 16, 8, 4, 2, 1)  # where the bytes are the same, the smallest counts
               if stride <= min(height, width)}
    sizes = [result.stat().st_size for result in results]
    for size in sizes:
        if size in strides:
            return strides[size]
    raise DataError(f"{results[0]}: expected head logits of {num_classes} classes for {width}x{height} pixels, found "
                    f"{sizes[0]} bytes, which no stride gives; are --dataset_config, --image_height and --image_width "
                    "right?")
