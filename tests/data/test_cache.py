"""The dataset cache: the same batches as from PNG files, and it never gives what is stale, damaged or half made."""
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple

import numpy as np
import pytest
from data_helpers import CITYSCAPES, REAL_CITYSCAPES, Cityscapes, needs_real_cityscapes, write_png, write_sample
from script_helpers import PROJECT, SCRIPTS, run

from rtseg.config.recipe import load_config
from rtseg.data import cache
from rtseg.data.cache import CachedDataset, prepare, with_cache
from rtseg.data.dataset import SegmentationDataset
from rtseg.data.loader import BatchLoader
from rtseg.data.sampler import DistributedSampler
from rtseg.data.transforms import TrainTransform
from rtseg.utils.errors import DataError, UserError

NAMES = ("aachen_0_0", "ulm_1_0")


@pytest.fixture
def root(tmp_path):
    """Two training images and one to evaluate on, 8 x 16, all of road (train id 0)."""
    folder = tmp_path / "city scapes"
    for split, name in (("train", NAMES[0]), ("train", NAMES[1]), ("val", "lindau_0_0")):
        write_sample(folder, split, name, label_ids=7)
    return folder


@pytest.fixture
def prepared(root, tmp_path):
    """The cache of both splits."""
    assert prepare(Cityscapes(root, "trainval"), tmp_path / "the cache") == []
    return tmp_path / "the cache"


def raw_file(folder, name=NAMES[0]):
    return folder / "leftImg8bit" / "train" / name.split("_")[0] / f"{name}_leftImg8bit.png.raw"


def image_file(root, name=NAMES[0]):
    return root / "leftImg8bit" / "train" / name.split("_")[0] / f"{name}_leftImg8bit.png"


def content(folder):
    return {path.relative_to(folder): (path.read_bytes(), path.stat().st_mtime_ns)
            for path in folder.rglob("*") if path.is_file()}


def test_a_file_literally(tmp_path):
    write_sample(tmp_path, "train", "a_0_0", label_ids=np.array([[0, 7], [8, 33]]), size=(2, 2))
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    png = write_png(image_file(tmp_path, "a_0_0"), image)
    assert prepare(Cityscapes(tmp_path, "train"), tmp_path / "cache") == []
    stored = raw_file(tmp_path / "cache", "a_0_0").read_bytes()
    assert len(stored) == 4096 + 16
    assert stored[4096:] == bytes([*range(12), 255, 0, 1, 18])
    header = json.loads(stored[:4096])
    assert stored[4095:4096] == b"\n" and list(header) == ["version", "size", "source", "crc32"]
    assert header["version"] == 1 and header["size"] == [2, 2]
    assert header["source"][0] == ["leftImg8bit/train/a/a_0_0_leftImg8bit.png", png.stat().st_size,
                                   png.stat().st_mtime_ns]


def test_all_splits_give_the_same_as_the_png_files(root, prepared):
    for split in ("train", "val", "trainval"):
        from_png, from_cache = Cityscapes(root, split), with_cache(Cityscapes(root, split), str(prepared))
        assert type(from_png) is SegmentationDataset and type(from_cache) is CachedDataset
        from_cache.check()
        assert from_cache.samples == from_png.samples
        for index in [*range(len(from_png)), 0]:  # the first one twice: before and after its checksum was verified
            for expected, found in zip(from_png.load(index), from_cache.load(index)):
                assert found.dtype == np.uint8 and np.array_equal(found, expected)


@needs_real_cityscapes
def test_training_batches_are_bit_equal_on_real_images(tmp_path):
    source = Cityscapes(REAL_CITYSCAPES, "val")
    prepare(source, tmp_path)
    recipe = load_config(PROJECT / "configs" / "fast_scnn.yaml")
    data = recipe.data
    transform = TrainTransform(data.crop_size, data.base_size, (124, 116, 104), color_jitter=data.color_jitter,
                               max_class_ratio=data.max_class_ratio)
    png, raw = (BatchLoader(dataset, transform, sampler=DistributedSampler(4), batch_size=2, num_workers=2,
                            seed=1)
                for dataset in (source, with_cache(source, tmp_path)))
    batches = list(zip(png.epoch(0), raw.epoch(0), raw.epoch(0)))
    assert len(batches) == 2
    for expected, *others in batches:
        for found in others:
            assert all(np.array_equal(a, b) for a, b in zip(expected, found))


def test_images_are_not_copied_when_they_are_loaded(root, prepared):
    """What the cache gives is the mapped file itself, not a copy of it."""
    image, label = CachedDataset(Cityscapes(root, "train"), prepared).load(0)
    assert not image.flags.owndata and not image.flags.writeable and np.shares_memory(image.base, label.base)


