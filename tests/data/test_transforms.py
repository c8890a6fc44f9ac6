"""Augmentation: equal to scaling the whole image, the same for the same seed, and never inventing a class."""
import cv2
import numpy as np
import pytest
from data_helpers import REAL_CITYSCAPES, Cityscapes, needs_real_cityscapes
from hypothesis import given, settings
from hypothesis import strategies as st

from rtseg.data import transforms
from rtseg.data.transforms import (CropGeometry, TrainTransform, dominant_ratio, jitter_color, random_scaled_size,
                                   resize_center_crop, scaled_crop)
from rtseg.utils.errors import ConfigError

PAD = (124, 116, 104)


def random_sample(height, width, seed=0):
    """A smooth image and a label of blobs."""
    rng = np.random.default_rng(seed)
    coarse = (max(1, height // 8), max(1, width // 8))
    image = cv2.resize(rng.integers(0, 256, (*coarse, 3), dtype=np.uint8), (width, height))
    noise = cv2.resize(rng.random(coarse), (width, height), interpolation=cv2.INTER_CUBIC)
    return image, (noise * 19).clip(0, 18).astype(np.uint8)


def whole_image_crop(source, geometry, interpolation, fill):
    """The plain way: scale everything, mirror, pad, crop."""
    (height, width), (y, x), (crop_height, crop_width), flip = geometry
    scaled = cv2.resize(source, (width, height), interpolation=interpolation)
    scaled = scaled[:, ::-1] if flip else scaled
    padded = cv2.copyMakeBorder(scaled, 0, max(0, crop_height - height), 0, max(0, crop_width - width),
                                cv2.BORDER_CONSTANT, value=fill)
    return padded[y:y + crop_height, x:x + crop_width]


def assert_same_as_whole_image(image, label, geometry):
    expected = whole_image_crop(image, geometry, cv2.INTER_LINEAR, PAD)
    found = scaled_crop(image, geometry, interpolation=cv2.INTER_LINEAR, fill=PAD)
    difference = cv2.absdiff(found, np.ascontiguousarray(expected))
    assert difference.mean() < 1 and difference.max() <= 8
    expected = whole_image_crop(label, geometry, cv2.INTER_NEAREST_EXACT, 255)
    assert (scaled_crop(label, geometry, interpolation=cv2.INTER_NEAREST, fill=255) == expected).mean() > 0.999


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("size, scaled_size, corner, crop_size", [
    ((128, 256), (64, 128), (3, 17), (48, 64)),  # half
    ((128, 256), (128, 256), (60, 100), (64, 128)),  # unscaled
    ((128, 256), (256, 512), (100, 300), (128, 128)),  # double
    ((123, 251), (97, 198), (11, 31), (65, 77)),  # odd sizes, smaller
    ((123, 251), (171, 349), (106, 0), (65, 77)),  # odd sizes, larger, lower border
    ((123, 251), (97, 198), (0, 0), (160, 240)),  # the crop is larger than the image
    ((251, 123), (349, 171), (100, 0), (200, 200)),  # upright, narrower than the crop
])
def test_crop_equals_scaling_the_whole_image(size, scaled_size, corner, crop_size, flip):
    assert_same_as_whole_image(*random_sample(*size), CropGeometry(scaled_size, corner, crop_size, flip))


@needs_real_cityscapes
@pytest.mark.parametrize("short, flip", [(765, True), (1499, False)])  # few ties of nearest
def test_crop_equals_scaling_a_whole_real_image(short, flip):
    image, label = Cityscapes(REAL_CITYSCAPES, "train").load(0)
    assert_same_as_whole_image(image, label, CropGeometry((short, 2 * short), (150, 333), (512, 640), flip))


def test_crop_literally():
    source = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    geometry = CropGeometry((2, 3), (0, 0), (3, 5), True)
    assert scaled_crop(source, geometry, interpolation=cv2.INTER_NEAREST, fill=255).tolist() == [
        [3, 2, 1, 255, 255], [6, 5, 4, 255, 255], [255] * 5]
    geometry = CropGeometry((4, 6), (1, 2), (2, 3), False)
    assert scaled_crop(source, geometry, interpolation=cv2.INTER_NEAREST, fill=255).tolist() == [[2, 2, 3], [5, 5, 6]]
    geometry = CropGeometry((1, 4), (0, 0), (1, 4), False)
    ramp = np.array([[0, 100]], np.uint8)
    assert scaled_crop(ramp, geometry, interpolation=cv2.INTER_LINEAR, fill=0).tolist() == [[0, 25, 75, 100]]


def test_scaled_size():
    rng = np.random.default_rng(0)
    sizes = [random_scaled_size((1024, 2048), 1024, scale_range=(0.5, 2.0), rng=rng) for _ in range(2000)]
    shorts = [height for height, _ in sizes]
    assert all(width == 2 * height for height, width in sizes)
    assert 512 <= min(shorts) < 520 and 2040 < max(shorts) <= 2048 and abs(np.mean(shorts) - 1280) < 30
    assert random_scaled_size((300, 100), 50, scale_range=(1, 1), rng=rng) == (150, 50)


def test_without_randomness_the_image_passes_unchanged_or_mirrored():
    image, label = random_sample(40, 60)
    rng = np.random.default_rng(0)
    fixed = dict(crop_size=(40, 60), base_size=40, pad_color=PAD, scale_range=(1, 1), blur_probability=0)
    same = TrainTransform(flip_probability=0, **fixed)(image, label, rng)
    assert np.array_equal(same[0], image) and np.array_equal(same[1], label)
    mirrored = TrainTransform(flip_probability=1, **fixed)(image, label, rng)
    assert np.array_equal(mirrored[0], image[:, ::-1]) and np.array_equal(mirrored[1], label[:, ::-1])


def test_padding_has_the_pad_color_and_is_ignored():
    image, label = random_sample(20, 30)
    transform = TrainTransform((50, 50), 20, PAD, scale_range=(1, 1), blur_probability=0)
    image_crop, label_crop = transform(image, label, np.random.default_rng(0))
    padding = np.ones((50, 50), bool)
    padding[:20, :30] = False
    assert np.unique(image_crop[padding], axis=0).tolist() == [list(PAD)]
    assert np.array_equal(label_crop == 255, padding)


def test_image_and_label_stay_aligned():
    label = np.kron(np.arange(12, dtype=np.uint8).reshape(3, 4), np.ones((32, 32), np.uint8))
    image = np.repeat(label[..., None] * 20, 3, axis=2)
    transform = TrainTransform((64, 64), 96, PAD, blur_probability=0)
    for seed in range(30):
        image_crop, label_crop = transform(image, label, np.random.default_rng(seed))
        valid = label_crop != 255
        near = np.abs(image_crop[valid][:, 0].astype(int) - label_crop[valid] * 20) <= 1
        assert near.mean() > 0.85  # the rest are blends at the borders of the blocks


def test_blur_smooths_the_image_only():
    image, label = random_sample(64, 64)
    fixed = dict(crop_size=(64, 64), base_size=64, pad_color=PAD, scale_range=(1, 1), flip_probability=0)
    transform = TrainTransform(blur_probability=1, **fixed)
    results = [transform(image, label, np.random.default_rng(seed)) for seed in range(8)]
    roughness = [np.abs(np.diff(pixels.astype(int), axis=1)).sum() for pixels, _ in results]
    unblurred = np.abs(np.diff(image.astype(int), axis=1)).sum()
    assert max(roughness) <= unblurred  # the weakest blurs round to nothing
    assert min(roughness) < 0.95 * unblurred
    assert all(np.array_equal(same_label, label) for _, same_label in results)


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), crop=st.tuples(st.integers(1, 50), st.integers(1, 50)),
       base_size=st.integers(1, 40), ratio=st.sampled_from([0.75, 1.0]), seed=st.integers(0, 2 ** 32 - 1))
