"""Sampler and loader: the same batches for any number of workers or ranks, and no thread left behind."""
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtseg.data.loader import BatchLoader, prefetch
from rtseg.data.sampler import DistributedSampler
from rtseg.utils.errors import ConfigError, DataError


class NumberedDataset:
    """Sample i is an image full of i; notes what was loaded, and fails at `bad_index`."""

    def __init__(self, size, bad_index=None):
        self.size = size
        self.bad_index = bad_index
        self.loaded = []

    def __len__(self):
        return self.size

    def load(self, index):
        self.loaded.append(index)
        if index == self.bad_index:
            raise DataError(f"sample {index} is damaged")
        time.sleep(0.001 * (index % 3))  # workers finish out of order
        return np.full((6, 8, 3), index, np.uint8), np.full((6, 8), index, np.uint8)


class NoiseTransform:
    """Keeps the label's value and replaces the image by noise."""

    crop_size = (2, 4)

    def __call__(self, image, label, rng):
        return rng.integers(0, 256, (2, 4, 3), dtype=np.uint8), label[:2, :4]


def loader(dataset, batch_size=3, num_workers=2, rank=0, group_size=1, seed=5):
    sampler = DistributedSampler(len(dataset), rank=rank, group_size=group_size, seed=seed)
    return BatchLoader(dataset, NoiseTransform(), sampler=sampler, batch_size=batch_size, num_workers=num_workers,
                       seed=seed)


def assert_equal_batches(actual, expected):
    assert len(actual) == len(expected) > 0
    for (images, labels), (expected_images, expected_labels) in zip(actual, expected):
        assert np.array_equal(images, expected_images) and np.array_equal(labels, expected_labels)


def prefetch_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


# --- sampler -----------------------------------------------------------------------------------------------------


def test_sampler_literally():
    assert [DistributedSampler(5, rank=rank, group_size=2, shuffle=False).indices(0).tolist() for rank in (0, 1)] == [
        [0, 2, 4], [1, 3, 0]]
    assert [DistributedSampler(5, rank=rank, group_size=2, shuffle=False, pad=False).indices(0).tolist()
            for rank in (0, 1)] == [
        [0, 2, 4], [1, 3]]
    assert [DistributedSampler(1, rank=rank, group_size=3).indices(0).tolist() for rank in range(3)] == [[0], [0], [0]]
    assert DistributedSampler(2, rank=2, group_size=3, pad=False).indices(0).tolist() == []
    assert DistributedSampler(3).indices(0).dtype == np.int64


@settings(max_examples=60, deadline=None)
@given(num_samples=st.integers(1, 50), group_size=st.integers(1, 9), seed=st.integers(0, 2 ** 40),
       epoch=st.integers(0, 1000), pad=st.booleans())
def test_ranks_share_an_epoch(num_samples, group_size, seed, epoch, pad):
    samplers = [DistributedSampler(num_samples, rank=rank, group_size=group_size, seed=seed, pad=pad)
                for rank in range(group_size)]
    parts = [sampler.indices(epoch).tolist() for sampler in samplers]
    assert [len(sampler) for sampler in samplers] == [len(part) for part in parts]
    used = [index for part in parts for index in part]
    if pad:
        assert len({len(part) for part in parts}) == 1
        assert set(used) == set(range(num_samples)) and len(used) < num_samples + group_size
    else:
        assert sorted(used) == list(range(num_samples))


def test_epochs_and_seeds_differ_and_repeat():
    order = DistributedSampler(100, seed=1).indices(3).tolist()
    assert order == DistributedSampler(100, seed=1).indices(3).tolist()
    assert order != DistributedSampler(100, seed=1).indices(4).tolist()
    assert order != DistributedSampler(100, seed=2).indices(3).tolist()


@pytest.mark.parametrize("num_samples, rank, group_size, message", [
    (0, 0, 1, "the dataset has 0 samples: expected at least 1"),
    (4, 2, 2, "rank 2 of a group of 2: expected a group of at least 1 and 0 <= rank < group size"),
    (4, -1, 2, "rank -1 of a group of 2"), (4, 0, 0, "rank 0 of a group of 0")])
def test_impossible_samplers(num_samples, rank, group_size, message):
    with pytest.raises(ConfigError, match=message):
        DistributedSampler(num_samples, rank=rank, group_size=group_size)


# --- loader ------------------------------------------------------------------------------------------------------


def test_batches():
    dataset = NumberedDataset(11)
    batches = list(loader(dataset).epoch(0))
    assert len(loader(dataset)) == len(batches) == 3
    for images, labels in batches:
        assert images.shape == (3, 2, 4, 3) and labels.shape == (3, 2, 4)
        assert images.dtype == labels.dtype == np.uint8 and images.flags.c_contiguous and labels.flags.c_contiguous
    order = DistributedSampler(11, seed=5).indices(0)[:9].tolist()
    assert [label[0, 0] for _, labels in batches for label in labels] == order
    assert not any(np.shares_memory(batches[0][0], images) for images, _ in batches[1:])