def change_image(root, folder):
    write_png(image_file(root), np.zeros((8, 16, 3), np.uint8))


def touch_label(root, folder):
    (label,) = root.glob(f"gtFine/train/*/{NAMES[0]}*")
    os.utime(label, ns=(0, 0))


def remove_file(root, folder):
    raw_file(folder).unlink()


def alter(edit):
    def change(root, folder):
        raw_file(folder).write_bytes(edit(raw_file(folder).read_bytes()))
    return change


WRONG = [
    (change_image, "is out of date, its image, label or specification changed"),
    (touch_label, "is out of date, its image, label or specification changed"),
    (remove_file, "is not prepared yet"),
    (alter(lambda stored: b""), "is damaged, it does not begin as a file of the cache"),
    (alter(lambda stored: b"<html>" + stored), "is damaged, it does not begin as a file of the cache"),
    (alter(lambda stored: stored[:-1]), "is damaged, expected 4608 bytes, found 4607"),
    (alter(lambda stored: stored[:100]), "is damaged, it does not begin as"),
    (alter(lambda stored: stored.replace(b'"version": 1', b'"version": 2')), "has the form of version 2, expected 1"),
]


@pytest.mark.parametrize("spoil, problem", WRONG)
def test_what_is_wrong_is_refused_and_only_that_is_mended(root, prepared, spoil, problem):
    dataset = CachedDataset(Cityscapes(root, "train"), prepared)
    good = content(prepared)
    spoil(root, prepared)
    dataset.load(1)
    for use in (dataset.check, lambda: dataset.load(0)):
        with pytest.raises(DataError) as error:
            use()
        assert f"{raw_file(prepared)}: {problem}" in str(error.value)
        assert str(error.value).endswith(
            f"build or rebuild the cache with rtseg build-cache '--dataset={root}' '--prepared_cache={prepared}' "
            "--dataset_config=cityscapes (--split for others than train and val)")
    assert prepare(Cityscapes(root, "train"), prepared) == []
    dataset.check()
    assert np.array_equal(dataset.load(0)[0], Cityscapes(root, "train").load(0)[0])
    mended = content(prepared)
    assert [path for path in good if mended[path] != good[path]] == [raw_file(prepared).relative_to(prepared)]


def test_another_reading_of_the_labels_makes_it_out_of_date(root, prepared):
    def dataset(**changes):
        return CachedDataset(SegmentationDataset(root, "train", spec=dataclasses.replace(CITYSCAPES, **changes)),
                             prepared)

    dataset(name="other").check()
    first, *others = CITYSCAPES.classes
    for changes in (dict(unknown_labels="ignore"), dict(classes=(*others, first))):
        with pytest.raises(DataError, match="2 of 2 images are not ready .* is out of date"):
            dataset(**changes).check()


def test_nothing_is_written_outside_the_cache(root, tmp_path):
    source = Cityscapes(root, "train")
    source.samples = [source.samples[0]._replace(image=root / ".." / "other.png")]
    with pytest.raises(DataError, match=r"other.png: expected a file below the data set's folder"):
        CachedDataset(source, tmp_path / "cache").check()


@pytest.mark.parametrize("position", [4096, 4096 + 3 * 128 - 1, 4096 + 4 * 128 - 1])
def test_a_flipped_byte_is_found_at_first_use(root, prepared, position):
    stored = bytearray(raw_file(prepared).read_bytes())
    stored[position] ^= 1
    raw_file(prepared).write_bytes(stored)
    dataset = CachedDataset(Cityscapes(root, "train"), prepared)
    dataset.check()  # it does not read the pixels
    with pytest.raises(DataError, match="is damaged, expected the checksum"):
        dataset.load(0)
    assert prepare(Cityscapes(root, "train"), prepared) == []
    dataset.load(0)


def test_what_is_whole_is_left_alone(root, prepared):
    before = content(prepared)
    assert prepare(Cityscapes(root, "trainval"), prepared) == []
    assert content(prepared) == before


def test_missing_labels_and_splits_are_named(root, prepared):
    (label,) = root.glob(f"gtFine/train/*/{NAMES[0]}*")
    label.unlink()
    dataset = CachedDataset(Cityscapes(root, "train"), prepared)
    for use in (dataset.check, lambda: dataset.load(0), lambda: prepare(dataset.source, prepared)):
        with pytest.raises(DataError, match="aachen_0_0_leftImg8bit.png: has no label"):
            use()
    shutil.rmtree(prepared / "leftImg8bit" / "val")
    with pytest.raises(DataError, match="is not prepared yet"):
        CachedDataset(Cityscapes(root, "val"), prepared).check()


