"""A dataset cache of a data set: every image uncompressed in a file of its own, of which a crop reads only its rows.

    rtseg build-cache --dataset DIR --prepared_cache DIR [--dataset_config NAME_OR_FILE] [--split trainval]
                      [--num_workers 2]

<prepared_cache>/<path of the image in the data set>.raw is a header of 4096 bytes, one line of JSON, then the image,
uint8 (H, W, 3) RGB, then the train ids, uint8 (H, W). The files are mapped into memory, where the processes of a
machine share them. Each is written atomically and tells what it was made from: an interrupted preparation goes
on where it was, and only what is missing, damaged or out of date is made again. This file imports nothing of MindSpore.
"""
import json
import mmap
import os
import shlex
import shutil
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import List, Literal, NamedTuple, Optional, Sequence, Set, Tuple, Union

import numpy as np

from rtseg.config.arguments import parse_options
from rtseg.config.fields import Section, option
from rtseg.data.dataset import SCAN_THREADS, SegmentationDataset, relative_path
from rtseg.data.dataset_spec import DatasetSpec, load_dataset_spec
from rtseg.data.image_io import image_size
from rtseg.data.loader import errors_of
from rtseg.utils.atomic import atomic_write
from rtseg.utils.errors import DataError, UserError, report_errors, run_command
from rtseg.utils.files import open_regular_file

FORMAT_VERSION = 1  # raise it whenever the same image and label files give other bytes

_HEADER_BYTES = 4096
_NO_LABEL = "{}: has no label; expected one, the cache is for training and evaluation"
_BYTES_PER_PIXEL = 4  # three of the image, one of the label
_ABANDONED_SECONDS = 3600


def with_cache(dataset: SegmentationDataset,
               cache_path: Union[str, Path]) -> Union[SegmentationDataset, "CachedDataset"]:
    """`dataset`, read from its dataset cache if `cache_path` is not empty. Both give the same pixels."""
    return CachedDataset(dataset, cache_path) if cache_path else dataset


class CachedDataset:
    """A labelled data set read from a dataset cache; its own files are only looked at for changes.

    Args:
        source: the data set as it is on disk.
        cache_path: folder of the cache.
    """

    def __init__(self, source: SegmentationDataset, cache_path: Union[str, Path]):
        self.source = source
        self.root = source.root
        self.spec = source.spec
        self.samples = source.samples
        self.cache_path = Path(os.path.abspath(Path(cache_path).expanduser()))
        self._reading = _reading_of_labels(source.spec)
        self._verified: Set[int] = set()

    def __len__(self) -> int:
        return len(self.samples)

    def file(self, index: int) -> Path:
        """Where the cache has or would have an image."""
        return self.cache_path / f"{relative_path(self.root, self.samples[index].image)}.raw"

    def load(self, index: int) -> Tuple[np.ndarray, np.ndarray]:
        """Returns the image, uint8 (H, W, 3) RGB, and its train ids, uint8 (H, W), both read-only.

        The first time that an image is asked for, its checksum is verified.

        Raises:
            DataError: the image is not in the cache, is damaged there, or its files have changed since.
        """
        try:
            prepared = self._open(index, thoroughly=index not in self._verified)
        except DataError as error:
            raise DataError(f"{error}; {self._advice()}") from None
        self._verified.add(index)
        height, width = prepared.size
        pixels = np.frombuffer(prepared.content, np.uint8, offset=_HEADER_BYTES)
        image, label = np.split(pixels, [3 * height * width])
        return image.reshape(height, width, 3), label.reshape(height, width)

    def check(self) -> None:
        """Looks at the size and the header of every file of the cache, and at the dates of the data set's files.

        Raises:
            DataError: says how many are missing, damaged or out of date, and the first of them.
        """
        problems = self.problems(thoroughly=False)
        wrong = [problem for problem in problems if problem]
        if wrong:
            raise DataError(f"{len(wrong)} of {len(self)} images are not ready in the dataset cache; the first: "
                            f"{wrong[0]}; {self._advice()}")

    def problems(self, thoroughly: bool) -> List[str]:
        """What is wrong with each image in the cache, "" for nothing; pixels are only read if `thoroughly`."""
        def problem(index: int) -> str:
            try:
                self._open(index, thoroughly)
            except DataError as error:
                return str(error)
            return ""

        with ThreadPoolExecutor(SCAN_THREADS) as executor:
            return list(executor.map(problem, range(len(self))))

    def write(self, index: int) -> Optional[DataError]:
        """Makes the file of an image; returns what is wrong with the image, if anything is."""
        try:
            source = self._stamp(index)  # before reading, so that a change meanwhile is noticed later
            image, label = self.source.load(index)
            if label is None:
                raise DataError(_NO_LABEL.format(self.samples[index].image))
        except DataError as error:
            return error
        header = json.dumps({"version": FORMAT_VERSION, "size": label.shape, "source": source,
                             "crc32": zlib.crc32(label.data, zlib.crc32(image.data))})
        with atomic_write(self.file(index)) as temporary, open(temporary, "wb") as file:
            file.write(f"{header:<{_HEADER_BYTES - 1}}\n".encode())
            file.write(image.data)
            file.write(label.data)
        return None

    def _open(self, index: int, thoroughly: bool) -> "_Prepared":
        prepared = _map(self.file(index))
        if prepared.source != self._stamp(index):
            raise DataError(f"{prepared.path}: is out of date, its image, label or specification changed")
        if thoroughly:
            with memoryview(prepared.content) as content:
                found = zlib.crc32(content[_HEADER_BYTES:])
            if found != prepared.crc32:
                raise DataError(f"{prepared.path}: is damaged, expected the checksum {prepared.crc32}, found {found}")
        return prepared

    def _stamp(self, index: int) -> list:
        """What tells the files of an image from later ones: path in the data set, bytes and time of change in
        nanoseconds of each; and how the label is read."""
        sample = self.samples[index]
        if sample.label is None:
            raise DataError(_NO_LABEL.format(sample.image))
        try:
            stats = [(relative_path(self.root, path), path.stat()) for path in (sample.image, sample.label)]
        except OSError as error:
            raise DataError(f"{error.filename}: cannot be read ({error.strerror}); check the path and its "
                            "permissions") from error
        return [*([name, stat.st_size, stat.st_mtime_ns] for name, stat in stats), self._reading]

    def _advice(self) -> str:
        specification = self.spec.origin if isinstance(self.spec.origin, str) else "FILE"
        command = shlex.join(["rtseg", "build-cache", f"--dataset={self.root}", f"--prepared_cache={self.cache_path}",
                              f"--dataset_config={specification}"])
        return f"build or rebuild the cache with {command} (--split for others than train and val)"


