"""Writes a golden: what a reference implementation computes for known weights and inputs, in float64.

    export PYTHONPATH=src
    python tests/goldens/make_golden.py --graph fast_scnn_segmentron --reference PATH/SegmenTron --output DIR

PATH is a checkout of the reference at the commit that `REFERENCES` names; nothing of it is kept here. Needs PyTorch.
Weights and batches follow from a rule, the one that the parity tool uses, so that a golden holds results only. Each
`*_noise` array is the largest relative difference that the same reference shows in float32, over a few runs of which
all but the first move each weight by about a rounding: how well conditioned a number is.
"""
import argparse
import importlib
import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from rtseg.tools.golden_rules import (FROZEN_LOGIT_SCALE, MOMENTUM, WEIGHT_DECAY, inference_image, reference_weights,
                                      training_batch)

REFERENCES = {
    "fast_scnn_segmentron": ("github.com/LikeLy-Journey/SegmenTron", "4bc605eedde7d680314f63d329277b73f83b1c5f"),
    "icnet_liminn_v1b": ("github.com/liminn/ICNet-pytorch", "da394fc44f4fbaff1b47ab83ce7121a96f375b03"),
    "fast_scnn_tramac": ("github.com/Tramac/Fast-SCNN-pytorch", "0638517d359ae1664a27dfb2cd1780a40a06c465"),
}
AUX_WEIGHT = 0.4
LR, STEPS = 1e-3, 10
INPUT_SHAPE, SEED = (4, 3, 128, 256), 7
# Size -> n: of each output of that size only every n-th row and column is kept, of smaller outputs more of them.
EVAL_SIZES = {(128, 256): 10, (192, 320): 14}
FLOAT32_RUNS = 4
# A gradient below this share of the largest one is zero in theory: that of a bias before a BatchNorm.
ZERO_IN_THEORY = 1e-10


def build_segmentron(checkout: Path) -> nn.Module:
    """Its FastSCNN as its recipe configures it. Importing the whole package would need torchvision and all networks."""
    sys.path.insert(0, str(checkout))
    for name in ("segmentron", "segmentron.models", "segmentron.data"):  # without running their __init__
        package = sys.modules[name] = types.ModuleType(name)
        package.__path__ = [str(checkout / name.replace(".", "/"))]
    loaders = sys.modules["segmentron.data.dataloader"] = types.ModuleType("segmentron.data.dataloader")
    loaders.datasets = {"cityscape": types.SimpleNamespace(NUM_CLASS=19)}
    backbones = sys.modules["segmentron.models.backbones"] = types.ModuleType("segmentron.models.backbones")
    backbones.get_segmentation_backbone = None  # this network has none
    settings = importlib.import_module("segmentron.config").cfg
    settings.update_from_file(str(checkout / "configs" / "cityscapes_fast_scnn.yaml"))
    network = importlib.import_module("segmentron.models.fast_scnn").FastSCNN()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # as its solver/optimizer.py does for BN_TYPE BN
            module.momentum = settings.MODEL.BN_MOMENTUM
    return network


def build_tramac(checkout: Path) -> nn.Module:
    sys.path.insert(0, str(checkout))
    return importlib.import_module("models.fast_scnn").FastSCNN(num_classes=19, aux=True)


def build_liminn_v1b(checkout: Path) -> nn.Module:
    """Its ICNet with the plain ResNet50 that it has, too, but does not use."""
    sys.path.insert(0, str(checkout))
    sys.modules["torchsummary"] = types.ModuleType("torchsummary")
    sys.modules["torchsummary"].summary = None  # only its demonstration prints one
    network = importlib.import_module("models.icnet").ICNet(nclass=19, pretrained_base=False)
    network.pretrained = importlib.import_module("models.base_models.resnetv1b").resnet50_v1b(dilated=True)
    return network


BUILDERS = {"fast_scnn_segmentron": build_segmentron, "fast_scnn_tramac": build_tramac,
            "icnet_liminn_v1b": build_liminn_v1b}


def move_by_rounding(array, run):
    """float32 values, each moved up or down by at most one place; run 0 leaves them as they are."""
    if run == 0:
        return array
    direction = np.random.default_rng(run).choice(np.float32([-np.inf, np.nan, np.inf]), array.shape)
    return np.where(np.isnan(direction), array, np.nextafter(array, direction))


def parameter_shapes(network: nn.Module):
    return {key: tuple(value.shape) for key, value in network.state_dict().items()
            if not key.endswith("num_batches_tracked")}


def mixed_loss(outputs, y):
    """Smaller outputs are compared with every n-th label; what is full-size beside them is for inference only."""
    if outputs[-1].shape[2:] != y.shape[1:]:
        outputs = [output for output in outputs if output.shape[2:] != y.shape[1:]]
    losses = []
    for output in outputs:
        step = y.shape[1] // output.shape[2]
        losses.append(functional.cross_entropy(output, y[:, ::step, ::step], ignore_index=255))
    return losses[0] + AUX_WEIGHT * sum(losses[1:])


def gradient_norms(network):
    """Of all parameters that the loss depends on: ImageNet's classifier is part of a network, too."""
    return {name: parameter.grad.norm().item() for name, parameter in sorted(network.named_parameters())
            if parameter.grad is not None}


