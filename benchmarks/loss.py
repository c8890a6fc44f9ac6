"""Training-time cost of MixSoftmaxCrossEntropy against MindSpore's own nn.CrossEntropyLoss on NCHW logits.

    python benchmarks/loss.py [--runs 7] [--batch_size 2] [--size 768] [--json]

Both compute the loss and its gradient for the same logits and labels, in turns within this process; medians.
"""
import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from src.runtime.device import setup_device  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--batch_size", type=int, default=2)
    parser.add_argument("--size", type=int, default=768)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    setup_device("CPU")
    import mindspore as ms
    import numpy as np
    from mindspore import Tensor, nn

    from src.losses.mix_softmax_cross_entropy import MixSoftmaxCrossEntropy

    class Ours(nn.Cell):
        def __init__(self):
            super().__init__()
            self.loss = MixSoftmaxCrossEntropy()

        def construct(self, logits, labels):
            return self.loss((logits,), labels)

    class Peer(nn.Cell):
        def __init__(self):
            super().__init__()
            self.loss = nn.CrossEntropyLoss(ignore_index=255)

        def construct(self, logits, labels):
            return self.loss(logits, labels)

    class Gradient(nn.Cell):
        def __init__(self, loss):
            super().__init__()
            self.gradient = ms.value_and_grad(loss, 0)

        def construct(self, logits, labels):
            return self.gradient(logits, labels)

    rng = np.random.default_rng(0)
    shape = (arguments.batch_size, 19, arguments.size, arguments.size)
    logits = Tensor(rng.standard_normal(shape, dtype=np.float32))
    labels = Tensor(np.where(rng.random(shape[:1] + shape[2:]) < 0.1, 255,
                             rng.integers(0, 19, shape[:1] + shape[2:])).astype(np.int32))
    cells = {"ours": Gradient(Ours()), "nn.CrossEntropyLoss": Gradient(Peer())}
    values = {name: cell(logits, labels) for name, cell in cells.items()}
    for cell in cells.values():
        cell(logits, labels)[1].asnumpy()  # the second call may compile again
    difference = abs(values["ours"][1].asnumpy() - values["nn.CrossEntropyLoss"][1].asnumpy()).max()
    times = {name: [] for name in cells}
    for _ in range(arguments.runs):
        for name, cell in cells.items():
            start = time.perf_counter()
            cell(logits, labels)[1].asnumpy()
            times[name].append(time.perf_counter() - start)
    medians = {name: 1000 * statistics.median(seconds) for name, seconds in times.items()}
    result = {"mindspore": ms.__version__, "shape": shape, "runs": arguments.runs, "median_ms": medians,
              "ratio": medians["ours"] / medians["nn.CrossEntropyLoss"],
              "largest_gradient_difference": float(difference)}
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"loss and gradient, logits {shape}, MindSpore {ms.__version__}, median of {arguments.runs}")
    for name, median in medians.items():
        print(f"  {name:22s} {median:8.1f} ms")
    print(f"  ratio {result['ratio']:.2f} (largest difference of the gradients {difference:.1e})")


if __name__ == "__main__":
    main()
