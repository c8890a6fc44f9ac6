"""Writes a synthetic street-scene data set in the Cityscapes folder layout, so that everything runs without a download.

    rtseg synthetic --output DIR [--train 24] [--val 6] [--test 2] [--height 256] [--width 512] [--seed 1]

The images are drawn by `rtseg.synthetic.scene` from a seed. They are not photographs and contain nothing of Cityscapes:
a score on them says that the software works, and nothing about real streets. The output says so too, in README.txt, in
the city names and in every PNG file.
"""
import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Dict, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from rtseg.config.arguments import parse_options
from rtseg.config.fields import Section, option
from rtseg.data.dataset_spec import DatasetSpec, load_dataset_spec
from rtseg.synthetic.scene import draw_scene
from rtseg.utils.atomic import atomic_write, write_text
from rtseg.utils.errors import ConfigError, UserError, run_command

GENERATOR_VERSION = 1  # raise it whenever the same parameters give other files
CITIES = {"train": ("synthetica", "syntheticburg"), "val": ("syntheticford",), "test": ("syntheticton",)}
SMALLEST, LARGEST = (64, 128), (8192, 16384)  # height, width

README = """Synthetic street scenes, not Cityscapes and not photographs

Every image and label map in this folder was drawn by a program (rtseg synthetic) from a seed. The folder
layout, the file names and the label ids are those of Cityscapes, so that Cityscapes software can read it; the cities do
not exist. Use it to try and test software. Scores on it say nothing about real streets: do not report them as
Cityscapes results. As in Cityscapes, the test split has no public labels.

Parameters:
"""


class Recipe(NamedTuple):
    """All that the files depend on; counts are images per split, sizes are pixels."""

    train: int
    val: int
    test: int
    height: int
    width: int
    seed: int

    def record(self) -> dict:
        return {"synthetic": True, "generator_version": GENERATOR_VERSION, **self._asdict()}


def generate(output: Union[str, Path], *, train: int = 24, val: int = 6, test: int = 2, height: int = 256,
             width: int = 512, seed: int = 1, num_workers: int = 2) -> Dict[str, int]:
    """Makes the data set under `output` and returns the number of images per split.

    Images are uint8 RGB, labels uint8 label ids (not train ids), both (height, width) PNG. A split of 4 or more images
    holds all 19 classes. The same arguments give the same pixels whatever `num_workers` is (0: draw in this thread),
    as long as the versions of NumPy and OpenCV stay the same. A folder that is complete is left alone, one that was
    interrupted is completed.

    Raises:
        ConfigError: an argument is out of range, or `output` holds something else.
        UserError: the files cannot be written.
    """
    recipe, output = Recipe(train, val, test, height, width, seed), Path(output)
    _check_arguments(recipe, num_workers)
    counts = {"train": train, "val": val, "test": test}
    if _is_complete(output, recipe):
        return counts
    scenes = [(split, number) for split, count in counts.items() for number in range(count)]
    try:
        write_text(output / "README.txt", README + _as_text(recipe))
        for leftover in output.rglob(".tmp-*"):
            leftover.unlink()
        write = partial(_write_scene, output, recipe, load_dataset_spec("cityscapes"))
        if num_workers:
            with ThreadPoolExecutor(num_workers) as pool:
                list(pool.map(write, scenes))
        else:
            for scene in scenes:
                write(scene)
        write_text(output / "dataset.json", _as_text(recipe))
    except OSError as error:
        raise UserError(f"cannot write the synthetic data set to {output}: {error}. Choose a folder on a disk that can "
                        "be written and has space left; the same command completes what is there.") from error
    return counts


def _check_arguments(recipe: Recipe, num_workers: int) -> None:
    for name, value in (*recipe._asdict().items(), ("num_workers", num_workers)):
        if not isinstance(value, int) or value < 0:
            raise ConfigError(f"{name} must be an integer of 0 or more, found {value!r}.")
    if recipe.train + recipe.val + recipe.test == 0:
        raise ConfigError("train, val and test are all 0, so there is nothing to make. Ask for at least one image.")
    for name, value, least, most in zip(("height", "width"), (recipe.height, recipe.width), SMALLEST, LARGEST):
        if not least <= value <= most:
            raise ConfigError(f"{name} must be {least} to {most} pixels, found {value}.")


def _as_text(recipe: Recipe) -> str:
    return json.dumps(recipe.record(), indent=2) + "\n"


def _is_complete(output: Path, recipe: Recipe) -> bool:
    """Whether the data set is there already; False means that it may be written or completed."""
    if not output.exists():
        return False
    readme, finished = output / "README.txt", output / "dataset.json"
    try:
        if finished.is_file() and json.loads(finished.read_text(encoding="utf-8")) == recipe.record():
            return True
        if not finished.exists():
            # The README is written first: it tells an interrupted run of this recipe from a stranger's folder.
            if readme.is_file() and readme.read_text(encoding="utf-8") == README + _as_text(recipe):
                return False
            if all(entry.name.startswith(".tmp-") for entry in output.iterdir()):
                return False
    except (OSError, ValueError):
        pass  # what cannot be read is not ours
    raise ConfigError(f"{output} must be new, empty or hold the same synthetic data set, but it holds something else, "
                      "maybe one made with other parameters. Nothing was changed. Choose another output folder, or "
                      "remove this one if you do not need it.")


def _write_scene(output: Path, recipe: Recipe, spec: DatasetSpec, scene: Tuple[str, int]) -> None:
    """Writes image and label of one (split, number), unless they are there."""
    split, number = scene
    city = CITIES[split][number % len(CITIES[split])]
    stem = f"{city}_000000_{number:06d}"
    image_folder, label_folder = (Path(folder).parent for folder in spec.splits["train"][:2])
    image_path = output / image_folder / split / city / (stem + spec.image_suffix)
    label_path = output / label_folder / split / city / (stem + spec.label_suffix)
    paths = (image_path,) if split == "test" else (image_path, label_path)
    if all(path.exists() for path in paths):
        return
    rng = np.random.default_rng((recipe.seed, list(CITIES).index(split), number))
    for path, pixels in zip(paths, draw_scene(recipe.height, recipe.width, number=number, rng=rng)):
        mark = PngInfo()
        mark.add_text("Description", "Synthetic street scene drawn by a program; not a photograph, not Cityscapes")
        with atomic_write(path) as temporary:
            Image.fromarray(pixels).save(temporary, "PNG", compress_level=1, pnginfo=mark)


class SyntheticOptions(Section):
    """Flags of `rtseg synthetic`."""

    output: str = option("folder to write; new, empty, or an earlier run's", metavar="DIR")
    train: int = option("images to train on", 24)
    val: int = option("images to evaluate on", 6)
    test: int = option("images without labels", 2)
    height: int = option("image height, pixels", 256)
    width: int = option("image width, pixels", 512)
    seed: int = option("another seed gives other scenes", 1)
    num_workers: int = option("threads; the result does not depend on it", 2)


def main(argv: Optional[Sequence[str]] = None) -> int:
    arguments = parse_options(SyntheticOptions, "rtseg synthetic", description=__doc__, argv=argv)
    counts = generate(**arguments.model_dump())
    print(f"{arguments.output} holds a synthetic data set of {arguments.height}x{arguments.width} pixels: "
          + ", ".join(f"{count} {split}" for split, count in counts.items()))
    return 0


if __name__ == "__main__":
    run_command(main)
