"""Time and peak memory of one forward pass of each network on the CPU, in MindSpore graph mode.

    python benchmarks/forward.py [--models fast_scnn/mmseg,icnet/mmseg] [--image_height 1024] [--image_width 2048]
                                 [--rounds 5] [--torch] [--json]

With --torch, the networks that have a twin in PyTorch run there too (eager, channels_last and compiled, the fastest
being the peer) in turns with ours, on the same weights and image, and the outputs are compared; that needs
pip install -r requirements-benchmark.txt. Each network runs in a process of its own; memory is the operating system's
peak of that process, minus what it had before the network was built.
"""
import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "src")]

from benchmarks.interleaved import measure, millisecond_medians, ratio  # noqa: E402
from benchmarks.side_process import SideProcess, peak_memory, serve  # noqa: E402
from rtseg.models.registry import MODEL_VARIANTS, create_model  # noqa: E402

PEERS = ("eager", "channels_last", "compile")  # PyTorch's forms
NAMES = [f"{model}/{variant}" for model, variants in MODEL_VARIANTS.items() for variant in variants]
WITHOUT_TWIN = ("fast_scnn/segmentron", "fast_scnn/modelzoo")


def make_image(arguments):
    """A normalised image of noise, float32 (1, 3, H, W)."""
    shape = (1, 3, arguments.image_height, arguments.image_width)
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def mindspore_side(arguments, model, variant) -> None:
    from rtseg.runtime.device import setup_device
    setup_device("CPU")
    import mindspore as ms

    before = peak_memory()
    network = create_model(model, variant=variant, num_classes=19).set_train(False)
    x = ms.Tensor(make_image(arguments))
    np.savez(Path(arguments.folder) / "weights.npz",
             **{name: value.asnumpy() for name, value in network.parameters_dict().items()})
    np.save(Path(arguments.folder) / "logits.npy", network(x).asnumpy())
    serve({"version": ms.__version__}, lambda: network(x).asnumpy() is None, before)


def torch_side(arguments, model, variant) -> None:
    import torch

    from benchmarks.torch_fast_scnn import load_mindspore_weights
    from benchmarks.torch_networks import build

    before = peak_memory()
    network = build(model, variant, aux=0).eval()
    load_mindspore_weights(network, np.load(Path(arguments.folder) / "weights.npz"))
    x, ours = torch.from_numpy(make_image(arguments)), np.load(Path(arguments.folder) / "logits.npy")
    if arguments.side == "channels_last":
        network, x = network.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    elif arguments.side == "compile":
        network = torch.compile(network)
    with torch.inference_mode():
        difference = float(np.linalg.norm(network(x).numpy() - ours) / np.linalg.norm(ours))
        serve({"version": torch.__version__, "output_difference": difference}, lambda: network(x) is None, before)


def compare(name: str, arguments) -> dict:
    """The measurement of one network, with its PyTorch twin if that is wanted."""
    model, variant = name.split("/")
    wanted = ["MindSpore", *(PEERS if arguments.torch else ())]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--models", name, "--image_height", arguments.image_height,
                   "--image_width", arguments.image_width, "--folder", folder, "--side"]
        # The first leaves its weights and its output in the folder.
        sides = {side: SideProcess([*command, side]) for side in wanted}
        seconds = measure({side: process.run for side, process in sides.items()}, arguments.rounds)
        reports = {side: process.finish() for side, process in sides.items()}
    medians = millisecond_medians(seconds)
    found = {"model": model, "variant": variant, "size": [arguments.image_height, arguments.image_width],
             "mindspore": sides["MindSpore"].facts["version"], "rounds": arguments.rounds,
             "median_ms": medians["MindSpore"], "min_ms": 1000 * min(seconds["MindSpore"]),
             "peak_mb": reports["MindSpore"]["peak_mb"]}
    if arguments.torch:
        best = min(PEERS, key=medians.get)
        found.update(torch=sides[best].facts["version"], peer=best, torch_median_ms=medians[best],
                     torch_peak_mb=reports[best]["peak_mb"], ratio=ratio(seconds["MindSpore"], seconds[best]),
                     output_difference=sides[best].facts["output_difference"])
    return found


def line(found: dict) -> str:
    text = (f"{found['model']:10s} {found['variant']:11s} {found['median_ms']:10.0f} {found['min_ms']:8.0f} "
            f"{found['peak_mb']:8.0f}")
    if "torch" in found:
        text += (f"   PyTorch {found['torch']} {found['peer']}: {found['torch_median_ms']:.0f} ms, "
                 f"{found['torch_peak_mb']:.0f} MB; ratio {found['ratio']:.2f}, "
                 f"outputs differ by {found['output_difference']:.1e}")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", help="networks and their variants (default: all)")
    parser.add_argument("--image_height", type=int, default=1024)
    parser.add_argument("--image_width", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--torch", action="store_true", help="with PyTorch's three forms next to ours")
    parser.add_argument("--json", action="store_true", help="one JSON object per network")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    known = [name for name in NAMES if not (arguments.torch and name in WITHOUT_TWIN)]
    names = arguments.models.split(",") if arguments.models else known
    if not set(names) <= set(known):
        parser.error(f"--models: expected some of {','.join(known)}, found {arguments.models}")
    if arguments.side == "MindSpore":
        mindspore_side(arguments, *names[0].split("/"))
        return
    if arguments.side:
        torch_side(arguments, *names[0].split("/"))
        return
    if not arguments.json:
        print(f"{'model':10s} {'variant':11s} {'median ms':>10s} {'min ms':>8s} {'peak MB':>8s}   "
              f"1x3x{arguments.image_height}x{arguments.image_width}, {arguments.rounds} rounds")
    for name in names:
        found = compare(name, arguments)
        print(json.dumps(found) if arguments.json else line(found), flush=True)


if __name__ == "__main__":
    main()
