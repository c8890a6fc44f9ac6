"""A data set on disk: finds image and label pairs, reads them, and finds bad files before a long run does.

This file imports nothing of MindSpore, so the commands that run without it can use it.
"""
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from rtseg.data.dataset_spec import DatasetSpec, Split
from rtseg.data.image_io import image_size, label_size, read_image, read_label
from rtseg.utils.errors import DataError

_MAX_PROBLEMS_LISTED = 20
# The scan waits for the disk, not for the processor, so more threads than cores pay off (network disks above all).
SCAN_THREADS = 16


class Sample(NamedTuple):
    """One image of the data set; `name` is unique in its split and fit for a file name."""

    name: str
    city: str  # the folder that the image is in, which in Cityscapes is the city
    image: Path
    label: Optional[Path]


def relative_path(root: Path, path: Path) -> str:
    """`path` from the data set's folder, as it is called: a folder in there may be a link to another place.

    Raises:
        DataError: it is not below that folder.
    """
    relative = os.path.relpath(path, root)
    if relative.split(os.sep)[0] == os.pardir:
        raise DataError(f"{path}: expected a file below the data set's folder {root}")
    return relative


class SegmentationDataset:
    """The images of one split, in an order that does not depend on the file system.

    Args:
        root: folder that the specification's folders and list files are in.
        split: train, val, trainval or test.
        spec: what the data set is.
        require_labels: False if images may lack their label (test split).

    Raises:
        ConfigError: unknown split, or one without labels.
        DataError: `root` is not laid out as described or holds no image.
    """

    def __init__(self, root: Union[str, Path], split: str, *, spec: DatasetSpec,
                 require_labels: bool = True) -> None:
        parts = [spec.splits[part] for part in spec.parts(split, require_labels)]
        self.root = Path(os.path.abspath(Path(root).expanduser()))
        self.spec = spec
        self.require_labels = require_labels
        self.labels_without_image: List[Path] = []
        self._expected_labels: Dict[Path, str] = {}  # of the images that have none
        self._check_layout(parts)
        samples = [sample for part in parts for sample in (self._listed(part) if part.list else self._found(part))]
        if not samples:
            raise DataError(f"no image of split '{split}' found in {self.root}: {self._layout(parts)}")
        self.samples = sorted(self._with_unique_names(samples), key=lambda sample: (sample.name, sample.city))

    def __len__(self) -> int:
        return len(self.samples)

    def load(self, index: int) -> Tuple[np.ndarray, Optional[np.ndarray]]:
        """Returns the image, uint8 (H, W, 3) RGB, and its train ids, uint8 (H, W), or None if it has no label.

        Raises:
            DataError: a file is missing, unreadable, damaged or holds unknown ids, or the two sizes differ.
        """
        sample = self.samples[index]
        image = read_image(sample.image)
        if sample.label is None:
            if self.require_labels:
                raise DataError(self._missing_label(sample))
            return image, None
        label = read_label(sample.label, self.spec)
        if image.shape[:2] != label.shape:
            raise DataError(_different_sizes(sample, image.shape, label=label.shape))
        return image, label

    def check(self) -> None:
        """Looks at the start and the end of every file, without decoding any (about 0.1 ms a file on a local disk).

        Raises:
            DataError: lists all missing labels, truncated files, labels of another form and sizes that differ.
        """
        with ThreadPoolExecutor(SCAN_THREADS) as executor:
            problems = [problem for found in executor.map(self._problems, self.samples) for problem in found]
        if problems:
            listed = problems[:_MAX_PROBLEMS_LISTED]
            if len(problems) > len(listed):
                listed.append(f"and {len(problems) - len(listed)} more")
            raise DataError(f"{len(problems)} problem(s) in the dataset {self.root}:\n  " + "\n  ".join(listed))

    def _problems(self, sample: Sample) -> List[str]:
        problems = [self._missing_label(sample)] if sample.label is None and self.require_labels else []
        sizes = []
        for path, read_size in ((sample.image, image_size),
                                (sample.label, lambda path: label_size(path, self.spec))):
            try:
                if path is not None:
                    sizes.append(read_size(path))
            except DataError as error:
                problems.append(str(error))
        if len(sizes) == 2 and sizes[0] != sizes[1]:
            problems.append(_different_sizes(sample, sizes[0], label=sizes[1]))
        return problems

    def _check_layout(self, parts: Sequence[Split]) -> None:
        names: List[Tuple[str, Callable[..., bool]]] = [
            (name, os.path.isdir) for part in parts for name in (
            (part.images, part.labels) if self.require_labels else (part.images,)) if name]
        names += [(part.list, os.path.isfile) for part in parts if part.list]
        if not os.path.isdir(self.root):
            problem = f"the dataset folder {self.root} does not exist"
        else:
            missing = [(name, is_there) for name, is_there in names if not is_there(self.root / name)]
            if not missing:
                return
            kind = "folder" if missing[0][1] is os.path.isdir else "list file"
            problem = f"the dataset folder {self.root} has no {kind} {' and no '.join(name for name, _ in missing)}"
        hint = ""
        # Users often point one level too high (a parent folder) or too low (the folder of images itself).
        for candidate in [*sorted(self.root.glob("*")), *list(self.root.parents)[:2]]:
            if all(is_there(candidate / name) for name, is_there in names):
                hint = f"\ndid you mean {candidate}?"
                break
        raise DataError(f"{problem}: {self._layout(parts)}{hint}")

    def _layout(self, parts: Sequence[Split]) -> str:
        lines = []
        for part in parts:
            if part.list:
                lines.append(f"<dataset>/{part.list} with " + ("the names of images without their suffixes"
                                                               if part.images else "the lines 'image label'"))
            if part.images:
                lines.append(f"<dataset>/{part.images}/[<folder>/]<name>{self.spec.image_suffix}")
            if part.labels:
                lines.append(f"<dataset>/{part.labels}/[<folder>/]<name>{part.label_suffix}")
        return f"expected for '{self.spec.name}'" + "".join(f"\n  {line}" for line in lines)

    def _found(self, part: Split) -> List[Sample]:
        """The images of two folders."""
        suffixes = (self.spec.image_suffix, part.label_suffix, self.spec.train_id_suffix)
        images = _find(self.root / part.images, suffixes[0],
                       other_suffixes=suffixes if Path(part.images) == Path(part.labels) else ())
        labels = {}
        has_labels = bool(part.labels) and os.path.isdir(self.root / part.labels)
        for suffix in filter(None, reversed(suffixes[1:] if has_labels else ())):
            labels.update(_find(self.root / part.labels, suffix, other_suffixes=suffixes))
        for key in images.keys() - labels.keys():
            self._expected_labels[images[key]] = f"{part.labels}/{key}{part.label_suffix}"
        self.labels_without_image += [path for key, path in labels.items() if key not in images]
        return [Sample(Path(key).name, path.parent.name, path, labels.get(key)) for key, path in images.items()]

    def _listed(self, part: Split) -> List[Sample]:
        """The images of a list file."""
        path, samples = self.root / part.list, []
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()  # editors on Windows write a mark
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: expected a list file in UTF-8; {error}") from None
        for number, line in enumerate(lines, 1):
            names = self._names_in(line)
            if not names or names[0].startswith("#"):
                continue
            if part.images:
                samples.append(self._sample_of_stem(part, line.strip()))
                continue
            if len(names) > 2 or "" in names or "\0" in line:
                raise DataError(f"{path}, line {number}: expected 'image label', two paths relative to {self.root} "
                                f"with a blank or comma between them, or a tab if they contain these, found "
                                f"{line[:200]!r}")
            image, label = self.root / names[0], self.root / names[1] if len(names) == 2 else None
            if label is None:
                self._expected_labels[image] = f"it in line {number} of {path}"
            samples.append(Sample(image.stem, image.parent.name, image, label))
        return samples

    def _names_in(self, line: str) -> List[str]:
        if "\t" in line:
            return line.split("\t")
        pair = line.replace(", ", ",")
        if "," in pair and " " not in pair and not os.path.exists(self.root / line):  # as in CoinCheung's lists
            return pair.split(",")
        return line.split()

    def _sample_of_stem(self, part: Split, stem: str) -> Sample:
        """What a line of a list means that names images of a folder without their suffixes, as mmsegmentation does."""
        image = self.root / part.images / f"{stem}{self.spec.image_suffix}"
        labels = [self.root / part.labels / f"{stem}{suffix}"
                  for suffix in (part.label_suffix, self.spec.train_id_suffix) if part.labels and suffix]
        label = next((path for path in labels if os.path.isfile(path)), None)
        if label is None and labels:
            self._expected_labels[image] = str(labels[0].relative_to(self.root))
        return Sample(Path(stem).name, image.parent.name, image, label)

    def _with_unique_names(self, samples: List[Sample]) -> List[Sample]:
        """Results are written to files of these names: where stems occur twice, all get their folders in front."""
        if len({sample.name for sample in samples}) < len(samples):
            samples = [sample._replace(name=self._long_name(sample)) for sample in samples]
        name, count = Counter(sample.name for sample in samples).most_common(1)[0]
        if count > 1:
            images = [str(sample.image) for sample in samples if sample.name == name]
            raise DataError(f"{self.root}: {count} images share the name {name}, under which results are written: "
                            f"{', '.join(images[:3])}; rename them, or leave out what is listed twice")
        return samples

    def _long_name(self, sample: Sample) -> str:
        folder = os.path.relpath(sample.image.parent, self.root)
        return "_".join([part for part in Path(folder).parts if part != ".."] + [sample.name])

    def _missing_label(self, sample: Sample) -> str:
        return (f"{sample.image}: has no label, expected {self._expected_labels[sample.image]}; unpack the labels "
                "again or remove the image")


