"""Writes the images and labels of a split as .bin files for the inference program. Needs no MindSpore.

<out_dir>/img_data/<name>_img.bin and <out_dir>/label/<name>_label.bin, see src/rtseg/inference/bin_files.py. An image
of another size than asked for is scaled and centre-cropped, as by `eval.py --eval_mode crop`.
"""
import argparse
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple, Optional, Tuple

from tqdm import tqdm

from rtseg.config.config import FIELDS, Config
from rtseg.config.recipe import load_config
from rtseg.data.dataset import SegmentationDataset
from rtseg.data.dataset_spec import SPLIT_PARTS
from rtseg.data.loader import prefetch
from rtseg.data.transforms import resize_center_crop
from rtseg.inference.bin_files import IMAGE_SUFFIX, LABEL_SUFFIX, write_array
from rtseg.inference.metadata import read_metadata
from rtseg.inference.preprocessing import normalize
from rtseg.utils.errors import ConfigError, DataError, report_errors
from rtseg.utils.files import configs_folder


class InputSpec(NamedTuple):
    """What the model takes."""

    input_type: str           # "float32" or "uint8"
    size: Tuple[int, int]     # (height, width)
    mean: Tuple[float, ...]
    std: Tuple[float, ...]


def main(argv=None) -> int:
    options = parse_arguments(argv)
    flags = {} if options.dataset_config is None else {"dataset_config": options.dataset_config}
    recipe = load_config(options.config or configs_folder() / "fast_scnn.yaml", flags)
    spec = resolve_input_spec(options, recipe)
    dataset = SegmentationDataset(options.image_path, options.split, recipe.data.dataset_config)
    folders = [Path(options.out_dir) / name for name in ("img_data", "label")]
    for folder, suffix in zip(folders, (IMAGE_SUFFIX, LABEL_SUFFIX)):
        folder.mkdir(parents=True, exist_ok=True)
        for left_over in folder.glob(f"*{suffix}"):  # of another data set or size, which would be inferred too
            left_over.unlink()

    convert = partial(convert_sample, dataset, spec, *folders)
    results = tqdm(prefetch(convert, range(len(dataset)), options.num_workers), total=len(dataset), unit="image",
                   disable=not sys.stderr.isatty())
    errors = [error for error in results if error is not None]
    print(f"wrote {len(dataset) - len(errors)} images as {spec.input_type}, {spec.size[0]} x {spec.size[1]}, to "
          f"{options.out_dir}")
    if errors:
        return report_errors(f"{len(errors)} of {len(dataset)} images are left out:", errors)
    return 0


def parse_arguments(argv) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="preprocess.py", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--image_path", required=True, help="root of the data set")
    parser.add_argument("--split", choices=tuple(SPLIT_PARTS), default="val", help="(%(default)s)")
    parser.add_argument("--dataset_config", help="what the data set is: a name in configs/datasets/ or a YAML file "
                        f"({FIELDS['dataset_config'].field.default})")
    parser.add_argument("--out_dir", default="preprocess_Result", help="where to write (%(default)s)")
    parser.add_argument("--metadata", "--model_card",
                        help="the exported model's .json; says all that the following four say")
    parser.add_argument("--image_height", type=int,
                        help=f"height of the model's input ({FIELDS['image_height'].field.default})")
    parser.add_argument("--image_width", type=int,
                        help=f"width of the model's input ({FIELDS['image_width'].field.default})")
    parser.add_argument("--input_type", choices=("float32", "uint8"), help=f"({FIELDS['input_type'].field.default})")
    parser.add_argument("--config", help="YAML recipe with mean and std (configs/fast_scnn.yaml)")
    parser.add_argument("--num_workers", type=int, default=2, help="threads (%(default)s)")
    options = parser.parse_args(argv)
    for name in ("image_height", "image_width", "num_workers"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name}: expected an integer >= 1, found {getattr(options, name)}")
    return options


def resolve_input_spec(options, recipe: Config) -> InputSpec:
    """What the metadata says, or else the flags and the recipe.

    Raises:
        ConfigError: a flag or the data set contradicts the metadata.
    """
    if options.metadata is None:
        size = (options.image_height or recipe.export.image_height, options.image_width or recipe.export.image_width)
        return InputSpec(options.input_type or recipe.export.input_type, size, recipe.data.mean, recipe.data.std)
    if options.config is not None:
        raise ConfigError("--metadata, --config: both have mean and std, expected one of them")
    metadata = read_metadata(options.metadata)
    _, height, width = metadata.size
    for name, value in (("image_height", height), ("image_width", width), ("input_type", metadata.input_type)):
        if getattr(options, name) not in (None, value):
            raise ConfigError(f"--{name}: expected {value}, which the model takes (see {options.metadata}), found "
                              f"{getattr(options, name)}")
    if metadata.classes != recipe.data.dataset_config.class_names:
        raise ConfigError(f"--dataset_config: expected the description of a data set with the model's classes "
                          f"{', '.join(metadata.classes)}, found '{recipe.data.dataset_config.name}' with "
                          f"{', '.join(recipe.data.dataset_config.class_names)}")
    return InputSpec(metadata.input_type, (height, width), metadata.mean, metadata.std)


def convert_sample(dataset, spec: InputSpec, image_folder: Path, label_folder: Path, index: int) -> Optional[DataError]:
    """Writes one image and its label; returns what is wrong with them, if anything is."""
    try:
        image, label = dataset.load(index)
    except DataError as error:
        return error
    image, label = resize_center_crop(image, label, spec.size)
    name = dataset.samples[index].name
    write_array(image_folder / f"{name}{IMAGE_SUFFIX}",
                image if spec.input_type == "uint8" else normalize(image, spec.mean, spec.std))
    write_array(label_folder / f"{name}{LABEL_SUFFIX}", label)
    return None
