"""Images to network inputs: literal normalisation, padding, letterbox and squeeze, and the way back."""
import tracemalloc

import numpy as np
import pytest

from rtseg.inference.preprocessing import (Placement, fit, normalization_factors, normalize, pad_color, pad_to_multiple,
                                           unfit)

MEAN = (0.5, 0.25, 0.0)  # RGB bytes 128, 64, 0


def test_normalization_literal():
    image = np.array([[[0, 255, 51]]], np.uint8)
    np.testing.assert_allclose(normalize(image, (0.5, 0.25, 0.0), std=(0.5, 1.0, 0.25)).ravel(), [-1.0, 0.75, 0.8],
                               atol=1e-6)


@pytest.mark.parametrize("change", [
    lambda image: image, lambda image: image[::-1, ::-1], lambda image: image[3:40:2, 5:50:3],
    lambda image: image[:1, :1], lambda image: image.transpose(1, 0, 2), lambda image: image[..., ::-1],
    lambda image: np.frombuffer(image.tobytes(), np.uint8).reshape(image.shape)])
def test_normalization_of_any_memory_layout(change):
    """Mirrored, sliced, turned, in BGR order, or read-only: each value is byte * scale + shift in float32."""
    image = change(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    scale, shift = normalization_factors(MEAN, (0.5, 1.0, 0.25))
    found = normalize(image, MEAN, std=(0.5, 1.0, 0.25))
    assert found.dtype == np.float32 and found.flags.c_contiguous
    np.testing.assert_array_equal(found, (image.astype(np.float32) * scale + shift).transpose(2, 0, 1))


def test_normalization_writes_each_channel_in_place():
    """Besides the result there is one channel of bytes; a channel of floats or of indices would be more than that."""
    image = np.zeros((512, 512, 3), np.uint8)
    normalize(image, MEAN, std=(1.0,) * 3)
    tracemalloc.start()
    result = normalize(image, MEAN, std=(1.0,) * 3)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < result.nbytes + 2 * 512 * 512


def test_padding_is_at_the_bottom_and_the_right_in_the_mean_colour():
    assert pad_color(MEAN) == [128, 64, 0]
    image = np.full((3, 5, 3), 9, np.uint8)
    padded = pad_to_multiple(image, 4, mean=MEAN)
    assert padded.shape == (4, 8, 3) and (padded[:3, :5] == 9).all()
    assert (padded[3] == [128, 64, 0]).all() and (padded[:, 5:] == [128, 64, 0]).all()
    assert pad_to_multiple(np.zeros((4, 8, 3), np.uint8), 4, mean=MEAN).shape == (4, 8, 3)


@pytest.mark.parametrize("original, valid", [
    ((64, 64), (32, 32)), ((64, 128), (32, 64)), ((32, 128), (16, 64)), ((1, 640), (1, 64)), ((7, 9), (32, 41)),
    ((100, 50), (32, 16))])
def test_letterbox_keeps_the_shape(original, valid):
    image = np.full((*original, 3), 200, np.uint8)
    fitted, placement = fit(image, (32, 64), mean=MEAN)
    assert fitted.shape == (32, 64, 3) and placement == Placement(valid, original)
    assert (fitted[:valid[0], :valid[1]] == 200).all()
    assert (fitted[valid[0]:] == [128, 64, 0]).all() and (fitted[:, valid[1]:] == [128, 64, 0]).all()
    classes = np.full((32, 64), 7, np.uint8)
    classes[:valid[0], :valid[1]] = 3
    back = unfit(classes, placement)
    assert back.shape == original and (back == 3).all()


def test_squeeze_fills_the_size():
    image = np.zeros((64, 32, 3), np.uint8)
    image[:32] = 255
    fitted, placement = fit(image, (32, 64), mean=MEAN, resize="squeeze")
    assert placement == Placement((32, 64), (64, 32)) and (fitted[:15] == 255).all() and (fitted[17:] == 0).all()
    classes = np.zeros((32, 64), np.uint8)
    classes[:16] = 1
    assert (unfit(classes, placement) == np.repeat([1, 0], 32)[:, None]).all()


def test_the_right_size_is_left_alone():
    image = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    for resize in ("letterbox", "squeeze"):
        fitted, placement = fit(image, (32, 64), mean=MEAN, resize=resize)
        assert fitted is image and placement == Placement((32, 64), (32, 64))
