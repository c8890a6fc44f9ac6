"""ICNet and BiSeNetV1 in PyTorch, and `build` for all networks: the benchmarks' peers.

As in torch_fast_scnn.py, modules have the names of ours, so that weights load by name and outputs can be compared.
"""
import math

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.torch_fast_scnn import ClassifierHead, ConvBN, FastSCNN

_DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}
_CHANNELS = {"resnet18": (64, 128, 256, 512), "resnet50": (256, 512, 1024, 2048)}


class DilatedConvBN(ConvBN):
    """ConvBN with a dilation and as much padding."""

    def __init__(self, channels_in, channels_out, stride=1, dilation=1, relu=True):
        super().__init__(channels_in, channels_out, 3, stride, dilation, relu=relu)
        self.conv.dilation = (dilation, dilation)


class Block(nn.Module):
    """A residual block: `convolutions` by name, and a shortcut."""

    def __init__(self, convolutions, channels_in, channels_out, stride):
        super().__init__()
        self.names = list(convolutions)
        for name, convolution in convolutions.items():
            self.add_module(name, convolution)
        same = stride == 1 and channels_in == channels_out
        self.downsample = nn.Identity() if same else ConvBN(channels_in, channels_out, 1, stride, relu=False)

    def forward(self, x):
        out = x
        for name in self.names:
            out = getattr(self, name)(out)
        return F.relu(out + self.downsample(x))


def _block(name, channels_in, channels, stride, dilation):
    if name == "resnet50":
        return Block({"conv1": ConvBN(channels_in, channels, 1), "conv2": DilatedConvBN(channels, channels, stride,
                      dilation), "conv3": ConvBN(channels, 4 * channels, 1, relu=False)},
                     channels_in, 4 * channels, stride)
    return Block({"conv1": DilatedConvBN(channels_in, channels, stride, dilation),
                  "conv2": ConvBN(channels, channels, 3, padding=1, relu=False)}, channels_in, channels, stride)


