"""`Segmenter`: from a file with a network to what it sees in images, in three lines of Python."""
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, Optional, Sequence, Tuple, Union, cast, overload

import numpy as np
from PIL import Image, ImageOps

from rtseg.config.checks import FOR_CPP_PROGRAM
from rtseg.config.config import FILE_NAME, Config
from rtseg.config.recipe import config_beside, load_config
from rtseg.config.sections import SAVE_KINDS
from rtseg.data.dataset_spec import Color
from rtseg.inference.backends import open_exported
from rtseg.inference.input_files import read_upright
from rtseg.inference.metadata import ModelMetadata, metadata_path, read_metadata
from rtseg.inference.predictor import Prediction, Predictor, network_predictor
from rtseg.utils.errors import ConfigError, DataError
from rtseg.utils.files import pretrained_file, pretrained_names
from rtseg.visualization.masks import colorize, overlay, save_png

ImageLike = Union[str, Path, Image.Image, np.ndarray]


@dataclass(frozen=True)
class Segmentation:
    """What a network sees in one image."""

    image: np.ndarray                  # uint8 (H, W, 3) RGB
    class_map: np.ndarray              # uint8 (H, W): the index in `class_names` of each pixel's class
    class_names: Tuple[str, ...]
    palette: Tuple[Color, ...]         # RGB by class
    confidence: Optional[np.ndarray] = None  # uint8 (H, W), the class's probability, 255 being 1, if asked for

    def overlay(self, *, alpha: float = 0.5) -> Image.Image:
        """The image under the colours of its classes; `alpha` 0 shows the image alone, 1 the colours alone."""
        return Image.fromarray(overlay(self.image, self.class_map, palette=self.palette, alpha=alpha))

    def mask(self) -> Image.Image:
        """The colours alone."""
        return Image.fromarray(colorize(self.class_map, self.palette))

    def save(self, path: Union[str, Path], *, kind: str = "overlay") -> None:
        """Writes a PNG file, atomically.

        Args:
            kind: "overlay", "mask", "class_map" (a class's index in each pixel) or "confidence".

        Raises:
            ConfigError: another kind, or confidence was not asked for.
            OSError: the file cannot be written.
        """
        if kind not in SAVE_KINDS:
            raise ConfigError(f"kind: expected one of {', '.join(SAVE_KINDS)}, found {kind!r}")
        if kind == "confidence" and self.confidence is None:
            raise ConfigError("kind: expected a result with confidence; make the Segmenter with confidence=True")
        pixels = getattr(self, kind)
        save_png(Path(path), np.asarray(pixels() if callable(pixels) else pixels))


class Segmenter:
    """A network that is ready for images.

    Args:
        path: of a checkpoint (.ckpt), or of an exported .onnx or .mindir with its metadata (.json) next to it; or the
            name of a model that comes with the package: "fast_scnn_camvid".
        config: of a checkpoint: its run's config.yaml (default: the one next to it), or the configuration itself.
        metadata: of an exported model, if there is no .json next to it; see rtseg.inference.foreign.
        device_target, device_id: of checkpoints and .mindir; an .onnx runs on the CPU. None: as
            `config` says; for a .mindir the Ascend if there is one, else the CPU.
        options: of rtseg.inference.predictor.Predictor: resize, scales, flip, window, confidence.

    Raises:
        ConfigError: a file of another kind, what runs it is not installed, or the options do not go together with the
            model.
        DataError: the file, its configuration or its metadata is missing, damaged or of another network.
    """

    def __init__(self, path: Union[str, Path], *, config: Union[str, Path, Config, None] = None,
                 metadata: Optional[ModelMetadata] = None, device_target: Optional[str] = None,
                 device_id: Optional[int] = None, **options: Any):
        path = pretrained_file(path, ".onnx") or Path(path)
        if path.suffix.lower() in (".onnx", ".mindir"):
            if not path.is_file():
                raise DataError(f"expected an exported model at {path}, found none; export.py writes one")
            metadata = metadata or read_metadata(metadata_path(path))
            backend = open_exported(path, metadata, device_target=device_target or "auto", device_id=device_id or 0)
            self.predictor = Predictor(backend, **options)
            self.class_names, self.palette = metadata.classes, metadata.palette
        else:
            _check_checkpoint(path)
            config = config if isinstance(config, Config) else load_config(_config_of(path, config))
            spec = config.data.dataset_config
            self.class_names, self.palette = spec.class_names, spec.palette
            self.predictor = _checkpoint_predictor(
                path, config, device_target=device_target or config.run.device_target,
                device_id=config.run.device_id if device_id is None else device_id, options=options)

    @property
    def description(self) -> str:
        """One line for people: network, file, input size."""
        return self.predictor.description

    @property
    def batch_size(self) -> int:
        """Images that are best given together."""
        return self.predictor.batch_size

    def predict(self, images: Sequence[np.ndarray]) -> List[Prediction]:
        """Classes, and confidence if it was asked for, of uint8 (H, W, 3) RGB images of any sizes.

        Raises:
            DataError: logits that are not finite, or the network cannot be computed for an image of that size.
        """
        return self.predictor.predict(images)

    @overload
    def __call__(self, images: ImageLike) -> Segmentation: ...  # type: ignore[overload-overlap]  # a str is a Sequence

    @overload
    def __call__(self, images: Sequence[ImageLike]) -> List[Segmentation]: ...

    def __call__(self, images: Union[ImageLike, Sequence[ImageLike]]) -> Union[Segmentation, List[Segmentation]]:
        """What the network sees in an image, or in each of a list.

        Args:
            images: path, PIL image, or uint8 array (H, W, 3) in RGB order, of any size; or a list of these.

        Raises:
            DataError: an image that cannot be read, or is none of these; see also `predict`.
        """
        if not isinstance(images, (list, tuple)):
            return self([cast(ImageLike, images)])[0]
        arrays = [_array_of(image) for image in images]
        predictions: List[Prediction] = []
        for start in range(0, len(arrays), self.batch_size):
            predictions += self.predict(arrays[start:start + self.batch_size])
        return [Segmentation(array, prediction.classes, self.class_names, self.palette, prediction.confidence)
                for array, prediction in zip(arrays, predictions)]


