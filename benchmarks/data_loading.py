"""Training samples per second and core: ours from PNG files and from a dataset cache, against two usual ways.

    python benchmarks/data_loading.py --dataset DIR [--prepared_cache DIR] [--split train] [--crop_size 768,768]
                                      [--samples 32] [--rounds 5] [--json]

All do the same work in one thread: decode, random scale (0.5 to 2 of 1024), flip, crop, blur of every second image,
batches of 4. None of them normalises: our network does that itself. Counted is processor time, so this is per core.
Then ours with one and with two worker threads, by the clock. The files are in memory after the first round. Without
--prepared_cache a cache is made for the time of the run (8.4 MB an image).

  pil       the model zoo's way: PIL decodes and scales the whole image; np.unique and np.digitize for the labels
  cv2       OpenCV decodes and scales the whole image; a look-up table for the labels
  GeneratorDataset  mindspore.dataset over the same samples and transforms: its workers (threads or processes), its
            batches and its prefetching, counted by the clock next to ours with as many workers
  inflate   not a peer but the floor of reading PNG: zlib alone, over the same files
"""
import argparse
import contextlib
import json
import platform
import random
import struct
import sys
import tempfile
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import PIL
from PIL import Image, ImageFilter, ImageOps

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "src")]

from benchmarks.interleaved import measure, millisecond_medians, ratio  # noqa: E402
from benchmarks.repeated_images import Repeated  # noqa: E402
from rtseg.data.cache import prepare, with_cache  # noqa: E402
from rtseg.data.dataset import SegmentationDataset  # noqa: E402
from rtseg.data.dataset_spec import IGNORE_LABEL, load_dataset_spec  # noqa: E402
from rtseg.data.loader import BatchLoader  # noqa: E402
from rtseg.data.sampler import DistributedSampler  # noqa: E402
from rtseg.data.transforms import TrainTransform  # noqa: E402
from rtseg.utils.errors import run_command  # noqa: E402

BASE_SIZE, BATCH_SIZE, PAD_COLOR = 1024, 4, (124, 116, 104)
# Position i is the train id of label id i - 1.
CITYSCAPES = load_dataset_spec("cityscapes")
LABEL_IDS = np.arange(-1, 34)
TRAIN_IDS = np.concatenate([[-1], CITYSCAPES.id_table[:34]]).astype(np.int32)
TRAIN_IDS[TRAIN_IDS == IGNORE_LABEL] = -1


def ours(dataset, crop_size, num_workers: int):
    """A function that goes through all samples once."""
    transform = TrainTransform(crop_size, BASE_SIZE, PAD_COLOR)
    loader = BatchLoader(dataset, transform, sampler=DistributedSampler(len(dataset)), batch_size=BATCH_SIZE,
                         num_workers=num_workers, seed=1)
    return lambda: [images.shape for images, _ in loader.epoch(0)]


def batches(load, dataset, crop_size):
    """The same for a peer: `load` gives an image and a label of a sample and a crop size."""
    def run():
        random.seed(1)
        for start in range(0, dataset.count - BATCH_SIZE + 1, BATCH_SIZE):
            samples = [dataset.dataset.samples[i % len(dataset.dataset)] for i in range(start, start + BATCH_SIZE)]
            images, labels = zip(*(load(sample, crop_size) for sample in samples))
            np.stack(images), np.stack(labels)
    return run


def generator_dataset(dataset, crop_size, num_workers: int, processes: bool):
    """The same samples through mindspore.dataset; a function that goes through all of them once."""
    from rtseg.runtime.device import prepare_environment
    prepare_environment()
    from mindspore.dataset import GeneratorDataset

    transform = TrainTransform(crop_size, BASE_SIZE, PAD_COLOR)

    class Samples:
        """Augmented samples; MindSpore asks for a length and items."""

        def __len__(self):
            return len(dataset)

        def __getitem__(self, index):
            return transform(*dataset.load(int(index)), np.random.default_rng((1, 0, int(index) + 1)))

    batches = GeneratorDataset(Samples(), ["image", "label"], shuffle=False, num_parallel_workers=num_workers,
                               python_multiprocessing=processes).batch(BATCH_SIZE, drop_remainder=True)
    return lambda: [images.shape for images, _ in batches.create_tuple_iterator(num_epochs=1, output_numpy=True)]


def random_geometry(width: int, height: int, crop_size):
    """Scaled (width, height), and the corner of the crop in what the image is padded to."""
    short = random.randint(BASE_SIZE // 2, BASE_SIZE * 2)
    width, height = round(width * short / height), short
    x, y = (random.randint(0, max(0, side - crop)) for side, crop in zip((width, height), crop_size[::-1]))
    return (width, height), (x, y)


def pil_way(sample, crop_size):
    image, label = Image.open(sample.image).convert("RGB"), Image.open(sample.label)
    if random.random() < 0.5:
        image, label = (item.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for item in (image, label))
    scaled, (x, y) = random_geometry(*image.size, crop_size)
    image, label = image.resize(scaled, Image.Resampling.BILINEAR), label.resize(scaled, Image.Resampling.NEAREST)
    right, bottom = (max(0, crop - side) for side, crop in zip(scaled, crop_size[::-1]))
    if right or bottom:
        image = ImageOps.expand(image, (0, 0, right, bottom), fill=0)
        label = ImageOps.expand(label, (0, 0, right, bottom), fill=0)
    box = (x, y, x + crop_size[1], y + crop_size[0])
    image, label = image.crop(box), label.crop(box)
    if random.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(random.random()))
    ids = np.array(label).astype(np.int32)
    for value in np.unique(ids):
        assert value in LABEL_IDS
    index = np.digitize(ids.ravel(), LABEL_IDS, right=True)
    return np.array(image), TRAIN_IDS[index].reshape(ids.shape)


