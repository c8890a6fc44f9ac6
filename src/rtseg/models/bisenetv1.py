"""BiSeNetV1: Bilateral Segmentation Network (Yu et al., arXiv 1808.00897).

Two published graphs, which differ in one activation and in dropout:
- "coincheung": github.com/CoinCheung/BiSeNet;
- "mmseg": mmsegmentation.

Both differ from the paper: the attention of the feature fusion is one 1x1 convolution with BatchNorm, not two without,
and the global context is added to the attended 1/32 features before they are upsampled.
"""
from typing import NamedTuple, Optional, Tuple

from mindspore import Tensor, nn, ops

from rtseg.models.initialization import initialize
from rtseg.models.interpolation import resize_nearest
from rtseg.models.layers import ClassifierHead, ConvBN, adaptive_average_pool
from rtseg.models.resnet import CHANNELS, ResNet
from rtseg.models.segmentation_network import SegmentationNetwork


class Variant(NamedTuple):
    """What distinguishes the published graphs."""

    fusion_relu: bool  # ReLU before the sigmoid of the feature fusion
    dropout: bool      # before the classifiers


VARIANTS = {
    "coincheung": Variant(fusion_relu=False, dropout=False),
    "mmseg": Variant(fusion_relu=True, dropout=True),
}


class SpatialPath(nn.Cell):
    """(N, 3, H, W) -> (N, 2 * channels, H/8, W/8). Paper section 3.1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(3, channels, kernel_size=7, stride=2, padding=3)
        self.conv2 = ConvBN(channels, channels, kernel_size=3, stride=2, padding=1)
        self.conv3 = ConvBN(channels, channels, kernel_size=3, stride=2, padding=1)
        self.out = ConvBN(channels, 2 * channels, kernel_size=1)

    def construct(self, x: Tensor) -> Tensor:
        return self.out(self.conv3(self.conv2(self.conv1(x))))


class AttentionRefinementModule(nn.Cell):
    """(N, C, H, W) -> (N, out_channels, H, W), each channel weighted by what its mean says. Section 3.2."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = ConvBN(in_channels, out_channels, kernel_size=3, padding=1)
        self.attention = ConvBN(out_channels, out_channels, kernel_size=1, relu=False)

    def construct(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * ops.sigmoid(self.attention(adaptive_average_pool(x, 1)))


class ContextPath(nn.Cell):
    """(N, 3, H, W) -> (N, channels, H/8, W/8), (N, channels, H/16, W/16). Section 3.2."""

    def __init__(self, backbone: str, channels: int) -> None:
        super().__init__()
        _, _, channels16, channels32 = CHANNELS[backbone]
        self.backbone = ResNet(backbone)
        self.arm16 = AttentionRefinementModule(channels16, channels)
        self.arm32 = AttentionRefinementModule(channels32, channels)
        self.conv_head16 = ConvBN(channels, channels, kernel_size=3, padding=1)
        self.conv_head32 = ConvBN(channels, channels, kernel_size=3, padding=1)
        self.conv_avg = ConvBN(channels32, channels, kernel_size=1)

    def construct(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        feature8, feature16, feature32 = self.backbone(x)
        context = self.conv_avg(adaptive_average_pool(feature32, 1))
        context16 = resize_nearest(self.arm32(feature32) + context, feature16.shape[2:])
        context16 = self.conv_head32(context16)
        context8 = resize_nearest(self.arm16(feature16) + context16, feature8.shape[2:])
        return self.conv_head16(context8), context16


class FeatureFusionModule(nn.Cell):
    """spatial and context (N, C/2, H, W) each -> (N, C, H, W). Section 3.3."""

    def __init__(self, channels: int, relu: bool) -> None:
        super().__init__()
        self.conv = ConvBN(channels, channels, kernel_size=1)
        self.attention = ConvBN(channels, channels, kernel_size=1, relu=relu)

    def construct(self, spatial: Tensor, context: Tensor) -> Tensor:
        x = self.conv(ops.concat((spatial, context), axis=1))
        return x + x * ops.sigmoid(self.attention(adaptive_average_pool(x, 1)))


class BiSeNetV1(SegmentationNetwork):
    """BiSeNetV1.

    Args:
        num_classes: number of classes.
        variant: "coincheung" or "mmseg".
        aux: number of auxiliary heads, 0, 1 (on the 1/8 context) or 2 (on the 1/16 context too).
        dropout: probability before each classifier, "mmseg" only.
        bn_momentum: of all BatchNorms in MindSpore's meaning; None for 0.9.
        seed: of the dropout masks; one per rank.
        backbone: "resnet18" or "resnet50", which makes every part four times as wide.

    Inputs:
        x: (N, 3, H, W) float32, normalised RGB, H and W multiples of 32.

    Outputs:
        logits, float32: in inference (N, num_classes, H, W), or at H/8 from `head_logits`; in training a tuple
        (main, aux...) before the upsampling, which the loss does: at H/8 and, the second auxiliary, H/16.
    """

    def __init__(self, num_classes: int, variant: str, *, aux: int, dropout: float, bn_momentum: Optional[float],
                 seed: int, backbone: str) -> None:
        super().__init__()
        dropout = dropout if VARIANTS[variant].dropout else 0.0
        width = CHANNELS[backbone][0]  # 64 with ResNet18
        self.spatial_path = SpatialPath(width)
        self.context_path = ContextPath(backbone, 2 * width)
        self.ffm = FeatureFusionModule(4 * width, VARIANTS[variant].fusion_relu)
        self.head = ClassifierHead(4 * width, 4 * width, num_classes=num_classes, dropout=dropout, seed=seed)
        self.aux_heads = nn.CellList([ClassifierHead(2 * width, width, num_classes=num_classes, dropout=dropout,
                                                     seed=seed + 1 + i) for i in range(aux)])
        initialize(self, variant)
        self.set_bn_momentum(bn_momentum)

    def head_outputs(self, x: Tensor) -> Tuple[Tensor, ...]:
        context = self.context_path(x)
        outputs: Tuple[Tensor, ...] = (self.head(self.ffm(self.spatial_path(x), context[0])),)
        if self.training:
            for feature, head in zip(context, self.aux_heads):
                outputs += (head(feature),)
        return outputs