def test_any_size(height, width, crop, base_size, ratio, seed):
    image, label = random_sample(height, width, seed % 5)
    transform = TrainTransform(crop, base_size, PAD, color_jitter=0.4, max_class_ratio=ratio)
    image_crop, label_crop = transform(image, label, np.random.default_rng(seed))
    assert image_crop.shape == (*crop, 3) and label_crop.shape == crop
    assert image_crop.dtype == label_crop.dtype == np.uint8
    assert set(np.unique(label_crop)) <= {*np.unique(label), 255}
    again = transform(image, label, np.random.default_rng(seed))
    assert np.array_equal(image_crop, again[0]) and np.array_equal(label_crop, again[1])


def test_crops_of_one_class_are_drawn_again():
    label = np.zeros((64, 256), np.uint8)
    label[:, 192:] = 1
    image = np.zeros((64, 256, 3), np.uint8)
    fixed = dict(crop_size=(64, 96), base_size=64, pad_color=PAD, scale_range=(1, 1))
    ratios = {limit: [dominant_ratio(TrainTransform(max_class_ratio=limit, **fixed)(
        image, label, np.random.default_rng(seed))[1], 255) for seed in range(40)] for limit in (0.75, 1.0)}
    assert sum(ratio <= 0.75 for ratio in ratios[1.0]) < 25
    assert sum(ratio <= 0.75 for ratio in ratios[0.75]) >= 35


