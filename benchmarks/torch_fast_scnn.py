"""Fast-SCNN once more, in PyTorch: the benchmarks' peer and a cross-check of what rtseg.models.fast_scnn computes.

Its modules have the names of ours, so that `load_mindspore_weights` needs no table. PyTorch is a dependency of the
benchmarks only: pip install -r requirements-benchmark.txt
"""
import torch
from torch import nn
from torch.nn import functional as F

_FEATURE_CHANNELS = {"downsample": 64, "extractor": 128}
# Stem padding, ReLU after depthwise halves, kernel after pooling, fusion bias, align_corners, momentum, aux.
_GRAPHS = {
    "tramac": (0, True, 1, True, True, 0.1, ("downsample", "extractor")),
    "mmseg": (1, False, 3, False, False, 0.01, ("extractor", "downsample")),
}
_RENAMED = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


class ConvBN(nn.Module):
    """Convolution, BatchNorm, ReLU when `relu`."""

    def __init__(self, channels_in, channels_out, kernel, stride=1, padding=0, groups=1, bias=False, relu=True,
                 momentum=0.1):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=bias)
        self.bn = nn.BatchNorm2d(channels_out, momentum=momentum)
        self.relu = nn.ReLU(inplace=True) if relu else nn.Identity()

    def forward(self, x):
        return self.relu(self.bn(self.conv(x)))


class SeparableConv(nn.Module):
    """Depthwise 3x3 and pointwise 1x1."""

    def __init__(self, channels_in, channels_out, stride, depthwise_relu, momentum):
        super().__init__()
        self.depthwise = ConvBN(channels_in, channels_in, 3, stride, 1, channels_in, relu=depthwise_relu,
                                momentum=momentum)
        self.pointwise = ConvBN(channels_in, channels_out, 1, momentum=momentum)

    def forward(self, x):
        return self.pointwise(self.depthwise(x))


class InvertedResidual(nn.Module):
    """Expansion by 6, depthwise 3x3, linear projection."""

    def __init__(self, channels_in, channels_out, stride, momentum):
        super().__init__()
        hidden = 6 * channels_in
        self.expand = ConvBN(channels_in, hidden, 1, momentum=momentum)
        self.depthwise = ConvBN(hidden, hidden, 3, stride, 1, hidden, momentum=momentum)
        self.project = ConvBN(hidden, channels_out, 1, relu=False, momentum=momentum)
        self.has_shortcut = stride == 1 and channels_in == channels_out

    def forward(self, x):
        out = self.project(self.depthwise(self.expand(x)))
        return x + out if self.has_shortcut else out


class ClassifierHead(nn.Module):
    """Auxiliary head."""

    def __init__(self, channels_in, hidden, num_classes, dropout, momentum):
        super().__init__()
        self.conv = ConvBN(channels_in, hidden, 3, padding=1, momentum=momentum)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(hidden, num_classes, 1)

    def forward(self, x):
        return self.classifier(self.dropout(self.conv(x)))


class FastSCNN(nn.Module):
    """float32 (N, 3, H, W) -> in training a tuple of logits (main, aux...) at that size, otherwise the main ones."""

    def __init__(self, num_classes=19, variant="mmseg", aux=2, dropout=0.1):
        super().__init__()
        padding, relu, kernel, bias, self.align_corners, momentum, features = _GRAPHS[variant]
        self.aux_features = features[:aux]
        self.learning_to_downsample = nn.ModuleDict({
            "conv": ConvBN(3, 32, 3, 2, padding, momentum=momentum),
            "dsconv1": SeparableConv(32, 48, 2, relu, momentum), "dsconv2": SeparableConv(48, 64, 2, relu, momentum)})

        def group(channels_in, channels_out, stride):
            return nn.Sequential(InvertedResidual(channels_in, channels_out, stride, momentum),
                                 *(InvertedResidual(channels_out, channels_out, 1, momentum) for _ in range(2)))
        self.global_feature_extractor = nn.ModuleDict({
            "bottleneck1": group(64, 64, 2), "bottleneck2": group(64, 96, 2), "bottleneck3": group(96, 128, 1),
            "ppm": nn.ModuleDict({"branches": nn.ModuleList(
                ConvBN(128, 32, 1, momentum=momentum) for _ in range(4))}),
            "out": ConvBN(256, 128, kernel, padding=kernel // 2, momentum=momentum)})
        self.feature_fusion = nn.ModuleDict({
            "dwconv": ConvBN(128, 128, 3, padding=1, groups=128, momentum=momentum),
            "conv_lower_res": ConvBN(128, 128, 1, bias=bias, relu=False, momentum=momentum),
            "conv_higher_res": ConvBN(64, 128, 1, bias=bias, relu=False, momentum=momentum)})
        self.classifier = nn.ModuleDict({
            "dsconv1": SeparableConv(128, 128, 1, relu, momentum),
            "dsconv2": SeparableConv(128, 128, 1, relu, momentum),
            "dropout": nn.Dropout2d(dropout), "classifier": nn.Conv2d(128, num_classes, 1)})
        self.aux_heads = nn.ModuleList(ClassifierHead(_FEATURE_CHANNELS[feature], 32, num_classes, dropout, momentum)
                                       for feature in self.aux_features)

    def forward(self, x):
        downsample = x
        for block in self.learning_to_downsample.values():
            downsample = block(downsample)
        extractor = self._extract(downsample)
        logits = self._fuse(downsample, extractor)
        for block in self.classifier.values():
            logits = block(logits)
        main = self._resize(logits, x.shape[2:])
        if not self.training:
            return main
        read = {"downsample": downsample, "extractor": extractor}
        return (main, *(self._resize(head(read[feature]), x.shape[2:])
                        for feature, head in zip(self.aux_features, self.aux_heads)))

    def _extract(self, x):
        blocks = self.global_feature_extractor
        x = blocks["bottleneck3"](blocks["bottleneck2"](blocks["bottleneck1"](x)))
        pooled = [self._resize(branch(F.adaptive_avg_pool2d(x, bins)), x.shape[2:])
                  for bins, branch in zip((1, 2, 3, 6), blocks["ppm"]["branches"])]
        return blocks["out"](torch.cat([x, *pooled], dim=1))

    def _fuse(self, high, low):
        blocks = self.feature_fusion
        low = blocks["conv_lower_res"](blocks["dwconv"](self._resize(low, high.shape[2:])))
        return F.relu(low + blocks["conv_higher_res"](high))

    def _resize(self, x, size):
        return F.interpolate(x, size, mode="bilinear", align_corners=self.align_corners)


def load_mindspore_weights(network: nn.Module, weights) -> None:
    """Loads `weights`: our parameter name -> float32 array."""
    state = {}
    for name, value in weights.items():
        prefix, _, last = name.rpartition(".")
        state[f"{prefix}.{_RENAMED.get(last, last)}"] = torch.from_numpy(value)
    missing, extra = network.load_state_dict(state, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    extra = [name for name in extra if not name.endswith("dropout_step")]
    if missing or extra:
        raise ValueError(f"weights do not fit the twin: missing {missing}, extra {extra}")
