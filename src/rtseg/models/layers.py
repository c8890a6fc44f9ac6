"""Building blocks that the networks share. Feature maps are NCHW, float32 unless mixed_precision.py says otherwise.

The reference implementations are PyTorch: BatchNorm eps 1e-5, and their momentum 0.1 is MindSpore's 0.9.
"""
from typing import Any, Optional, Sequence, Tuple, Union

import numpy as np
from mindspore import Parameter, Tensor, dtype, nn, ops

from rtseg.models.interpolation import resize_bilinear
from rtseg.models.parameter_names import DROPOUT_STEP

BATCH_NORM_EPS = 1e-5
Padding = Union[int, Tuple[int, int, int, int]]  # the same on all sides; or top, bottom, left, right


class Conv2d(nn.Conv2d):
    """nn.Conv2d that can compute in float16 in training, from float32 weights; see mixed_precision.py.

    Inputs:
        x: (N, in_channels, H, W), float32 or float16.

    Outputs:
        float32, or float16 where both `float16_compute` and `float16_output` are set.
    """

    float16_compute = False
    float16_output = False

    def construct(self, x: Tensor) -> Tensor:
        # Not super().construct: MindSpore would compile each call as a graph of its own, which takes a third longer.
        if not (self.training and self.float16_compute):
            x = self.conv2d(x, self.weight)
            return self.bias_add(x, self.bias) if self.has_bias else x
        x = self.conv2d(x.astype(dtype.float16), self.weight.astype(dtype.float16))
        if self.has_bias:
            x = self.bias_add(x, self.bias.astype(dtype.float16))
        return x if self.float16_output else x.astype(dtype.float32)


def conv2d(in_channels: int, out_channels: int, *, kernel_size: int, stride: int = 1, padding: Padding = 0,
           dilation: int = 1, group: int = 1, has_bias: bool = False) -> Conv2d:
    """Conv2d with explicit padding (MindSpore's default is 'same'); rtseg.models.initialization sets its weights."""
    return Conv2d(in_channels, out_channels, kernel_size, stride, pad_mode="pad", padding=padding, dilation=dilation,
                  group=group, has_bias=has_bias)


class BatchNorm(nn.BatchNorm2d):
    """nn.BatchNorm2d that, in training, normalises with the running statistics where a channel has a single value.

    That happens after global pooling with one image per process. The variance of one value says nothing, PyTorch
    refuses it, and MindSpore's kernel would make the running variance NaN.

    `across_ranks` is set by rtseg.training.batch_norm where the statistics are those of all processes. The output has
    the input's type; with `float32_compute`, float16 is normalised in float32.
    """

    float32_compute = False

    def __init__(self, num_features: int, **options: Any) -> None:
        super().__init__(num_features, **options)
        self.across_ranks = False

    def set_momentum(self, momentum: float) -> None:
        """Sets the share of the running statistics that a step of training keeps; only before `synchronize`."""
        self.momentum = 1 - momentum  # as nn.BatchNorm2d has it
        self.bn_train = ops.BatchNorm(is_training=True, epsilon=self.eps, momentum=self.momentum)

    def synchronize(self) -> None:
        """Takes the statistics over all processes in training. Ascend only."""
        # The two differ in this operator alone; a cell keeps 1 - momentum.
        self.bn_train = nn.SyncBatchNorm(self.num_features, self.eps, 1 - self.momentum).bn_train
        self.across_ranks = True

    def construct(self, x: Tensor) -> Tensor:
        of_batch = self.training if self.use_batch_statistics is None else self.use_batch_statistics
        several = self.across_ranks or x.size > self.num_features
        normalize = self.bn_train if of_batch and several else self.bn_infer
        if not self.float32_compute:
            return normalize(x, self.gamma, self.beta, self.moving_mean, self.moving_variance)[0]
        y = normalize(x.astype(dtype.float32), self.gamma, self.beta, self.moving_mean, self.moving_variance)[0]
        return y.astype(x.dtype)