def cv2_way(sample, crop_size):
    image, label = cv2.imread(str(sample.image)), cv2.imread(str(sample.label), cv2.IMREAD_GRAYSCALE)
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    label = cv2.LUT(label, np.resize(TRAIN_IDS[1:], 256).astype(np.uint8))
    scaled, (x, y) = random_geometry(*label.shape[::-1], crop_size)
    image = cv2.resize(image, scaled, interpolation=cv2.INTER_LINEAR)
    label = cv2.resize(label, scaled, interpolation=cv2.INTER_NEAREST)
    if random.random() < 0.5:
        image, label = cv2.flip(image, 1), cv2.flip(label, 1)
    right, bottom = (max(0, crop - side) for side, crop in zip(scaled, crop_size[::-1]))
    if right or bottom:
        image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=PAD_COLOR)
        label = cv2.copyMakeBorder(label, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=IGNORE_LABEL)
    image, label = (item[y:y + crop_size[0], x:x + crop_size[1]] for item in (image, label))
    if random.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), 1.0 - random.random())
    return image, label


def compressed(path: Path) -> bytes:
    """The zlib stream of a PNG file."""
    data, position, parts = path.read_bytes(), 8, []
    while position < len(data):
        length, kind = struct.unpack(">I4s", data[position:position + 8])
        if kind == b"IDAT":
            parts.append(data[position + 8:position + 8 + length])
        position += 12 + length
    return b"".join(parts)


def inflate(dataset: Repeated):
    streams = [compressed(path) for sample in dataset.dataset.samples for path in (sample.image, sample.label)]

    def run():
        for i in range(2 * dataset.count):
            zlib.decompress(streams[i % len(streams)])
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", required=True, help="Cityscapes root")
    parser.add_argument("--prepared_cache", help="of the data set (default: a temporary one)")
    parser.add_argument("--split", default="train")
    parser.add_argument("--crop_size", default="768,768")
    parser.add_argument("--samples", type=int, default=32, help="in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    crop_size = tuple(int(side) for side in arguments.crop_size.split(","))
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        cache = arguments.prepared_cache or folder
        dataset = SegmentationDataset(arguments.dataset, arguments.split, spec=CITYSCAPES)
        if not arguments.prepared_cache:
            prepare(dataset, cache)
        png, raw = (Repeated(with_cache(dataset, path), arguments.samples) for path in ("", cache))
        seconds = measure({
            "pil": batches(pil_way, png, crop_size), "cv2": batches(cv2_way, png, crop_size), "inflate": inflate(png),
            "png": ours(png, crop_size, 0), "cache": ours(raw, crop_size, 0)}, arguments.rounds, time.process_time)
        loaders = {f"{name}, {count} worker{'s' * (count > 1)}": ours(dataset, crop_size, count)
                   for name, dataset in (("png", png), ("cache", raw)) for count in (1, 2)}
        for name, dataset in (("png", png), ("cache", raw)):
            loaders[f"{name}, GeneratorDataset, 2 threads"] = generator_dataset(dataset, crop_size, 2, False)
            loaders[f"{name}, GeneratorDataset, 2 processes"] = generator_dataset(dataset, crop_size, 2, True)
        seconds.update(measure(loaders, arguments.rounds))
    medians = millisecond_medians(seconds, arguments.samples // BATCH_SIZE * BATCH_SIZE)
    pairs = (("png", "pil"), ("png", "cv2"), ("cache", "pil"), ("cache", "cv2"), ("png", "inflate"),
             ("png, 2 workers", "png, 1 worker"), ("cache, 2 workers", "cache, 1 worker"),
             *((f"{name}, 2 workers", f"{name}, GeneratorDataset, 2 {kind}") for name in ("png", "cache")
               for kind in ("threads", "processes")))
    result = {"python": platform.python_version(), "opencv": cv2.__version__, "pillow": PIL.__version__,
              "numpy": np.__version__, "crop_size": crop_size, "samples": arguments.samples, "rounds": arguments.rounds,
              "ms_per_sample": medians, "samples_per_second": {name: 1000 / value for name, value in medians.items()},
              "times_as_fast": {f"{name} : {peer}": ratio(seconds[peer], seconds[name]) for name, peer in pairs}}
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"crop {crop_size[0]}x{crop_size[1]}, OpenCV {cv2.__version__}, Pillow {PIL.__version__}, medians of "
          f"{arguments.rounds} rounds of {arguments.samples} samples")
    for name, value in medians.items():
        print(f"  {name:36s} {value:8.2f} ms a sample {1000 / value:8.1f} samples/s")
    for name, value in result["times_as_fast"].items():
        print(f"  {name:56s} {value:6.2f} times as fast")


if __name__ == "__main__":
    run_command(lambda _: main())
