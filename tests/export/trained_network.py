"""A small Fast-SCNN whose answers differ from place to place though it was never trained."""
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mindspore import Tensor

from rtseg.inference.graph import InferenceGraph
from rtseg.inference.preprocessing import normalize
from rtseg.models.registry import create_model
from rtseg.models.weights import save_weights

HEIGHT, WIDTH = 160, 352
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STATISTICS = {"gamma": (0.7, 1.3), "beta": (-0.3, 0.3), "moving_mean": (-0.2, 0.2), "moving_variance": (0.5, 1.5)}


class Trained(NamedTuple):
    """A checkpoint, and what MindSpore and eval.py say of an image with it."""

    checkpoint: Path
    image: np.ndarray    # uint8 (HEIGHT, WIDTH, 3)
    logits: np.ndarray   # float32 (1, 19, HEIGHT, WIDTH)
    classes: np.ndarray  # (1, HEIGHT, WIDTH)


def as_if_trained(folder: Path) -> Trained:
    network = create_model("fast_scnn", "mmseg", num_classes=19, aux=1, bn_momentum=0.2)
    rng = np.random.default_rng(0)
    for parameter in network.get_parameters():
        if parameter.name.rpartition(".")[2] in STATISTICS:
            low, high = STATISTICS[parameter.name.rpartition(".")[2]]
            parameter.set_data(Tensor(rng.uniform(low, high, parameter.shape).astype(np.float32)))
    weight, bias = network.classifier.classifier.weight, network.classifier.classifier.bias
    weight.set_data(Tensor(rng.normal(0, 0.5, weight.shape).astype(np.float32)))
    coarse = rng.integers(0, 216, (HEIGHT // 32, WIDTH // 32, 3), dtype=np.uint8)
    image = np.kron(coarse, np.ones((32, 32, 1), np.uint8)) + rng.integers(0, 40, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    x = Tensor(normalize(image, MEAN, std=STD)[None])
    network.set_train(True)
    network(x)  # BatchNorm takes statistics that keep activations in a range, as in a trained network
    network.set_train(False)
    bias.set_data(Tensor(-network(x).asnumpy().mean(axis=(0, 2, 3))))  # no class is ahead everywhere
    path = folder / "best_map.ckpt"
    save_weights(path, network)
    classes = InferenceGraph(network, MEAN, std=STD)(Tensor(image[None])).asnumpy()
    assert len(np.unique(classes)) > 5
    return Trained(path, image, network(x).asnumpy(), classes)
