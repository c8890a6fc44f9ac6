"""ResNet: its pooling against NumPy, and where it strides and dilates."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from rtseg.models.interpolation import resize_nearest
from rtseg.models.layers import ConvBN, avg_pool_2x2
from rtseg.models.resnet import MaxPool, ResNet


def pooled_by_loops(x, ceil_mode):
    height, width = (size // 2 + 1 if ceil_mode else (size + 1) // 2 for size in x.shape[2:])
    out = np.empty((*x.shape[:2], height, width), np.float32)
    for i in range(height):
        for j in range(width):
            out[:, :, i, j] = x[:, :, max(0, 2 * i - 1):2 * i + 2, max(0, 2 * j - 1):2 * j + 2].max((2, 3))
    return out


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("size", [(4, 6), (8, 2)])
def test_max_pool(size, training, ceil_mode):
    x = np.random.default_rng(0).random((2, 3, *size)).astype(np.float32)
    found = MaxPool(ceil_mode).set_train(training)(Tensor(x)).asnumpy()
    assert (found == pooled_by_loops(x, ceil_mode)).all()


def test_halve_and_nearest_literal():
    x = Tensor(np.arange(15, dtype=np.float32).reshape(1, 1, 3, 5))
    assert avg_pool_2x2(x).asnumpy().tolist() == [[[[3.0, 5.0]]]]
    assert resize_nearest(x[:, :, :2, :2], (4, 4)).asnumpy()[0, 0].tolist() == [
        [0, 0, 1, 1], [0, 0, 1, 1], [5, 5, 6, 6], [5, 5, 6, 6]]


def test_batch_norm_of_a_single_value_uses_and_keeps_the_running_statistics():
    block = ConvBN(2, 2, kernel_size=1, relu=False).set_train(True)
    block.bn.moving_mean.set_data(Tensor([1.0, 2.0], ms.float32))
    block.bn.moving_variance.set_data(Tensor([4.0, 4.0], ms.float32))
    block.conv.weight.set_data(Tensor(np.eye(2, dtype=np.float32).reshape(2, 2, 1, 1)))
    out = block(Tensor([[[[5.0]], [[0.0]]]], ms.float32)).asnumpy()
    np.testing.assert_allclose(out.ravel(), [2.0, -1.0], atol=1e-5)
    assert block.bn.moving_mean.asnumpy().tolist() == [1, 2] and block.bn.moving_variance.asnumpy().tolist() == [4, 4]


def convolutions(layer):
    """(stride, dilation) of each 3x3 convolution."""
    return [(cell.stride[0], cell.dilation[0]) for _, cell in layer.cells_and_names()
            if isinstance(cell, nn.Conv2d) and cell.kernel_size == (3, 3)]


def test_strides_and_dilations():
    plain = ResNet("resnet50")
    assert convolutions(plain.layer2) == [(2, 1), (1, 1), (1, 1), (1, 1)]
    dilated = ResNet("resnet50", (32, 32, 64), strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
    assert convolutions(dilated.layer3) == [(1, 1)] + [(1, 2)] * 5
    assert convolutions(dilated.layer4) == [(1, 2), (1, 4), (1, 4)]
    assert convolutions(ResNet("resnet18", (32, 32, 64), strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)).layer4) == [
        (1, 2), (1, 1), (1, 4), (1, 1)]


def test_feature_shapes():
    features = ResNet("resnet18").set_train(False)(Tensor(np.zeros((1, 3, 64, 96), np.float32)))
    assert [feature.shape for feature in features] == [(1, 128, 8, 12), (1, 256, 4, 6), (1, 512, 2, 3)]
