"""mIoU by epoch of several trainings in one picture.

    python benchmarks/score_curves.py scores.png "rtseg=RUN/metrics.csv,RUN/metrics.csv" "mmsegmentation=O/metrics.csv"

Each name stands for runs that differ in their seed only and share a colour; the files are those that train.py and
benchmarks/mmsegmentation_training.py write, of which epochs without an evaluation are left out. Prints the last and the
best mIoU of each run and their means by name.
"""
import csv
import sys
from pathlib import Path
from statistics import mean
from typing import Dict, List, Tuple

Curve = List[Tuple[int, float]]


def read_curve(path: str) -> Curve:
    """(epoch, mIoU in percent) of each evaluation in a metrics.csv."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        return [(int(row["epoch"]), 100 * float(row["miou"])) for row in csv.DictReader(file) if row["miou"]]


def plot(curves: Dict[str, List[Curve]], path: str) -> None:
    """Draws all curves, a colour for each name."""
    from matplotlib.figure import Figure

    axes = (figure := Figure(figsize=(7, 4.5), layout="constrained")).subplots()
    for i, (name, runs) in enumerate(curves.items()):
        for j, run in enumerate(runs):
            axes.plot(*zip(*run), color=f"C{i}", marker="o", markersize=4, label=None if j else name)
    axes.set(title="mIoU on the validation images", xlabel="epoch", ylabel="per cent")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


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
    plot(curves, image)


if __name__ == "__main__":
    main()