def walk_once(folder: Union[str, Path], *, left_out: Iterable[str] = (),
              on_error: Optional[Callable[[OSError], None]] = None) -> Iterator[Tuple[str, List[str]]]:
    """`folder` and those below it, each with the sorted names of its files. Links to folders are followed, each folder
    once, so that a loop ends; hidden files and folders, and folders whose real path is in `left_out`, do not come."""
    seen = set(left_out)
    for here, folders, names in os.walk(folder, onerror=on_error, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield here, sorted(name for name in names if not name.startswith("."))


def _find(folder: Path, suffix: str, *, other_suffixes: Sequence[str]) -> Dict[str, Path]:
    """Files by their path below `folder` without `suffix`, hidden ones and those with a longer suffix left out."""
    longer = tuple(other for other in other_suffixes if len(other) > len(suffix))
    found = {}
    for here, names in walk_once(folder, on_error=_unreadable):
        for name in names:
            if name != suffix and name.endswith(suffix) and not name.endswith(longer):
                key = os.path.relpath(os.path.join(here, name[:-len(suffix)]), folder)
                found[key] = Path(here, name)
    return found


def _unreadable(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot be read ({error.strerror}); check its permissions") from None


def _different_sizes(sample: Sample, image: Sequence[int], *, label: Sequence[int]) -> str:
    (height, width), (label_height, label_width) = image[:2], label
    return (f"{sample.image}: is {width}x{height} (width x height), but its label {sample.label} is "
            f"{label_width}x{label_height}; expected equal sizes, put back the original files")