def _check_checkpoint(path: Path) -> None:
    suffix, names = path.suffix.lower(), ", ".join(pretrained_names())
    if suffix in (".om", ".ms", ".air"):
        raise ConfigError(f"{path}: expected a .ckpt, .onnx or .mindir file; {FOR_CPP_PROGRAM}, and "
                          "scripts/convert_om.sh makes an .om of an .air")
    if not path.is_file():
        raise DataError(f"expected a checkpoint (.ckpt), an exported model (.onnx or .mindir) or one of {names}, found "
                        f"no file {path}")
    if suffix != ".ckpt":
        raise ConfigError(f"{path}: expected a .ckpt, .onnx or .mindir file, or one of {names}")


def _config_of(path: Path, config: Union[str, Path, None]) -> Path:
    if config is not None:
        return Path(config)
    found = config_beside(path)
    if found is None:
        raise ConfigError(f"{path}: expected the {FILE_NAME} of its run next to it, found none; give one as config "
                          "(--config): it says which network and which classes the checkpoint has")
    return found


def _checkpoint_predictor(path: Path, config: Config, *, device_target: str, device_id: int, options: Any) -> Predictor:
    from rtseg.runtime.device import setup_device
    setup_device(device_target, device_id, seed=None, precision_mode=config.run.precision_mode)

    from rtseg.models.weights import trained_network
    return network_predictor(trained_network(config, path).set_train(False), mean=config.data.mean,
                             std=config.data.std, **options,
                             description=f"{config.network.model} ({config.network.variant}), {path}")


def _array_of(image: ImageLike) -> np.ndarray:
    if isinstance(image, (str, Path)):
        return read_upright(Path(image))
    if isinstance(image, Image.Image):
        return _rgb_of(image)
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 \
            and image.size:
        return np.array(image, order="C")  # the caller may reuse the array, and the result keeps the image
    found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
    raise DataError(f"expected a path, a PIL image or a uint8 array (H, W, 3) in RGB order, found {found}")


def _rgb_of(image: Image.Image) -> np.ndarray:
    """uint8 (H, W, 3) RGB, upright, as read_upright gives for a file."""
    if 0 in image.size:
        raise DataError(f"expected a PIL image with pixels, found one of {image.width}x{image.height} (width x height)")
    try:
        image.load()
    except (OSError, ValueError, SyntaxError, struct.error) as error:
        raise DataError(f"expected a PIL image that can be read, found one that cannot ({error}); copy its file "
                        "again") from None
    try:
        image = ImageOps.exif_transpose(image)
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, struct.error):
        pass  # a damaged note is no image data
    if image.mode.startswith("I;16"):  # PIL would clip 16 bits at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return np.array(image.convert("RGB"))
