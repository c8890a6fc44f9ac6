"""The loss's bilinear enlargement: literal values, the resize operator, and its transpose."""
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from rtseg.models.interpolation import upsample_bilinear, upsample_bilinear_transposed


class Enlargements(nn.Cell):
    """(ours, the operator's) enlargement of (N, C, h, w) to `size`."""

    def __init__(self, size, align_corners):
        super().__init__()
        self.size = size
        self.align_corners = align_corners

    def construct(self, x):
        return (upsample_bilinear(x, self.size, align_corners=self.align_corners),
                ops.interpolate(x, size=self.size, mode="bilinear", align_corners=self.align_corners))


class BothWays(nn.Cell):
    """(<upsample_bilinear(x), y>, <x, upsample_bilinear_transposed(y)>): equal for a linear map and its transpose."""

    def __init__(self, align_corners):
        super().__init__()
        self.align_corners = align_corners

    def construct(self, x, y):
        there = upsample_bilinear(x, y.shape[1:3], align_corners=self.align_corners) * ops.transpose(y, (0, 3, 1, 2))
        return there.sum(), (x * upsample_bilinear_transposed(y, x.shape[2:], align_corners=self.align_corners)).sum()


@pytest.mark.parametrize("align_corners, row", [(False, [0, 1, 3, 5, 7, 8]), (True, [0, 1.6, 3.2, 4.8, 6.4, 8])])
def test_literal_row(align_corners, row):
    found, _ = Enlargements((1, 6), align_corners)(Tensor(np.array([[[[0, 4, 8]]]], np.float32)))
    np.testing.assert_allclose(found.asnumpy().ravel(), row, rtol=1e-6)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("sizes", [(3, 5, 64, 96), (9, 16, 40, 50), (1, 2, 32, 64), (4, 6, 4, 6)])
def test_equals_the_operator_and_its_own_transpose(sizes, align_corners):
    rng = np.random.default_rng(0)
    height, width, *size = sizes
    x = Tensor(rng.standard_normal((2, 3, height, width), dtype=np.float32))
    ours, operator = Enlargements(tuple(size), align_corners)(x)
    np.testing.assert_allclose(ours.asnumpy(), operator.asnumpy(), atol=1e-5)
    there, back = BothWays(align_corners)(x, Tensor(rng.standard_normal((2, *size, 3), dtype=np.float32)))
    assert float(there.asnumpy()) == pytest.approx(float(back.asnumpy()), rel=1e-4)
