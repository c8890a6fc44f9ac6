"""What a Segmenter says of a file that it cannot run, and what it takes as an image; what it sees in images:
tests/test_api.py, test_pretrained.py."""
import io

import numpy as np
import pytest
from PIL import Image

from rtseg.inference.segmenter import Segmenter, _array_of
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


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


def test_16_bit_grey_images_are_those_of_their_files(tmp_path):
    values = noise(6, 10, dtype=np.uint16)
    image = Image.fromarray(values)
    image.save(tmp_path / "a.png")
    assert image.mode == "I;16"
    found = _array_of(image)
    assert found.dtype == np.uint8 and (found == (values >> 8)[..., None]).all()
    np.testing.assert_array_equal(_array_of(tmp_path / "a.png"), found)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_cameras_note_turns_pil_images_as_it_does_files(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise(6, 10, 3)).save(tmp_path / "a.png", exif=exif)
    found = _array_of(Image.open(tmp_path / "a.png"))
    assert found.shape == ((6, 10, 3) if orientation < 5 else (10, 6, 3))
    np.testing.assert_array_equal(found, _array_of(tmp_path / "a.png"))


def test_a_damaged_note_turns_nothing(tmp_path):
    Image.fromarray(noise(6, 10, 3)).save(tmp_path / "a.png", exif=b"Exif\0\0II*\0\xff")
    assert _array_of(Image.open(tmp_path / "a.png")).shape == (6, 10, 3)


def test_pil_images_that_are_none():
    file = io.BytesIO()
    Image.fromarray(noise(64, 64, 3)).save(file, "PNG")
    with pytest.raises(DataError, match="expected a PIL image that can be read, found one that cannot"):
        _array_of(Image.open(io.BytesIO(file.getvalue()[:3000])))
    with pytest.raises(DataError, match=r"expected a PIL image with pixels, found one of 0x5 \(width x height\)"):
        _array_of(Image.new("RGB", (0, 5)))


def test_an_array_may_be_used_again():
    buffer = noise(6, 10, 3)
    found, before = _array_of(buffer), buffer.copy()
    buffer[:] = 0
    np.testing.assert_array_equal(found, before)
    assert _array_of(before[:, ::-1]).flags.c_contiguous
