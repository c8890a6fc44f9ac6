"""Scores a network on a labelled split: one confusion matrix over all pixels."""
import json
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, List, NamedTuple, Optional

import cv2
import numpy as np
from mindspore import Tensor, dtype, nn, ops

from rtseg.data.labels import NUM_CLASSES
from rtseg.data.loader import prefetch
from rtseg.data.sampler import DistributedSampler
from rtseg.data.transforms import resize_center_crop
from rtseg.inference.graph import InferenceGraph, InputNormalization
from rtseg.metrics.confusion_matrix import ConfusionMatrix
from rtseg.models.interpolation import resize_bilinear
from rtseg.models.registry import SIZE_MULTIPLE
from rtseg.runtime.distributed import ProcessGroup
from rtseg.utils.errors import DataError

# Multi-scale evaluation as mmsegmentation defines it.
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


class Probabilities(nn.Cell):
    """uint8 RGB (1, h, w, 3) -> float32 (1, C, H, W): class probabilities at `size` = (H, W), of the image and of its
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
    errors: List[DataError]  # of the images that could not be read
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
        dataset: with `load(index)`, see rtseg.data.dataset.
        mean, std: of the normalisation.
        mode: "full": images as they are, padded to multiples of 32 for the network only. "crop": the model zoo's
            protocol, scaled and centre-cropped to `crop_size`. "ms_flip": full images, probabilities averaged over
            SCALES and horizontal flips.
        crop_size: (height, width) for "crop".
        num_workers: threads that decode images while the network runs.
        batch_size: neighbouring images of one size that go through the network together ("full" and "crop").
        group: processes that share the images; all must run the evaluation, and all get the whole result.
        num_classes: C.
    """

    def __init__(self, network, dataset, mean, std, mode="full", crop_size=None, num_workers=2, batch_size=1,
                 group=ProcessGroup(), num_classes=NUM_CLASSES):
        self.network = network
        self.dataset = dataset
        self.mode = mode
        self.crop_size = crop_size
        self.num_workers = num_workers
        self.batch_size = 1 if mode == "ms_flip" else batch_size
        self.pad_color = [round(255 * m) for m in mean]
        self.group = group
        self.num_classes = num_classes
        self.indices = DistributedSampler(len(dataset), group.rank, group.size, shuffle=False, pad=False).indices(0)
        self.graph = (Probabilities if mode == "ms_flip" else InferenceGraph)(network, mean, std)

    def run(self, on_prediction: Optional[Callable] = None, should_stop: Callable[[], bool] = lambda: False,
            progress: Callable = iter) -> Optional[Evaluation]:
        """Evaluates all images.

        Args:
            on_prediction: called with (dataset index, image uint8 (H, W, 3), label uint8 (H, W), prediction uint8
                (H, W)) for each image of this rank, in their order, in another thread.
            should_stop: asked between images; True ends the evaluation without a result.
            progress: wraps the iterator of images, such as a tqdm bar.

        Returns:
            None when it was stopped, on any rank.
        """
        start = time.perf_counter()
        evaluation = self._run_share(on_prediction, should_stop, progress)
        if self.group.any_rank(evaluation is None):
            return None
        if self.group.size > 1:
            evaluation = self._of_all_ranks(evaluation)
        return evaluation._replace(seconds=time.perf_counter() - start)

    def _of_all_ranks(self, share: Evaluation) -> Evaluation:
        matrix = ConfusionMatrix(self.num_classes)
        matrix.add(self.group.all_reduce_int(share.matrix.matrix))
        errors = self.group.gather(json.dumps([str(error) for error in share.errors]))
        return share._replace(matrix=matrix, images=int(self.group.all_reduce_int(share.images)),
                              errors=[DataError(text) for texts in errors for text in json.loads(texts)])

    def _run_share(self, on_prediction, should_stop, progress) -> Optional[Evaluation]:
        """Evaluates the images of this rank; the time is not in its result."""
        matrix, errors, batch = ConfusionMatrix(self.num_classes), [], []
        was_training = self.network.training
        self.network.set_train(False)
        items = prefetch(self._load, self.indices.tolist(), self.num_workers)
        # The scores of a batch are counted, and its images written, while the network works on the next one.
        scorer, scoring = ThreadPoolExecutor(1, thread_name_prefix="score"), deque()

        def predict_and_score(batch):
            scoring.append(scorer.submit(self._score, batch, self._predict(batch), matrix, on_prediction))
            if len(scoring) > 1:
                scoring.popleft().result()

        try:
            for item in progress(items):
                if should_stop():
                    return None
                if item.error is not None:
                    errors.append(item.error)
                    continue
                if batch and (len(batch) == self.batch_size or batch[0].image.shape != item.image.shape):
                    predict_and_score(batch)
                    batch = []
                batch.append(item)
            if batch:
                predict_and_score(batch)
            while scoring:
                scoring.popleft().result()
        finally:
            items.close()
            scorer.shutdown()
            self.network.set_train(was_training)
        return Evaluation(matrix, len(self.indices) - len(errors), errors, 0.0)

    def _load(self, index: int) -> _Item:
        try:
            image, label = self.dataset.load(index)
        except DataError as error:
            return _Item(index, error=error)
        if self.mode == "crop":
            image, label = resize_center_crop(image, label, self.crop_size)
        return _Item(index, image, label)

    def _predict(self, batch) -> np.ndarray:
        """Train ids of the images, (N, H, W), int32 or int64."""
        images = np.stack([item.image for item in batch])
        if self.mode == "ms_flip":
            return self._average(images)
        height, width = images.shape[1:3]
        return self.graph(Tensor.from_numpy(self._pad(images))).asnumpy()[:, :height, :width]

    @staticmethod
    def _score(batch, predictions, matrix, on_prediction) -> None:
        for item, prediction in zip(batch, predictions.astype(np.uint8)):
            matrix.update(prediction, item.label)
            if on_prediction is not None:
                on_prediction(item.index, item.image, item.label, prediction)

    def _average(self, images: np.ndarray) -> np.ndarray:
        height, width = images.shape[1:3]
        total = 0
        for scale in SCALES:
            size = [max(SIZE_MULTIPLE, round(length * scale / SIZE_MULTIPLE) * SIZE_MULTIPLE)
                    for length in (height, width)]
            scaled = cv2.resize(images[0], (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
            total = total + self.graph(Tensor.from_numpy(scaled[None]), (height, width)).asnumpy()
        return total.argmax(1)

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
    """One line about speed: images, seconds, images per second, the compilation of the graph included."""
    rate = evaluation.images / evaluation.seconds
    return f"{evaluation.images} images in {evaluation.seconds:.1f} s with compilation, {rate:.2f} images/s"
