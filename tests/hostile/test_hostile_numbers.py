"""Properties that hold for all values: label tables, learning rates, samplers, augmentation, the confusion matrix."""
import math
from types import SimpleNamespace

import numpy as np
import pytest
from data_helpers import ID_TO_TRAIN_ID, NUM_CLASSES, PALETTE, TRAIN_ID_TO_ID
from hostile_helpers import count, examples
from hypothesis import assume, given
from hypothesis import strategies as st

from rtseg.data.dataset_spec import IGNORE_LABEL, UNKNOWN_ID
from rtseg.data.sampler import DistributedSampler
from rtseg.data.transforms import TrainTransform, resize_center_crop
from rtseg.metrics.confusion_matrix import ConfusionMatrix, iou_per_class, mean_iou, pixel_accuracy
from rtseg.training.lr_schedules import learning_rates
from rtseg.utils.errors import ConfigError, DataError
from rtseg.visualization.masks import colorize


@examples(100)
@given(ids=st.lists(st.integers(0, 255), min_size=1, max_size=300))
def test_label_tables(ids):
    count("labels: ids to train ids and back")
    ids = np.array(ids, np.uint8)
    train_ids = ID_TO_TRAIN_ID[ids]
    scored = train_ids < NUM_CLASSES
    assert np.isin(train_ids[~scored], [IGNORE_LABEL, UNKNOWN_ID]).all()
    assert (TRAIN_ID_TO_ID[train_ids[scored]] == ids[scored]).all()
    assert ((ids > 33) & (ids < 255) == (train_ids == UNKNOWN_ID)).all()
    assert colorize(train_ids[None], palette=PALETTE).shape == (1, len(ids), 3)


@examples(250)
@given(scheduler=st.sampled_from(["poly", "cosine", "step", "constant"]), epochs=st.integers(1, 40),
       steps=st.integers(1, 30), lr=st.floats(1e-12, 1e9), end=st.floats(0, 1), power=st.floats(1e-9, 1e9),
       gamma=st.floats(1e-9, 1), milestones=st.lists(st.floats(0, 1e9), min_size=1, max_size=4),
       warmup=st.floats(0, 1), factor=st.floats(0, 1), shape=st.sampled_from(["linear", "exponential"]))
def test_learning_rates(scheduler, epochs, steps, lr, end, power, gamma, milestones, warmup, factor, shape):
    count("learning-rate schedules")
    schedule = SimpleNamespace(epochs=epochs, lr_scheduler=scheduler, lr_power=power, lr_end=end * lr,
                               lr_milestones=milestones, lr_gamma=gamma, warmup_epochs=warmup * epochs,
                               warmup_factor=factor, warmup=shape)
    lr_per_step = learning_rates(SimpleNamespace(learning_rate=lr, schedule=schedule), steps)
    warm = round(warmup * epochs * steps)
    assert len(lr_per_step) == epochs * steps
    assert all(math.isfinite(rate) and 0 <= rate <= lr * (1 + 1e-9) for rate in lr_per_step)
    if warm == 0 and scheduler in ("poly", "cosine", "constant"):
        assert lr_per_step[0] == pytest.approx(lr)
    if warm and scheduler != "step":
        assert lr_per_step[0] == pytest.approx(factor * lr)
    falling = lr_per_step[warm:]
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in zip(falling, falling[1:]))
    if scheduler in ("poly", "cosine"):
        assert min(falling, default=lr) >= end * lr * (1 - 1e-9)


def test_too_many_steps():
    count("learning-rate schedules")
    with pytest.raises(ConfigError, match="--epochs 2147483647: expected at most 10000000 steps"):
        learning_rates(SimpleNamespace(learning_rate=1.0, schedule=SimpleNamespace(epochs=2 ** 31 - 1)), 3)


@examples(250)
@given(samples=st.integers(1, 300), group=st.integers(1, 40), epoch=st.integers(0, 2 ** 40), seed=st.integers(0,
                                                                                                              2 ** 40),
       shuffle=st.booleans(), pad=st.booleans(), drop_last=st.booleans())
