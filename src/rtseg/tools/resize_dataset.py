"""Copies a data set with all images scaled to one size, and their labels with them.

    rtseg resize-data --dataset DIR --dataset_config NAME_OR_FILE --size 768,1024 --output DIR

For images so small that thin objects vanish at a network's stride, as in CamVid's copy of 480x360, or so large that
reading them takes most of the time. Images are averaged by area where they shrink and bicubic where they grow; labels
are nearest and keep their form. All files keep their names, so the same description fits the copy, and those that are
there already are left alone. A test split that is not there is left out. The exit code is 3 if files could not be read;
the others are copied. Needs no MindSpore.
"""
import os
import sys
from functools import partial
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

import cv2
import numpy as np
from PIL import Image

from rtseg.config.arguments import parse_options
from rtseg.config.fields import SIZE_EXPECTED, Section, Side, option
from rtseg.data.dataset import SegmentationDataset, relative_path
from rtseg.data.dataset_spec import DatasetSpec, load_dataset_spec
from rtseg.data.image_io import image_size
from rtseg.data.loader import errors_of
from rtseg.utils.atomic import atomic_write
from rtseg.utils.errors import ConfigError, DataError, report_errors, run_command

Size = Tuple[int, int]


def resize_dataset(root: Path, spec: DatasetSpec, *, output: Path, target: Size,
                   num_workers: int = 2) -> Tuple[int, int, List[DataError]]:
    """Copies every split of `spec`, scaled to `target` = (height, width).

    Returns:
        the number of images that are there now, that of all images, and the errors of the others, or of the test
        split, whose images are not counted then. A test split that is not there is left out, with a note on stderr:
        many data sets come without theirs.

    Raises:
        ConfigError: `output` is the data set itself.
        DataError: the data set is not laid out as described, or a list file is not below its folder; nothing is copied
            then.
    """
    if root.resolve() == output.resolve():
        raise ConfigError(f"--output: expected another folder than the data set, found {output}")
    copied, total, errors, datasets = 0, 0, [], {}
    for name, split in spec.splits.items():
        try:
            datasets[name] = SegmentationDataset(root, name, spec=spec,
                                                 require_labels=name != "test" or bool(split.labels))
            if split.list:
                relative_path(root, root / split.list)  # the copy has it, too: one elsewhere would be written over
        except DataError as error:
            if name != "test" or len(spec.splits) == 1:
                raise
            place = root / (split.list or split.images)
            if place.exists():
                errors.append(error)
            else:
                print(f"note: there is no {place}; the test split is left out", file=sys.stderr, flush=True)
    for name, dataset in datasets.items():
        copy = partial(_copy_sample, dataset=dataset, output=output, target=target)
        failed = errors_of(copy, range(len(dataset)), num_workers=num_workers, title=name)
        errors += failed
        copied += len(dataset) - len(failed)
        total += len(dataset)
        if names := spec.splits[name].list:
            lines = (dataset.root / names).read_bytes()
            with atomic_write(output / names) as temporary:  # not naming the original files, as absolute paths would
                temporary.write_bytes(lines.replace(os.fsencode(f"{dataset.root}{os.sep}"), b""))
    return copied, total, errors


def resize_image(image: np.ndarray, target: Size) -> np.ndarray:
    """uint8 (h, w, 3) -> uint8 (H, W, 3) with `target` = (H, W)."""
    height, width = target
    shrinks = height * width < image.shape[0] * image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def _copy_sample(index: int, *, dataset: SegmentationDataset, output: Path, target: Size) -> Optional[DataError]:
    sample = dataset.samples[index]
    try:
        copies = [output / relative_path(dataset.root, path) for path in (sample.image, sample.label) if path]
        if all(copy.is_file() for copy in copies):
            _check_size(copies[0], target)
            return None
        image, _ = dataset.load(index)
        label = _resized_label(sample.label, target) if sample.label else None
    except DataError as error:
        return error
    is_jpeg = copies[0].suffix.lower() in (".jpg", ".jpeg")
    _save(Image.fromarray(resize_image(image, target)), copies[0], file_format="JPEG" if is_jpeg else "PNG")
    if label is not None:
        _save(label, copies[1], file_format="PNG")
    return None


def _resized_label(path: Path, target: Size) -> Image.Image:
    """Not the train ids: the copy's label holds what the original's holds, ids, palette or colours."""
    try:
        with Image.open(path) as label:
            resized = label.resize(target[::-1], Image.Resampling.NEAREST)
    except (OSError, SyntaxError, ValueError) as error:  # PIL is stricter than OpenCV, which has read it
        raise DataError(f"{path}: cannot be decoded ({error}); copy the file again") from None
    palette = resized.getpalette()
    if palette is not None:  # PIL writes no more bits than its colours need, and ids such as 255 may have no colour
        resized.putpalette(palette + [0] * (3 * 256 - len(palette)))
    return resized


def _check_size(copy: Path, target: Size) -> None:
    height, width = image_size(copy)
    if (height, width) != target:
        raise DataError(f"{copy}: expected {target[0]}x{target[1]}, found one of {height}x{width} from an earlier run; "
                        "delete it, or choose another --output")


def _save(image: Image.Image, path: Path, *, file_format: str) -> None:
    with atomic_write(path) as temporary:
        image.save(temporary, file_format, quality=95, compress_level=1)  # the first for JPEG, the second for PNG


class ResizeOptions(Section):
    """Flags of `rtseg resize-data`."""

    dataset: Path = option("root of the data set", metavar="DIR")
    dataset_config: str = option("data-set specification: a name in configs/datasets/ or a YAML file",
                                 metavar="NAME|FILE")
    size: Tuple[Side, Side] = option("height,width of the copy's images", metavar="H,W", expected=SIZE_EXPECTED)
    output: Path = option("folder for the copy", metavar="DIR")
    num_workers: int = option("threads", 2, ge=1)


def main(argv: Optional[Sequence[str]] = None) -> int:
    options = parse_options(ResizeOptions, "rtseg resize-data", description=__doc__, argv=argv)
    copied, total, errors = resize_dataset(options.dataset, load_dataset_spec(options.dataset_config),
                                           output=options.output, target=options.size, num_workers=options.num_workers)
    print(f"{copied} images of {options.size[0]}x{options.size[1]} are in {options.output}")
    split = " and the test split" if len(errors) > total - copied else ""
    return report_errors(f"{total - copied} of {total} images{split} not copied:", errors)


if __name__ == "__main__":
    run_command(main)
