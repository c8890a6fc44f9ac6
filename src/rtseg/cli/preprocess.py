"""Writes the images and labels of a split as .bin files for the inference program. Needs no MindSpore.

<out_dir>/img_data/<name>_img.bin and <out_dir>/label/<name>_label.bin, see src/rtseg/inference/bin_files.py. An image
of another size than asked for is scaled and centre-cropped, as by `eval.py --eval_mode crop`.
"""
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, Optional, Sequence, Tuple

from rtseg.config.arguments import parse_options
from rtseg.config.config import Config
from rtseg.config.fields import Section, option
from rtseg.config.recipe import load_config
from rtseg.config.sections import InputType
from rtseg.data.dataset import SegmentationDataset
from rtseg.data.loader import errors_of
from rtseg.data.transforms import resize_center_crop
from rtseg.inference.bin_files import IMAGE_SUFFIX, LABEL_SUFFIX, write_array
from rtseg.inference.metadata import read_metadata
from rtseg.inference.preprocessing import normalize
from rtseg.utils.errors import ConfigError, DataError, report_errors
from rtseg.utils.files import configs_folder, writing_to


class InputSpec(NamedTuple):
    """What the model takes."""

    input_type: str           # "float32" or "uint8"
    size: Tuple[int, int]     # (height, width)
    mean: Tuple[float, ...]
    std: Tuple[float, ...]


class PreprocessOptions(Section):
    """Flags of preprocess.py."""

    image_path: str = option("root of the data set", metavar="DIR")
    split: Literal["train", "val", "trainval", "test"] = option("split to write", "val")
    dataset_config: Optional[str] = option("data-set specification: a name in configs/datasets/ or a YAML file; empty: "
                                           "the recipe's", None, metavar="NAME|FILE")
    out_dir: str = option("folder to write", "preprocess_Result", metavar="DIR")
    metadata: Optional[str] = option("the exported model's .json, which says all that the following six say", None,
                                     aliases=("--model_card",), metavar="FILE")
    image_height: Optional[int] = option("height of the model's input, pixels; empty: the recipe's, 1024", None, ge=1)
    image_width: Optional[int] = option("width of the model's input, pixels; empty: the recipe's, 2048", None, ge=1)
    input_type: Optional[InputType] = option("type of the model's input; empty: the recipe's, float32", None)
    mean: Optional[Tuple[float, float, float]] = option("RGB mean of the normalization, image values in 0..1; empty: "
                                                        "the recipe's", None)
    std: Optional[Tuple[float, float, float]] = option("RGB standard deviation of the normalization; empty: the "
                                                       "recipe's", None)
    config: Optional[str] = option("YAML recipe with mean and std; empty: configs/fast_scnn.yaml", None,
                                   metavar="FILE")
    num_workers: int = option("threads", 2, ge=1)


def main(argv: Optional[Sequence[str]] = None) -> int:
    options = parse_options(PreprocessOptions, "preprocess.py", description=__doc__, argv=argv)
    flags = {name: getattr(options, name) for name in ("dataset_config", "mean", "std")
             if getattr(options, name) is not None}
    recipe = load_config(options.config or configs_folder() / "fast_scnn.yaml", flags)
    spec = resolve_input_spec(options, recipe)
    dataset = SegmentationDataset(options.image_path, options.split, spec=recipe.data.dataset_config)
    image_folder, label_folder = (Path(options.out_dir) / name for name in ("img_data", "label"))
    with writing_to(options.out_dir, flag="--out_dir"):
        for folder, suffix in zip((image_folder, label_folder), (IMAGE_SUFFIX, LABEL_SUFFIX)):
            folder.mkdir(parents=True, exist_ok=True)
            for left_over in folder.glob(f"*{suffix}"):  # of another data set or size, which would be inferred too
                left_over.unlink()

    convert = partial(convert_sample, dataset=dataset, spec=spec, image_folder=image_folder,
                      label_folder=label_folder)
    errors = errors_of(convert, range(len(dataset)), num_workers=options.num_workers)
    print(f"wrote {len(dataset) - len(errors)} images as {spec.input_type}, {spec.size[0]} x {spec.size[1]}, to "
          f"{options.out_dir}")
    return report_errors(f"{len(errors)} of {len(dataset)} images are left out:", errors)


def resolve_input_spec(options: PreprocessOptions, recipe: Config) -> InputSpec:
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
    for name, value in (("input_type", metadata.input_type), ("mean", metadata.mean), ("std", metadata.std)):
        if getattr(options, name) not in (None, value):
            raise ConfigError(f"--{name}: expected {value}, which the model takes (see {options.metadata}), found "
                              f"{getattr(options, name)}")
    if metadata.classes != recipe.data.dataset_config.class_names:
        raise ConfigError(f"--dataset_config: expected the specification of a data set with the model's classes "
                          f"{', '.join(metadata.classes)}, found '{recipe.data.dataset_config.name}' with "
                          f"{', '.join(recipe.data.dataset_config.class_names)}")
    _, height, width = metadata.resized(height=options.image_height, width=options.image_width).size
    return InputSpec(metadata.input_type, (height, width), metadata.mean, metadata.std)


def convert_sample(index: int, *, dataset: SegmentationDataset, spec: InputSpec, image_folder: Path,
                   label_folder: Path) -> Optional[DataError]:
    """Writes one image and its label; returns what is wrong with them, if anything is."""
    try:
        image, label = dataset.load(index)
    except DataError as error:
        return error
    if label is None:
        return DataError(f"{dataset.samples[index].image}: has no label")
    image, label = resize_center_crop(image, label, crop_size=spec.size)
    name = dataset.samples[index].name
    write_array(image_folder / f"{name}{IMAGE_SUFFIX}",
                image if spec.input_type == "uint8" else normalize(image, spec.mean, std=spec.std))
    write_array(label_folder / f"{name}{LABEL_SUFFIX}", label)
    return None