class _Prepared(NamedTuple):
    """A file of the cache, mapped into memory."""

    path: Path
    size: Tuple[int, int]
    source: list
    crc32: int
    content: mmap.mmap


def _reading_of_labels(spec: DatasetSpec) -> int:
    """A checksum of all that the train ids depend on next to the label files."""
    values = [[entry.values for entry in entries] for entries in (spec.classes, spec.ignored)]
    reading = (values, spec.label_form, spec.unknown_labels, spec.label_suffix, spec.train_id_suffix)
    return zlib.crc32(repr(reading).encode())


def _file_bytes(height: int, width: int) -> int:
    return _HEADER_BYTES + _BYTES_PER_PIXEL * height * width


def _map(path: Path) -> _Prepared:
    """Raises DataError when there is no such file, it is not whole or of another version."""
    try:
        with open_regular_file(path) as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        header = json.loads(content[:_HEADER_BYTES])
        version, (height, width), expected_bytes = header["version"], header["size"], _file_bytes(*header["size"])
        if not all(type(side) is int and side > 0 for side in (height, width)):
            raise ValueError
        prepared = _Prepared(path, (height, width), header["source"], header["crc32"], content)
    except FileNotFoundError:
        raise DataError(f"{path}: is not prepared yet") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError(f"{path}: is damaged, it does not begin as a file of the cache") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    if version != FORMAT_VERSION:
        raise DataError(f"{path}: has the form of version {version}, expected {FORMAT_VERSION}")
    if len(content) != expected_bytes:
        raise DataError(f"{path}: is damaged, expected {expected_bytes} bytes, found {len(content)}")
    return prepared


def prepare(source: SegmentationDataset, cache_path: Union[str, Path], *, num_workers: int = 2) -> List[DataError]:
    """Makes what the cache lacks of a data set, having said how much disk that takes.

    Returns:
        What is wrong with files that could not be decoded; their images are left out.

    Raises:
        DataError: files that can be seen to be wrong without decoding them; nothing is written then.
        UserError: the disk has not enough space; nothing is written then.
    """
    source.check()
    cache = CachedDataset(source, cache_path)
    pending = [index for index, problem in enumerate(cache.problems(thoroughly=True)) if problem]
    _announce(cache, pending, num_workers=num_workers)
    for folder in {cache.file(index).parent for index in range(len(cache))}:
        for left_over in folder.glob(".tmp-*.raw"):  # of a preparation that was killed; a new one may still be written
            with suppress(FileNotFoundError):
                if time.time() - left_over.stat().st_mtime > _ABANDONED_SECONDS:
                    left_over.unlink()
    return errors_of(cache.write, pending, num_workers=num_workers)


def _announce(cache: CachedDataset, pending: List[int], *, num_workers: int) -> None:
    sizes = [_file_bytes(*image_size(cache.samples[index].image)) for index in pending]
    old_files = [cache.file(index) for index in pending if cache.file(index).is_file()]
    # A file and its replacement exist side by side for a moment.
    needed = max(0, sum(sizes) - sum(path.stat().st_size for path in old_files)) + num_workers * max(sizes, default=0)
    path = cache.cache_path
    free = shutil.disk_usage(next(folder for folder in (path, *path.parents) if folder.exists())).free
    print(f"{path}: {len(cache) - len(pending)} of {len(cache)} images are there already; {len(pending)} to prepare, "
          f"{sum(sizes) / 1e9:.2f} GB; {free / 1e9:.2f} GB of disk are free", flush=True)
    if pending and needed > free:
        raise UserError(f"{path}: expected {needed / 1e9:.2f} GB of free disk, found {free / 1e9:.2f} GB; make space, "
                        "choose a folder on another disk, or prepare less (--split=train)")


class CacheOptions(Section):
    """Flags of `rtseg build-cache`."""

    dataset: str = option("root of the data set", metavar="DIR")
    prepared_cache: str = option("folder of the cache, new or to be completed", metavar="DIR")
    dataset_config: str = option("data-set specification: a name in configs/datasets/ or a YAML file", "cityscapes",
                                 metavar="NAME|FILE")
    split: Literal["train", "val", "trainval", "test", "testval"] = option("what to prepare", "trainval")
    num_workers: int = option("threads", 2, ge=1)


def main(argv: Optional[Sequence[str]] = None) -> int:
    options = parse_options(CacheOptions, "rtseg build-cache", description=__doc__, argv=argv)
    source = SegmentationDataset(options.dataset, options.split, spec=load_dataset_spec(options.dataset_config))
    errors = prepare(source, options.prepared_cache, num_workers=options.num_workers)
    if errors:
        return report_errors(f"images left out: {len(errors)}", errors)
    print(f"split {options.split} is prepared; train with --prepared_cache={options.prepared_cache}")
    return 0


if __name__ == "__main__":
    run_command(main)
