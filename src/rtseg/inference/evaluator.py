"""Scores a network on a labelled split: one confusion matrix over all pixels."""
import json
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Callable, Deque, Iterable, Iterator, List, NamedTuple, Optional, Protocol, Tuple, Union

import numpy as np

from rtseg.data.loader import LabelledImages, prefetch
from rtseg.data.sampler import DistributedSampler
from rtseg.data.transforms import resize_center_crop
from rtseg.inference.predictor import Prediction, Predictor, equal_batches
from rtseg.metrics.boundary_iou import BoundaryIoU
from rtseg.metrics.confusion_matrix import ConfusionMatrix, mean_iou, pixel_accuracy
from rtseg.runtime.distributed import ProcessGroup
from rtseg.utils.errors import DataError


class OnPrediction(Protocol):
    """What is called for each image."""

    def __call__(self, index: int, image: np.ndarray, *, label: np.ndarray, prediction: np.ndarray) -> None:
        ...


class Evaluation(NamedTuple):
    """What an evaluation found."""

    matrix: ConfusionMatrix
    images: int              # that were scored
    errors: List[DataError]  # of the images that could not be read or scored
    seconds: float
    boundary: Optional[BoundaryIoU] = None  # if it was asked for

    @property
    def miou(self) -> float:
        """Mean IoU, 0 to 1, over the classes that are in a label or a prediction."""
        return mean_iou(self.matrix.matrix)

    @property
    def pixel_accuracy(self) -> float:
        """Share of the scored pixels that are right, 0 to 1."""
        return pixel_accuracy(self.matrix.matrix)


class _Item(NamedTuple):
    number: int  # in the data set
    image: np.ndarray
    label: np.ndarray


# Such as tqdm: passes the items on, and counts them.
Progress = Callable[[Iterable[Union[_Item, DataError]]], Iterable[Union[_Item, DataError]]]


