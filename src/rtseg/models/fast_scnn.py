"""Fast-SCNN: Fast Semantic Segmentation Network (Poudel et al., arXiv 1902.04502).

The published graphs differ in details that their weights depend on:
- "mmseg": mmsegmentation, whose weights have the best published score.
- "segmentron": github.com/LikeLy-Journey/SegmenTron.
- "tramac": github.com/Tramac/Fast-SCNN-pytorch, the closest to the paper.
- "modelzoo": the MindSpore model zoo, research/cv/fastscnn.
"""
from typing import NamedTuple, Optional, Tuple

from mindspore import Tensor, nn, ops

from rtseg.models.initialization import initialize
from rtseg.models.interpolation import products_are_faster, resize_bilinear, upsample_bilinear
from rtseg.models.layers import (ChannelDropout, ClassifierHead, ConvBN, DepthwiseSeparableConv, Padding,
                                 PyramidPooling, classifier)
from rtseg.models.segmentation_network import SegmentationNetwork


class Variant(NamedTuple):
    """What distinguishes the published graphs. The defaults are those of "tramac"."""

    bn_momentum: float = 0.9               # MindSpore's meaning: 1 - PyTorch's
    align_corners: bool = True             # of every resize
    stem_padding: Padding = 0              # of the very first convolution
    depthwise_relu: bool = True            # ReLU after the depthwise half of a depthwise-separable block
    residual_relu6: bool = False           # ReLU6 instead of ReLU in the inverted residuals
    pooling_windows: Optional[Tuple[int, ...]] = None  # fixed windows of the pyramid pooling, instead of fixed grids
    extractor_out_kernel: int = 1          # of the convolution after pyramid pooling
    fusion_depthwise: bool = True          # lower branch of the feature fusion: 3x3 depthwise, or a dense 1x1
    fusion_bias: bool = True               # biases before the BatchNorms of the feature fusion
    classifier_bias: bool = True           # of the main classifier; the auxiliary ones always have one
    aux_features: Tuple[str, str] = ("downsample", "extractor")  # what the first and the second auxiliary head read


VARIANTS = {
    "mmseg": Variant(bn_momentum=0.99, align_corners=False, stem_padding=1, depthwise_relu=False,
                     extractor_out_kernel=3, fusion_bias=False, aux_features=("extractor", "downsample")),
    "segmentron": Variant(bn_momentum=0.99, residual_relu6=True, fusion_depthwise=False),
    "tramac": Variant(),
    # MindSpore's padding "same" of a 3x3 convolution with stride 2: nothing above and on the left of an even size.
    # Its windows give the usual grids of 1, 2, 3 and 6 for the crop that it trains on, 768 x 768.
    "modelzoo": Variant(stem_padding=(0, 1, 0, 1), pooling_windows=(24, 12, 8, 4), fusion_bias=False,
                        classifier_bias=False),
}
_FEATURE_CHANNELS = {"downsample": 64, "extractor": 128}


class LearningToDownsample(nn.Cell):
    """(N, 3, H, W) -> (N, 64, H/8, W/8). Paper section 3.2.1."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.conv = ConvBN(3, 32, kernel_size=3, stride=2, padding=variant.stem_padding)
        self.dsconv1 = DepthwiseSeparableConv(32, 48, stride=2, depthwise_relu=variant.depthwise_relu)
        self.dsconv2 = DepthwiseSeparableConv(48, 64, stride=2, depthwise_relu=variant.depthwise_relu)

    def construct(self, x: Tensor) -> Tensor:
        return self.dsconv2(self.dsconv1(self.conv(x)))


class InvertedResidual(nn.Cell):
    """MobileNetV2's bottleneck with expansion 6 and linear projection: (N, C, H, W) -> (N, C', H/stride, W/stride)."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, variant: Variant) -> None:
        super().__init__()
        hidden, relu6 = 6 * in_channels, variant.residual_relu6
        self.expand = ConvBN(in_channels, hidden, kernel_size=1, relu6=relu6)
        self.depthwise = ConvBN(hidden, hidden, kernel_size=3, stride=stride, padding=1, group=hidden, relu6=relu6)
        self.project = ConvBN(hidden, out_channels, kernel_size=1, relu=False)
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def construct(self, x: Tensor) -> Tensor:
        out = self.project(self.depthwise(self.expand(x)))
        return x + out if self.has_shortcut else out


