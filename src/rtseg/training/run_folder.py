"""The names of the files in a run folder, <output_path>/<time>/, all but that of its configuration. No MindSpore."""
import time
from contextlib import suppress
from pathlib import Path
from typing import List, Optional

from rtseg.utils.errors import ConfigError
from rtseg.utils.files import writing_to

LOG = "train.log"
METRICS = "metrics.csv"         # a row per epoch
CURVES = "curves.png"
LAST = "last.ckpt"              # the whole state of the training
BEST = "best_map.ckpt"          # the weights with the best mIoU so far
RESULT = "result.json"          # of a training that has ended
TENSORBOARD = "tensorboard"     # folder of event files
PROFILE = "profile"             # folder of operators and their times
_WEIGHTS = "ckpt_"              # folder of a rank's checkpoints, followed by the rank
# What a run that continues this one reads, in the order in which to copy it: whoever sees the state finds the rest.
RESUME_FILES = (METRICS, BEST, LAST)


def make_run_folder(output_path: str) -> Path:
    """Makes <output_path>/<time>/.

    Raises:
        ConfigError: it cannot be made.
    """
    stamp = time.strftime("%Y-%m-%d_time_%H_%M_%S")
    for i in range(1000):  # runs that start in the same second
        folder = Path(output_path) / (f"{stamp}_{i}" if i else stamp)
        with writing_to(output_path, flag="--output_path"), suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise ConfigError(f"--output_path {output_path}: expected a folder without a thousand runs of this second")


def weights_path(folder: Path, rank: int, *, model: str, epoch: int, steps_per_epoch: int) -> Path:
    """Where a rank saves the weights after an epoch."""
    return folder / f"{_WEIGHTS}{rank}" / f"{model}-{epoch}_{steps_per_epoch}.ckpt"


def saved_weights(folder: Path, rank: int) -> List[Path]:
    """A rank's checkpoints, the oldest first; files that someone else has put there are none."""
    return sorted((folder / f"{_WEIGHTS}{rank}").glob("*-[0-9]*_[0-9]*.ckpt"),
                  key=lambda path: int(path.stem.rpartition("-")[2].partition("_")[0]))


def newest_run(output_path: str) -> Optional[Path]:
    """The run folder in `output_path` whose state to continue from was written last; None if no run has one."""
    # By name where that is equal. The names are local times, which a container or another time zone puts out of order.
    states = sorted((path.stat().st_mtime_ns, path) for path in Path(output_path).glob(f"*/{LAST}"))
    return states[-1][1].parent if states else None


def files_of_rank(output_path: Path, rank: int) -> List[Path]:
    """The finished files in `output_path` that this rank brings home, in the order in which to copy them.

    Each rank brings its own checkpoints, and rank 0 everything else.
    """
    files = [path for path in output_path.glob("**/*") if path.is_file() and not path.name.startswith(".tmp-")
             and (path.parent.name == f"{_WEIGHTS}{rank}" or rank == 0 and (
                 path.parent == output_path or not path.parent.name.startswith(_WEIGHTS)))]
    return sorted(files, key=lambda path: (RESUME_FILES.index(path.name) + 1 if is_resume_file(path) else 0, path))


def is_resume_file(path: Path) -> bool:
    """Whether a run that continues this one reads the file."""
    return path.name in RESUME_FILES
