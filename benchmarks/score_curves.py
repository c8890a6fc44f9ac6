"""mIoU by epoch of several trainings in one image.

    python benchmarks/score_curves.py scores.png "rtseg=RUN/metrics.csv,RUN/metrics.csv" "mmsegmentation=O/metrics.csv"

Each name stands for runs that differ in their seed only and share a colour; the files are those that train.py and
benchmarks/mmsegmentation_training.py write, of which epochs without an evaluation are left out. Prints the last and the
best mIoU of each run and their means by name.
"""
import csv
import sys
from pathlib import Path
from statistics import mean
from typing import List, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.curve_plot import plot_curves


def read_curve(path: str) -> List[Tuple[int, float]]:
    """(epoch, mIoU in percent) of each evaluation in a metrics.csv."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        return [(int(row["epoch"]), 100 * float(row["miou"])) for row in csv.DictReader(file) if row["miou"]]


def main() -> None:
    if len(sys.argv) < 3 or not all("=" in argument for argument in sys.argv[2:]):
        raise SystemExit(f"expected an image's path and NAME=METRICS_CSV[,METRICS_CSV...], found {sys.argv[1:]}")
    _, image, *named = sys.argv
    curves = {name: [read_curve(path) for path in paths.split(",")]
              for name, paths in (argument.split("=", 1) for argument in named)}
    for name, runs in curves.items():
        last, best = [run[-1][1] for run in runs], [max(score for _, score in run) for run in runs]
        print(f"{name}: last {mean(last):.2f} ({', '.join(f'{score:.2f}' for score in last)}), "
              f"best {mean(best):.2f} ({', '.join(f'{score:.2f}' for score in best)})")
    plot_curves(curves, image, title="mIoU on the validation images", ylabel="per cent", marker="o")


if __name__ == "__main__":
    main()
