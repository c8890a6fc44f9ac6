"""ResNet (He et al., arXiv 1512.03385) without its classifier, in the forms that are backbones of ICNet and BiSeNetV1.

The stride of a bottleneck is on its 3x3 convolution, as in torchvision and in every reference here. "v1b" is
torchvision's, with a stem of one 7x7 convolution. Deep stems, three 3x3 convolutions in its place, come from arXiv
1812.01187: "v1c" has 32, 32, 64 and "v1s" 64, 64, 128 channels.
"""
from typing import Sequence, Tuple, Type, Union

from mindspore import Tensor, nn, ops

from rtseg.models.layers import ConvBN

DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}
# Channels of the features by layer: layer1 to layer4.
CHANNELS = {"resnet18": (64, 128, 256, 512), "resnet50": (256, 512, 1024, 2048)}
PLAIN_STEM = (64,)


class BasicBlock(nn.Cell):
    """Two 3x3 convolutions and a shortcut: (N, C, H, W) -> (N, channels, H/stride, W/stride)."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = ConvBN(in_channels, channels, kernel_size=3, stride=stride, padding=dilation, dilation=dilation)
        self.conv2 = ConvBN(channels, channels, kernel_size=3, padding=1, relu=False)
        self.downsample = shortcut(in_channels, channels, stride=stride)

    def construct(self, x: Tensor) -> Tensor:
        return ops.relu(self.conv2(self.conv1(x)) + self.downsample(x))


class Bottleneck(nn.Cell):
    """1x1, 3x3 and 1x1 convolution and a shortcut: (N, C, H, W) -> (N, 4 * channels, H/stride, W/stride)."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = ConvBN(in_channels, channels, kernel_size=1)
        self.conv2 = ConvBN(channels, channels, kernel_size=3, stride=stride, padding=dilation, dilation=dilation)
        self.conv3 = ConvBN(channels, out_channels, kernel_size=1, relu=False)
        self.downsample = shortcut(in_channels, out_channels, stride=stride)

    def construct(self, x: Tensor) -> Tensor:
        return ops.relu(self.conv3(self.conv2(self.conv1(x))) + self.downsample(x))


def shortcut(in_channels: int, out_channels: int, *, stride: int) -> nn.Cell:
    """The input itself where it has the output's shape, otherwise a 1x1 convolution of it."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return ConvBN(in_channels, out_channels, kernel_size=1, stride=stride, relu=False)


class MaxPool(nn.Cell):
    """3x3 maximum with stride 2 and padding 1 of a feature map without negative values, such as a ReLU gives.

    Two forms of the same function: nn.MaxPool2d with padding has the fastest gradient, but becomes a 3-D pooling with
    indices, which few inference runtimes have; inference pads with zeros and pools without padding.

    Args:
        ceil_mode: (N, C, H, W) -> (N, C, H/2 + 1, W/2 + 1) for even sizes, instead of (N, C, H/2, W/2).
    """

    def __init__(self, ceil_mode: bool = False) -> None:
        super().__init__()
        self.training_pool = nn.MaxPool2d(3, 2, "pad", 1, ceil_mode=ceil_mode)
        self.pool = ops.MaxPool(kernel_size=3, strides=2, pad_mode="valid")
        self.after = 2 if ceil_mode else 1

    def construct(self, x: Tensor) -> Tensor:
        if self.training:
            return self.training_pool(x)
        # Concatenation, not ops.pad, which takes longer than the pooling itself on CPU.
        batch, channels, height, width = x.shape
        x = ops.concat((ops.zeros((batch, channels, 1, width), x.dtype), x,
                        ops.zeros((batch, channels, self.after, width), x.dtype)), axis=2)
        height = height + 1 + self.after
        x = ops.concat((ops.zeros((batch, channels, height, 1), x.dtype), x,
                        ops.zeros((batch, channels, height, self.after), x.dtype)), axis=3)
        return self.pool(x)


class ResNet(nn.Cell):
    """The convolutional part of a ResNet.

    Args:
        name: key of DEPTHS.
        stem_channels: of the first convolutions: one number for a 7x7, three for a deep stem.
        strides: of layer1 to layer4.
        dilations: of layer1 to layer4; the first block of a dilated layer has half of it.
        ceil_mode: of the maximum pooling.

    Inputs:
        x: (N, 3, H, W) float32.

    Outputs:
        features of layer2, layer3 and layer4; with the default strides (N, C, H/8, W/8), (N, C', H/16, W/16) and
        (N, C'', H/32, W/32), channels as in CHANNELS.
    """

    def __init__(self, name: str, stem_channels: Sequence[int] = PLAIN_STEM, *, strides: Sequence[int] = (1, 2, 2, 2),
                 dilations: Sequence[int] = (1, 1, 1, 1), ceil_mode: bool = False) -> None:
        super().__init__()
        self.stem = self._stem(stem_channels)
        self.maxpool = MaxPool(ceil_mode)
        block = Bottleneck if name == "resnet50" else BasicBlock
        in_channels, layers = stem_channels[-1], []
        for i, blocks in enumerate(DEPTHS[name]):
            layers.append(self._layer(block, blocks, in_channels=in_channels, channels=64 * 2 ** i, stride=strides[i],
                                      dilation=dilations[i]))
            in_channels = 64 * 2 ** i * block.expansion
        self.layer1, self.layer2, self.layer3, self.layer4 = layers

    @staticmethod
    def _stem(channels: Sequence[int]) -> nn.SequentialCell:
        if len(channels) == 1:
            return nn.SequentialCell(ConvBN(3, channels[0], kernel_size=7, stride=2, padding=3))
        first, second, third = channels
        return nn.SequentialCell(ConvBN(3, first, kernel_size=3, stride=2, padding=1),
                                 ConvBN(first, second, kernel_size=3, stride=1, padding=1),
                                 ConvBN(second, third, kernel_size=3, stride=1, padding=1))

    @staticmethod
    def _layer(block: Type[Union[BasicBlock, Bottleneck]], blocks: int, *, in_channels: int, channels: int, stride: int,
               dilation: int) -> nn.SequentialCell:
        first = block(in_channels, channels, stride=stride, dilation=max(1, dilation // 2))
        rest = [block(channels * block.expansion, channels, dilation=dilation) for _ in range(blocks - 1)]
        return nn.SequentialCell(first, *rest)

    def to_layer2(self, x: Tensor) -> Tensor:
        """Features of layer2 alone."""
        return self.layer2(self.layer1(self.maxpool(self.stem(x))))

    def construct(self, x: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        layer2 = self.to_layer2(x)
        layer3 = self.layer3(layer2)
        return layer2, layer3, self.layer4(layer3)