def test_the_number_of_workers_changes_nothing():
    expected = list(loader(NumberedDataset(20), num_workers=0).epoch(2))
    for num_workers in (1, 3):
        assert_equal_batches(list(loader(NumberedDataset(20), num_workers=num_workers).epoch(2)), expected)


def test_epochs_and_seeds_are_augmented_differently():
    def noise(epoch, seed):
        batches = loader(NumberedDataset(4), batch_size=4, seed=seed).epoch(epoch)
        return {label[0, 0]: image.tobytes() for images, labels in batches for image, label in zip(images, labels)}

    first = noise(0, 5)
    assert len(set(first.values())) == 4 and first == noise(0, 5)
    for other in (noise(1, 5), noise(0, 6)):
        assert not set(first.values()) & set(other.values())


@pytest.mark.parametrize("num_workers", [0, 2])
def test_start_step_gives_the_rest_of_the_epoch(num_workers):
    expected = list(loader(NumberedDataset(20)).epoch(1))
    dataset = NumberedDataset(20)
    assert_equal_batches(list(loader(dataset, num_workers=num_workers).epoch(1, start_step=4)), expected[4:])
    assert len(dataset.loaded) == 6
    assert list(loader(dataset).epoch(1, start_step=6)) == []


def test_two_ranks_together_make_the_batches_of_one():
    one = list(loader(NumberedDataset(24), batch_size=4).epoch(1))
    ranks = [list(loader(NumberedDataset(24), batch_size=2, rank=rank, group_size=2).epoch(1)) for rank in (0, 1)]
    assert len(one) == len(ranks[0]) == len(ranks[1]) == 6
    for (images, labels), (images_0, labels_0), (images_1, labels_1) in zip(one, *ranks):
        assert np.array_equal(images[0::2], images_0) and np.array_equal(images[1::2], images_1)
        assert np.array_equal(labels[0::2], labels_0) and np.array_equal(labels[1::2], labels_1)


def test_closing_early_stops_the_work():
    dataset = NumberedDataset(200)
    batches = loader(dataset, batch_size=2, num_workers=3).epoch(0)
    next(batches)
    assert prefetch_threads()
    batches.close()
    assert prefetch_threads() == []
    assert 2 <= len(dataset.loaded) <= 2 + 2 * 3


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_an_error_reaches_the_consumer_unchanged(num_workers):
    bad_index = int(DistributedSampler(30, seed=5).indices(0)[7])
    dataset = NumberedDataset(30, bad_index)
    batches = loader(dataset, num_workers=num_workers).epoch(0)
    next(batches)
    next(batches)
    with pytest.raises(DataError, match=f"sample {bad_index} is damaged"):
        next(batches)
    assert prefetch_threads() == []
    assert len(dataset.loaded) < 30


def test_no_complete_batch():
    with pytest.raises(ConfigError) as error:
        loader(NumberedDataset(5), batch_size=4, group_size=2)
    assert str(error.value) == ("an epoch has no complete batch: 5 samples shared by 2 rank(s) give 3 each, batch_size "
                                "is 4; use a batch_size of at most 3, fewer ranks or more samples")


@pytest.mark.parametrize("batch_size, num_workers", [(0, 1), (1, -1)])
def test_impossible_numbers(batch_size, num_workers):
    with pytest.raises(ConfigError, match=f"batch_size {batch_size}, num_workers {num_workers}: expected"):
        loader(NumberedDataset(5), batch_size, num_workers)


# --- prefetch ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_prefetch_keeps_the_order(num_workers):
    def slow_square(number):
        time.sleep(0.001 * (number % 4))
        return number * number

    assert list(prefetch(slow_square, range(12), num_workers=num_workers)) == [n * n for n in range(12)]
    assert list(prefetch(slow_square, [], num_workers=num_workers)) == []
    assert prefetch_threads() == []


def test_prefetch_draws_items_only_so_far_ahead():
    drawn = []

    def items():
        for number in range(100):
            drawn.append(number)
            yield number

    results = prefetch(lambda number: number, items(), num_workers=2, look_ahead=3)
    assert drawn == []
    assert next(results) == 0 and drawn == [0, 1, 2, 3]
    assert next(results) == 1 and drawn == [0, 1, 2, 3, 4]
    results.close()


def test_closing_drops_what_has_not_started():
    started = []

    def slow(number):
        started.append(number)
        time.sleep(0.02)

    results = prefetch(slow, range(100), num_workers=1, look_ahead=20)
    next(results)
    results.close()
    assert len(started) < 5 and prefetch_threads() == []


def test_opencvs_threads_are_back_when_the_last_prefetch_ends():
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(3)
        outer, inner, dropped = (prefetch(lambda number: cv2.getNumThreads(), range(9), num_workers=1)
                                 for _ in range(3))
        assert cv2.getNumThreads() == 3
        assert [next(outer), next(inner), next(dropped)] == [1, 1, 1]
        outer.close()
        assert set(inner) == {1}
        assert cv2.getNumThreads() == 1
        dropped.close()
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


def test_the_data_pipeline_does_not_import_mindspore():
    code = ("import sys, rtseg.data.dataset, rtseg.data.transforms, rtseg.data.loader\n"
            "assert 'mindspore' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True)
