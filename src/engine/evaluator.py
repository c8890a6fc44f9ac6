"""Scores a network on a labelled split: one confusion matrix over all pixels."""
import time
from typing import Callable, List, NamedTuple, Optional

import cv2
import numpy as np
from mindspore import Tensor, dtype, nn, ops

from src.data.loader import prefetch
from src.data.transforms import resize_center_crop
from src.engine.train_step import InputNormalization
from src.metrics.confusion_matrix import ConfusionMatrix
from src.models import SIZE_MULTIPLE
from src.models.layers import resize_bilinear
from src.utils.errors import DataError

# Multi-scale evaluation as mmsegmentation defines it.
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


class ClassMap(nn.Cell):
    """uint8 RGB (N, H, W, 3) -> int32 (N, H, W) train ids; H and W multiples of 32."""

    def __init__(self, network, mean, std):
        super().__init__(auto_prefix=False)
        self.normalize = InputNormalization(mean, std)
        self.network = network
        self.argmax = ops.Argmax(axis=1, output_type=dtype.int32)

    def construct(self, images):
        return self.argmax(self.network(self.normalize(images)))


class Probabilities(nn.Cell):
    """uint8 RGB (1, h, w, 3) -> float32 (1, C, H, W): class probabilities at `size` = (H, W), of the picture and of its
    mirror image, added."""

    def __init__(self, network, mean, std):
        super().__init__(auto_prefix=False)
        self.normalize = InputNormalization(mean, std)
        self.network = network

    def construct(self, images, size):
        images = self.normalize(images)
        logits = self.network(ops.concat((images, ops.flip(images, (3,))), axis=0)).astype(dtype.float32)
        logits = resize_bilinear(logits, size, False)
        # Written out: on CPU ops.softmax along axis 1 takes several times as long.
        exponentials = ops.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
        return probabilities[:1] + ops.flip(probabilities[1:], (3,))


class Evaluation(NamedTuple):
    """What an evaluation found."""

    matrix: ConfusionMatrix
    images: int              # that were scored
    errors: List[DataError]  # of the pictures that could not be read
    seconds: float


class _Item(NamedTuple):
    index: int
    image: Optional[np.ndarray] = None
    label: Optional[np.ndarray] = None
    error: Optional[DataError] = None


class Evaluator:
    """Runs a network over a data set.

    Args:
        network: in inference logits (N, C, H, W) of (N, 3, H, W). It is left in the mode (training or not) it was in.
        dataset: with `load(index)`, see src.data.cityscapes.Cityscapes.
        mean, std: of the normalisation.
        mode: "full": pictures as they are, padded to multiples of 32 for the network only. "crop": the model zoo's
            protocol, scaled and centre-cropped to `crop_size`. "ms_flip": full pictures, probabilities averaged over
            SCALES and horizontal flips.
        crop_size: (height, width) for "crop".
        num_workers: threads that decode pictures while the network runs.
        batch_size: neighbouring pictures of one size that go through the network together ("full" and "crop").
    """

    def __init__(self, network, dataset, mean, std, mode="full", crop_size=None, num_workers=2, batch_size=1):
        self.network = network
        self.dataset = dataset
        self.mode = mode
        self.crop_size = crop_size
        self.num_workers = num_workers
        self.batch_size = 1 if mode == "ms_flip" else batch_size
        self.pad_color = [round(255 * m) for m in mean]
        self.graph = (Probabilities if mode == "ms_flip" else ClassMap)(network, mean, std)

    def run(self, on_prediction: Optional[Callable] = None, should_stop: Callable[[], bool] = lambda: False,
            progress: Callable = iter) -> Optional[Evaluation]:
        """Evaluates all pictures.

        Args:
            on_prediction: called with (dataset index, image uint8 (H, W, 3), label uint8 (H, W), prediction uint8
                (H, W)) for each picture.
            should_stop: asked between pictures; True ends the evaluation without a result.
            progress: wraps the iterator of pictures, such as a tqdm bar.

        Returns:
            None when it was stopped.
        """
        start = time.perf_counter()
        matrix, errors, batch = ConfusionMatrix(), [], []
        was_training = self.network.training
        self.network.set_train(False)
        items = prefetch(self._load, range(len(self.dataset)), self.num_workers)
        try:
            for item in progress(items):
                if should_stop():
                    return None
                if item.error is not None:
                    errors.append(item.error)
                    continue
                if batch and (len(batch) == self.batch_size or batch[0].image.shape != item.image.shape):
                    self._score(batch, matrix, on_prediction)
                    batch = []
                batch.append(item)
            if batch:
                self._score(batch, matrix, on_prediction)
        finally:
            items.close()
            self.network.set_train(was_training)
        return Evaluation(matrix, len(self.dataset) - len(errors), errors, time.perf_counter() - start)

    def _load(self, index: int) -> _Item:
        try:
            image, label = self.dataset.load(index)
        except DataError as error:
            return _Item(index, error=error)
        if self.mode == "crop":
            image, label = resize_center_crop(image, label, self.crop_size)
        return _Item(index, image, label)

    def _score(self, batch, matrix, on_prediction) -> None:
        images = np.stack([item.image for item in batch])
        predictions = self._average(images) if self.mode == "ms_flip" else self._predict(images)
        for item, prediction in zip(batch, predictions):
            matrix.update(prediction, item.label)
            if on_prediction is not None:
                on_prediction(item.index, item.image, item.label, prediction)

    def _predict(self, images: np.ndarray) -> np.ndarray:
        height, width = images.shape[1:3]
        padded = self._pad(images)
        return self.graph(Tensor(padded)).asnumpy()[:, :height, :width].astype(np.uint8)

    def _average(self, images: np.ndarray) -> np.ndarray:
        height, width = images.shape[1:3]
        total = 0
        for scale in SCALES:
            size = [max(SIZE_MULTIPLE, round(length * scale / SIZE_MULTIPLE) * SIZE_MULTIPLE)
                    for length in (height, width)]
            scaled = cv2.resize(images[0], (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
            total = total + self.graph(Tensor(scaled[None]), (height, width)).asnumpy()
        return total.argmax(1).astype(np.uint8)

    def _pad(self, images: np.ndarray) -> np.ndarray:
        """Adds mean colour at the bottom and the right up to the next multiples of 32."""
        bottom, right = (-length % SIZE_MULTIPLE for length in images.shape[1:3])
        if not bottom and not right:
            return images
        padded = np.empty((len(images), images.shape[1] + bottom, images.shape[2] + right, 3), np.uint8)
        padded[...] = self.pad_color
        padded[:, :images.shape[1], :images.shape[2]] = images
        return padded


def evaluation_lines(evaluation: Evaluation) -> str:
    """One line about speed: pictures, seconds, pictures per second, the compilation of the graph included."""
    rate = evaluation.images / evaluation.seconds
    return f"{evaluation.images} pictures in {evaluation.seconds:.1f} s with compilation, {rate:.2f} images/s"
