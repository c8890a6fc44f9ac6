"""Time and peak memory of one forward pass of each network on the CPU, in MindSpore graph mode.

    python benchmarks/forward.py [--models fast_scnn/mmseg,icnet/mmseg] [--image_height 1024] [--image_width 2048]
                                 [--runs 5] [--json]

Each network runs in a process of its own; memory is the operating system's peak of that process, minus what it had
before the network was built.
"""
import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from src.models import MODEL_VARIANTS, build_model  # noqa: E402
from src.runtime.device import setup_device  # noqa: E402


def measure(model: str, variant: str, height: int, width: int, runs: int) -> dict:
    """Median and smallest milliseconds of `runs` passes after two that compile and warm up, and memory in MB."""
    setup_device("CPU")
    import mindspore as ms
    import numpy as np

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    network = build_model(model, variant).set_train(False)
    x = ms.Tensor(np.random.default_rng(0).standard_normal((1, 3, height, width), dtype=np.float32))
    times = []
    for _ in range(runs + 2):
        start = time.perf_counter()
        network(x).asnumpy()
        times.append(1000 * (time.perf_counter() - start))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"model": model, "variant": variant, "mindspore": ms.__version__, "size": [height, width],
            "median_ms": statistics.median(times[2:]), "min_ms": min(times[2:]), "peak_mb": (peak - before) / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", default=",".join(f"{m}/{v}" for m, known in MODEL_VARIANTS.items() for v in known))
    parser.add_argument("--image_height", type=int, default=1024)
    parser.add_argument("--image_width", type=int, default=2048)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object per network")
    parser.add_argument("--in_process", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    names = arguments.models.split(",")
    if arguments.in_process:
        print(json.dumps(measure(*names[0].split("/"), arguments.image_height, arguments.image_width, arguments.runs)))
        return
    if not arguments.json:
        print(f"{'model':10s} {'variant':11s} {'median ms':>10s} {'min ms':>8s} {'peak MB':>8s}   "
              f"1x3x{arguments.image_height}x{arguments.image_width}, {arguments.runs} runs")
    for name in names:
        command = [sys.executable, __file__, "--in_process", "--models", name, "--runs", str(arguments.runs),
                   "--image_height", str(arguments.image_height), "--image_width", str(arguments.image_width)]
        line = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().splitlines()[-1]
        found = json.loads(line)
        print(line if arguments.json else f"{found['model']:10s} {found['variant']:11s} {found['median_ms']:10.0f} "
              f"{found['min_ms']:8.0f} {found['peak_mb']:8.0f}", flush=True)


if __name__ == "__main__":
    main()