class GlobalFeatureExtractor(nn.Cell):
    """(N, 64, H, W) -> (N, 128, H/4, W/4): three groups of inverted residuals and pyramid pooling. Section 3.2.2."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.bottleneck1 = self._group(64, 64, stride=2, variant=variant)
        self.bottleneck2 = self._group(64, 96, stride=2, variant=variant)
        self.bottleneck3 = self._group(96, 128, stride=1, variant=variant)
        self.ppm = PyramidPooling(128, 32, align_corners=variant.align_corners, windows=variant.pooling_windows)
        kernel = variant.extractor_out_kernel
        self.out = ConvBN(256, 128, kernel_size=kernel, padding=kernel // 2)

    @staticmethod
    def _group(in_channels: int, out_channels: int, *, stride: int, variant: Variant) -> nn.SequentialCell:
        first = InvertedResidual(in_channels, out_channels, stride=stride, variant=variant)
        rest = [InvertedResidual(out_channels, out_channels, stride=1, variant=variant) for _ in range(2)]
        return nn.SequentialCell(first, *rest)

    def construct(self, x: Tensor) -> Tensor:
        x = self.bottleneck3(self.bottleneck2(self.bottleneck1(x)))
        return self.out(self.ppm(x))


class FeatureFusionModule(nn.Cell):
    """high (N, 64, H, W), low (N, 128, H/4, W/4) -> (N, 128, H, W). Section 3.2.3."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.align_corners = variant.align_corners
        self.products_are_faster = products_are_faster()
        # Called so by all references, also where it is no depthwise convolution.
        self.dwconv = (ConvBN(128, 128, kernel_size=3, padding=1, group=128)
                       if variant.fusion_depthwise else ConvBN(128, 128, kernel_size=1))
        self.conv_lower_res = ConvBN(128, 128, kernel_size=1, has_bias=variant.fusion_bias, relu=False)
        self.conv_higher_res = ConvBN(64, 128, kernel_size=1, has_bias=variant.fusion_bias, relu=False)

    def construct(self, high: Tensor, low: Tensor) -> Tensor:
        # The same numbers; products have the faster gradient, an exported model has the operator.
        by_products = self.training and self.products_are_faster
        resize = upsample_bilinear if by_products else resize_bilinear
        low = resize(low, high.shape[2:], align_corners=self.align_corners)
        low = self.conv_lower_res(self.dwconv(low))
        return ops.relu(low + self.conv_higher_res(high))


class Classifier(nn.Cell):
    """(N, 128, H, W) -> (N, num_classes, H, W) logits. Section 3.2.4.

    Differs from tramac: dropout takes whole channels (as mmsegmentation does), see ChannelDropout.
    """

    def __init__(self, num_classes: int, variant: Variant, *, dropout: float, seed: int) -> None:
        super().__init__()
        self.dsconv1 = DepthwiseSeparableConv(128, 128, stride=1, depthwise_relu=variant.depthwise_relu)
        self.dsconv2 = DepthwiseSeparableConv(128, 128, stride=1, depthwise_relu=variant.depthwise_relu)
        self.dropout = ChannelDropout(dropout, seed)
        self.classifier = classifier(128, num_classes, has_bias=variant.classifier_bias)

    def construct(self, x: Tensor) -> Tensor:
        return self.classifier(self.dropout(self.dsconv2(self.dsconv1(x))))


class FastSCNN(SegmentationNetwork):
    """Fast-SCNN.

    Args:
        num_classes: number of classes.
        variant: key of VARIANTS.
        aux: number of auxiliary heads, 0, 1 or 2.
        dropout: probability before each classifier.
        bn_momentum: of all BatchNorms in MindSpore's meaning; None for the variant's own.
        seed: of the dropout masks; one per rank.

    Inputs:
        x: (N, 3, H, W) float32, normalised RGB, H and W multiples of 32.

    Outputs:
        logits, float32: in inference (N, num_classes, H, W), or at H/8 from `head_logits`; in training a tuple
        (main, aux...) before the upsampling, which the loss does: at H/8 or, on the extractor's features, H/32.
    """

    def __init__(self, num_classes: int, variant: str, *, aux: int, dropout: float, bn_momentum: Optional[float],
                 seed: int) -> None:
        super().__init__()
        self.variant = VARIANTS[variant]
        self.align_corners = self.variant.align_corners
        self.learning_to_downsample = LearningToDownsample(self.variant)
        self.global_feature_extractor = GlobalFeatureExtractor(self.variant)
        self.feature_fusion = FeatureFusionModule(self.variant)
        self.classifier = Classifier(num_classes, self.variant, dropout=dropout, seed=seed)
        self.aux_heads = nn.CellList([
            ClassifierHead(_FEATURE_CHANNELS[feature], 32, num_classes=num_classes, dropout=dropout, seed=seed + 1 + i)
            for i, feature in enumerate(self.variant.aux_features[:aux])])
        initialize(self, variant)
        self.set_bn_momentum(self.variant.bn_momentum if bn_momentum is None else bn_momentum)

    def head_outputs(self, x: Tensor) -> Tuple[Tensor, ...]:
        downsample = self.learning_to_downsample(x)
        extractor = self.global_feature_extractor(downsample)
        outputs: Tuple[Tensor, ...] = (self.classifier(self.feature_fusion(downsample, extractor)),)
        if self.training:
            for feature, head in zip(self.variant.aux_features, self.aux_heads):
                outputs += (head(downsample if feature == "downsample" else extractor),)
        return outputs