class ConvBN(nn.Cell):
    """Convolution and BatchNorm, then ReLU when `relu`, or ReLU6 when `relu6` too. Input (N, in_channels, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel_size: int, stride: int = 1,
                 padding: Padding = 0, dilation: int = 1, group: int = 1, has_bias: bool = False, relu: bool = True,
                 relu6: bool = False) -> None:
        super().__init__()
        self.conv = conv2d(in_channels, out_channels, kernel_size=kernel_size, stride=stride, padding=padding,
                           dilation=dilation, group=group, has_bias=has_bias)
        self.bn = BatchNorm(out_channels, eps=BATCH_NORM_EPS)
        self.relu = relu
        self.relu6 = relu6

    def construct(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        if not self.relu:
            return x
        return ops.relu6(x) if self.relu6 else ops.relu(x)


class DepthwiseSeparableConv(nn.Cell):
    """3x3 depthwise and 1x1 pointwise convolution, each with BatchNorm; (N, C, H, W) -> (N, C', ceil(H/s), ceil(W/s)).

    Args:
        depthwise_relu: whether a ReLU follows the depthwise half too (the pointwise half always has one).
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, depthwise_relu: bool = True) -> None:
        super().__init__()
        self.depthwise = ConvBN(in_channels, in_channels, kernel_size=3, stride=stride, padding=1, group=in_channels,
                                relu=depthwise_relu)
        self.pointwise = ConvBN(in_channels, out_channels, kernel_size=1)

    def construct(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


def avg_pool_2x2(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, H // 2, W // 2), bilinear with factor 0.5: half-way between four pixels is their mean."""
    return ops.AvgPool(kernel_size=2, strides=2, pad_mode="valid")(x)


@ops.constexpr
def _averaging_matrix(length: int, bins: int) -> Tensor:
    """(bins, length) float32: row i averages the i-th adaptive window, floor(i*L/b) up to ceil((i+1)*L/b)."""
    matrix = np.zeros((bins, length), np.float32)
    for i in range(bins):
        start, stop = i * length // bins, -(-(i + 1) * length // bins)
        matrix[i, start:stop] = 1.0 / (stop - start)
    return Tensor(matrix)


def adaptive_average_pool(x: Tensor, bins: int) -> Tensor:
    """(N, C, H, W) -> (N, C, bins, bins), windows as PyTorch's AdaptiveAvgPool2d: they overlap where bins don't divide.

    Written as two multiplications by constant matrices: exact at any size, and every export target has them.
    """
    if bins == 1:
        # In float16 the sum of a large feature map would pass 65504.
        return x.astype(dtype.float32).mean(axis=(2, 3), keep_dims=True).astype(x.dtype)
    rows, columns = _averaging_matrix(x.shape[2], bins), _averaging_matrix(x.shape[3], bins)
    return ops.matmul(ops.matmul(rows.astype(x.dtype), x), columns.astype(x.dtype).T)


@ops.constexpr
def _window_matrix(length: int, window: int) -> Tensor:
    """(length // window, length) float32: row i averages the i-th window; what is left at the end counts nowhere."""
    window = min(window, length)
    matrix = np.zeros((length // window, length), np.float32)
    for i in range(length // window):
        matrix[i, i * window:(i + 1) * window] = 1.0 / window
    return Tensor(matrix)


def average_pool(x: Tensor, window: int) -> Tensor:
    """(N, C, H, W) -> (N, C, H // window, W // window), means of windows side by side; a smaller map is one window."""
    rows, columns = _window_matrix(x.shape[2], window), _window_matrix(x.shape[3], window)
    return ops.matmul(ops.matmul(rows.astype(x.dtype), x), columns.astype(x.dtype).T)


class PyramidPooling(nn.Cell):
    """Pyramid pooling: (N, C, H, W) -> (N, C + 4 * branch_channels, H, W).

    The input and, for each grid of 1, 2, 3 and 6 bins, its averages through a 1x1 convolution, upsampled to the input's
    size. Source: PSPNet, arXiv 1612.01105, section 3.2.

    Args:
        input_first: whether the input's channels come before those of the branches, or after.
        windows: sizes of windows, one for each branch, instead of the bins, which the size of the input then decides.
    """

    def __init__(self, in_channels: int, branch_channels: int, *, align_corners: bool = True, input_first: bool = True,
                 windows: Optional[Sequence[int]] = None) -> None:
        super().__init__()
        self.sizes = windows or (1, 2, 3, 6)
        self.pool = average_pool if windows else adaptive_average_pool
        self.align_corners = align_corners
        self.input_first = input_first
        self.branches = nn.CellList([ConvBN(in_channels, branch_channels, kernel_size=1) for _ in self.sizes])

    def construct(self, x: Tensor) -> Tensor:
        features: Tuple[Tensor, ...] = ()
        for size, branch in zip(self.sizes, self.branches):
            pooled = branch(self.pool(x, size))
            features += (resize_bilinear(pooled, x.shape[2:], align_corners=self.align_corners),)
        return ops.concat((x,) + features if self.input_first else features + (x,), axis=1)


class ChannelDropout(nn.Cell):
    """Zeroes whole channels of (N, C, H, W) with probability `p` in training and scales the others by 1 / (1 - p).

    Why not nn.Dropout: its random state lives inside a kernel and cannot be saved, so a resumed run would differ. Here
    the masks are read from a fixed random table at a place that follows from `dropout_step`, a parameter that advances
    by one per training step and is saved with the checkpoint.

    Args:
        p: probability in [0, 1).
        seed: different seeds (one per rank) give different masks.
    """

    _TABLE_SIZE = 65521
    _STRIDE = 4099  # per step, so that neighbouring steps read different parts of the table

    def __init__(self, p: float, seed: int = 0) -> None:
        super().__init__()
        self.p = p
        self.dropout_step = Parameter(Tensor(0, dtype.int32), name=DROPOUT_STEP, requires_grad=False)
        self.table = Tensor(np.random.default_rng(seed).random(self._TABLE_SIZE, dtype=np.float32))

    def construct(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        # The modulus keeps the products inside int32; the masks repeat after 65521 steps.
        step = ops.assign_add(self.dropout_step, Tensor(1, dtype.int32)) % self._TABLE_SIZE
        count = x.shape[0] * x.shape[1]
        places = (ops.arange(count).astype(dtype.int32) + step * self._STRIDE) % self._TABLE_SIZE
        keep = (ops.gather(self.table, places, 0) >= self.p).astype(x.dtype) / (1 - self.p)
        return x * keep.reshape(x.shape[0], x.shape[1], 1, 1)


class ClassifierHead(nn.Cell):
    """3x3 ConvBN, dropout, 1x1 classifier with bias: (N, in_channels, H, W) -> (N, num_classes, H, W) logits."""

    def __init__(self, in_channels: int, hidden_channels: int, *, num_classes: int, dropout: float, seed: int) -> None:
        super().__init__()
        self.conv = ConvBN(in_channels, hidden_channels, kernel_size=3, padding=1)
        self.dropout = ChannelDropout(dropout, seed)
        self.classifier = classifier(hidden_channels, num_classes)

    def construct(self, x: Tensor) -> Tensor:
        return self.classifier(self.dropout(self.conv(x)))


def classifier(in_channels: int, num_classes: int, *, has_bias: bool = True) -> Conv2d:
    """1x1 convolution to class logits."""
    return Conv2d(in_channels, num_classes, 1, has_bias=has_bias)
