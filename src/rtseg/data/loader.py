"""Batches for training, decoded and augmented ahead of the consumer in threads.

Threads and not processes: OpenCV, NumPy's large loops and MindSpore's graph run all release the interpreter lock, and
threads write into the batch without a copy between processes.
"""
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from threading import Lock
from typing import (Any, Callable, Deque, Generator, Iterable, Iterator, List, NamedTuple, Optional, Protocol, Sequence,
                    Tuple)

import cv2
import numpy as np
from tqdm import tqdm

from rtseg.data.sampler import DistributedSampler
from rtseg.data.transforms import TrainTransform
from rtseg.utils.errors import ConfigError, DataError


class _OneOpenCVThread:
    """Context in which OpenCV starts no threads of its own; contexts may overlap, the last one out restores them.

    OpenCV would start a thread per core inside every call, and those fight with our workers for the same cores. The
    setting is global to the process; this is the only place that sets it.
    """

    def __init__(self) -> None:
        self.lock, self.contexts, self.threads_before = Lock(), 0, 0

    def __enter__(self) -> None:
        with self.lock:
            if self.contexts == 0:
                self.threads_before = cv2.getNumThreads()
                cv2.setNumThreads(0)
            self.contexts += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.contexts -= 1
            if self.contexts == 0:
                cv2.setNumThreads(self.threads_before)


_one_opencv_thread = _OneOpenCVThread()


def prefetch(function: Callable[[Any], Any], items: Iterable, *, num_workers: int,
             look_ahead: Optional[int] = None) -> Generator[Any, None, None]:
    """Yields `function(item)` for each item, in order, computed by `num_workers` threads (0: by the calling thread).

    At most `look_ahead` results (default: two for each worker) are under way or waiting, and `items` is drawn from no
    faster. An error of `function` is raised unchanged in its item's place. Closing the generator early drops what has
    not started, and returns when no thread is left.
    """
    if num_workers == 0:
        yield from map(function, items)
        return
    look_ahead = 2 * num_workers if look_ahead is None else look_ahead
    pending: Deque[Future] = deque()
    with _one_opencv_thread:
        executor = ThreadPoolExecutor(num_workers, thread_name_prefix="prefetch")
        try:
            for item in items:
                pending.append(executor.submit(function, item))
                if len(pending) > look_ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            executor.shutdown(wait=True, cancel_futures=True)


def errors_of(function: Callable[[Any], Optional[DataError]], items: Sequence, *, num_workers: int,
              title: Optional[str] = None) -> List[DataError]:
    """Calls `function` for each item in threads, with a progress bar, and returns the errors that it returns."""
    results = prefetch(function, items, num_workers=num_workers)
    return list(filter(None, tqdm(results, title, len(items), unit="image", disable=None)))


class LabelledImages(Protocol):
    """A data set of which each sample has a label: SegmentationDataset, CachedDataset."""

    def __len__(self) -> int:
        """Number of images."""

    def load(self, index: int) -> Tuple[np.ndarray, Any]:
        """Returns an image, uint8 (H, W, 3) RGB, and its label, uint8 (H, W) train ids."""


class _Slot(NamedTuple):
    """Where in a batch the dataset's `sample` of `epoch` goes."""

    images: np.ndarray
    labels: np.ndarray
    position: int
    sample: int
    epoch: int


class BatchLoader:
    """Training batches of one rank; an incomplete last batch is dropped.

    A sample's augmentation depends on (seed, epoch, dataset index) alone, hence neither on the number of workers nor on
    the number of ranks.

    Args:
        dataset: `load(index)` gives an image, uint8 (H, W, 3), and a label, uint8 (H, W).
        transform: what makes crops of them.
        sampler: which samples this rank takes in an epoch.
        batch_size: samples in a batch of this rank.
        num_workers: threads; 0 loads in the calling thread.
        seed: not negative.

    Raises:
        ConfigError: not a single batch in an epoch, or a number that cannot be.
    """

    def __init__(self, dataset: LabelledImages, transform: TrainTransform, *, sampler: DistributedSampler,
                 batch_size: int, num_workers: int, seed: int) -> None:
        if batch_size < 1 or num_workers < 0:
            raise ConfigError(f"batch_size {batch_size}, num_workers {num_workers}: expected at least 1 and at least 0")
        if len(sampler) < batch_size:
            raise ConfigError(f"an epoch has no complete batch: {sampler.num_samples} samples shared by "
                              f"{sampler.group_size} rank(s) give {len(sampler)} each, batch_size is {batch_size}; "
                              f"use a batch_size of at most {len(sampler)}, fewer ranks or more samples")
        self.dataset = dataset
        self.transform = transform
        self.sampler = sampler
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed

    def __len__(self) -> int:
        """Steps in an epoch."""
        return len(self.sampler) // self.batch_size

    def epoch(self, epoch: int, start_step: int = 0) -> Generator[Tuple[np.ndarray, np.ndarray], None, None]:
        """Yields images, uint8 (N, H, W, 3) RGB, and labels, uint8 (N, H, W), both new arrays for each batch.

        `start_step` leaves out that many batches; the others are the same as in the whole epoch. Two batches are
        prepared ahead. Whatever `dataset.load` or `transform` raises is raised here.
        """
        look_ahead = 2 * max(self.batch_size, self.num_workers)
        slots = self._slots(epoch, start_step)
        with closing(prefetch(self._fill, slots, num_workers=self.num_workers, look_ahead=look_ahead)) as filled:
            for slot in filled:
                if slot.position == self.batch_size - 1:
                    yield slot.images, slot.labels

    def _slots(self, epoch: int, start_step: int) -> Iterator[_Slot]:
        indices = self.sampler.indices(epoch).tolist()
        height, width = self.transform.crop_size
        for step in range(start_step, len(self)):
            images = np.empty((self.batch_size, height, width, 3), np.uint8)
            labels = np.empty((self.batch_size, height, width), np.uint8)
            for position in range(self.batch_size):
                yield _Slot(images, labels, position, indices[step * self.batch_size + position], epoch)

    def _fill(self, slot: _Slot) -> _Slot:
        image, label = self.dataset.load(slot.sample)
        # NumPy gives (seed, epoch) and (seed, epoch, 0) the same stream; + 1 keeps clear of the sampler's.
        rng = np.random.default_rng((self.seed, slot.epoch, slot.sample + 1))
        slot.images[slot.position], slot.labels[slot.position] = self.transform(image, label, rng)
        return slot
