"""Class maps of images of any size from a back end: whole images, sliding windows, averages over scales and flips."""
import math
from contextlib import AbstractContextManager
from itertools import groupby, islice
from typing import (TYPE_CHECKING, Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple,
                    TypeVar)

import cv2
import numpy as np

from rtseg.config.sections import Prediction as PredictionSection
from rtseg.config.sections import Resize
from rtseg.inference.backends import Backend, NetworkBackend
from rtseg.inference.postprocessing import argmax, check_finite, classes_of, softmax, upsample
from rtseg.inference.preprocessing import RESIZE_MODES, Placement, fit, pad_to_multiple, unfit
from rtseg.models.registry import SIZE_MULTIPLE
from rtseg.utils.errors import ConfigError

if TYPE_CHECKING:
    from mindspore import nn

# Multi-scale evaluation as mmsegmentation defines it.
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
_ONE_SCALE = (1.0,)
_Item = TypeVar("_Item")


class Prediction(NamedTuple):
    """What a network sees in an image."""

    classes: np.ndarray                      # uint8 (H, W) train ids
    confidence: Optional[np.ndarray] = None  # uint8 (H, W), the probability of that class, 255 being 1


def network_predictor(network: "nn.Cell", *, mean: Sequence[float], std: Sequence[float], mode: str = "full",
                      description: str = "", **options: Any) -> "Predictor":
    """A predictor of a network as a MindSpore Cell.

    Args:
        mean, std: of the normalisation.
        mode: of an evaluation; "ms_flip" averages over SCALES and mirror images, unless `options` says otherwise.
        options: of Predictor.
    """
    if mode == "ms_flip":
        options = {"scales": SCALES, "flip": True, **options}
    backend = NetworkBackend(network, mean=mean, std=std, needs_logits=_needs_probabilities(**options),
                             description=description)
    return Predictor(backend, **options)


class Window(NamedTuple):
    """A sliding window; neighbours share at least `overlap` pixels."""

    size: Tuple[int, int]     # (height, width)
    overlap: Tuple[int, int]  # less than the size


