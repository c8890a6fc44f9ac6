"""Reads a whole data set and reports its classes, its sizes and everything that is wrong with it.

    rtseg check-data --dataset DIR [--dataset_config NAME_OR_FILE] [--split train] [--num_workers 2]

For each class: its share of the pixels that are scored, the images it is in, and two usual weights for an unbalanced
loss, from the images of the split: ENet's 1 / log(1.02 + share) (Paszke et al., 2016) and median frequency (Eigen and
Fergus, 2015). The exit code is 3 if something is wrong; the good images are counted nevertheless. Needs no MindSpore.
"""
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import List, Literal, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from tqdm import tqdm

from rtseg.config.arguments import parse_options
from rtseg.config.fields import Section, option
from rtseg.data.dataset import SegmentationDataset
from rtseg.data.dataset_spec import IGNORE_LABEL, DatasetSpec, Split, load_dataset_spec
from rtseg.data.loader import prefetch
from rtseg.utils.errors import DataError, run_command
from rtseg.utils.text import pad, text_width


class _ImageReport(NamedTuple):
    size: Tuple[int, int] = (0, 0)
    counts: Optional[np.ndarray] = None  # int64 (256,), pixels of each train id; None without label
    error: str = ""


@dataclass
class SplitReport:
    """What was found in a split.

    `images` and `pixels` count, for each train id, the images that it is in and its pixels; `labelled_pixels` are
    the scored pixels of those images that have the train id.
    """

    spec: DatasetSpec
    sizes: Counter = field(default_factory=Counter)  # (height, width) -> images
    images: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    labelled_pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    problems: List[str] = field(default_factory=list)

    def add(self, image: Path, found: _ImageReport) -> None:
        """Counts an image, or notes what is wrong with it."""
        if found.error:
            self.problems.append(found.error)
            return
        self.sizes[found.size] += 1
        if found.counts is None:
            return
        scored = found.counts[:self.spec.num_classes].sum()
        if scored == 0:
            self.problems.append(f"{image}: every pixel of its label is ignored; is it the right label, and is the "
                                 "specification right?")
        present = found.counts > 0
        self.images += present
        self.pixels += found.counts
        self.labelled_pixels += scored * present

    def shares(self) -> np.ndarray:
        """Share of each class among the scored pixels, float64 (classes,); NaN if there are none."""
        pixels = self.pixels[:self.spec.num_classes]
        with np.errstate(invalid="ignore"):
            return pixels / pixels.sum()

    def enet_weights(self) -> np.ndarray:
        """1 / log(1.02 + share), float64 (classes,); NaN for a class without pixels."""
        shares = self.shares()
        return np.where(shares > 0, 1 / np.log(1.02 + shares), np.nan)

    def median_frequency_weights(self) -> np.ndarray:
        """Median of all frequencies / frequency, float64 (classes,), where a class's frequency is its share in the
        images that it is in; NaN for a class without pixels."""
        classes = self.spec.num_classes
        with np.errstate(invalid="ignore"):
            frequencies = self.pixels[:classes] / self.labelled_pixels[:classes]
        found = frequencies[~np.isnan(frequencies)]
        return np.median(found) / frequencies if found.size else frequencies

    def table(self) -> str:
        """One line for each class, then what is ignored."""
        names = [*self.spec.class_names, "(ignored)"]
        width = max(map(text_width, names))
        lines = [f"{'class':<{width}} {'pixels (%)':>10} {'images':>8} {'ENet weight':>11} {'median weight':>13}"]
        for i, (name, *values) in enumerate(zip(names, self.shares(), self.enet_weights(),
                                                self.median_frequency_weights())):
            share, enet, median = ("n/a" if np.isnan(value) else f"{value:.2f}" for value in
                                   (100 * values[0], *values[1:]))
            lines.append(f"{pad(name, width)} {share:>10} {self.images[i]:8} {enet:>11} {median:>13}")
        ignored = 100 * self.pixels[IGNORE_LABEL] / max(1, self.pixels.sum())
        lines.append(f"{names[-1]:<{width}} {ignored:10.2f} {self.images[IGNORE_LABEL]:8}")
        return "\n".join(lines)


def check_split(dataset: SegmentationDataset, num_workers: int) -> SplitReport:
    """Reads every file of a split."""
    report = SplitReport(dataset.spec)

    def read(index: int) -> _ImageReport:
        try:
            image, label = dataset.load(index)
        except DataError as error:
            return _ImageReport(error=str(error))
        counts = None if label is None else np.bincount(label.ravel(), minlength=256)
        return _ImageReport((image.shape[0], image.shape[1]), counts)

    images = prefetch(read, range(len(dataset)), num_workers=num_workers)
    for sample, found in zip(dataset.samples, tqdm(images, total=len(dataset), unit="image", disable=None)):
        report.add(sample.image, found)
    report.problems += [f"{path}: has no image next to it; remove it or add the image"
                        for path in sorted(dataset.labels_without_image)]
    return report


class CheckOptions(Section):
    """Flags of `rtseg check-data`."""

    dataset: str = option("root of the data set", metavar="DIR")
    dataset_config: str = option("data-set specification: a name in configs/datasets/ or a YAML file", "cityscapes",
                                 metavar="NAME|FILE")
    split: Optional[Literal["train", "val", "trainval", "test"]] = option(
        "split to check; empty: train and val, one after the other", None)
    num_workers: int = option("threads", 2, ge=1)


def main(argv: Optional[Sequence[str]] = None) -> int:
    options = parse_options(CheckOptions, "rtseg check-data", description=__doc__, argv=argv)
    spec = load_dataset_spec(options.dataset_config)
    splits = [options.split] if options.split else [name for name in ("train", "val") if name in spec.splits]
    print(f"{options.dataset}: '{spec.name}', {spec.num_classes} classes")
    problems = 0
    for split in splits or ["test"]:
        try:
            dataset = SegmentationDataset(options.dataset, split, spec=spec, require_labels=split != "test" or bool(
                spec.splits.get("test", Split()).labels))
        except DataError as error:
            print(f"\nerror: {error}", file=sys.stderr, flush=True)
            problems += 1
            continue
        report = check_split(dataset, options.num_workers)
        _print(report, split, count=len(dataset))
        problems += len(report.problems)
    return DataError.exit_code if problems else 0


def _print(report: SplitReport, split: str, *, count: int) -> None:
    sizes = ", ".join(f"{width}x{height} ({number})" for (height, width), number in report.sizes.most_common(5))
    others = len(report.sizes) - 5
    print(f"\n{split}: {count} images, {sum(report.sizes.values())} of them good; width x height {sizes or 'unknown'}"
          + (f" and {others} other sizes" if others > 0 else ""))
    if report.pixels.any():
        print(report.table(), flush=True)
        absent = [name for name, images in zip(report.spec.class_names, report.images) if not images]
        if absent:
            print(f"note: no label of {split} has {', '.join(absent)}", flush=True)
    if report.problems:
        print(f"error: {len(report.problems)} problem(s) in {split}:\n  " + "\n  ".join(report.problems),
              file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_command(main)
