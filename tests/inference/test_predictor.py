"""Predictors with a fake for the runtime: sizes, batches, head logits, windows, scales, confidence, bad models."""
import numpy as np
import pytest

from rtseg.inference import predictor as predictor_module
from rtseg.inference.backends import Backend, ExportedBackend
from rtseg.inference.metadata import ModelMetadata
from rtseg.inference.predictor import Predictor, Window, _windows, network_predictor
from rtseg.utils.errors import ConfigError, DataError

PALETTE = ((0, 60, 0), (255, 80, 0), (40, 40, 200))


def metadata(**changes):
    return ModelMetadata.describe(**{**dict(
        model="fast_scnn", variant="mmseg", input_type="uint8", output_type="class_map", size=(1, 32, 64),
        mean=(0.5,) * 3, std=(0.25,) * 3, dataset="garden", classes=("grass", "ball", "sky"), palette=PALETTE),
        **changes})


def exported(runner, *, options=None, **changes):
    return Predictor(ExportedBackend("m", metadata(**changes), runner=runner), **(options or {}))


class Bright(Backend):
    """Logits of class 1: how much brighter than 127 the red channel is; of class 0: 0. At any size."""

    mean = (0.5,) * 3
    output_type = "logits"

    def __init__(self):
        self.shapes = []

    def run(self, images):
        self.shapes.append(images.shape[:3])
        red = images[:, None, :, :, 0].astype(np.float32) - 127.5
        return np.concatenate([np.zeros_like(red), red / 10], axis=1)


@pytest.mark.parametrize("resize", ["letterbox", "squeeze"])
def test_other_sizes_are_scaled_there_and_back(resize):
    """The fake sees a ball where it is bright; the padding is grey."""
    predictor = exported(lambda x: (x[..., 0] > 130).astype(np.uint8), options={"resize": resize})
    image = np.zeros((64, 192, 3), np.uint8)
    image[:32, :96] = 255
    (classes,) = predictor([image])
    assert classes.shape == (64, 192) and classes.dtype == np.uint8
    assert (classes[:29, :94] == 1).all() and abs(int(classes.sum()) - 32 * 96) < 400


def test_logits_of_a_batch():
    seen = []

    def run_model(x):
        seen.append(x[:, 0, 0, 0].tolist())
        return np.concatenate([x[:, :1], -x[:, :1], -x[:, :1]], axis=1)
    predictor = exported(run_model, input_type="float32", output_type="logits", size=(2, 32, 64))
    maps = predictor([np.full((32, 64, 3), value, np.uint8) for value in (0, 255)])
    assert [np.unique(classes).tolist() for classes in maps] == [[1], [0]]  # the first of equal classes
    assert [len(predictor([np.zeros((5, 9, 3), np.uint8)])), seen] == [1, [[0, 0], [-2, 2], [-2, -2]]]


def test_head_logits_are_upsampled_as_the_metadata_says():
    head = np.zeros((1, 3, 4, 8), np.float32)
    head[0, 2, :, 4:] = 1
    head[0, 0, :, :4] = 1
    predictor = exported(lambda x: head, output_type="head_logits", stride=8, align_corners=False)
    (classes,) = predictor([np.zeros((32, 64, 3), np.uint8)])
    assert (classes == np.repeat([0, 2], 32)).all()


def test_a_model_of_any_size_and_batch():
    shapes = []

    def run_model(x):
        shapes.append(x.shape)
        return (x[..., 0] > 127).astype(np.uint8)
    predictor = exported(run_model, dynamic=("batch", "height", "width"))
    maps = predictor([np.zeros(size + (3,), np.uint8) for size in ((32, 96), (32, 96), (40, 32))])
    assert [classes.shape for classes in maps] == [(32, 96), (32, 96), (40, 32)]
    assert shapes[1:] == [(2, 32, 96, 3), (1, 64, 32, 3)]


@pytest.mark.parametrize("result, message", [
    (np.zeros((1, 32, 32), np.uint8), r"expected results uint8 \[1, 32, 64\].*found uint8 \[1, 32, 32\]"),
    (np.zeros((1, 32, 64), np.int32), r"expected results uint8 .*found int32"),
    (RuntimeError("shapes differ\nmore"),
     r"m: expected a model that takes uint8 \[1, 32, 64, 3\].*\(shapes differ\)"),
])
def test_a_model_that_is_not_what_its_metadata_says(result, message):
    def run_model(_x):
        if isinstance(result, Exception):
            raise result
        return result
    with pytest.raises(DataError, match=message):
        exported(run_model)


@pytest.mark.parametrize("checkpoint_sha256, advice", [
    ("ab12", r"export it again"), ("", r"are --dataset_config and --output_type right\?")])
def test_what_to_do_about_results_that_were_not_expected(checkpoint_sha256, advice):
    """A model of others, which comes from no checkpoint of ours, is described by flags, and they can be wrong."""
    with pytest.raises(DataError, match=rf"found uint8 \[1, 32, 32\]; {advice}$"):
        exported(lambda x: np.zeros((1, 32, 32), np.uint8), checkpoint_sha256=checkpoint_sha256)


@pytest.mark.parametrize("output", ["logits", "head_logits"])
def test_logits_that_are_not_finite(output):
    shape = (1, 3, 32, 64) if output == "logits" else (1, 3, 4, 8)
    results = iter([np.zeros(shape, np.float32), np.full(shape, np.nan, np.float32)])
    predictor = exported(lambda _: next(results), output_type=output, stride=8, align_corners=True)
    with pytest.raises(DataError, match="expected finite logits, found NaN or infinity"):
        predictor([np.zeros((32, 64, 3), np.uint8)])


