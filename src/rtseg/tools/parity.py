"""Compares a network with what its reference implementation computes, like a lab report.

    rtseg parity --golden PATH/fast_scnn_mmseg.npz

The graph follows from the file's name; the file holds outputs, losses, gradient norms and a short training run of
the reference for weights and inputs that follow from a rule (golden_rules.py). Exit code 0 when every line is within
its limit, 1 when not.
"""
import json
import re
import zipfile
import zlib
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import ArrayLike

from rtseg.config.arguments import parse_options
from rtseg.config.fields import Section, option
from rtseg.models.parameter_names import is_weight
from rtseg.runtime.device import setup_device
from rtseg.tools.golden_rules import (FROZEN_LOGIT_SCALE, MOMENTUM, WEIGHT_DECAY, inference_image, reference_weights,
                                      training_batch)
from rtseg.utils.errors import ConfigError, DataError, run_command

if TYPE_CHECKING:
    from mindspore import Tensor, nn

# golden's name -> (model, variant, backbone, auxiliary heads, weight of the auxiliary losses)
_GRAPHS = {
    "fast_scnn_tramac": ("fast_scnn", "tramac", None, 1, 0.4),
    "fast_scnn_mmseg": ("fast_scnn", "mmseg", None, 2, 0.4),
    "fast_scnn_segmentron": ("fast_scnn", "segmentron", None, 2, 0.4),
    "fast_scnn_modelzoo": ("fast_scnn", "modelzoo", None, 2, 0.4),
    "icnet_liminn": ("icnet", "liminn", "resnet50", 2, 0.4),
    "icnet_liminn_v1b": ("icnet", "liminn", "resnet50_v1b", 2, 0.4),
    "icnet_mmseg": ("icnet", "mmseg", "resnet50", 2, 0.4),
    "bisenetv1_coincheung": ("bisenetv1", "coincheung", "resnet18", 2, 1.0),
    "bisenetv1_mmseg": ("bisenetv1", "mmseg", "resnet18", 2, 1.0),
}
# Running means that differ by intent: liminn moves these twice a step, see src/rtseg/models/icnet.py.
_OTHER_MEANS = dict.fromkeys(("icnet_liminn", "icnet_liminn_v1b"), r"^pretrained\.layer[34]\.")
# With emulated float16: of outputs and losses, and of gradient norms, the largest error of any parameter.
FLOAT16_LIMIT, FLOAT16_GRADIENT_LIMIT = 0.05, 0.5
# Without it float16 gradients underflow, here as on a device.
_FLOAT16_LOSS_SCALE = 1024.0


class ParityResult(NamedTuple):
    """One line of the report: `error` is relative, and good when it is at most `limit`."""

    what: str
    error: float
    limit: float

    @property
    def passed(self) -> bool:
        return bool(self.error <= self.limit)  # False for NaN