class Reference:
    """One reference network in one precision; each part starts from fresh weights, moved as `run` says."""

    def __init__(self, make_network, dtype: torch.dtype, run: int = 0):
        self.network = make_network
        self.dtype = dtype
        self.run = run

    def fresh(self) -> nn.Module:
        network = self.network()
        weights = reference_weights(parameter_shapes(network))
        weights = {key: torch.from_numpy(move_by_rounding(value, self.run)) for key, value in weights.items()}
        network.load_state_dict(weights, strict=False)
        for module in network.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd):
                module.p = 0.0
        return network.to(self.dtype)

    def batch(self):
        x, y = training_batch(INPUT_SHAPE, SEED)
        return torch.from_numpy(x).to(self.dtype), torch.from_numpy(y).long()

    def inference(self):
        """(height, width) -> outputs."""
        network = self.fresh().eval()
        results = {}
        for height, width in EVAL_SIZES:
            x = torch.from_numpy(inference_image(height, width)).to(self.dtype)
            with torch.no_grad():
                results[height, width] = [output.numpy() for output in network(x)]
        return results

    def frozen(self):
        """Loss and gradient norms with running statistics, logits divided by 1000."""
        network = self.fresh().eval()
        x, y = self.batch()
        loss = mixed_loss([output * FROZEN_LOGIT_SCALE for output in network(x)], y)
        loss.backward()
        return loss.item(), gradient_norms(network)

    def training(self):
        """Gradient norms of the first step, losses of ten, norms of the running means after them."""
        network = self.fresh().train()
        optimizer = torch.optim.SGD(network.parameters(), LR, MOMENTUM, weight_decay=WEIGHT_DECAY)
        x, y = self.batch()
        losses, first_norms = [], None
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = mixed_loss(network(x), y)
            loss.backward()
            first_norms = first_norms or gradient_norms(network)
            optimizer.step()
            losses.append(loss.item())
        means = {key: value.norm().item() for key, value in sorted(network.state_dict().items())
                 if key.endswith("running_mean")}
        return first_norms, losses, means


def noise(again, exact) -> np.ndarray:
    """The largest relative difference to `exact` in several runs."""
    again, exact = np.asarray(again), np.asarray(exact)
    return (np.abs(again - exact) / np.maximum(np.abs(exact), 1e-300)).max(axis=0)


def output_arrays(results, steps):
    """The arrays of inference: (height, width) -> outputs; of each only every n-th row and column is kept."""
    arrays = {}
    for (height, width), outputs in results.items():
        for i, output in enumerate(outputs):
            step = -(-steps[height, width] * output.shape[2] // height)
            key = f"eval/{height}x{width}/out{i}"
            arrays[key] = output[:, :, ::step, ::step].astype(np.float32)
            arrays[f"{key}_step"] = np.array(step)
            arrays[f"{key}_stats"] = np.array([output.mean(), output.std(), output.min(), output.max()])
            arrays[f"{key}_shape"] = np.array(output.shape)
            arrays[f"{key}_argmax_hist"] = np.bincount(output.argmax(1).ravel(), minlength=19)
    return arrays


def common_arrays(input_shape, seed, lr, frozen, frozen_again, training, training_again, zero_in_theory):
    """The arrays of losses and gradients; the runs that compute them `again`, less exactly, show the noise."""
    arrays = {"train/input_shape": np.array(input_shape), "train/seed": np.array(seed), "train/lr": np.array(lr)}

    def add_gradients(part, norms, norms_again):
        values = np.array(list(norms.values()))
        arrays[f"{part}/grad_keys"] = np.array(list(norms))
        arrays[f"{part}/grad_norm"] = values
        arrays[f"{part}/grad_norm_noise"] = noise([list(norms.values()) for norms in norms_again], values)
        arrays[f"{part}/grad_norm_counts"] = values > zero_in_theory * values.max()

    (loss, norms), (losses_again, norms_again) = frozen, zip(*frozen_again)
    arrays["frozen/loss"], arrays["frozen/loss_noise"] = np.array(loss), noise(losses_again, loss)
    add_gradients("frozen", norms, norms_again)
    (norms, losses, means), (norms_again, losses_again, means_again) = training, zip(*training_again)
    add_gradients("train", norms, norms_again)
    arrays["train/loss_trajectory"] = np.array(losses)
    arrays["train/loss_trajectory_noise"] = noise(losses_again, losses)
    arrays["train/running_mean_keys"] = np.array(list(means))
    arrays["train/running_mean_norm_after"] = np.array(list(means.values()))
    arrays["train/running_mean_norm_after_noise"] = noise([list(means.values()) for means in means_again],
                                                            list(means.values()))
    return arrays


def make_golden(make_network):
    """All arrays of a golden, and parameter name -> shape."""
    exact = Reference(make_network, torch.float64)
    again = [Reference(make_network, torch.float32, run) for run in range(FLOAT32_RUNS)]
    golden = output_arrays(exact.inference(), EVAL_SIZES)
    golden.update(common_arrays(INPUT_SHAPE, SEED, LR, exact.frozen(), [single.frozen() for single in again],
                                exact.training(), [single.training() for single in again], ZERO_IN_THEORY))
    return golden, {key: list(shape) for key, shape in parameter_shapes(make_network()).items()}


def write_golden(path: Path, golden, shapes) -> None:
    np.savez_compressed(path, **golden)
    path.with_suffix(".keys.json").write_text(json.dumps(shapes, indent=0) + "\n")


def check_commit(checkout: Path, commit: str) -> None:
    found = subprocess.run(["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True)
    if found.stdout.strip() != commit:
        raise SystemExit(f"{checkout}: expected a checkout of commit {commit}, found {found.stdout.strip() or 'none'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--graph", required=True, choices=sorted(REFERENCES))
    parser.add_argument("--reference", required=True, type=Path, help="checkout of the reference")
    parser.add_argument("--output", required=True, type=Path, help="folder to write to")
    arguments = parser.parse_args()
    check_commit(arguments.reference, REFERENCES[arguments.graph][1])
    build = BUILDERS[arguments.graph]
    write_golden(arguments.output / f"{arguments.graph}.npz",
                 *make_golden(lambda: build(arguments.reference.resolve())))


if __name__ == "__main__":
    main()
