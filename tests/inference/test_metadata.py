"""The names and errors of metadata; what a metadata file has: tests/export/test_export.py."""
import pytest

from rtseg.inference.metadata import exported_path, image_size


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