def test_confidence_literal():
    """Class 1 has the logit (value - 127.5) / 10: 254.5 would be 12.7, whose softmax is nearly 1; 128 is 0.05."""
    image = np.full((32, 32, 3), 128, np.uint8)
    image[:, :16] = 255
    (prediction,) = Predictor(Bright(), confidence=True).predict([image])
    assert (prediction.classes == 1).all() and prediction.confidence.dtype == np.uint8
    assert prediction.confidence[0, 0] == 255 and prediction.confidence[0, 31] == 131  # 255 / (1 + e^-0.05)
    (plain,) = Predictor(Bright()).predict([image])
    assert plain.confidence is None


def test_scales_and_flips():
    backend = Bright()
    image = np.zeros((64, 96, 3), np.uint8)
    image[:, :40] = 255
    (classes,) = Predictor(backend, scales=(0.5, 1.0, 1.5), flip=True)([image])
    assert backend.shapes == [(1, 32, 64)] * 2 + [(1, 64, 96)] * 2 + [(1, 96, 128)] * 2
    assert (classes == (np.arange(96) < 40)).mean() > 0.95 and (classes[:, :36] == 1).all()


def test_windows_cover_the_image():
    def spans(size, window, overlap):
        return [(rows.start, rows.stop, columns.start, columns.stop)
                for rows, columns in _windows(size, Window(window, overlap))]
    assert spans((10, 10), (10, 10), (2, 2)) == [(0, 10, 0, 10)]
    assert spans((4, 20), (8, 8), (2, 2)) == [(0, 4, 0, 8), (0, 4, 6, 14), (0, 4, 12, 20)]
    assert spans((4, 21), (8, 8), (0, 0)) == [(0, 4, 0, 8), (0, 4, 8, 16), (0, 4, 13, 21)]


def test_sliding_window_gives_the_same_classes_as_the_whole():
    """The fake sees each pixel for itself, so where windows begin and end makes no difference."""
    backend = Bright()
    image = np.random.default_rng(0).integers(0, 256, (70, 100, 3), dtype=np.uint8)
    whole, = Predictor(Bright())([image])
    classes, = Predictor(backend, window=Window((32, 64), (16, 16)))([image])
    np.testing.assert_array_equal(classes, whole)
    assert set(backend.shapes) == {(1, 32, 64)}


@pytest.mark.parametrize("options", [{"flip": True}, {"confidence": True}, {"window": Window((32, 32), (0, 0))}])
def test_class_maps_are_not_enough_for_averages(options):
    with pytest.raises(ConfigError, match="need a model with --output_type logits or head_logits"):
        exported(lambda x: np.zeros((1, 32, 64), np.uint8), options=options)


@pytest.mark.parametrize("options, expected", [
    ({}, False), ({"resize": "squeeze", "confidence": False}, False), ({"scales": (1,), "flip": False}, False),
    ({"scales": [1.0], "window": None}, False), ({"mode": "ms_flip"}, True), ({"confidence": True}, True),
    ({"flip": True}, True), ({"scales": (0.5,)}, True), ({"window": Window((32, 32), (0, 0))}, True)])
def test_a_network_gives_logits_where_classes_are_not_enough(monkeypatch, options, expected):
    """Elsewhere an Ascend finds the classes itself, before it copies anything."""
    asked = []

    def network_backend(network, *, needs_logits, **_):
        asked.append(needs_logits)
        return Bright()
    monkeypatch.setattr(predictor_module, "NetworkBackend", network_backend)
    predictor = network_predictor(None, mean=(0.5,) * 3, std=(0.25,) * 3, **options)
    assert asked == [expected] == [predictor.needs_probabilities]


@pytest.mark.parametrize("options, message", [
    ({"resize": "stretch"}, "resize: expected one of letterbox, squeeze, found 'stretch'"),
    ({"scales": ()}, r"scales: expected a list of numbers >= 0.01, found \(\)"),
    ({"scales": (1.0, -0.5)}, r"scales: expected a list of numbers >= 0.01, found \(1.0, -0.5\)"),
    ({"window": (32, 64)}, r"window: expected Window\(size=\(height, width\), overlap=\(height, width\)\) .*"
     r"found \(32, 64\)"),
    ({"window": 512}, "window: expected Window.*found 512"),
    ({"window": Window((32, 64), 16)}, "window: expected Window.*found Window.*overlap=16"),
    ({"window": Window((32, 64), (16, 16.5))}, "window: expected Window.*found Window"),
    ({"window": Window((32, 32), (32, 32))}, "overlap that is less than the size.*found Window"),
    ({"window": Window((32, 32), (-1, 0))}, "overlap that is less than the size.*found Window"),
    ({"window": Window((0, 32), (0, 0))}, "overlap that is less than the size.*found Window"),
])
def test_options_that_mean_nothing(options, message):
    with pytest.raises(ConfigError, match=message):
        Predictor(Bright(), **options)


def test_a_model_of_one_size_has_no_scales():
    with pytest.raises(ConfigError, match="scales: expected .* any size, found one for 64x32 pixels"):
        exported(lambda x: np.zeros((1, 3, 32, 64), np.float32), options={"scales": (0.5, 1.0)}, output_type="logits")