class Evaluator:
    """Runs a predictor over a data set.

    Args:
        predictor: such as of rtseg.inference.predictor; its network is left in the mode (training or not) it was in.
        dataset: what is evaluated.
        num_classes: of both.
        crop_size: None for images as they are; else (height, width) that they are scaled and centre-cropped to first,
            the model zoo's protocol.
        num_workers: threads that decode images while the network runs.
        batch_size: neighbouring images of one size that go through the network together.
        boundary_iou: whether that is counted, too.
        group: processes that share the images; all must run the evaluation, and all get the whole result.
    """

    def __init__(self, predictor: Predictor, dataset: LabelledImages, *, num_classes: int,
                 crop_size: Optional[Tuple[int, int]] = None, num_workers: int = 2, batch_size: int = 1,
                 boundary_iou: bool = False, group: Optional[ProcessGroup] = None):
        self.predictor = predictor
        self.dataset = dataset
        self.num_classes = num_classes
        self.crop_size = crop_size
        self.num_workers = num_workers
        self.boundary_iou = boundary_iou
        self.batch_size = 1 if predictor.needs_probabilities else max(batch_size, predictor.batch_size)
        self.group = group = group or ProcessGroup()
        self.indices = DistributedSampler(len(dataset), rank=group.rank, group_size=group.size, shuffle=False,
                                          pad=False).indices(0)

    def run(self, on_prediction: Optional[OnPrediction] = None, should_stop: Callable[[], bool] = lambda: False, *,
            progress: Progress = iter) -> Optional[Evaluation]:
        """Evaluates all images.

        Args:
            on_prediction: called with dataset index, image uint8 (H, W, 3), label uint8 (H, W) and prediction uint8
                (H, W) for each image of this rank, in their order, in another thread.
            should_stop: asked between images; True ends the evaluation without a result.
            progress: wraps the iterator of images, such as a tqdm bar.

        Returns:
            None when it was stopped, on any rank.
        """
        start = time.perf_counter()
        with self.predictor.inference_mode():
            evaluation = self._run_share(on_prediction, should_stop, progress=progress)
        if self.group.any_rank(evaluation is None) or evaluation is None:
            return None
        if self.group.size > 1:
            evaluation = self._of_all_ranks(evaluation)
        return evaluation._replace(seconds=time.perf_counter() - start)

    def _of_all_ranks(self, share: Evaluation) -> Evaluation:
        matrix = ConfusionMatrix(self.num_classes)
        matrix.add(self.group.all_reduce_int(share.matrix.matrix))
        if share.boundary is not None:
            share.boundary.counts = self.group.all_reduce_int(share.boundary.counts)
        errors = self.group.gather(json.dumps([str(error) for error in share.errors]))
        return share._replace(matrix=matrix, images=int(self.group.all_reduce_int(np.array(share.images))),
                              errors=[DataError(text) for texts in errors for text in json.loads(texts)])

    def _run_share(self, on_prediction: Optional[OnPrediction], should_stop: Callable[[], bool], *,
                   progress: Progress) -> Optional[Evaluation]:
        """Evaluates the images of this rank; the time is not in its result."""
        matrix, errors = ConfusionMatrix(self.num_classes), []
        boundary = BoundaryIoU(self.num_classes) if self.boundary_iou else None
        items = prefetch(self._load, self.indices.tolist(), num_workers=self.num_workers)
        # While the network works on a batch, another thread finds the classes of the one before, counts and writes.
        scorer, scoring = ThreadPoolExecutor(1, thread_name_prefix="score"), Deque[Future]()

        def readable() -> Iterator[_Item]:
            for item in progress(items):
                if isinstance(item, DataError):
                    errors.append(item)
                else:
                    yield item

        try:
            for batch in equal_batches(readable(), lambda item: item.image.shape, size=self.batch_size):
                if should_stop():
                    return None
                finish = self.predictor.start([item.image for item in batch])
                scoring.append(scorer.submit(self._score, batch, finish, matrix=matrix, boundary=boundary,
                                             on_prediction=on_prediction))
                if len(scoring) > 1:
                    errors += scoring.popleft().result()
            while scoring:
                errors += scoring.popleft().result()
        finally:
            items.close()
            scorer.shutdown()
        return Evaluation(matrix, len(self.indices) - len(errors), errors, 0.0, boundary)

    def _load(self, index: int) -> Union[_Item, DataError]:
        try:
            image, label = self.dataset.load(index)
        except DataError as error:
            return error
        if label is None:
            return DataError(f"{self._name(index)}: has no label; expected one to score it")
        if label.shape != image.shape[:2]:
            return DataError(f"{self._name(index)}: is {image.shape[1]}x{image.shape[0]} (width x height), but its "
                             f"label has the shape {label.shape}; expected equal sizes")
        if self.crop_size is not None:
            image, label = resize_center_crop(image, label, crop_size=self.crop_size)
        return _Item(index, image, label)

    def _name(self, index: int) -> str:
        samples = getattr(self.dataset, "samples", None)  # which a data set in memory need not have
        return str(getattr(samples[index], "image", index)) if samples else f"image {index}"

    def _score(self, batch: List[_Item], finish: Callable[[], List[Prediction]], *, matrix: ConfusionMatrix,
               boundary: Optional[BoundaryIoU], on_prediction: Optional[OnPrediction]) -> List[DataError]:
        """Counts a batch; returns what is wrong with labels, whose images are left out."""
        errors = []
        for item, prediction in zip(batch, finish()):
            try:
                matrix.update(prediction.classes, item.label)
            except DataError as error:
                errors.append(DataError(f"{self._name(item.number)}: {error}"))
                continue
            if boundary is not None:
                boundary.update(prediction.classes, item.label)
            if on_prediction is not None:
                on_prediction(item.number, item.image, label=item.label, prediction=prediction.classes)
        return errors


def evaluation_lines(evaluation: Evaluation) -> str:
    """One line about speed: images, seconds, images per second, the compilation of the graph included."""
    rate = evaluation.images / evaluation.seconds
    return f"{evaluation.images} images in {evaluation.seconds:.1f} s with compilation, {rate:.2f} images/s"
