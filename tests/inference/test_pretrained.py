"""The trained models that come with the package: their files belong together, and they see streets."""
import numpy as np
import pytest
from PIL import Image
from script_helpers import PROJECT

import rtseg
from rtseg.cli import predict
from rtseg.synthetic.scene import draw_scene
from rtseg.utils.files import pretrained_file, pretrained_names

CAMVID = PROJECT.parent / "shared" / "data" / "camvid"


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    path = tmp_path_factory.mktemp("street") / "street.jpg"
    Image.fromarray(draw_scene(384, 512, number=1, rng=np.random.default_rng(1))[0]).save(path)
    return path


def test_names_and_files():
    assert pretrained_names() == ["fast_scnn_camvid"]
    for suffix in (".ckpt", ".onnx", ".json", ".yaml"):
        assert 0 < pretrained_file("fast_scnn_camvid", suffix).stat().st_size < 6e6
    assert pretrained_file("street.png", ".onnx") is None
    assert pretrained_file(pretrained_file("fast_scnn_camvid", ".ckpt"), ".onnx") is None


def test_checkpoint_and_exported_model_are_the_same_network(street):
    """At the size of the exported model nothing is scaled, so that only the engines' rounding is between them."""
    image = np.asarray(Image.open(street).resize((1024, 768)))
    exported = rtseg.Segmenter("fast_scnn_camvid")
    checkpoint = rtseg.Segmenter(pretrained_file("fast_scnn_camvid", ".ckpt"),
                                 config=pretrained_file("fast_scnn_camvid", ".yaml"), device_target="CPU")
    assert exported.class_names == checkpoint.class_names
    assert (exported(image).class_map != checkpoint(image).class_map).sum() <= 8  # of 786,432


def test_predict_takes_it_where_nothing_else_is_asked_for(street, tmp_path, capsys):
    assert predict.main([str(street), f"--output_path={tmp_path}"]) == 0
    assert "fast_scnn_camvid.onnx, input 1024x768" in capsys.readouterr().out
    class_map = np.asarray(Image.open(tmp_path / "class_map" / "street_class_map.png"))
    assert class_map.shape == (384, 512) and len(np.unique(class_map)) >= 4
    assert (tmp_path / "overlay" / "street_overlay.png").is_file() and (tmp_path / "legend.png").is_file()


def test_predict_says_which_names_there_are(street):
    with pytest.raises(rtseg.ConfigError, match="icnet_camvid: expected an .onnx or .mindir file or one of fast_scnn_"):
        predict.main([str(street), "--model_path=icnet_camvid"])


@pytest.mark.skipif(not CAMVID.is_dir(), reason=f"needs CamVid in {CAMVID}")
def test_score_on_photographs(tmp_path):
    """Every tenth validation image, as large as the score of the README was measured."""
    for kind in ("val", "valannot"):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for path in sorted((CAMVID / kind).glob("*.png"))[::10]:
            (tmp_path / "data" / kind / path.name).symlink_to(path)
    dataset = rtseg.Dataset(tmp_path / "data", "camvid11")
    scores = rtseg.evaluate(rtseg.Segmenter("fast_scnn_camvid"), dataset)
    assert scores.miou > 0.5
