"""Draws curves by epoch: of losses (loss_curves.py) or scores (score_curves.py)."""
from typing import Mapping, Sequence, Tuple

from matplotlib.figure import Figure


def plot_curves(curves: Mapping[str, Sequence[Sequence[Tuple[int, float]]]], path: str, *, title: str, ylabel: str,
                marker: str = "") -> None:
    """Draws the runs of each name, (epoch, value) points, in a colour of their own into an image."""
    axes = (figure := Figure(figsize=(7, 4.5), layout="constrained")).subplots()
    for i, (name, runs) in enumerate(curves.items()):
        for j, run in enumerate(runs):
            axes.plot(*zip(*run), color=f"C{i}", marker=marker, markersize=4, label=None if j else name)
    axes.set(title=title, xlabel="epoch", ylabel=ylabel)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
