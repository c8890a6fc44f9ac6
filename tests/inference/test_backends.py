"""Back ends that run MindSpore: one thread at a time, and networks that stay as they were."""
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from rtseg.inference.backends import NetworkBackend, open_mindir
from rtseg.utils.errors import ConfigError

MEAN, STD = (0.5,) * 3, (0.25,) * 3
IMAGES = np.zeros((1, 32, 32, 3), np.uint8)


class Graph:
    """Stands in for a compiled graph, and notes how many threads were in one at a time, the copying included."""

    inside, most = 0, 0

    def __init__(self, network=None):
        pass

    def __del__(self):
        Graph.most = max(Graph.most, Graph.inside + 1)

    def __call__(self, x):
        Graph.inside += 1
        Graph.most = max(Graph.most, Graph.inside)
        return SimpleNamespace(asnumpy=self.result)

    @staticmethod
    def give_way():
        for _ in range(50):
            time.sleep(0)  # lets other threads go on

    @staticmethod
    def result():
        Graph.give_way()
        Graph.inside -= 1
        return np.zeros((1, 2, 32, 32), np.float32)


def test_one_thread_computes_at_a_time(monkeypatch):
    """In two networks and in a MINDIR, too: otherwise MindSpore crashes or hangs."""
    monkeypatch.setattr(ms, "load", lambda path: None)
    monkeypatch.setattr(ms.nn, "GraphCell", Graph)
    monkeypatch.setattr(Graph, "most", 0)
    backends = [NetworkBackend(nn.ReLU(), mean=MEAN, std=STD) for _ in range(2)]
    for backend in backends:
        backend.graph = Graph()
    runners = [backend.run for backend in backends] + [open_mindir("a.mindir", device_target="CPU")]
    with ThreadPoolExecutor(6) as executor:
        results = list(executor.map(lambda number: runners[number % 3](IMAGES), range(24)))
    assert len(results) == 24 and Graph.most == 1


def test_a_network_is_freed_while_no_other_computes(monkeypatch):
    monkeypatch.setattr(Graph, "most", 0)

    def use_and_drop(_):
        backend = NetworkBackend(nn.ReLU(), mean=MEAN, std=STD)
        backend.graph = Graph()
        backend.run(IMAGES)
        Graph.give_way()

    with ThreadPoolExecutor(4) as executor:
        list(executor.map(use_and_drop, range(16)))
    assert Graph.most == 1


def test_inference_mode_restores_the_mode_of_each_cell():
    network = nn.SequentialCell(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)).set_train()
    network[1].set_train(False)  # frozen
    with NetworkBackend(network, mean=MEAN, std=STD).inference_mode():
        assert not any(cell.training for _, cell in network.cells_and_names())
    assert [cell.training for cell in (network, *network)] == [True, True, False, True]


def test_a_network_of_another_number_of_classes():
    backend = NetworkBackend(nn.ReLU(), mean=MEAN, std=STD)
    backend.graph = Graph()
    backend.num_classes = 2
    assert backend.run(IMAGES).shape == (1, 2, 32, 32)
    backend.num_classes = 3
    with pytest.raises(ConfigError, match="model: expected a network of 3 classes, found one of 2"):
        backend.run(IMAGES)
