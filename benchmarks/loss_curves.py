"""The training loss of a network epoch by epoch, in MindSpore and in PyTorch, on the very same batches.

    python benchmarks/loss_curves.py --dataset D --config configs/camvid/fast_scnn.yaml [--seeds 1 2] [--plot FILE.png]
                                     [--json] [flags of train.py, such as --epochs 10 --crop_size 256,320]

Both sides take crops, learning rates and loss from the recipe; the seed decides the batches. Each starts from weights
of its own, drawn by the rule of the graph's authors: ours by rtseg.models.initialization, the twin's by PyTorch itself.
The dropout masks differ, too. So single steps can't agree, but the curves must lie as close to each other as those of
two seeds do. Needs PyTorch: pip install -r requirements-benchmark.txt
"""
import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Dict, Iterator, List

import numpy as np

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "src")]

from benchmarks.curve_plot import plot_curves  # noqa: E402
from rtseg.config.arguments import parse_arguments  # noqa: E402
from rtseg.config.config import Config  # noqa: E402
from rtseg.utils.errors import ConfigError, run_command  # noqa: E402

SIDES = ("MindSpore", "PyTorch")
# The graphs whose twins have the loss at the size of the labels.
TWINS = {"fast_scnn": ("tramac", "mmseg"), "icnet": ("mmseg",), "bisenetv1": ("coincheung", "mmseg")}


def mindspore_step(config: Config, rates: List[float]):
    """Returns a function that trains on a batch and returns its loss."""
    from mindspore import Tensor

    from rtseg.runtime.distributed import ProcessGroup
    from rtseg.training.build import build_network, build_train_step

    step = build_train_step(config, build_network(config, ProcessGroup()), lr_per_step=rates)
    return lambda images, labels: float(step(Tensor(images), Tensor(labels)).asnumpy())


def torch_step(config: Config, rates: List[float]):
    """Returns a function that trains on a batch and returns its loss."""
    import torch

    from benchmarks.torch_networks import build, initialize, loss_of, ohem_loss_of

    torch.manual_seed(config.run.seed)
    graph, sgd, loss_settings = config.network, config.optimizer, config.loss
    network = build(graph.model, graph.variant, config.data.dataset_config.num_classes, graph.aux, graph.dropout,
                    graph.backbone).train()
    initialize(network, graph.variant)
    groups = {True: [], False: []}
    for parameter in network.parameters():
        groups[sgd.decay_bn_bias or parameter.dim() > 1].append(parameter)
    optimizer = torch.optim.SGD([{"params": group, "weight_decay": sgd.weight_decay if decays else 0.0}
                                 for decays, group in groups.items()], rates[0], sgd.momentum)
    upcoming = iter(rates)
    class_weights = torch.tensor(loss_settings.class_weights) if loss_settings.class_weights else None
    shift, scale = (255 * torch.tensor(values).reshape(1, 3, 1, 1) for values in (config.data.mean, config.data.std))

    def loss_by_recipe(outputs, labels):
        if loss_settings.name == "ohem":
            return ohem_loss_of(outputs, labels, loss_settings.aux_weight, loss_settings.ohem_threshold,
                                loss_settings.ohem_min_kept, class_weights)
        return loss_of(outputs, labels, loss_settings.aux_weight, class_weights)

    def step(images, labels):
        rate = next(upcoming)
        for group in optimizer.param_groups:
            group["lr"] = rate
        outputs = network((torch.from_numpy(images).permute(0, 3, 1, 2).float() - shift) / scale)
        loss = loss_by_recipe(outputs, torch.from_numpy(labels).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()
    return step


def train(side: str, config: Config) -> Iterator[float]:
    """Yields the mean loss of each epoch."""
    from rtseg.runtime.device import setup_device
    setup_device("CPU", seed=config.run.seed)
    from rtseg.training.build import build_loader, open_dataset
    from rtseg.training.lr_schedules import learning_rates

    loader = build_loader(config, open_dataset(config, config.data.train_split))
    step = (mindspore_step if side == "MindSpore" else torch_step)(config, learning_rates(config, len(loader)))
    for epoch in range(config.schedule.epochs):
        yield mean(step(images, labels) for images, labels in loader.epoch(epoch))


def compare(curves: Dict[str, List[List[float]]]) -> dict:
    """What the curves, side -> seed -> loss by epoch, say about each other."""
    means = {side: np.mean(by_seed, axis=0) for side, by_seed in curves.items()}
    difference = means["MindSpore"] / means["PyTorch"] - 1
    spread = {side: float(np.mean(np.ptp(by_seed, axis=0) / means[side])) for side, by_seed in curves.items()}
    return {"difference_by_epoch": difference.tolist(), "difference": float(np.mean(difference)),
            "last_difference": float(difference[-1]), "spread_of_seeds": spread}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--plot", help="PNG file for the curves")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    arguments, flags = parser.parse_known_args()
    config = parse_arguments("train", __doc__, argv=flags)
    graph = config.network
    if graph.variant not in TWINS.get(graph.model, ()) or graph.bn_momentum or config.optimizer.lr_factors:
        twins = ", ".join(f"{model} {variant}" for model, variants in TWINS.items() for variant in variants)
        raise ConfigError(f"expected a recipe without bn_momentum and lr_factors of {twins}, found {graph.model} "
                          f"{graph.variant}, bn_momentum {graph.bn_momentum}, lr_factors {config.optimizer.lr_factors}")
    if arguments.side:
        for loss in train(arguments.side, config):
            print(f"loss: {loss}", flush=True)
        return

    curves = {side: [] for side in SIDES}
    for seed in arguments.seeds:
        for side in SIDES:  # each in a process of its own: the two frameworks' threads don't get along
            command = [sys.executable, __file__, "--side", side, *flags, "--seed", str(seed)]
            process = subprocess.run(command, stdout=subprocess.PIPE, text=True)
            if process.returncode:  # it has said why
                sys.exit(process.returncode)
            curves[side].append([float(line.split()[1]) for line in process.stdout.splitlines()
                                 if line.startswith("loss: ")])
            print(f"{side}, seed {seed}: " + " ".join(f"{loss:.3f}" for loss in curves[side][-1]), file=sys.stderr)
    crop_size, batch_size = config.data.crop_size, config.data.batch_size
    result = {"epochs": config.schedule.epochs, "crop_size": crop_size, "batch_size": batch_size,
              "seeds": arguments.seeds, "curves": curves, **compare(curves)}
    if arguments.plot:
        plot_curves({side: [list(enumerate(losses, 1)) for losses in by_seed] for side, by_seed in curves.items()},
                    arguments.plot, title="Training loss on the same batches", ylabel="mean loss")
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{graph.model} {graph.variant}, batch {batch_size}, crop {crop_size}, seeds {arguments.seeds}: MindSpore's "
          f"loss over PyTorch's {100 * result['difference']:+.2f} % (last epoch {100 * result['last_difference']:+.2f} "
          "%); from seed to seed " + ", ".join(f"{side} {100 * value:.2f} %"
                                               for side, value in result["spread_of_seeds"].items()))


if __name__ == "__main__":
    run_command(lambda _: main())