def test_samplers(samples, group, epoch, seed, shuffle, pad, drop_last):
    count("samplers")
    ranks = [DistributedSampler(samples, rank=rank, group_size=group, shuffle=shuffle, seed=seed, pad=pad,
                                drop_last=drop_last) for rank in range(group)]
    shares = [sampler.indices(epoch) for sampler in ranks]
    assert [len(share) for share in shares] == [len(sampler) for sampler in ranks]
    together = np.concatenate(shares)
    assert together.size == 0 or 0 <= together.min() and together.max() < samples
    counts = np.bincount(together, minlength=samples)
    if drop_last:  # disjoint and equal
        assert counts.max() <= 1 and {len(share) for share in shares} == {samples // group}
    elif pad:  # complete and equal; what comes more often does so once more at most
        assert counts.min() >= 1 and counts.max() - counts.min() <= 1
        assert {len(share) for share in shares} == {math.ceil(samples / group)}
    else:  # disjoint and complete
        assert (counts == 1).all() and max(map(len, shares)) - min(map(len, shares)) <= 1
    if shuffle and samples > 60 and not drop_last:
        assert not np.array_equal(np.concatenate(shares), np.concatenate([s.indices(epoch + 1) for s in ranks]))


DTYPES = [np.uint8, np.int8, np.uint16, np.int16, np.int32, np.uint32, np.int64, np.uint64]


@examples(250)
@given(data=st.data())
def test_confusion_matrix_against_a_naive_count(data):
    count("confusion matrix against a naive count")
    classes = data.draw(st.sampled_from([1, 2, 19, 20, 254]))
    ignore = data.draw(st.sampled_from([classes, 255]))
    size = data.draw(st.integers(0, 40))
    rng = np.random.default_rng(data.draw(st.integers(0, 10 ** 6)))
    labels = rng.choice([*range(classes), ignore], size)
    wrong = data.draw(st.booleans()) and size > 0
    if wrong:
        labels[rng.integers(size)] = rng.choice([value for value in range(-3, 260)
                                                 if not 0 <= value < classes and value != ignore] or [-1])
    label_type, prediction_type = data.draw(st.sampled_from(DTYPES[2:])), data.draw(st.sampled_from(DTYPES))
    predictions = rng.integers(np.iinfo(prediction_type).min, np.iinfo(prediction_type).max, size,
                               dtype=prediction_type, endpoint=True)
    likely = rng.random(size) < 0.7
    predictions[likely] = rng.integers(0, min(classes, 127), size)[likely].astype(prediction_type)
    matrix = ConfusionMatrix(classes, ignore)
    if np.issubdtype(label_type, np.unsignedinteger):
        assume((labels >= 0).all())
    labels = labels.astype(label_type)
    if wrong:
        with pytest.raises(DataError):
            matrix.update(predictions, labels)
        assert not matrix.matrix.any()
        return
    matrix.update(predictions, labels)
    expected = np.zeros((classes, classes + 1), np.int64)
    for label, prediction in zip(labels.tolist(), predictions.tolist()):
        if label != ignore:
            expected[label, prediction if 0 <= prediction < classes else classes] += 1
    assert (matrix.matrix == expected).all() and matrix.matrix.dtype == np.int64
    scores = iou_per_class(matrix.matrix)
    assert ((np.isnan(scores)) | ((scores >= 0) & (scores <= 1))).all()
    for score in (mean_iou(matrix.matrix), pixel_accuracy(matrix.matrix)):
        assert math.isnan(score) == (not expected.any())
    matrix.summary([f"class {i}" for i in range(classes)])


@examples(60)
@given(data=st.data())
def test_confusion_matrix_refuses_what_is_no_label(data):
    count("confusion matrix against a naive count")
    shape = data.draw(st.sampled_from([(), (0,), (3,), (2, 3)]))
    other = data.draw(st.sampled_from([np.zeros(shape, np.float32), np.zeros(shape, bool), np.zeros(shape, complex),
                                       np.zeros(shape, object), np.zeros((*shape, 1), np.uint8), np.zeros(shape,
                                                                                                          "U3")]))
    pair = [other, np.zeros(shape, np.uint8)]
    with pytest.raises(DataError):
        ConfusionMatrix(19).update(*(pair if data.draw(st.booleans()) else pair[::-1]))


@examples(120)
@given(height=st.integers(1, 90), width=st.integers(1, 90), crop=st.tuples(st.integers(1, 96), st.integers(1, 96)),
       base=st.sampled_from([32, 64, 512, 16384]), scale=st.sampled_from([(0.01, 0.01), (0.5, 2), (0.01, 100.0), (100,
           1e9)]),
       ratio=st.sampled_from([1e-9, 0.5, 1.0]), jitter=st.floats(0, 1), seed=st.integers(0, 10 ** 6))
def test_augmentation(height, width, crop, base, scale, ratio, jitter, seed):
    count("augmentation: sizes and settings")
    transform = TrainTransform(crop, base, (1, 2, 3), scale, color_jitter=jitter, max_class_ratio=ratio)
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    label = rng.choice(np.array([0, 7, 18, 255], np.uint8), (height, width))
    found_image, found_label = transform(image, label, rng)
    assert found_image.shape == (*crop, 3) and found_image.dtype == np.uint8
    assert found_label.shape == crop and set(np.unique(found_label)) <= {0, 7, 18, 255}
    for array, channels in zip(resize_center_crop(image, label, crop_size=crop), ((3,), ())):
        assert array.shape == (*crop, *channels) and array.dtype == np.uint8
