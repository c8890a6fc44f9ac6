"""Writes the golden of the MindSpore model zoo's Fast-SCNN, by running the zoo's code under MindSpore on the CPU.

    PYTHONPATH=src python tests/goldens/make_golden_modelzoo.py --reference PATH/models --output DIR

PATH is a checkout of github.com/mindspore-ai/models at COMMIT; nothing of it is kept here. MindSpore's CPU convolution
knows float32 only, so the numbers are float32's, unlike those of make_golden.py; the `*_noise` arrays come from runs
with weights that are moved by about a rounding. The loss is this project's, which other goldens check: the zoo's takes
several times the memory.
"""
import argparse
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
from make_golden import AUX_WEIGHT, LR, SEED, check_commit, common_arrays, move_by_rounding, output_arrays, write_golden
from mindspore import nn, ops

from rtseg.losses.mix_softmax_cross_entropy import MixSoftmaxCrossEntropy
from rtseg.tools.golden_rules import (FROZEN_LOGIT_SCALE, MOMENTUM, WEIGHT_DECAY, inference_image, reference_weights,
                                      training_batch)

COMMIT = "eab643f51336dbf7d711f02d27e6516e5affee59"
FOLDER = "research/cv/fastscnn"
STEPS = 4
# Its pooling has fixed windows, the largest 24 x 24 features: it takes nothing smaller than 768 x 768.
INPUT_SHAPE = (2, 3, 768, 768)
EVAL_SIZES = {(768, 768): 58, (800, 1024): 60}
MOVED_RUNS = 1
# A gradient below this share of the largest one is zero in theory; float32 leaves more of it than float64.
ZERO_IN_THEORY = 1e-6


class ResizeBilinear(nn.Cell):
    """nn.ResizeBilinear, which the zoo's code uses and MindSpore has dropped."""

    def construct(self, x, size=None, scale_factor=None, align_corners=False):
        if size is None:
            size = (x.shape[2] * scale_factor, x.shape[3] * scale_factor)
        return ops.interpolate(x, size=size, mode="bilinear", align_corners=align_corners)


def build(checkout: Path) -> nn.Cell:
    nn.ResizeBilinear = ResizeBilinear
    sys.path.insert(0, str(checkout / FOLDER))
    from src.fast_scnn import FastSCNN

    network = FastSCNN(num_classes=19, aux=True)
    for _, cell in network.cells_and_names():
        if isinstance(cell, nn.Dropout):
            cell.p = 0.0
    return network


class Reference:
    """The zoo's network; each part starts from fresh weights, moved as `run` says."""

    def __init__(self, checkout: Path, run: int = 0):
        self.checkout = checkout
        self.run = run

    def fresh(self) -> nn.Cell:
        network = build(self.checkout)
        parameters = network.parameters_dict()
        weights = reference_weights({name: tuple(value.shape) for name, value in parameters.items()})
        for name, parameter in parameters.items():
            parameter.set_data(ms.Tensor(move_by_rounding(weights[name], self.run)))
        return network

    def batch(self):
        return tuple(map(ms.Tensor, training_batch(INPUT_SHAPE, SEED)))

    def inference(self):
        network = self.fresh().set_train(False)
        results = {}
        for height, width in EVAL_SIZES:
            outputs = network(ms.Tensor(inference_image(height, width)))
            results[height, width] = [output.asnumpy().astype(np.float64) for output in outputs]
        return results

    def loss_and_norms(self, network, logit_scale, optimizer=None):
        """A function of a batch: its loss, and the L2 norm of each parameter's gradient, by name."""
        loss = MixSoftmaxCrossEntropy(AUX_WEIGHT)

        def loss_of(x, y):
            main, first, second = network(x)
            return loss((main * logit_scale, first * logit_scale, second * logit_scale), y)

        weights = network.trainable_params()
        gradient = ms.value_and_grad(loss_of, None, weights)

        def step(x, y):
            loss, gradients = gradient(x, y)
            if optimizer is not None:
                optimizer(gradients)
            norms = {weight.name: float(np.linalg.norm(value.asnumpy().astype(np.float64)))
                     for weight, value in zip(weights, gradients)}
            return float(loss.asnumpy()), dict(sorted(norms.items()))

        return step

    def frozen(self):
        network = self.fresh().set_train(True)
        for _, cell in network.cells_and_names():
            if isinstance(cell, nn.BatchNorm2d):
                cell.set_train(False)
        return self.loss_and_norms(network, FROZEN_LOGIT_SCALE)(*self.batch())

    def training(self):
        network = self.fresh().set_train(True)
        optimizer = nn.Momentum(network.trainable_params(), LR, MOMENTUM, WEIGHT_DECAY)
        step = self.loss_and_norms(network, 1.0, optimizer)
        x, y = self.batch()
        steps = [step(x, y) for _ in range(STEPS)]
        means = {name: float(np.linalg.norm(value.asnumpy().astype(np.float64)))
                 for name, value in sorted(network.parameters_dict().items()) if name.endswith("moving_mean")}
        return steps[0][1], [loss for loss, _ in steps], means


def make_golden(checkout: Path):
    exact, again = Reference(checkout), [Reference(checkout, run) for run in range(1, 1 + MOVED_RUNS)]
    golden = output_arrays(exact.inference(), EVAL_SIZES)
    golden.update(common_arrays(INPUT_SHAPE, SEED, LR, exact.frozen(), [moved.frozen() for moved in again],
                                exact.training(), [moved.training() for moved in again], ZERO_IN_THEORY))
    shapes = {name: list(value.shape) for name, value in build(checkout).parameters_dict().items()}
    return golden, shapes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--reference", required=True, type=Path, help="checkout of the model zoo")
    parser.add_argument("--output", required=True, type=Path, help="folder to write to")
    arguments = parser.parse_args()
    check_commit(arguments.reference, COMMIT)
    ms.set_device("CPU")
    write_golden(arguments.output / "fast_scnn_modelzoo.npz", *make_golden(arguments.reference.resolve()))


if __name__ == "__main__":
    main()
