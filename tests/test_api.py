"""`import rtseg`: lazy, and its functions on a small network. tests/test_documents.py runs docs/python_api.md."""
import subprocess
import sys

import numpy as np
import pytest
from data_helpers import write_png
from PIL import Image
from script_helpers import PROJECT

import rtseg

SPEC = {"name": "garden", "image_suffix": ".png", "label_suffix": "_label.png",
        "splits": {"val": {"images": "images", "labels": "labels"}},
        "classes": [{"name": "grass", "id": 7, "color": [0, 60, 0]}, {"name": "sky", "id": 9, "color": [0, 80, 255]}]}
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
RECIPE = PROJECT / "configs" / "fast_scnn.yaml"


@pytest.fixture(scope="module")
def garden(tmp_path_factory):
    """A run's folder with a checkpoint of two classes, and its data set in data/."""
    from rtseg.config.recipe import load_config
    from rtseg.models.weights import save_weights

    root = tmp_path_factory.mktemp("garden")
    rng = np.random.default_rng(0)
    for i in range(2):
        write_png(root / "data" / "images" / f"p{i}.png", rng.integers(0, 256, (40, 70, 3), dtype=np.uint8))
        write_png(root / "data" / "labels" / f"p{i}_label.png", rng.choice([7, 9], (40, 70)).astype(np.uint8))
    network = rtseg.create_model("fast_scnn", num_classes=2)
    save_weights(root / "best_map.ckpt", network)
    config = load_config(RECIPE, {"mean": "0.5,0.5,0.5", "std": "0.25,0.25,0.25"})
    spec = rtseg.Dataset(root / "data", SPEC).spec
    (root / "config.yaml").write_text(config.replace(dataset_config=spec).dump())
    return root


def test_importing_is_lazy():
    """Without MindSpore, NumPy or OpenCV; how long it takes is measured by benchmarks/startup.py."""
    code = ("import sys, rtseg; assert rtseg.__version__; "
            "print([name for name in ('mindspore', 'numpy', 'cv2', 'pydantic') if name in sys.modules]); "
            "print(rtseg.list_models()); print('mindspore' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "['bisenetv1', 'fast_scnn', 'icnet']", "False"]


def test_names():
    assert set(rtseg.__all__) <= set(dir(rtseg))
    assert all(getattr(rtseg, name) is not None for name in rtseg.__all__)
    with pytest.raises(AttributeError, match="module 'rtseg' has no attribute 'segment'"):
        rtseg.segment  # noqa: B018
    assert rtseg.list_variants("icnet") == ["mmseg", "liminn"]


def test_a_checkpoint_takes_paths_images_and_arrays(garden, tmp_path):
    segmenter = rtseg.Segmenter(garden / "best_map.ckpt")
    path = garden / "data" / "images" / "p0.png"
    image = Image.open(path)
    results = segmenter([path, str(path), image, np.array(image), np.zeros((33, 65, 3), np.uint8)])
    assert [result.class_map.shape for result in results] == [(40, 70)] * 4 + [(33, 65)]
    for result in results[1:4]:
        np.testing.assert_array_equal(result.class_map, results[0].class_map)
    single = segmenter(path)
    assert single.class_names == ("grass", "sky") and single.class_map.dtype == np.uint8 and single.confidence is None
    np.testing.assert_array_equal(np.asarray(single.mask()),
                                  np.array([[0, 60, 0], [0, 80, 255]], np.uint8)[single.class_map])
    single.save(tmp_path / "overlay.png")
    single.save(tmp_path / "map.png", kind="class_map")
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "map.png")), single.class_map)
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "overlay.png")), np.asarray(single.overlay()))
    with pytest.raises(rtseg.ConfigError, match="kind: expected a result with confidence"):
        single.save(tmp_path / "c.png", kind="confidence")
    with pytest.raises(rtseg.ConfigError, match="kind: expected one of overlay, mask, class_map, confidence"):
        single.save(tmp_path / "c.png", kind="logits")


@pytest.mark.parametrize("image, message", [
    (np.zeros((4, 4), np.uint8), r"found uint8 \(4, 4\)"), (np.zeros((4, 4, 3)), r"found float64 \(4, 4, 3\)"),
    (3, "found int"), ("none.png", "none.png: cannot be read")])
def test_what_is_no_image(garden, image, message):
    with pytest.raises(rtseg.DataError, match=message):
        rtseg.Segmenter(garden / "best_map.ckpt")(image)


