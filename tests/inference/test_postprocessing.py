"""Classes of upsampled logits without upsampling them: the same as with it, for any shape, stride and alignment."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtseg.inference.postprocessing import argmax, argmax_upsampled, softmax, upsample
from rtseg.utils.errors import DataError


def weights(length, size, align_corners):
    """float64 (size, length): row i holds what upsampled line i takes of each source line. Written anew, from the
    definition of PyTorch's and ONNX's linear resize."""
    matrix = np.zeros((size, length))
    for i in range(size):
        place = i * (length - 1) / max(1, size - 1) if align_corners else (i + 0.5) * length / size - 0.5
        place = min(max(place, 0), length - 1)
        low = int(place)
        matrix[i, low] += 1 - (place - low)
        matrix[i, min(low + 1, length - 1)] += place - low
    return matrix


def upsampled_exactly(logits, size, align_corners):
    rows, columns = (weights(length, target, align_corners) for length, target in zip(logits.shape[1:], size))
    return rows @ logits.astype(np.float64) @ columns.T


def smooth(rng, shape):
    """Logits that form regions, as those of trained networks do."""
    count, height, width = shape
    return upsample(rng.standard_normal((count, 3, 4)).astype(np.float32), (height, width), align_corners=True)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_the_classes_are_those_of_the_full_computation(data):
    """Integer logits and strides of powers of two: both computations are exact, so not one pixel may differ, and ties
    are frequent."""
    count = data.draw(st.integers(1, 25))
    height, width = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    stride = data.draw(st.sampled_from([1, 2, 4, 8, 16]))
    levels = data.draw(st.sampled_from([1, 2, 5, 100]))
    logits = np.random.default_rng(data.draw(st.integers(0, 2 ** 31))).integers(
        0, levels, (count, height, width)).astype(np.float32)
    size = (height * stride, width * stride)
    expected = upsampled_exactly(logits, size, False).argmax(0)
    found = argmax_upsampled(logits, size, align_corners=False)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_size_and_alignment(data):
    """Real logits: where the exact values of the two classes differ by more than rounding, the classes are equal."""
    count = data.draw(st.integers(1, 30))
    shape = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    size = tuple(length + data.draw(st.integers(0, 60)) for length in shape)
    align_corners = data.draw(st.booleans())
    rng = np.random.default_rng(data.draw(st.integers(0, 2 ** 31)))
    logits = rng.normal(0, 10, (count, *shape)).astype(data.draw(st.sampled_from([np.float32, np.float16])))
    exact = upsampled_exactly(logits, size, align_corners)
    found = argmax_upsampled(logits, size, align_corners=align_corners)
    lost = exact.max(0) - np.take_along_axis(exact, found[None].astype(int), 0)[0]
    assert found.shape == size and lost.max() < 1e-4


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("stride", [4, 8])
def test_pixels_that_round_differently_are_rare(align_corners, stride):
    """At most 1 in 100,000 differs from float32's full computation, over 19 classes at 512x1024."""
    rng, size, different = np.random.default_rng(0), (512, 1024), 0
    for make in (smooth, lambda rng, shape: rng.standard_normal(shape).astype(np.float32)):
        logits = make(rng, (19, size[0] // stride, size[1] // stride))
        full = argmax(upsampled_exactly(logits, size, align_corners).astype(np.float32))
        different += int((argmax_upsampled(logits, size, align_corners=align_corners) != full).sum())
    assert different <= 2 * size[0] * size[1] / 100_000


def test_literal():
    """Two pixels: class 1 begins where 1.5 t > 1 - t, t being 1/8, 3/8, 5/8, 7/8 between the two."""
    logits = np.array([[[1, 0]], [[0, 1.5]]], np.float32)
    assert argmax_upsampled(logits, (1, 8), align_corners=False).tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]]
    assert argmax_upsampled(logits, (1, 6), align_corners=True).tolist() == [[0, 0, 0, 1, 1, 1]]  # t = 0.4 is a tie
    np.testing.assert_allclose(upsample(logits, (1, 4), align_corners=False)[1], [[0, 0.375, 1.125, 1.5]])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite(bad):
    logits = np.zeros((3, 4, 4), np.float32)
    logits[1, 2, 3] = bad
    with pytest.raises(DataError, match="expected finite logits, found NaN or infinity"):
        argmax_upsampled(logits, (32, 32), align_corners=False)


@pytest.mark.parametrize("align_corners", [False, True])
def test_upsample_is_exact_to_rounding(align_corners):
    logits = np.random.default_rng(0).standard_normal((3, 5, 7)).astype(np.float32)
    np.testing.assert_allclose(upsample(logits, (40, 61), align_corners=align_corners),
                               upsampled_exactly(logits, (40, 61), align_corners), atol=1e-6)


def test_argmax_and_softmax_literal():
    assert argmax(np.array([[[1, 0]], [[1, 2]], [[0, 2]]], np.float32)).tolist() == [[0, 1]]
    np.testing.assert_allclose(softmax(np.log(np.array([[[1.0]], [[3.0]]], np.float32))).ravel(), [0.25, 0.75])