def averaging_options(prediction: PredictionSection) -> Dict[str, Any]:
    """The options of Predictor that --window, --overlap, --scales and --flip mean; only those that were given."""
    options: Dict[str, Any] = {}
    if prediction.window is not None:
        height, width = prediction.window
        options["window"] = Window(prediction.window, prediction.overlap or (height // 4, width // 4))
    if prediction.scales:
        options["scales"] = prediction.scales
    if prediction.flip:
        options["flip"] = True
    return options


class Predictor:
    """Turns images into classes.

    Args:
        backend: what runs the network.
        resize: how images of other sizes are brought to a back end of one size, see preprocessing.fit.
        scales, flip: probabilities are averaged over the image scaled by each of `scales`, and its mirror images.
        window: None for the whole image at once; else probabilities are averaged where windows overlap.
        confidence: whether predictions have it.

    Raises:
        ConfigError: an unknown `resize`; no scale, or one under 0.01; a window that is none, or not larger than its
            overlap; or the back end gives class maps, or has one size, and that is not enough for these.
    """

    def __init__(self, backend: Backend, *, resize: Resize = "letterbox", scales: Sequence[float] = _ONE_SCALE,
                 flip: bool = False, window: Optional[Window] = None, confidence: bool = False):
        if resize not in RESIZE_MODES:
            raise ConfigError(f"resize: expected one of {', '.join(RESIZE_MODES)}, found {resize!r}")
        if not len(scales) or not all(0.01 <= scale < math.inf for scale in scales):
            raise ConfigError(f"scales: expected a list of numbers >= 0.01, found {scales!r}")
        if window is not None and not _is_window(window):
            raise ConfigError("window: expected Window(size=(height, width), overlap=(height, width)) in pixels, "
                              f"with an overlap that is less than the size, found {window!r}")
        self.backend = backend
        self.resize = resize
        self.scales = tuple(scales)
        self.flip = flip
        self.window = window
        self.confidence = confidence
        self.needs_probabilities = _needs_probabilities(scales=scales, flip=flip, window=window, confidence=confidence)
        if self.needs_probabilities and backend.output_type == "class_map":
            raise ConfigError("averages over scales, flips or windows, and confidence, need a model with --output_type "
                              "logits or head_logits, found one that gives class maps; export it so")
        if self.scales != _ONE_SCALE and backend.size is not None:
            raise ConfigError(f"scales: expected a checkpoint or a model of any size, found one for {backend.size[1]}x"
                              f"{backend.size[0]} pixels")

    @property
    def batch_size(self) -> int:
        """Images that are best given together."""
        return 1 if self.needs_probabilities else self.backend.batch_size or 1

    @property
    def description(self) -> str:
        """One line for people."""
        return self.backend.description

    def inference_mode(self) -> AbstractContextManager:
        """Around predictions of a network that is trained in between."""
        return self.backend.inference_mode()

    def __call__(self, images: Sequence[np.ndarray]) -> List[np.ndarray]:
        """uint8 (H, W, 3) RGB, any sizes -> uint8 (H, W) train ids.

        Raises:
            DataError: logits that are not finite, or the network cannot be computed for an image of that size.
        """
        return [prediction.classes for prediction in self.predict(images)]

    def predict(self, images: Sequence[np.ndarray]) -> List[Prediction]:
        """The same with confidence, if it was asked for."""
        return self.start(images)()

    def start(self, images: Sequence[np.ndarray]) -> Callable[[], List[Prediction]]:
        """Runs the network; the function that is returned does the rest, in another thread if that pays."""
        if self.needs_probabilities:
            probabilities = [self._probabilities(image) for image in images]
            return lambda: [_from_probabilities(array, self.confidence) for array in probabilities]
        outputs = self._run(images)
        align_corners = self.backend.align_corners
        return lambda: [Prediction(unfit(classes_of(output, size, align_corners=align_corners), placement))
                        for output, size, placement in outputs]

    def _run(self, images: Sequence[np.ndarray]) -> List[Tuple[np.ndarray, Tuple[int, int], Placement]]:
        """Output of the network, size of its input, and where the image is in it."""
        results: List[Tuple[np.ndarray, Tuple[int, int], Placement]] = []
        fitted = map(self._fit, images)
        for batch in equal_batches(fitted, lambda item: item[0].shape[:2], size=self.backend.batch_size):
            outputs = self.backend.run(np.stack([image for image, _ in batch]))
            results += [(output, image.shape[:2], placement) for output, (image, placement) in zip(outputs, batch)]
        return results

    def _fit(self, image: np.ndarray) -> Tuple[np.ndarray, Placement]:
        if self.backend.size is not None:
            return fit(image, self.backend.size, mean=self.backend.mean, resize=self.resize)
        size = image.shape[:2]
        return pad_to_multiple(image, SIZE_MULTIPLE, mean=self.backend.mean), Placement(size, size)

    def _probabilities(self, image: np.ndarray) -> np.ndarray:
        """float32 (C, H, W), not divided by the number of predictions that are added up in it."""
        if self.window is None:
            return self._of_all_scales(image)
        total, counts = None, np.zeros(image.shape[:2], np.float32)
        for rows, columns in _windows(image.shape[:2], self.window):
            part = self._of_all_scales(image[rows, columns])
            if total is None:
                total = np.zeros((len(part), *image.shape[:2]), np.float32)
            total[:, rows, columns] += part
            counts[rows, columns] += 1
        return total / counts

    def _of_all_scales(self, image: np.ndarray) -> np.ndarray:
        total: Optional[np.ndarray] = None
        for scale in self.scales:
            scaled = image
            if scale != 1.0:
                height, width = (max(1, round(length * scale / SIZE_MULTIPLE)) * SIZE_MULTIPLE
                                 for length in image.shape[:2])
                scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
            for flipped in (False, True)[:1 + self.flip]:
                (output, size, placement), = self._run([np.ascontiguousarray(scaled[:, ::-1]) if flipped else scaled])
                check_finite(output)
                logits = self._at_size(output.astype(np.float32, copy=False), image.shape[:2], input_size=size,
                                       placement=placement)
                probabilities = softmax(logits[:, :, ::-1] if flipped else logits)
                total = probabilities if total is None else total + probabilities
        return total / np.float32(len(self.scales) * (1 + self.flip))

    def _at_size(self, logits: np.ndarray, size: Tuple[int, int], *, input_size: Tuple[int, int],
                 placement: Placement) -> np.ndarray:
        """Logits of the image's part of the network's input, at `size`."""
        align_corners = self.backend.align_corners
        if placement.valid == input_size:
            return upsample(logits, size, align_corners=align_corners)
        valid = upsample(logits, input_size, align_corners=align_corners)[:, :placement.valid[0], :placement.valid[1]]
        if placement.valid == size:
            return valid
        return np.stack([cv2.resize(plane, size[::-1], interpolation=cv2.INTER_LINEAR) for plane in valid])


def equal_batches(items: Iterable[_Item], key: Callable[[_Item], Any], *, size: Optional[int]) -> Iterator[List[_Item]]:
    """Neighbouring items for which `key` gives the same, up to `size` together; None for any number."""
    for _, group in groupby(items, key):
        while batch := list(islice(group, size)):
            yield batch


def _needs_probabilities(*, scales: Sequence[float] = _ONE_SCALE, flip: bool = False, window: Optional[Window] = None,
                         confidence: bool = False, **_: Any) -> bool:
    """Whether classes are not enough for these options of Predictor."""
    return flip or confidence or window is not None or tuple(scales) != _ONE_SCALE


def _from_probabilities(probabilities: np.ndarray, confidence: bool) -> Prediction:
    top = np.rint(probabilities.max(axis=0) * 255).astype(np.uint8) if confidence else None
    return Prediction(argmax(probabilities), top)


def _is_window(window: Any) -> bool:
    return (isinstance(window, Window) and is_pair(window.size) and is_pair(window.overlap)
            and all(0 <= overlap < length for length, overlap in zip(window.size, window.overlap)))


def is_pair(value: Any) -> bool:
    """Whether `value` is a tuple or list of two integers."""
    return isinstance(value, (tuple, list)) and len(value) == 2 and all(
        isinstance(number, (int, np.integer)) for number in value)


def _windows(size: Tuple[int, int], window: Window) -> Iterator[Tuple[slice, slice]]:
    """Windows that cover an image of that size; the last of a line ends at the image's edge."""
    lines = []
    for length, extent, overlap in zip(size, window.size, window.overlap):
        last = max(0, length - extent)
        starts = sorted({min(start, last) for start in range(0, last + extent - overlap, extent - overlap)})
        lines.append([slice(start, min(start + extent, length)) for start in starts])
    return ((rows, columns) for rows in lines[0] for columns in lines[1])
