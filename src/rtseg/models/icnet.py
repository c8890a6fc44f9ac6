"""ICNet: Image Cascade Network (Zhao et al., arXiv 1704.08545).

Two published graphs share the cascade but little else:
- "liminn": github.com/liminn/ICNet-pytorch, close to the paper: half and quarter size image through one backbone,
  pyramid pooling without parameters, losses at 1/4, 1/8 and 1/16 of the size;
- "mmseg": mmsegmentation, whose weights have the best published score: the image passes the backbone once, at half
  size, and its 1/16 features are halved instead of the image; losses at full size.
"""
from typing import NamedTuple, Optional, Tuple

from mindspore import Tensor, nn, ops

from rtseg.models.initialization import initialize
from rtseg.models.interpolation import resize_bilinear
from rtseg.models.layers import ClassifierHead, ConvBN, PyramidPooling, adaptive_average_pool, avg_pool_2x2, classifier
from rtseg.models.resnet import CHANNELS, PLAIN_STEM, ResNet
from rtseg.models.segmentation_network import SegmentationNetwork

# Output stride 8: layer3 and layer4 are dilated instead of strided.
_STRIDES, _DILATIONS = (1, 2, 1, 1), (1, 1, 2, 4)
_FUSION_CHANNELS = 128


class Variant(NamedTuple):
    """What distinguishes the published graphs outside their encoders."""

    align_corners: bool           # of every resize
    fusion_relu: bool             # ReLU after each convolution of a fusion, next to the one after their sum
    aux_fusions: Tuple[str, str]  # the fusions that the first and the second auxiliary head read


VARIANTS = {
    "mmseg": Variant(False, True, ("cff_24", "cff_12")),
    "liminn": Variant(True, False, ("cff_12", "cff_24")),
}


def depth_and_stem(backbone: str, deep_stem: Tuple[int, ...]) -> Tuple[str, Tuple[int, ...]]:
    """Name in DEPTHS and channels of the stem: the graph's own deep stem, or the plain one of "resnet50_v1b"."""
    name, _, stem = backbone.partition("_")
    return name, PLAIN_STEM if stem == "v1b" else deep_stem


