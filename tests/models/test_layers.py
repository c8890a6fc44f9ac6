"""Building blocks against literal values and NumPy, at sizes that don't divide."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from rtseg.models.interpolation import resize_bilinear
from rtseg.models.layers import BatchNorm, ChannelDropout, ConvBN, PyramidPooling, adaptive_average_pool, average_pool


def pooled_by_loops(x, bins):
    height, width = x.shape[2:]
    out = np.empty((*x.shape[:2], bins, bins))
    for i in range(bins):
        for j in range(bins):
            rows = slice(i * height // bins, -(-(i + 1) * height // bins))
            columns = slice(j * width // bins, -(-(j + 1) * width // bins))
            out[:, :, i, j] = x[:, :, rows, columns].mean((2, 3))
    return out


@pytest.mark.parametrize("bins", [1, 2, 3, 6])
@pytest.mark.parametrize("size", [(2, 4), (7, 5), (32, 64)])
def test_adaptive_average_pool(size, bins):
    x = np.random.default_rng(0).standard_normal((2, 3, *size)).astype(np.float32)
    np.testing.assert_allclose(adaptive_average_pool(Tensor(x), bins).asnumpy(), pooled_by_loops(x, bins), atol=1e-5)


def test_average_pool_literal():
    x = Tensor(np.arange(20, dtype=np.float32).reshape(1, 1, 4, 5))
    # Two windows of 2 across, the fifth column is left over.
    assert average_pool(x, 2).asnumpy().tolist() == [[[[3.0, 5.0], [13.0, 15.0]]]]
    # Larger than the map: one window of all of it, in each direction.
    np.testing.assert_allclose(average_pool(x, 24).asnumpy(), [[[[9.5]]]], rtol=1e-6)
    np.testing.assert_allclose(average_pool(x, 5).asnumpy(), [[[[9.5]]]], rtol=1e-6)


@pytest.mark.parametrize("window, bins", [(24, 1), (12, 2), (8, 3), (4, 6)])
def test_windows_of_the_model_zoo_are_the_usual_grids_at_its_crop(window, bins):
    x = Tensor(np.random.default_rng(0).standard_normal((1, 2, 24, 24)).astype(np.float32))
    np.testing.assert_allclose(average_pool(x, window).asnumpy(), adaptive_average_pool(x, bins).asnumpy(), atol=1e-6)


def test_conv_bn_ends_in_relu_relu6_or_neither():
    x = Tensor(np.array([-1.0, 5.0, 7.0], np.float32).reshape(1, 1, 1, 3))
    for arguments, expected in (({}, [0, 5, 7]), ({"relu6": True}, [0, 5, 6]), ({"relu": False}, [-1, 5, 7])):
        block = ConvBN(1, 1, kernel_size=1, **arguments).set_train(False)
        block.conv.weight.set_data(Tensor(np.ones((1, 1, 1, 1), np.float32)))
        np.testing.assert_allclose(block(x).asnumpy().ravel(), expected, rtol=1e-4)


def test_momentum_of_a_batch_norm_that_is_built():
    layer = BatchNorm(1).set_train(True)
    layer.set_momentum(0.75)
    layer(Tensor(np.array([0, 8], np.float32).reshape(2, 1, 1, 1)))
    assert layer.moving_mean.asnumpy().tolist() == [1]  # 0.75 * 0 + 0.25 * 4


@pytest.mark.parametrize("training, of_batch, expected, mean", [
    (True, False, [0, 8], 0), (False, True, [-1, 1], 2), (True, None, [-1, 1], 2), (False, None, [0, 8], 0)])
def test_statistics_can_be_chosen_as_in_mindspores_own_batch_norm(training, of_batch, expected, mean):
    layer = BatchNorm(1, momentum=0.5, use_batch_statistics=of_batch).set_train(training)
    y = layer(Tensor(np.array([0, 8], np.float32).reshape(2, 1, 1, 1)))
    np.testing.assert_allclose(y.asnumpy().ravel(), expected, atol=1e-4)
    assert layer.moving_mean.asnumpy().tolist() == [mean]


def test_resize_bilinear_literal():
    x = Tensor(np.array([[[[0.0, 1.0, 2.0]]]], np.float32))
    assert resize_bilinear(x, (1, 5), align_corners=True).asnumpy().ravel().tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    np.testing.assert_allclose(resize_bilinear(x, (1, 6), align_corners=False).asnumpy().ravel(),
                               [0.0, 0.25, 0.75, 1.25, 1.75, 2.0], atol=1e-6)
    assert resize_bilinear(x, (1, 3), align_corners=True) is x


@pytest.mark.parametrize("windows", [None, (24, 12, 8, 4)])
def test_pyramid_pooling_shape_at_odd_sizes(windows):
    assert PyramidPooling(4, 2, windows=windows)(Tensor(np.ones((1, 4, 5, 7), np.float32))).shape == (1, 12, 5, 7)


def test_dropout_drops_whole_channels_and_keeps_the_mean():
    dropout, x = ChannelDropout(0.25, seed=1), Tensor(np.ones((8, 500, 2, 3), np.float32))
    assert (dropout.set_train(False)(x).asnumpy() == 1).all()
    out = dropout.set_train(True)(x).asnumpy()
    assert (out == out[:, :, :1, :1]).all()
    assert set(np.unique(out)) == {np.float32(0), np.float32(1 / 0.75)}
    assert (out == 0).mean() == pytest.approx(0.25, abs=0.02)


def test_dropout_repeats_from_its_counter_and_differs_by_step_and_seed():
    x = Tensor(np.ones((2, 200, 1, 1), np.float32))
    dropout = ChannelDropout(0.5, seed=1).set_train(True)
    masks = [dropout(x).asnumpy() for _ in range(3)]
    assert (masks[0] != masks[1]).any() and (masks[1] != masks[2]).any()
    again = ChannelDropout(0.5, seed=1).set_train(True)
    again.dropout_step.set_data(Tensor(2, ms.int32))
    assert (again(x).asnumpy() == masks[2]).all()
    assert (ChannelDropout(0.5, seed=2).set_train(True)(x).asnumpy() != masks[0]).any()