class ResNet(nn.Module):
    """Features of layer2, layer3 and layer4."""

    def __init__(self, name, stem, strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1), ceil_mode=False):
        super().__init__()
        if len(stem) == 1:
            self.stem = nn.Sequential(ConvBN(3, stem[0], 7, 2, 3))
        else:
            self.stem = nn.Sequential(ConvBN(3, stem[0], 3, 2, 1), ConvBN(stem[0], stem[1], 3, 1, 1),
                                      ConvBN(stem[1], stem[2], 3, 1, 1))
        self.maxpool = nn.MaxPool2d(3, 2, 1, ceil_mode=ceil_mode)
        channels_in = stem[-1]
        for i, blocks in enumerate(_DEPTHS[name]):
            out, dilation = _CHANNELS[name][i], dilations[i]
            first = _block(name, channels_in, 64 * 2 ** i, strides[i], max(1, dilation // 2))
            rest = [_block(name, out, 64 * 2 ** i, 1, dilation) for _ in range(blocks - 1)]
            self.add_module(f"layer{i + 1}", nn.Sequential(first, *rest))
            channels_in = out

    def to_layer2(self, x):
        return self.layer2(self.layer1(self.maxpool(self.stem(x))))

    def forward(self, x):
        layer2 = self.to_layer2(x)
        layer3 = self.layer3(layer2)
        return layer2, layer3, self.layer4(layer3)


class Attention(nn.Module):
    """Convolution, and each channel weighted by what its mean says."""

    def __init__(self, channels_in, channels, kernel, relu, add_input):
        super().__init__()
        self.conv = ConvBN(channels_in, channels, kernel, padding=kernel // 2)
        self.attention = ConvBN(channels, channels, 1, relu=relu)
        self.add_input = add_input

    def forward(self, x):
        x = self.conv(x)
        weighted = x * torch.sigmoid(self.attention(x.mean((2, 3), keepdim=True)))
        return x + weighted if self.add_input else weighted


class BiSeNetV1(nn.Module):
    """float32 (N, 3, H, W) -> in training a tuple of logits at that size, otherwise the main ones."""

    align_corners = False

    def __init__(self, variant, num_classes=19, aux=2, dropout=0.0, backbone="resnet18"):
        super().__init__()
        width = _CHANNELS[backbone][0]
        self.spatial_path = nn.ModuleDict({
            "conv1": ConvBN(3, width, 7, 2, 3), "conv2": ConvBN(width, width, 3, 2, 1),
            "conv3": ConvBN(width, width, 3, 2, 1), "out": ConvBN(width, 2 * width, 1)})
        channels16, channels32 = _CHANNELS[backbone][2:]
        self.context_path = nn.ModuleDict({
            "backbone": ResNet(backbone, (64,)), "arm16": Attention(channels16, 2 * width, 3, False, False),
            "arm32": Attention(channels32, 2 * width, 3, False, False),
            "conv_head16": ConvBN(2 * width, 2 * width, 3, padding=1),
            "conv_head32": ConvBN(2 * width, 2 * width, 3, padding=1), "conv_avg": ConvBN(channels32, 2 * width, 1)})
        self.ffm = Attention(4 * width, 4 * width, 1, variant == "mmseg", True)
        self.head = ClassifierHead(4 * width, 4 * width, num_classes, dropout, 0.1)
        self.aux_heads = nn.ModuleList(ClassifierHead(2 * width, width, num_classes, dropout, 0.1) for _ in range(aux))

    def forward(self, x):
        blocks = self.context_path
        feature8, feature16, feature32 = blocks["backbone"](x)
        low = blocks["arm32"](feature32) + blocks["conv_avg"](feature32.mean((2, 3), keepdim=True))
        context16 = blocks["conv_head32"](F.interpolate(low, feature16.shape[2:]))
        context8 = blocks["conv_head16"](F.interpolate(blocks["arm16"](feature16) + context16, feature8.shape[2:]))
        spatial = x
        for block in self.spatial_path.values():
            spatial = block(spatial)
        outputs = [self.head(self.ffm(torch.cat((spatial, context8), 1)))]
        if self.training:
            outputs += [head(feature) for head, feature in zip(self.aux_heads, (context8, context16))]
        outputs = tuple(F.interpolate(output, x.shape[2:], mode="bilinear") for output in outputs)
        return outputs if self.training else outputs[0]


class CascadeFeatureFusion(nn.Module):
    """(low, high) -> fused, low alone."""

    def __init__(self, low, high, align_corners, relu):
        super().__init__()
        self.align_corners = align_corners
        self.conv_low = DilatedConvBN(low, 128, dilation=2, relu=relu)
        self.conv_high = ConvBN(high, 128, 1, relu=relu)

    def forward(self, low, high):
        low = self.conv_low(F.interpolate(low, high.shape[2:], mode="bilinear", align_corners=self.align_corners))
        return F.relu(low + self.conv_high(high)), low


class ICNet(nn.Module):
    """float32 (N, 3, H, W) -> in training a tuple of logits ("mmseg": at that size; "liminn": at 1/4, 1/8, 1/16),
    otherwise the main ones."""

    def __init__(self, variant, num_classes=19, aux=2, dropout=0.0, backbone="resnet50"):
        super().__init__()
        self.one_pass = variant == "mmseg"
        self.align_corners = not self.one_pass
        stem, strides, dilations = ((32, 32, 64) if self.one_pass else (64, 64, 128)), (1, 2, 1, 1), (1, 1, 2, 4)
        _, channels2, _, channels4 = _CHANNELS[backbone]
        self.conv_sub1 = nn.Sequential(ConvBN(3, 32, 3, 2, 1), ConvBN(32, 32, 3, 2, 1), ConvBN(32, 64, 3, 2, 1))
        self.encoder = nn.ModuleDict({"backbone": ResNet(backbone, stem, strides, dilations, self.one_pass)})
        if self.one_pass:
            self.encoder.update({
                "ppm": nn.ModuleDict({"branches": nn.ModuleList(ConvBN(channels4, 512, 1) for _ in range(4))}),
                "ppm_out": ConvBN(channels4 + 4 * 512, 512, 3, padding=1), "conv_sub2": ConvBN(channels2, 256, 1),
                "conv_sub4": ConvBN(512, 256, 1)})
            half = quarter = 256
        else:
            half, quarter = channels2, channels4
        self.cff_24 = CascadeFeatureFusion(quarter, half, self.align_corners, self.one_pass)
        self.cff_12 = CascadeFeatureFusion(128, 64, self.align_corners, self.one_pass)

        def head():
            return (ClassifierHead(128, 128, num_classes, dropout, 0.1) if self.one_pass
                    else nn.Conv2d(128, num_classes, 1, bias=False))
        self.head = head()
        self.aux_heads = nn.ModuleList(head() for _ in range(aux))

    def _resize(self, x, size):
        return F.interpolate(x, size, mode="bilinear", align_corners=self.align_corners)

    def _encode(self, x):
        blocks, backbone = self.encoder, self.encoder["backbone"]
        if not self.one_pass:
            height, width = x.shape[2:]
            half = backbone.to_layer2(self._resize(x, (height // 2, width // 2)))
            quarter = backbone(self._resize(x, (height // 4, width // 4)))[2]
            return half, quarter + sum(self._resize(F.adaptive_avg_pool2d(quarter, bins), quarter.shape[2:])
                                       for bins in (1, 2, 3, 6))
        half = backbone.to_layer2(F.avg_pool2d(x, 2))
        quarter = backbone.layer4(backbone.layer3(F.avg_pool2d(half, 2)))
        pooled = [self._resize(branch(F.adaptive_avg_pool2d(quarter, bins)), quarter.shape[2:])
                  for bins, branch in zip((1, 2, 3, 6), blocks["ppm"]["branches"])]
        return blocks["conv_sub2"](half), blocks["conv_sub4"](blocks["ppm_out"](torch.cat([*pooled, quarter], 1)))

    def forward(self, x):
        size = x.shape[2:]
        half, quarter = self._encode(x)
        fused, low_24 = self.cff_24(quarter, half)
        fused, low_12 = self.cff_12(fused, self.conv_sub1(x))
        outputs = [self.head(fused)]
        if not self.one_pass:
            outputs[0] = self._resize(outputs[0], (size[0] // 4, size[1] // 4))
        if not self.training:
            return self._resize(outputs[0], size)
        features = (low_24, low_12) if self.one_pass else (low_12, low_24)
        outputs += [head(feature) for head, feature in zip(self.aux_heads, features)]
        return tuple(self._resize(output, size) for output in outputs) if self.one_pass else tuple(outputs)


def build(model, variant, num_classes=19, aux=2, dropout=0.0, backbone=None):
    """The PyTorch twin of `create_model(model, variant=variant, ...)`; `backbone` empty for the network's own."""
    if model == "fast_scnn":
        return FastSCNN(num_classes, variant, aux, dropout)
    network = {"icnet": ICNet, "bisenetv1": BiSeNetV1}[model]
    return network(variant, num_classes, aux, dropout, **({"backbone": backbone} if backbone else {}))


def initialize(network, variant):
    """Draws the weights as the authors of the graph do, by PyTorch's own functions and generator."""
    for name, module in network.named_modules():
        in_backbone = ".backbone." in name
        if isinstance(module, nn.Conv2d):
            if variant == "coincheung" and not in_backbone:
                nn.init.kaiming_normal_(module.weight, a=1)
            elif variant == "mmseg" and name.endswith(".classifier"):
                nn.init.normal_(module.weight, std=0.01)
            elif variant == "mmseg":
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            else:
                continue
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif variant == "mmseg" and isinstance(module, Block):
            nn.init.zeros_(getattr(module, module.names[-1]).bn.weight)


def loss_of(outputs, labels, aux_weight=0.4, class_weights=None):
    """CE(main) + aux_weight * sum of CE(auxiliary); labels (N, H, W) int64 are downsampled (nearest) to each output."""
    def cross_entropy(output):
        step = labels.shape[1] // output.shape[2]
        return F.cross_entropy(output, labels[:, ::step, ::step], class_weights, ignore_index=255)
    return cross_entropy(outputs[0]) + aux_weight * sum(map(cross_entropy, outputs[1:]))


def ohem_loss_of(outputs, labels, aux_weight, threshold, min_kept, class_weights=None):
    """The sum of all outputs' means over the pixels with a loss above -ln(threshold), at least `min_kept` of them."""
    def hard_pixels(output):
        losses = F.cross_entropy(output, labels, class_weights, ignore_index=255, reduction="none").flatten()
        least = int(min_kept * (labels != 255).sum())
        hard = losses[losses > -math.log(threshold)]
        return hard.mean() if len(hard) > least else losses.topk(least).values.mean()
    return hard_pixels(outputs[0]) + aux_weight * sum(map(hard_pixels, outputs[1:]))
