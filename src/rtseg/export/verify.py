"""Whether an exported model says what its source says: class maps and logits of the same images, compared."""
from pathlib import Path
from typing import Callable, Iterable, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np

from rtseg.inference.backends import Backend
from rtseg.inference.bin_files import IMAGE_SUFFIX, RESULT_SUFFIX, list_files, read_image_file, read_output
from rtseg.inference.metadata import ModelMetadata
from rtseg.inference.postprocessing import classes_of
from rtseg.inference.preprocessing import fit
from rtseg.utils.errors import DataError, UserError

# Runtimes round differently where two classes are nearly equal: 1 pixel in 1000 is far more than they do in float32.
# float16 devices need a lower one.
LEAST_AGREEMENT = 0.999
# Of an int8 model of trained weights; docs/deployment.md has what we have seen.
LEAST_INT8_AGREEMENT = 0.95


class Comparison(NamedTuple):
    """Two outputs for one image."""

    name: str
    agreement: float   # share of the pixels that have the same class
    difference: float  # largest of the logits; NaN for class maps


def compare_outputs(name: str, outputs: Sequence[np.ndarray], *, metadata: ModelMetadata) -> Comparison:
    """Compares two outputs of one image: logits (C, h, w), or class maps (H, W), the kind of each by its shape.

    Raises:
        DataError: logits that are not finite.
    """
    try:
        first, second = (classes_of(output, metadata.size[1:], align_corners=bool(metadata.output.align_corners))
                         for output in outputs)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    both_logits = outputs[0].shape == outputs[1].shape and outputs[0].ndim == 3
    difference = float(np.abs(outputs[0].astype(np.float64) - outputs[1]).max()) if both_logits else float("nan")
    return Comparison(name, float((first == second).mean()), difference)


def compare_backends(images: Iterable[Tuple[str, np.ndarray]], backends: Sequence[Backend],
                     *, metadata: ModelMetadata) -> Iterator[Comparison]:
    """Compares what two back ends make of images, uint8 (H, W, 3) of any sizes, brought to the metadata's."""
    for name, image in images:
        fitted, _ = fit(image, metadata.size[1:], mean=metadata.mean)
        yield compare_outputs(name, [backend.run(fitted[None])[0] for backend in backends], metadata=metadata)


def compare_results(inputs: Path, results: Path, *, run: Callable[[np.ndarray], np.ndarray],
                    metadata: ModelMetadata) -> Iterator[Comparison]:
    """Compares the result files of another engine with what `run` makes of the same input files.

    Args:
        inputs: folder of <name>_img.bin files.
        results: folder of <name>_img_0.bin files.
        run: input array of the metadata's shape -> output array.

    Raises:
        DataError: no input has a result, or a file has another size.
    """
    images, found = list_files(inputs, IMAGE_SUFFIX), list_files(results, RESULT_SUFFIX)
    names = [name for name in images if name in found]
    if not names:
        raise DataError(f"expected results <name>{RESULT_SUFFIX} in {results} of the inputs <name>{IMAGE_SUFFIX} in "
                        f"{inputs}, found none")
    _, height, width = metadata.size
    for name in names:
        x = read_image_file(images[name], metadata.input_shape[1:], dtype=metadata.input_type)
        result = read_output(found[name], height, width=width, num_classes=len(metadata.classes),
                             stride=metadata.output.stride)
        yield compare_outputs(name, [result, run(np.repeat(x[None], metadata.size[0], axis=0))[0]], metadata=metadata)


def report(comparisons: Iterable[Comparison], *, least_agreement: float = LEAST_AGREEMENT) -> None:
    """Prints a line for each image and one for all.

    Raises:
        UserError: there is no image, or some agree in a smaller share of their pixels; they are named.
    """
    done: List[Comparison] = []
    apart: List[str] = []
    for comparison in comparisons:
        difference = "" if np.isnan(comparison.difference) else (
            f", largest difference of the logits {comparison.difference:.3g}")
        line = f"{comparison.name}: {100 * comparison.agreement:.4f} % of the classes agree{difference}"
        print(line, flush=True)
        done.append(comparison)
        if not comparison.agreement >= least_agreement:
            apart.append(line)
    if not done:
        raise UserError("expected at least one image to compare, found none")
    shares = [100 * comparison.agreement for comparison in done]
    print(f"{len(done)} images: {np.mean(shares):.4f} % of the classes agree, at least {min(shares):.4f} %")
    if apart:
        raise UserError(f"the two are apart: expected at least {100 * least_agreement:g} % of the classes to agree in "
                        "each image, found less in\n  " + "\n  ".join(apart))
