"""The names and errors of metadata; what a metadata file has: tests/export/test_export.py."""
import pytest

from rtseg.inference.metadata import ModelMetadata, exported_path, image_size
from rtseg.utils.errors import ConfigError


@pytest.mark.parametrize("shape, layout, expected", [
    ((2, 3, 64, 96), "NCHW", (2, 64, 96)), ([2, 64, 96, 3], "NHWC", (2, 64, 96)),
    (("n", 3, "h", None), "NCHW", ("n", "h", None))])
def test_image_size_literal(shape, layout, expected):
    assert image_size(shape, layout) == expected


@pytest.mark.parametrize("name, file_format, expected", [
    ("net", "MINDIR", "net.mindir"), ("net.mindir", "MINDIR", "net.mindir"), ("a.b/net.v2", "ONNX", "a.b/net.v2.onnx"),
    ("NET.MINDIR", "MINDIR", "NET.mindir"), ("a/NET.Onnx", "ONNX", "a/NET.onnx"), ("net.onnx", "AIR", "net.onnx.air")])
def test_names_of_exported_models(name, file_format, expected):
    assert str(exported_path(name, file_format)) == expected


@pytest.mark.parametrize("name", ["", "folder/", ".onnx", "folder/.onnx"])
def test_an_exported_model_has_a_name(name):
    with pytest.raises(ConfigError, match="expected the name of a file"):
        exported_path(name, "ONNX")


METADATA = ModelMetadata.describe(
    model="net", variant="", input_type="float32", output_type="head_logits", size=(1, 64, 96), mean=(0.5,) * 3,
    std=(0.25,) * 3, dataset="garden", classes=("grass", "sky"), palette=((0, 60, 0), (40, 40, 200)), stride=8,
    align_corners=False)


@pytest.mark.parametrize("changes, expected", [
    ({"size": (1, 36, 68)}, "expected height and width that are multiples of the stride 8, found 36 and 68"),
    ({"size": (1, 64, 20000)}, "input.shape.3: Input should be less than or equal to 16384, found 20000"),
    ({"classes": ("grass",)}, "the palette has 2 colours for 1 classes"),
    ({"mean": (0.5, 2.0, 0.5), "stride": 0},
     "normalization.mean.1: Input should be less than or equal to 1, found 2.0; "
     "output.stride: Input should be greater than or equal to 1, found 0"),
])
def test_what_does_not_go_together_is_said_in_one_line(changes, expected):
    with pytest.raises(ConfigError) as error:
        METADATA.changed(**changes)
    assert str(error.value) == expected
