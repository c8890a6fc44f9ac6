"""A training step of a network in MindSpore graph mode against the same step in PyTorch, on the CPU.

    python benchmarks/train_step.py [--model fast_scnn] [--variant mmseg] [--batch_size 2] [--size 768] [--rounds 7]
                                    [--threads 2] [--peers eager,channels_last,compile] [--json]

All sides start from the same weights and train on the same batch: bytes to normalised input, forward, cross entropy of
three outputs, gradients, SGD with momentum; no dropout. They run in turns, each in its own process; the fastest of
PyTorch's forms is the peer. The losses before and after the first update are a cross-check; later ones drift apart,
since BatchNorm over the two values of the pyramid's single bin makes much of a rounding error. Needs PyTorch:
pip install -r requirements-benchmark.txt
"""
import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "src")]

from benchmarks.interleaved import measure, millisecond_medians, ratio  # noqa: E402
from benchmarks.side_process import SideProcess, peak_memory, serve  # noqa: E402

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PEERS = ("eager", "channels_last", "compile")
RATE, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 4e-5


def make_batch(batch_size: int, size: int):
    """Images uint8 (N, H, W, 3) and labels uint8 (N, H, W) in patches of 16x16, a tenth of them ignored."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch_size, size, size, 3), dtype=np.uint8)
    labels = rng.integers(0, 19, (batch_size, size // 16, size // 16)).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.1] = 255
    return images, labels.repeat(16, 1).repeat(16, 2)


def mindspore_side(arguments) -> None:
    from rtseg.runtime.device import setup_device
    setup_device("CPU")
    import mindspore as ms
    from mindspore import nn

    from rtseg.losses.mix_softmax_cross_entropy import MixSoftmaxCrossEntropy
    from rtseg.models.registry import create_model
    from rtseg.training.train_step import TrainStep

    before = peak_memory()
    network = create_model(arguments.model, variant=arguments.variant, num_classes=19, aux=2, dropout=0.0)
    network.set_train(True)
    np.savez(arguments.weights, **{name: value.asnumpy() for name, value in network.parameters_dict().items()})
    optimizer = nn.Momentum(network.trainable_params(), RATE, MOMENTUM, WEIGHT_DECAY)
    loss = MixSoftmaxCrossEntropy(align_corners=network.align_corners, labels_to_logits=network.labels_to_logits)
    step = TrainStep(network, loss, optimizer=optimizer, mean=MEAN, std=STD)
    images, labels = map(ms.Tensor, make_batch(arguments.batch_size, arguments.size))
    serve({"version": ms.__version__}, lambda: float(step(images, labels).asnumpy()), before)


def torch_side(arguments, form: str) -> None:
    import torch

    from benchmarks.torch_fast_scnn import load_mindspore_weights
    from benchmarks.torch_networks import build, loss_of

    torch.set_num_threads(arguments.threads)
    before = peak_memory()
    network = build(arguments.model, arguments.variant).train()
    load_mindspore_weights(network, np.load(arguments.weights))
    optimizer = torch.optim.SGD(network.parameters(), RATE, MOMENTUM, weight_decay=WEIGHT_DECAY)
    images, labels = map(torch.from_numpy, make_batch(arguments.batch_size, arguments.size))
    scale = torch.tensor([1 / (255 * s) for s in STD]).reshape(1, 3, 1, 1)
    shift = torch.tensor([-m / s for m, s in zip(MEAN, STD)]).reshape(1, 3, 1, 1)

    memory_format = torch.channels_last if form == "channels_last" else torch.contiguous_format
    network = network.to(memory_format=memory_format)
    if form == "compile":
        network = torch.compile(network)

    def step():
        outputs = network((images.permute(0, 3, 1, 2).float() * scale + shift).contiguous(memory_format=memory_format))
        loss = loss_of(outputs, labels.long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()
    serve({"version": torch.__version__}, step, before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="fast_scnn", choices=("fast_scnn", "icnet", "bisenetv1"))
    parser.add_argument("--variant", default="mmseg")
    parser.add_argument("--peers", default=",".join(PEERS), help="PyTorch's forms (%(default)s)")
    parser.add_argument("--batch_size", type=int, default=2)
    parser.add_argument("--size", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="of both sides")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--weights", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        if arguments.side == "MindSpore":
            mindspore_side(arguments)
        else:
            torch_side(arguments, arguments.side)
        return

    peers = arguments.peers.split(",")
    if not set(peers) <= set(PEERS):
        parser.error(f"--peers: expected some of {','.join(PEERS)}, found '{arguments.peers}'")

    # Both sides get the same processors, whatever their own idea of a number of threads is.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:arguments.threads])
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, *sys.argv, "--weights", Path(folder) / "weights.npz", "--side"]
        names = ["MindSpore", *peers]  # the first writes the weights
        sides = {name: SideProcess([*command, name]) for name in names}
        seconds = measure({name: side.run for name, side in sides.items()}, arguments.rounds)
        reports = {name: side.finish() for name, side in sides.items()}
    medians = millisecond_medians(seconds)
    best = min(names[1:], key=medians.get)
    ours, theirs = (np.array(reports[name]["values"][:2]) for name in ("MindSpore", best))
    result = {"model": arguments.model, "peer": best, "variant": arguments.variant,
              "batch_size": arguments.batch_size, "size": arguments.size,
              "threads": arguments.threads, "rounds": arguments.rounds, "median_ms": medians,
              "versions": {name: side.facts["version"] for name, side in sides.items()},
              "ratio": ratio(seconds["MindSpore"], seconds[best]),
              "peak_mb": {name: report["peak_mb"] for name, report in reports.items()},
              "loss_difference": float(abs(ours / theirs - 1).max())}
    if arguments.json:
        print(json.dumps(result))
        return
    shape = f"{arguments.batch_size}x3x{arguments.size}x{arguments.size}"
    print(f"training step, {arguments.model} {arguments.variant}, {shape}, "
          f"two auxiliary heads, {arguments.threads} threads, medians of {arguments.rounds}")
    for name, side in sides.items():
        print(f"  {name:13s} {side.facts['version']:12s} {medians[name]:7.0f} ms {reports[name]['peak_mb']:7.0f} MB")
    print(f"  ratio to {best} {result['ratio']:.2f}; the losses before and after the first update differ by "
          f"{result['loss_difference']:.1e} at most")


if __name__ == "__main__":
    main()
