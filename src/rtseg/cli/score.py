"""Scores the inference program's result files: the IoU of each class, mIoU and pixel accuracy. Needs no MindSpore.

Every label needs its result and every result its label; what is missing, extra or damaged is listed, and the exit code
is 3, but the others are scored.
"""
import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Callable, Dict, Tuple, Union

import numpy as np
from tqdm import tqdm

from rtseg.config.config import FIELDS
from rtseg.data.dataset_spec import load_dataset_spec
from rtseg.data.loader import prefetch
from rtseg.inference.bin_files import LABEL_SUFFIX, RESULT_SUFFIX, list_files, read_label, read_result
from rtseg.inference.metadata import read_metadata
from rtseg.metrics.confusion_matrix import ConfusionMatrix
from rtseg.utils.errors import DataError, report_errors
from rtseg.visualization.masks import colorize, save_png


def main(argv=None) -> int:
    options = parse_arguments(argv)
    labels = list_files(Path(options.label_path), LABEL_SUFFIX)
    results = list_files(Path(options.output_path), RESULT_SUFFIX)
    if not labels:
        raise DataError(f"expected *{LABEL_SUFFIX} files in {options.label_path}, found none; run preprocess.py first")
    problems = [f"{labels[name]}: has no result {name}{RESULT_SUFFIX}" for name in labels if name not in results]
    problems += [f"{results[name]}: has no label {name}{LABEL_SUFFIX}" for name in results if name not in labels]

    stride, align_corners = None, False
    if options.metadata is None:
        spec = load_dataset_spec(options.dataset_config)
        class_names, palette = spec.class_names, spec.palette
    else:
        metadata = read_metadata(options.metadata)
        class_names, palette = metadata.classes, metadata.palette
        stride, align_corners = metadata.output.stride, bool(metadata.output.align_corners)
    matrix = ConfusionMatrix(len(class_names))
    read_one = partial(read_result, height=options.image_height, width=options.image_width,
                       num_classes=len(class_names), stride=stride, align_corners=align_corners)
    read = partial(read_pair, labels, results, read_one, options.image_height, options.image_width)
    names = [name for name in labels if name in results]
    for name, pair in zip(names, tqdm(prefetch(read, names, 2), total=len(names), unit="image",
                                      disable=not sys.stderr.isatty())):
        try:
            if isinstance(pair, DataError):
                raise pair
            prediction, label = pair
            matrix.update(prediction, label)
        except DataError as error:
            problems.append(str(error) if isinstance(pair, DataError) else f"{labels[name]}: {error}")
            continue
        if options.save_mask:
            save_png(Path(options.mask_result_path) / f"{name}_mask.png", colorize(prediction, palette))
    print(matrix.summary(class_names), end="")
    if problems:
        return report_errors(f"{len(problems)} files are not in this score:", problems)
    return 0


def parse_arguments(argv) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="cal_mIoU.py", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--label_path", default="preprocess_Result/label", help="folder of labels (%(default)s)")
    parser.add_argument("--output_path", default="result_Files", help="folder of results (%(default)s)")
    parser.add_argument("--image_height", type=int, default=FIELDS["image_height"].field.default, help="(%(default)s)")
    parser.add_argument("--image_width", type=int, default=FIELDS["image_width"].field.default, help="(%(default)s)")
    classes = parser.add_mutually_exclusive_group()
    classes.add_argument("--dataset_config", default=FIELDS["dataset_config"].field.default,
                        help="what the data set is: a name in "
                         "configs/datasets/ or a YAML file (%(default)s)")
    classes.add_argument("--metadata", "--model_card", help="the exported model's .json, which has the classes too; "
                         "head logits need it")
    parser.add_argument("--save_mask", type=int, choices=(0, 1), default=0, help="write coloured masks (%(default)s)")
    parser.add_argument("--mask_result_path", default="mask_Result", help="folder for the masks (%(default)s)")
    options = parser.parse_args(argv)
    for name in ("image_height", "image_width"):
        if getattr(options, name) < 1:
            parser.error(f"--{name}: expected an integer >= 1, found {getattr(options, name)}")
    return options


def read_pair(labels: Dict[str, Path], results: Dict[str, Path], read_one: Callable[[Path], np.ndarray], height: int,
              width: int, name: str) -> Union[Tuple[np.ndarray, np.ndarray], DataError]:
    """Prediction and label, both uint8 (H, W) train ids, or the DataError that says what is wrong with the files."""
    try:
        return read_one(results[name]), read_label(labels[name], height, width)
    except DataError as error:
        return error
