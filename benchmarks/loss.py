"""Training-time cost of a loss: MixSoftmaxCrossEntropy against MindSpore's own upsampling and nn.CrossEntropyLoss, or
OhemCrossEntropy, which finds the largest losses by bisection, against the same with TopK.

    python benchmarks/loss.py [--loss mix|ohem] [--rounds 7] [--batch_size 2] [--size 768] [--json]

Both compute the loss and its gradient for the same logits, an eighth of the labels' size as Fast-SCNN gives them, and
the same labels, in turns within this process; medians.
"""
import argparse
import json
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "src")]

from benchmarks.interleaved import measure, millisecond_medians, ratio  # noqa: E402
from rtseg.runtime.device import setup_device  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--loss", choices=("mix", "ohem"), default="mix")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch_size", type=int, default=2)
    parser.add_argument("--size", type=int, default=768)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    setup_device("CPU")
    import mindspore as ms
    import numpy as np
    from mindspore import Tensor, nn, ops

    from rtseg.losses.mix_softmax_cross_entropy import MixSoftmaxCrossEntropy
    from rtseg.losses.ohem_cross_entropy import OhemCrossEntropy

    class OhemByTopK(OhemCrossEntropy):
        def sum_of_largest(self, losses, number):
            losses = losses.reshape(-1)
            most = int(losses.shape[0] * self.min_kept)
            _, positions = ops.topk(ops.stop_gradient(losses), most)
            return (losses.gather(positions, 0) * (ops.arange(most) < number).astype(losses.dtype)).sum()

    class OfOneOutput(nn.Cell):
        def __init__(self, loss):
            super().__init__()
            self.loss = loss

        def construct(self, logits, labels):
            return self.loss((logits,), labels)

    class Peer(nn.Cell):
        def __init__(self):
            super().__init__()
            self.loss = nn.CrossEntropyLoss(ignore_index=255)

        def construct(self, logits, labels):
            logits = ops.interpolate(logits, size=labels.shape[1:], mode="bilinear", align_corners=False)
            return self.loss(logits, labels)

    class Gradient(nn.Cell):
        def __init__(self, loss):
            super().__init__()
            self.gradient = ms.value_and_grad(loss, 0)

        def construct(self, logits, labels):
            return self.gradient(logits, labels)

    rng = np.random.default_rng(0)
    shape = (arguments.batch_size, 19, arguments.size // 8, arguments.size // 8)
    logits = Tensor(rng.standard_normal(shape, dtype=np.float32))
    labels = rng.integers(0, 19, (arguments.batch_size, arguments.size, arguments.size))
    labels = Tensor(np.where(rng.random(labels.shape) < 0.1, 255, labels).astype(np.int32))
    cells = {"ours": OfOneOutput(MixSoftmaxCrossEntropy()), "MindSpore's": Peer()}
    if arguments.loss == "ohem":
        cells = {"ours": OfOneOutput(OhemCrossEntropy()), "with TopK": OfOneOutput(OhemByTopK())}
    cells = {name: Gradient(cell) for name, cell in cells.items()}
    ours, theirs = (cell(logits, labels)[1].asnumpy() for cell in cells.values())

    def runner(cell):
        return lambda: cell(logits, labels)[1].asnumpy()
    seconds = measure({name: runner(cell) for name, cell in cells.items()}, arguments.rounds)
    medians = millisecond_medians(seconds)
    result = {"mindspore": ms.__version__, "logits": shape, "labels": labels.shape, "rounds": arguments.rounds,
              "median_ms": medians, "ratio": ratio(*seconds.values()),
              "largest_gradient_difference": float(abs(ours - theirs).max())}
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"loss and gradient, logits {shape}, labels {labels.shape}, MindSpore {ms.__version__}, medians of "
          f"{arguments.rounds}")
    for name, median in medians.items():
        print(f"  {name:12s} {median:8.1f} ms")
    print(f"  ratio {result['ratio']:.2f} (largest difference of the gradients "
          f"{result['largest_gradient_difference']:.1e})")


if __name__ == "__main__":
    main()