class TwoPassEncoder(nn.Cell):
    """"liminn": (N, 3, H, W) -> layer2 of the half-size image (N, C, H/16, W/16), pooled layer4 of the quarter-size one
    (N, C', H/32, W/32).

    Differs from liminn: the half-size image stops after layer2. There it goes on to layer4 and the result is thrown
    away, which costs 180 GMACs at 1024x2048 and pollutes the BatchNorm statistics of layer3 and layer4.
    """

    def __init__(self, backbone: str) -> None:
        super().__init__()
        name, stem = depth_and_stem(backbone, (64, 64, 128))
        self.backbone = ResNet(name, stem, strides=_STRIDES, dilations=_DILATIONS)
        _, self.half_channels, _, self.quarter_channels = CHANNELS[name]

    def construct(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        height, width = x.shape[2:]
        half = self.backbone.to_layer2(resize_bilinear(x, (height // 2, width // 2), align_corners=True))
        _, _, quarter = self.backbone(resize_bilinear(x, (height // 4, width // 4), align_corners=True))
        return half, self.pool(quarter)

    def pool(self, x: Tensor) -> Tensor:
        """Pyramid pooling without parameters: the input plus its averages over grids of bins."""
        total = x
        for bins in (1, 2, 3, 6):
            total = total + resize_bilinear(adaptive_average_pool(x, bins), x.shape[2:], align_corners=True)
        return total


class OnePassEncoder(nn.Cell):
    """"mmseg": (N, 3, H, W) -> layer2 of the half-size image (N, 256, H/16 + 1, W/16 + 1), pooled layer4 of its halved
    layer2 (N, 256, H/32, W/32). The odd sizes come from the pooling's ceil mode."""

    def __init__(self, backbone: str) -> None:
        super().__init__()
        name, stem = depth_and_stem(backbone, (32, 32, 64))
        _, channels2, _, channels4 = CHANNELS[name]
        self.half_channels = self.quarter_channels = 256
        self.backbone = ResNet(name, stem, strides=_STRIDES, dilations=_DILATIONS, ceil_mode=True)
        self.ppm = PyramidPooling(channels4, 512, align_corners=False, input_first=False)
        self.ppm_out = ConvBN(channels4 + 4 * 512, 512, kernel_size=3, padding=1)
        self.conv_sub2 = ConvBN(channels2, self.half_channels, kernel_size=1)
        self.conv_sub4 = ConvBN(512, self.quarter_channels, kernel_size=1)

    def construct(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        half = self.backbone.to_layer2(avg_pool_2x2(x))
        quarter = self.backbone.layer4(self.backbone.layer3(avg_pool_2x2(half)))
        return self.conv_sub2(half), self.conv_sub4(self.ppm_out(self.ppm(quarter)))


class CascadeFeatureFusion(nn.Cell):
    """low (N, C, h, w), high (N, C', H, W) -> fused (N, 128, H, W), and low alone (N, 128, H, W) for an auxiliary head.

    Paper section 3.3.
    """

    def __init__(self, low_channels: int, high_channels: int, *, variant: Variant) -> None:
        super().__init__()
        self.align_corners = variant.align_corners
        self.conv_low = ConvBN(low_channels, _FUSION_CHANNELS, kernel_size=3, padding=2, dilation=2,
                               relu=variant.fusion_relu)
        self.conv_high = ConvBN(high_channels, _FUSION_CHANNELS, kernel_size=1, relu=variant.fusion_relu)

    def construct(self, low: Tensor, high: Tensor) -> Tuple[Tensor, Tensor]:
        low = self.conv_low(resize_bilinear(low, high.shape[2:], align_corners=self.align_corners))
        return ops.relu(low + self.conv_high(high)), low


class ICNet(SegmentationNetwork):
    """ICNet.

    Args:
        num_classes: number of classes.
        variant: "mmseg" or "liminn".
        aux: number of auxiliary heads, 0, 1 or 2.
        dropout: probability before the auxiliary classifiers, "mmseg" only; the main one has none.
        bn_momentum: of all BatchNorms in MindSpore's meaning; None for 0.9.
        seed: of the dropout masks; one per rank.
        backbone: "resnet50" or "resnet18", with the deep stem of the graph ("mmseg" v1c, "liminn" v1s); or
            "resnet50_v1b", which takes torchvision's weights.

    Inputs:
        x: (N, 3, H, W) float32, normalised RGB, H and W multiples of 32.

    Outputs:
        logits, float32: in inference (N, num_classes, H, W), or at H/8 ("liminn": H/4) from `head_logits`; in training
        a tuple (main, aux...). "mmseg": before the upsampling, which the loss does. "liminn": main
        (N, num_classes, H/4, W/4), then H/8 and H/16; its loss reduces the labels to these.
    """

    def __init__(self, num_classes: int, variant: str, *, aux: int, dropout: float, bn_momentum: Optional[float],
                 seed: int, backbone: str) -> None:
        super().__init__()
        self.variant = VARIANTS[variant]
        self.align_corners = self.variant.align_corners
        self.labels_to_logits = variant == "liminn"
        self.head_stride = 4 if self.labels_to_logits else 8
        self.conv_sub1 = nn.SequentialCell(ConvBN(3, 32, kernel_size=3, stride=2, padding=1),
                                           ConvBN(32, 32, kernel_size=3, stride=2, padding=1),
                                           ConvBN(32, 64, kernel_size=3, stride=2, padding=1))
        self.encoder = (OnePassEncoder if variant == "mmseg" else TwoPassEncoder)(backbone)
        self.cff_24 = CascadeFeatureFusion(self.encoder.quarter_channels, self.encoder.half_channels,
                                           variant=self.variant)
        self.cff_12 = CascadeFeatureFusion(_FUSION_CHANNELS, 64, variant=self.variant)
        self.head = self._head(num_classes, 0.0, seed=seed)
        self.aux_heads = nn.CellList([self._head(num_classes, dropout, seed=seed + 1 + i) for i in range(aux)])
        initialize(self, variant)
        self.set_bn_momentum(bn_momentum)

    def _head(self, num_classes: int, dropout: float, *, seed: int) -> nn.Cell:
        if self.labels_to_logits:
            return classifier(_FUSION_CHANNELS, num_classes, has_bias=False)
        return ClassifierHead(_FUSION_CHANNELS, _FUSION_CHANNELS, num_classes=num_classes, dropout=dropout, seed=seed)

    def head_outputs(self, x: Tensor) -> Tuple[Tensor, ...]:
        size = x.shape[2:]
        half, quarter = self.encoder(x)
        fused, low_24 = self.cff_24(quarter, half)
        fused, low_12 = self.cff_12(fused, self.conv_sub1(x))
        logits = self.head(fused)
        if self.labels_to_logits:
            # Differs from liminn: classifies before this resize, not after. Both are linear and the classifier has no
            # bias, so the result is the same, with 19 channels to resize instead of 128.
            logits = resize_bilinear(logits, (size[0] // 4, size[1] // 4), align_corners=self.align_corners)
        outputs: Tuple[Tensor, ...] = (logits,)
        if self.training:
            for fusion, head in zip(self.variant.aux_fusions, self.aux_heads):
                outputs += (head(low_24 if fusion == "cff_24" else low_12),)
        return outputs