def test_drawing_again_ends_after_ten_labels_and_one_image(monkeypatch):
    calls = []

    def counting(source, geometry, **arguments):
        calls.append(source.ndim)
        return scaled_crop(source, geometry, **arguments)

    monkeypatch.setattr(transforms, "scaled_crop", counting)
    transform = TrainTransform((16, 16), 32, PAD, max_class_ratio=0.75)
    transform(np.zeros((32, 64, 3), np.uint8), np.zeros((32, 64), np.uint8), np.random.default_rng(0))
    assert calls == [2] * 10 + [3]


def test_dominant_ratio():
    assert dominant_ratio(np.array([[0, 0, 0, 5], [255, 255, 255, 255]], np.uint8), 255) == 0.75
    assert dominant_ratio(np.full((2, 2), 255, np.uint8), 255) == 1.0


def test_jitter_color():
    image = np.array([[[10, 20, 30], [200, 100, 50]]], np.uint8)
    assert np.array_equal(jitter_color(image, brightness=1, contrast=1, saturation=1), image)
    assert jitter_color(image, brightness=2, contrast=1, saturation=1).tolist() == [[[20, 40, 60], [255, 200, 100]]]
    # Luma: 0.299 R + 0.587 G + 0.114 B = 18.15 and 124.2, mean 71.175.
    assert jitter_color(image, brightness=1, contrast=1, saturation=0).tolist() == [[[18, 18, 18], [124, 124, 124]]]
    assert jitter_color(image, brightness=1, contrast=0, saturation=1).tolist() == [[[71, 71, 71], [71, 71, 71]]]
    assert jitter_color(image, brightness=0.5, contrast=0, saturation=1).tolist() == [[[36, 36, 36], [36, 36, 36]]]


def test_resize_center_crop():
    label = np.arange(8, dtype=np.uint8).reshape(2, 4)
    image = np.repeat(label[..., None], 3, axis=2)
    assert resize_center_crop(image, label, crop_size=(2, 2))[1].tolist() == [[1, 2], [5, 6]]
    assert resize_center_crop(image, label, crop_size=(2, 2))[0][..., 0].tolist() == [[1, 2], [5, 6]]
    doubled = resize_center_crop(image, label, crop_size=(4, 4))[1]
    assert doubled.tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [5, 5, 6, 6], [5, 5, 6, 6]]
    assert resize_center_crop(image, label, crop_size=(2, 4))[1].tolist() == label.tolist()


@settings(max_examples=40, deadline=None)
@given(size=st.tuples(st.integers(1, 40), st.integers(1, 40)), crop=st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_resize_center_crop_any_size(size, crop):
    image, label = random_sample(*size)
    image_crop, label_crop = resize_center_crop(image, label, crop_size=crop)
    assert image_crop.shape == (*crop, 3) and label_crop.shape == crop
    assert image_crop.flags.c_contiguous and label_crop.flags.c_contiguous
    assert set(np.unique(label_crop)) <= set(np.unique(label))


@pytest.mark.parametrize("wrong, message", [
    (dict(crop_size=(0, 8)), r"crop_size is \(0, 8\): expected at least 1 x 1"),
    (dict(base_size=0), "base_size is 0: expected at least 1"),
    (dict(scale_range=(2.0, 0.5)), r"scale_range is \(2.0, 0.5\): expected two numbers above 0, the smaller one first"),
    (dict(color_jitter=-0.1), "color_jitter is -0.1: expected between 0 and 1"),
    (dict(max_class_ratio=0), "max_class_ratio is 0: expected above 0 and at most 1"),
])
def test_impossible_values(wrong, message):
    with pytest.raises(ConfigError, match=message):
        TrainTransform(**{**dict(crop_size=(8, 8), base_size=8, pad_color=PAD), **wrong})
