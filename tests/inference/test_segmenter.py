"""What a Segmenter says of a file that it cannot run; what it sees in images: tests/test_api.py, test_pretrained.py."""
import pytest

from rtseg.inference.segmenter import Segmenter
from rtseg.utils.errors import ConfigError, DataError


@pytest.mark.parametrize("name", ["typo.ckpt", "fast_scnn_camvd", "none.png"])
def test_a_file_that_is_not_there(tmp_path, monkeypatch, name):
    """Where it is not the configuration that is missing."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as error:
        Segmenter(name)
    assert str(error.value) == ("expected a checkpoint (.ckpt), an exported model (.onnx or .mindir) or one of "
                                f"fast_scnn_camvid, found no file {name}")


@pytest.mark.parametrize("name", ["big.om", "small.MS", "old.air"])
def test_models_of_the_inference_program(name):
    with pytest.raises(ConfigError) as error:
        Segmenter(name)
    assert str(error.value) == (
        f"{name}: expected a .ckpt, .onnx or .mindir file; .om and .ms files run in the C++ program, see "
        "scripts/run_infer_310.sh, and scripts/convert_om.sh makes an .om of an .air")


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(ConfigError, match="a.png: expected a .ckpt, .onnx or .mindir file, or one of fast_scnn_camvid"):
        Segmenter(tmp_path / "a.png")