def relative_error(found: ArrayLike, expected: ArrayLike) -> float:
    """L2 norm of the difference over the L2 norm of `expected`."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


class ParityCheck:
    """The comparisons for one golden file; each method gives the results of one part, starting from fresh weights.

    Args:
        path: the golden file.
        emulate_float16: compute convolutions and matrix products as an Atlas 910 does, see float16_emulation.py, with a
            loss scale. The limits are then wide: it shows that training survives, not that the numbers are the same.
    """

    def __init__(self, path: Path, *, emulate_float16: bool = False) -> None:
        self.emulate_float16 = emulate_float16
        if path.stem not in _GRAPHS:
            raise ConfigError(f"--golden {path}: no graph is called '{path.stem}'; expected {', '.join(_GRAPHS)}")
        try:
            with np.load(path) as arrays:
                self.golden = dict(arrays)  # all now: an array may be damaged, too
            self.shapes = json.loads(path.with_suffix(".keys.json").read_text())
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"--golden {path}: expected a golden .npz file with its .keys.json next to it; "
                            f"{error}") from None
        self.graph = path.stem
        self.model, self.variant, self.backbone, self.aux, self.aux_weight = _GRAPHS[self.graph]

    def network(self) -> "nn.Cell":
        """The network with the reference weights, dropout 0."""
        from mindspore import Tensor

        from rtseg.models.reference_names import convert
        from rtseg.models.registry import PUBLISHED_CLASSES, create_model

        network = create_model(self.model, self.variant, num_classes=PUBLISHED_CLASSES, aux=self.aux, dropout=0.0,
                               backbone=self.backbone)
        weights = convert(self.graph, reference_weights(self.shapes))
        for name, parameter in network.parameters_dict().items():
            if is_weight(name):
                parameter.set_data(Tensor(weights.pop(name).reshape(parameter.shape)))
        if weights:
            raise DataError(f"{self.graph}: the network has no parameters named {', '.join(weights)}")
        if self.emulate_float16:
            from rtseg.tools.float16_emulation import round_convolutions
            round_convolutions(network)
        return network

    def inference(self) -> List[ParityResult]:
        """Every output of every input size in the file against the reference, BatchNorm with running statistics.

        The first size is compiled as a graph, which takes most of the time, the others are computed as in `frozen`.
        """
        from mindspore import Tensor

        from rtseg.models.interpolation import resize_bilinear

        network = self.network()
        results: List[ParityResult] = []
        for size in sorted({key.split("/")[1] for key in self.golden if key.startswith("eval/")}):
            height, width = map(int, size.split("x"))
            x = Tensor(inference_image(height, width))
            with _pynative() if results else nullcontext():
                outputs = _frozen(network)(x)
                if not network.labels_to_logits:  # the references upsample_bilinear in the network, ours in the loss
                    outputs = [resize_bilinear(output, (height, width), align_corners=network.align_corners)
                               for output in outputs]
                if f"eval/{size}/out{len(outputs)}" in self.golden:  # the full-size logits, in inference only
                    outputs = [network.set_train(False)(x), *outputs]
            for i, output in enumerate(outputs):
                key = f"eval/{size}/out{i}"
                step, output = int(self.golden[f"{key}_step"]), output.asnumpy()
                results.append(ParityResult(f"{size} output {i}", relative_error(output[:, :, ::step, ::step],
                                                                                 self.golden[key]), 1e-4))
                stats = [output.mean(), output.std(), output.min(), output.max()]
                results.append(ParityResult(f"{size} output {i}: mean, std, min, max",
                                            relative_error(stats, self.golden[f"{key}_stats"]), 1e-4))
        return results

    def frozen(self, by_products: bool) -> List[ParityResult]:
        """Loss and gradients with running statistics, logits divided by 1000; the loss in one of its two forms.

        Computed operator by operator, in MindSpore's PyNative mode; `training` compiles the same as a graph.
        """
        network = _frozen(self.network())
        with _pynative():
            gradient = _gradient_cell(self._network_with_loss(network, FROZEN_LOGIT_SCALE, by_products=by_products))
            loss, norms = _loss_and_norms(gradient, network, batch=self._training_batch())
        form = "by products" if by_products else "by operators"
        return [ParityResult(f"frozen loss {form}", relative_error(loss, self.golden["frozen/loss"]), 1e-5),
                self._gradient_result("frozen", norms)]

    def training(self, by_products: bool) -> List[ParityResult]:
        """Ten steps of SGD on one batch with batch statistics: losses, gradients of the first step, running means."""
        from mindspore import nn

        from rtseg.models.reference_names import parameter_name

        network = self.network().set_train(True)
        optimizer = nn.Momentum(network.trainable_params(), float(self.golden["train/lr"]), MOMENTUM, WEIGHT_DECAY)
        step = _gradient_cell(self._network_with_loss(network, 1.0, by_products=by_products), optimizer)
        batch = self._training_batch()
        expected = self.golden["train/loss_trajectory"]
        steps = [_loss_and_norms(step, network, batch=batch) for _ in expected]
        losses = np.array([loss for loss, _ in steps])
        parameters = network.parameters_dict()
        keys = self.golden["train/running_mean_keys"]
        means = [float(np.linalg.norm(parameters[parameter_name(self.graph, key)].asnumpy())) for key in keys]
        counts = [not re.search(_OTHER_MEANS.get(self.graph, "$^"), key) for key in keys]
        form = "by products" if by_products else "by operators"
        return [ParityResult(f"training loss {form}, step 0", relative_error(losses[0], expected[0]), 1e-4),
                self._gradient_result("train", steps[0][1]),
                ParityResult(f"loss of {len(expected)} steps", float(np.max(np.abs(losses - expected) / expected)),
                             max(1e-3, 10 * self.golden["train/loss_trajectory_noise"].max())),
                ParityResult("running means after them",
                             _largest_relative(means, self.golden["train/running_mean_norm_after"], counts=counts),
                             max(1e-3, 10 * self.golden["train/running_mean_norm_after_noise"].max()))]

    def _training_batch(self) -> Tuple["Tensor", "Tensor"]:
        from mindspore import Tensor

        x, labels = training_batch(self.golden["train/input_shape"].tolist(), int(self.golden["train/seed"]))
        return Tensor(x), Tensor(labels)

    def _network_with_loss(self, network: "nn.Cell", logit_scale: float, *, by_products: bool) -> "nn.Cell":
        from rtseg.losses.mix_softmax_cross_entropy import MixSoftmaxCrossEntropy

        loss = MixSoftmaxCrossEntropy(self.aux_weight, align_corners=network.align_corners,
                                      labels_to_logits=network.labels_to_logits, by_products=by_products)
        loss_scale = _FLOAT16_LOSS_SCALE if self.emulate_float16 else 1.0
        return _network_with_loss(network, loss, logit_scale=logit_scale, loss_scale=loss_scale)

    def _gradient_result(self, part: str, norms: Dict[str, float]) -> ParityResult:
        from rtseg.models.reference_names import parameter_name

        counts = self.golden[f"{part}/grad_norm_counts"]
        names = [parameter_name(self.graph, key) for key in self.golden[f"{part}/grad_keys"]]
        error = _largest_relative([norms[name] for name in names], self.golden[f"{part}/grad_norm"], counts=counts)
        noise = self.golden[f"{part}/grad_norm_noise"][counts].max()
        return ParityResult(f"{part} gradient norms of {counts.sum()} parameters", error, max(1e-3, 10 * noise))

    def report(self) -> List[ParityResult]:
        """All results."""
        if not self.emulate_float16:
            return (self.inference() + self.frozen(True) + self.training(True)
                    + self.frozen(False) + self.training(False))
        from rtseg.tools.float16_emulation import rounded_products

        # Without the frozen part: its tiny logits make gradients that float16 cannot hold with any one loss scale.
        with rounded_products():
            return [result._replace(limit=FLOAT16_GRADIENT_LIMIT if "gradient" in result.what else FLOAT16_LIMIT)
                    for result in self.inference() + self.training(True) + self.training(False)]


@contextmanager
def _pynative() -> Iterator[None]:
    """Computes operator by operator, as one debugs a network, instead of compiling a graph."""
    import mindspore as ms

    mode = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    try:
        yield
    finally:
        ms.set_context(mode=mode)


def _loss_and_norms(gradient: "nn.Cell", network: "nn.Cell", *,
                    batch: Tuple["Tensor", "Tensor"]) -> Tuple[float, Dict[str, float]]:
    """(loss, parameter name -> L2 norm of its gradient)"""
    loss, gradients = gradient(*batch)
    names = [parameter.name for parameter in network.trainable_params()]
    return float(loss.asnumpy()), {name: float(np.linalg.norm(value.asnumpy()))
                                   for name, value in zip(names, gradients)}


def _largest_relative(found: Sequence[float], expected: np.ndarray, *, counts: Sequence[bool]) -> float:
    """Of the elements that `counts` selects."""
    ours, theirs = np.asarray(found)[counts], expected[counts]
    return float(np.max(np.abs(ours - theirs) / np.abs(theirs)))


def _frozen(network: "nn.Cell") -> "nn.Cell":
    """All outputs, as in training, but BatchNorm with its running statistics."""
    from mindspore import nn

    network.set_train(True)
    for _, cell in network.cells_and_names():
        if isinstance(cell, nn.BatchNorm2d):
            cell.set_train(False)
    return network


def _network_with_loss(network: "nn.Cell", loss: "nn.Cell", *, logit_scale: float, loss_scale: float) -> "nn.Cell":
    from mindspore import nn

    class NetworkWithLoss(nn.Cell):
        def __init__(self) -> None:
            super().__init__(auto_prefix=False)  # the parameters keep the network's names
            self.network = network
            self.loss = loss
            self.logit_scale = logit_scale
            self.loss_scale = loss_scale

        def construct(self, x: "Tensor", labels: "Tensor") -> Any:
            outputs: Any = ()
            for output in self.network(x):
                outputs += (output * self.logit_scale,)
            return self.loss(outputs, labels) * self.loss_scale

    return NetworkWithLoss()


def _gradient_cell(network_with_loss: "nn.Cell", optimizer: Optional["nn.Optimizer"] = None) -> "nn.Cell":
    import mindspore as ms
    from mindspore import amp, nn

    weights = network_with_loss.trainable_params()

    class Gradient(nn.Cell):
        def __init__(self) -> None:
            super().__init__(auto_prefix=False)
            self.optimizer = optimizer
            self.gradient = ms.value_and_grad(network_with_loss, None, weights)
            self.scaler = amp.StaticLossScaler(network_with_loss.loss_scale)

        def construct(self, x: "Tensor", labels: "Tensor") -> Any:
            loss, gradients = self.gradient(x, labels)
            loss, gradients = self.scaler.unscale(loss), self.scaler.unscale(gradients)
            if self.optimizer is not None:
                self.optimizer(gradients)
            return loss, gradients

    return Gradient()


class ParityOptions(Section):
    """Flags of `rtseg parity`."""

    golden: Path = option(f"golden file, one of {', '.join(_GRAPHS)}.npz", metavar="FILE")
    emulate_float16: bool = option("compute convolutions and matrix products as an Atlas 910 does, in float16; the "
                                   "limits are then wide", default=False)


def main(argv: Optional[Sequence[str]] = None) -> int:
    arguments = parse_options(ParityOptions, "rtseg parity", description=__doc__, argv=argv)
    check = ParityCheck(arguments.golden, emulate_float16=arguments.emulate_float16)
    setup_device("CPU")
    results = check.report()
    print(f"{check.graph}: {'what':42s} {'relative error':>14s} {'limit':>9s}")
    for result in results:
        print(f"{check.graph}: {result.what:42s} {result.error:14.2e} {result.limit:9.1e} "
              f"{'ok' if result.passed else 'FAILED'}")
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    run_command(main)
