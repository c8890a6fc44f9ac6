"""The names and errors of metadata; what a metadata file has: tests/export/test_export.py."""
import pytest

from rtseg.inference.metadata import image_size


@pytest.mark.parametrize("shape, layout, expected", [
    ((2, 3, 64, 96), "NCHW", (2, 64, 96)), ([2, 64, 96, 3], "NHWC", (2, 64, 96)),
    (("n", 3, "h", None), "NCHW", ("n", "h", None))])
def test_image_size_literal(shape, layout, expected):
    assert image_size(shape, layout) == expected