def test_evaluation_of_a_segmenter_and_of_its_network(garden):
    dataset = rtseg.Dataset(garden / "data", SPEC)
    found = rtseg.evaluate(rtseg.Segmenter(garden / "best_map.ckpt"), dataset)
    network = rtseg.create_model("fast_scnn", variant="mmseg", num_classes=2)
    rtseg.load_weights(network, garden / "best_map.ckpt")
    again = rtseg.evaluate(network, dataset, mean=MEAN, std=STD)
    assert found.images == 2 and found.matrix.matrix.sum() == 2 * 40 * 70
    np.testing.assert_array_equal(found.matrix.matrix, again.matrix.matrix)
    assert 0 <= found.miou <= found.pixel_accuracy <= 1
    with pytest.raises(rtseg.ConfigError, match="mean, std: expected those that the network was trained with"):
        rtseg.evaluate(network, dataset)
    with pytest.raises(rtseg.ConfigError, match="num_classes: expected the 2 classes of the data set, found 19"):
        rtseg.evaluate(network, dataset, mean=MEAN, std=STD, num_classes=19)
    with pytest.raises(rtseg.ConfigError, match="mode: expected full or ms_flip, found 'crop'"):
        rtseg.evaluate(network, dataset, mean=MEAN, std=STD, mode="crop")
    with pytest.raises(rtseg.ConfigError, match="mode: expected full for a Segmenter"):
        rtseg.evaluate(rtseg.Segmenter(garden / "best_map.ckpt"), dataset, mode="ms_flip")
    for size in ((0, 0), (64, -1), (64.0, 64.0), (64,), 64):
        with pytest.raises(rtseg.ConfigError, match="crop_size: expected .height, width. in pixels, each at least 1"):
            rtseg.evaluate(network, dataset, mean=MEAN, std=STD, crop_size=size)
    for workers in (-1, None):
        with pytest.raises(rtseg.ConfigError, match=f"num_workers: expected an integer >= 0, found {workers}"):
            rtseg.evaluate(network, dataset, mean=MEAN, std=STD, num_workers=workers)


class Plain:
    """A data set without specification, of one grey image with label 0."""

    def __len__(self):
        return 1

    def load(self, index):
        return np.full((32, 64, 3), 127, np.uint8), np.zeros((32, 64), np.uint8)


def test_other_classes_are_not_scored(garden):
    from mindspore import nn

    segmenter = rtseg.Segmenter(garden / "best_map.ckpt")
    with pytest.raises(rtseg.ConfigError, match="num_classes: expected the 2 classes of the Segmenter, found 3"):
        rtseg.evaluate(segmenter, Plain(), num_classes=3)
    other = {**SPEC, "classes": SPEC["classes"][::-1]}
    with pytest.raises(rtseg.ConfigError) as error:
        rtseg.evaluate(segmenter, rtseg.Dataset(garden / "data", other))
    assert str(error.value) == ("model: expected the data set's class 0, 'sky', found 'grass'; give the specification "
                                "that the model was trained with")
    with pytest.raises(rtseg.ConfigError, match="model: expected a network of 2 classes, found one of 3"):
        rtseg.evaluate(nn.ReLU(), rtseg.Dataset(garden / "data", SPEC), mean=MEAN, std=STD)
    assert rtseg.evaluate(nn.ReLU(), Plain(), mean=MEAN, std=STD, num_classes=3).images == 1


def test_opening_a_checkpoint_seeds_nothing(garden):
    """Or what a user draws after it would be the same each time."""
    import mindspore as ms

    before, drawn = ms.get_seed(), []
    try:
        ms.set_seed(7)
        for _ in range(2):
            rtseg.Segmenter(garden / "best_map.ckpt")
            drawn.append(np.random.rand())
        assert ms.get_seed() == 7 and drawn[0] != drawn[1]
    finally:
        ms.set_seed(before)


def test_wrong_files_and_names(garden, tmp_path):
    (tmp_path / "a.ckpt").write_bytes(b"")
    with pytest.raises(rtseg.ConfigError, match="a.ckpt: expected the config.yaml of its run next to it, found none"):
        rtseg.Segmenter(tmp_path / "a.ckpt")
    with pytest.raises(rtseg.DataError, match="expected an exported model at .*b.onnx, found none"):
        rtseg.Segmenter(tmp_path / "b.onnx")
    with pytest.raises(rtseg.ConfigError, match="name: expected one of bisenetv1, fast_scnn, icnet, found 'unet'"):
        rtseg.create_model("unet", num_classes=2)
    with pytest.raises(rtseg.DataError, match="does not fit this network|for the 3 classes"):
        rtseg.load_weights(rtseg.create_model("fast_scnn", num_classes=3), garden / "best_map.ckpt")
