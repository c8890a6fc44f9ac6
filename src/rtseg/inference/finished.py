"""Which images a prediction need not do again: their results say that this model made them of this image.

Each PNG that is written carries a key in a text chunk: a digest of the model file, of all settings that change a
result, and of the image file's size and time of change. An image is finished if each of its results is there with
this key. So results of another model, another image of the same name, or older versions never count, and as results
appear under their names only when they are complete, neither does what was broken off. No MindSpore.
"""
import hashlib
from pathlib import Path
from typing import Iterable

from rtseg.config.config import Config
from rtseg.inference.metadata import metadata_path, sha256_of

KEYWORD = "rtseg"  # of the text chunk
_PREDICTION_SETTINGS = {"resize", "window", "overlap", "scales", "flip", "align_corners", "submit"}


def settings_key(config: Config) -> str:
    """A digest of the model and of the settings that change a result.

    Raises:
        OSError: the model cannot be read.
    """
    spec, path = config.data.dataset_config, Path(config.run.ckpt_file or config.prediction.model_path)
    metadata = metadata_path(path)
    parts = (sha256_of(path), sha256_of(metadata) if config.prediction.model_path and metadata.is_file() else "",
             config.network, config.prediction.model_dump(include=_PREDICTION_SETTINGS),
             "confidence" in config.prediction.save_kinds,  # classes then come from probabilities, which changes some
             config.export.output_type, config.data.mean, config.data.std, spec.classes, spec.ignored)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def image_key(settings: str, image: Path) -> str:
    """The key that the results of an image must carry; empty if it cannot be read, as whoever reads it will say."""
    try:
        status = image.stat()
    except OSError:
        return ""
    return hashlib.sha256(f"{settings} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:32]


def are_finished(results: Iterable[Path], key: str) -> bool:
    """Whether all these PNG files are there and carry the key."""
    return key != "" and all(_carries(path, key) for path in results)


def _carries(path: Path, key: str) -> bool:
    try:
        with open(path, "rb") as file:
            return f"tEXt{KEYWORD}\0{key}".encode() in file.read(256)  # it comes right after the header
    except OSError:
        return False
