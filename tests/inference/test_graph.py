"""The Cell that is evaluated, predicted with and exported: literal normalisation, and its three outputs."""
import numpy as np
import pytest
from mindspore import Tensor, nn

from rtseg.inference.graph import InferenceGraph, InputNormalization
from rtseg.inference.preprocessing import normalize

MEAN, STD = (0.5, 0.25, 0.0), (0.5, 1.0, 0.25)


class Channels(nn.Cell):
    """A network without weights: red, green and blue are the classes' logits; its head takes every second pixel."""

    def construct(self, x):
        return x

    def head_logits(self, x):
        return x[:, :, ::2, ::2]


def test_normalization_literal():
    images = np.array([[[[0, 255, 51]]]], np.uint8)
    out = InputNormalization(MEAN, STD)(Tensor(images)).asnumpy()
    assert out.shape == (1, 3, 1, 1)
    np.testing.assert_allclose(out.ravel(), [-1.0, 0.75, 0.8], atol=1e-6)


def test_the_graph_normalises_as_numpy_does():
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    np.testing.assert_array_equal(InputNormalization(MEAN, STD)(Tensor(image[None])).asnumpy()[0],
                                  normalize(image, MEAN, std=STD))


def test_outputs_literal():
    image = np.zeros((1, 2, 2, 3), np.uint8)
    image[0, 0, 1] = (10, 10, 200)
    image[0, 1, 0] = (90, 90, 9)
    mean, std = (0.0,) * 3, (1 / 255,) * 3
    classes = InferenceGraph(Channels(), mean, std=std)(Tensor(image)).asnumpy()
    assert (classes.dtype, classes.tolist()) == (np.uint8, [[[0, 2], [0, 0]]])  # the first of equal classes
    logits = InferenceGraph(Channels(), mean, std=std, output_type="logits")(Tensor(image)).asnumpy()
    np.testing.assert_array_equal(logits, image.transpose(0, 3, 1, 2))
    x = Tensor(np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2))
    head = InferenceGraph(Channels(), mean, std=std, input_type="float32", output_type="head_logits")(x).asnumpy()
    assert (head.dtype, head.tolist()) == (np.float32, [[[[0]], [[4]], [[8]]]])


def test_wrong_types():
    with pytest.raises(ValueError, match="found float16 and class_map"):
        InferenceGraph(Channels(), MEAN, std=STD, input_type="float16")
    with pytest.raises(ValueError, match="found uint8 and mask"):
        InferenceGraph(Channels(), MEAN, std=STD, output_type="mask")