def test_disk_is_announced_and_checked_before_anything_is_written(root, tmp_path, monkeypatch, capsys):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: usage(4 * 4608 - 1))
    with pytest.raises(UserError, match=r"expected 0\.00 GB of free disk, found 0\.00 GB; make space"):
        prepare(Cityscapes(root, "train"), tmp_path / "new" / "cache")  # two files, and two under way
    assert capsys.readouterr().out == (f"{tmp_path}/new/cache: 0 of 2 images are there already; 2 to prepare, "
                                       "0.00 GB; 0.00 GB of disk are free\n")
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: usage(4 * 4608))
    assert prepare(Cityscapes(root, "train"), tmp_path / "new" / "cache") == []
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: usage(0))
    assert prepare(Cityscapes(root, "train"), tmp_path / "new" / "cache") == []  # nothing is missing


def test_images_that_cannot_be_decoded_are_left_out(root, tmp_path):
    path = image_file(root)
    good = path.read_bytes()
    middle = len(good) // 2
    path.write_bytes(good[:middle] + bytes([good[middle] ^ 255]) + good[middle + 1:])
    process = run(SCRIPTS / "prepare_cache.sh", root, "made here", "--split=train", cwd=tmp_path)
    assert process.returncode == 3
    assert process.stderr.endswith(f"error: images left out: 1\n  {path}: cannot be decoded, its compressed data is "
                                   "damaged; copy the file again\n")
    path.write_bytes(good)
    process = run(SCRIPTS / "prepare_cache.sh", "city scapes", tmp_path / "made here", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    announced, done = process.stdout.splitlines()
    assert announced.startswith(f"{tmp_path}/made here: 1 of 3 images are there already; 2 to prepare, 0.00 GB; ")
    assert done == f"split trainval is prepared; train with --prepared_cache={tmp_path}/made here"
    CachedDataset(Cityscapes(root, "trainval"), tmp_path / "made here").check()


def test_killed_preparation_leaves_whole_files_only_and_goes_on(tmp_path):
    write_sample(tmp_path, "train", "a_00_0", label_ids=7, size=(512, 1024))
    for path in list(tmp_path.rglob("a_00_0*")):
        for i in range(1, 100):
            shutil.copy(path, path.with_name(path.name.replace("a_00", f"a_{i:02d}")))
    folder = tmp_path / "cache"
    command = [sys.executable, "-m", "rtseg.data.cache", f"--dataset={tmp_path}", f"--prepared_cache={folder}",
               "--split=train", "--num_workers=1"]
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not list(folder.rglob("a_*.raw")) and time.monotonic() < end:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    whole = {path: path.stat().st_mtime_ns for path in folder.rglob("a_*.raw")}
    assert 1 <= len(whole) < 100
    assert {path.stat().st_size for path in whole} == {4096 + 4 * 512 * 1024}
    with pytest.raises(DataError, match=f"{100 - len(whole)} of 100 images are not ready"):
        CachedDataset(Cityscapes(tmp_path, "train"), folder).check()
    images = next(iter(whole)).parent
    for left_over in images.glob(".tmp-*"):
        left_over.unlink()
    old, written_now = (images / f".tmp-{number}123456789ab-a_00_0_leftImg8bit.png.raw" for number in range(2))
    old.write_bytes(b"half")
    os.utime(old, (0, 0))
    written_now.write_bytes(b"half, by another process")

    assert prepare(Cityscapes(tmp_path, "train"), folder) == []
    CachedDataset(Cityscapes(tmp_path, "train"), folder).check()
    assert not old.exists() and written_now.exists()
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 101
    assert all(path.stat().st_mtime_ns == made for path, made in whole.items())


@pytest.mark.parametrize("given, message", [
    (("one",), "Usage: prepare_cache.sh [dataset] [prepared_cache] [--flag=value ...]"),
    (("nowhere", "cache"), "error: the dataset folder {folder}/nowhere does not exist: expected"),
    (("city scapes", "cache", "--num_workers=0"), "error: --num_workers: expected an integer >= 1, found '0'"),
    (("city scapes", "cache", "--split=all"),
     "error: --split: expected one of train, val, trainval, test, testval, found 'all'"),
])
def test_wrong_arguments(root, tmp_path, given, message):
    process = run(SCRIPTS / "prepare_cache.sh", *given, cwd=tmp_path)
    assert process.returncode == (3 if given[0] == "nowhere" else 2)
    assert process.stderr.startswith(message.format(folder=tmp_path))
    assert not (tmp_path / "cache").exists()


def test_number_of_loading_threads_follows_the_device():
    recipe = PROJECT / "configs" / "fast_scnn.yaml"
    given = ({}, {"device_target": "Ascend"}, {"device_target": "Ascend", "num_workers": "3"}, {"num_workers": "0"})
    assert [load_config(recipe, flags).num_workers for flags in given] == [2, 16, 3, 0]
