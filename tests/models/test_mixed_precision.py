"""Mixed precision on the real networks: every network trains at every level, and only training is changed by it."""
import itertools

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn
from own_process import in_own_process

from rtseg.losses.mix_softmax_cross_entropy import MixSoftmaxCrossEntropy
from rtseg.models.layers import BatchNorm, Conv2d
from rtseg.models.mixed_precision import set_amp_level
from rtseg.models.registry import create_model
from rtseg.training.train_step import TrainStep

# Every level for the default graph of each network; for others O2, which computes and stores in float16.
CASES = [*itertools.product([("fast_scnn", "mmseg"), ("icnet", "mmseg"), ("bisenetv1", "coincheung")],
                            ["O1", "O2", "O3"]),
         (("fast_scnn", "tramac"), "O2"), (("icnet", "liminn"), "O2"), (("bisenetv1", "mmseg"), "O2")]
SCALES = {"O1": 32.0, "O2": "dynamic", "O3": 32.0}  # 32 is what published recipes of these networks have
CLASSES = 7


def build(model, variant, level):
    ms.set_seed(1)
    network = create_model(model, variant=variant, num_classes=CLASSES, aux=2).set_train(True)
    set_amp_level(network, level)
    return network


def batch():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 64, 96, 3)).astype(np.uint8)
    labels = rng.integers(0, CLASSES, (2, 8, 12)).repeat(8, 1).repeat(8, 2).astype(np.uint8)
    labels[:, :5] = 255
    return Tensor(images), Tensor(labels)


@pytest.mark.slow
@pytest.mark.parametrize("graph, level", CASES, ids=lambda value: value if isinstance(value, str) else "-".join(value))
def test_trains_at_every_level(graph, level):
    in_own_process(train_one_step, graph, level)


def train_one_step(graph, level):
    network = build(*graph, level)
    loss = MixSoftmaxCrossEntropy(0.4, align_corners=network.align_corners, labels_to_logits=network.labels_to_logits)
    optimizer = nn.Momentum(network.trainable_params(), 0.005, 0.9)
    step = TrainStep(network, loss, optimizer=optimizer, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225),
                     loss_scale=SCALES[level])
    before = {weight.name: weight.asnumpy().copy() for weight in network.trainable_params()}
    if level == "O2":
        step.scaler.scale_value.set_data(Tensor(32.0, ms.float32))  # after the halvings that a run begins with
    loss = float(step(*batch()).asnumpy())
    assert loss == pytest.approx(1.8 * np.log(CLASSES), rel=0.1)  # three heads that know nothing yet
    types = {parameter.dtype for parameter in network.get_parameters() if "dropout" not in parameter.name}
    assert types == {ms.float32}
    assert all(np.isfinite(parameter.asnumpy()).all() for parameter in network.get_parameters())
    # A bias before a BatchNorm has no gradient, and residual blocks of "mmseg" begin as the identity.
    outside = [name for name in before if ".layer" not in name]
    moved = [name for name in outside if (network.parameters_dict()[name].asnumpy() != before[name]).any()]
    assert len(moved) >= 0.9 * len(outside) > 20


def test_levels_say_which_layers_compute_in_float16():
    def layers_of(level):
        cells = [cell for _, cell in build("fast_scnn", "mmseg", level).cells_and_names()]
        convolutions = {(cell.float16_compute, cell.float16_output) for cell in cells if isinstance(cell, Conv2d)}
        return convolutions, {cell.float32_compute for cell in cells if isinstance(cell, BatchNorm)}

    assert layers_of("O0") == ({(False, False)}, {False})
    assert layers_of("O1") == ({(True, False)}, {False})
    assert layers_of("O2") == ({(True, True)}, {True})
    assert layers_of("O3") == ({(True, True)}, {False})


def test_inference_is_float32_at_every_level():
    x = Tensor(np.random.default_rng(1).standard_normal((1, 3, 64, 64)).astype(np.float32))
    expected, found = (build("fast_scnn", "mmseg", level).set_train(False)(x) for level in ("O0", "O3"))
    assert found.dtype == ms.float32
    np.testing.assert_array_equal(found.asnumpy(), expected.asnumpy())
