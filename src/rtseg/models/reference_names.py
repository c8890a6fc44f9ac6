"""Names of the reference implementations' parameters, and what the same parameters are called here.

Each graph has a table of its own: PyTorch's names in the reference's code, or those in the model zoo's checkpoints.
"""
import re
from typing import Dict, Iterable, List, Optional, Tuple, TypeVar

Value = TypeVar("Value")
# Ordered (pattern, replacement) pairs that rename the layer (the key without its last part), per graph.
_SEPARABLE = [(r"(dsconv\d)\.conv\.0$", r"\1.depthwise.conv"), (r"(dsconv\d)\.conv\.1$", r"\1.depthwise.bn"),
              (r"(dsconv\d)\.conv\.3$", r"\1.pointwise.conv"), (r"(dsconv\d)\.conv\.4$", r"\1.pointwise.bn")]
_RESNET = [(r"(layer\d\.\d)\.conv(\d)$", r"\1.conv\2.conv"), (r"(layer\d\.\d)\.bn(\d)$", r"\1.conv\2.bn"),
           (r"\.downsample\.0$", ".downsample.conv"), (r"\.downsample\.1$", ".downsample.bn")]
_RESNET_STEM = [(r"backbone\.conv1$", "backbone.stem.0.conv"), (r"backbone\.bn1$", "backbone.stem.0.bn")]
_MMSEG_AUX_HEADS = [(r"^auxiliary_head\.(\d)\.convs\.0\.", r"aux_heads.\1.conv."),
                    (r"^auxiliary_head\.(\d)\.conv_seg$", r"aux_heads.\1.classifier")]
_MMSEG_HEADS = _MMSEG_AUX_HEADS + [(r"^decode_head\.convs\.0\.", "head.conv."),
                                   (r"^decode_head\.conv_seg$", "head.classifier")]
_FUSION = [(r"(conv_\w+_res)\.0$", r"\1.conv"), (r"(conv_\w+_res)\.1$", r"\1.bn")]
_TRAMAC = _SEPARABLE + [
    (r"\.block\.0\.", ".expand."), (r"\.block\.1\.", ".depthwise."),
    (r"\.block\.2$", ".project.conv"), (r"\.block\.3$", ".project.bn"),
    (r"\.ppm\.conv1\.", ".ppm.branches.0."), (r"\.ppm\.conv2\.", ".ppm.branches.1."),
    (r"\.ppm\.conv3\.", ".ppm.branches.2."), (r"\.ppm\.conv4\.", ".ppm.branches.3."),
    (r"\.ppm\.out\.", ".out."),
    (r"^classifier\.conv\.1$", "classifier.classifier"),
    (r"\.conv\.0$", ".conv"), (r"\.conv\.1$", ".bn"),
] + _FUSION
_AUX_LAYERS = [(rf"^auxlayer{number}\.{layer}$", f"aux_heads.{head}.{name}")
               for number, head in (("", 0), (1, 0), (2, 1))
               for layer, name in ((0, "conv.conv"), (1, "conv.bn"), (4, "classifier"))]
_LIMINN = [
    (r"^pretrained\.", "encoder.backbone."),
    (r"^head\.cff_12\.conv_low_cls$", "aux_heads.0"), (r"^head\.cff_24\.conv_low_cls$", "aux_heads.1"),
    (r"^head\.conv_cls$", "head"),
    (r"^head\.(cff_\d+\.\w+)\.0$", r"\1.conv"), (r"^head\.(cff_\d+\.\w+)\.1$", r"\1.bn"),
] + _RESNET
_RULES: Dict[str, List[Tuple[str, str]]] = {
    "fast_scnn_tramac": _AUX_LAYERS + _TRAMAC,
    # A checkpoint that the zoo's training wrote has each name as that of a part of its network with loss.
    "fast_scnn_modelzoo": [(r"^network\.", "")] + _AUX_LAYERS + _TRAMAC,
    "fast_scnn_segmentron": _AUX_LAYERS + _FUSION + [
        (r"\.block\.depthwise$", ".depthwise.conv"), (r"\.block\.bn_depth$", ".depthwise.bn"),
        (r"\.block\.pointwise$", ".pointwise.conv"), (r"\.block\.bn_point$", ".pointwise.bn"),
        (r"(bottleneck\d\.\d)\.conv\.0\.", r"\1.expand."), (r"(bottleneck\d\.\d)\.conv\.1\.", r"\1.depthwise."),
        (r"(bottleneck\d\.\d)\.conv\.2$", r"\1.project.conv"), (r"(bottleneck\d\.\d)\.conv\.3$", r"\1.project.bn"),
        (r"\.ppm\.convs\.", ".ppm.branches."), (r"^classifier\.conv\.1$", "classifier.classifier"),
    ],
    "fast_scnn_mmseg": _MMSEG_AUX_HEADS + [
        (r"^backbone\.", ""), (r"depthwise_conv\.", "depthwise."), (r"pointwise_conv\.", "pointwise."),
        (r"(bottleneck\d\.\d)\.conv\.0\.", r"\1.expand."), (r"(bottleneck\d\.\d)\.conv\.1\.", r"\1.depthwise."),
        (r"(bottleneck\d\.\d)\.conv\.2\.", r"\1.project."),
        (r"\.ppm\.(\d)\.1\.", r".ppm.branches.\1."),
        (r"^decode_head\.convs\.0\.", "classifier.dsconv1."), (r"^decode_head\.convs\.1\.", "classifier.dsconv2."),
        (r"^decode_head\.conv_seg$", "classifier.classifier"),
    ],
    "icnet_liminn": _LIMINN + [
        (r"backbone\.conv1\.0$", "backbone.stem.0.conv"), (r"backbone\.conv1\.1$", "backbone.stem.0.bn"),
        (r"backbone\.conv1\.3$", "backbone.stem.1.conv"), (r"backbone\.conv1\.4$", "backbone.stem.1.bn"),
        (r"backbone\.conv1\.6$", "backbone.stem.2.conv"), (r"backbone\.bn1$", "backbone.stem.2.bn"),
    ],
    "icnet_liminn_v1b": _LIMINN + _RESNET_STEM,
    "icnet_mmseg": _MMSEG_HEADS + [
        (r"^backbone\.conv_sub1\.", "conv_sub1."), (r"^backbone\.", "encoder."), (r"^neck\.", ""),
        (r"\.stem\.0$", ".stem.0.conv"), (r"\.stem\.1$", ".stem.0.bn"), (r"\.stem\.3$", ".stem.1.conv"),
        (r"\.stem\.4$", ".stem.1.bn"), (r"\.stem\.6$", ".stem.2.conv"), (r"\.stem\.7$", ".stem.2.bn"),
        (r"\.psp_modules\.(\d)\.1\.", r".ppm.branches.\1."), (r"\.psp_bottleneck\.", ".ppm_out."),
    ] + _RESNET_STEM + _RESNET,
    "bisenetv1_coincheung": [
        (r"^cp\.resnet\.", "context_path.backbone."), (r"^cp\.", "context_path."),
        (r"\.conv_atten$", ".attention.conv"), (r"\.bn_atten$", ".attention.bn"),
        (r"^sp\.conv_out\.", "spatial_path.out."), (r"^sp\.", "spatial_path."),
        (r"^ffm\.conv$", "ffm.attention.conv"), (r"^ffm\.bn$", "ffm.attention.bn"), (r"^ffm\.convblk\.", "ffm.conv."),
        (r"^conv_out\.", "head."), (r"^conv_out16\.", "aux_heads.0."), (r"^conv_out32\.", "aux_heads.1."),
        (r"\.conv_out$", ".classifier"),
    ] + _RESNET_STEM + _RESNET,
    "bisenetv1_mmseg": _MMSEG_HEADS + [
        (r"^backbone\.", ""), (r"\.conv_layer\.", ".conv."), (r"\.atten_conv_layer\.1\.", ".attention."),
        (r"\.gap_conv\.1\.", ".conv_avg."), (r"^spatial_path\.layer4\.", "spatial_path.out."),
        (r"^spatial_path\.layer(\d)\.", r"spatial_path.conv\1."),
        (r"^ffm\.conv1\.", "ffm.conv."), (r"^ffm\.conv_atten\.0\.", "ffm.attention."),
    ] + _RESNET_STEM + _RESNET,
}
GRAPHS = tuple(_RULES)
_BATCH_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
# What MindSpore does not keep, and the classifier of ImageNet.
_WITHOUT_COUNTERPART = re.compile(r"num_batches_tracked$|(^|\.)fc\.(weight|bias)$")
BACKBONE_KEYS = {"icnet_liminn": "pretrained.", "icnet_liminn_v1b": "pretrained.", "icnet_mmseg": "backbone.backbone.",
                  "bisenetv1_coincheung": "cp.resnet.", "bisenetv1_mmseg": "backbone.context_path.backbone."}


def graph_name(model: str, variant: str, *, backbone: Optional[str] = None) -> str:
    """The one of GRAPHS by whose names the weights of this network are published."""
    own = f"{model}_{variant}_{(backbone or '').rpartition('_')[2]}"  # a stem of its own, such as v1b
    return own if own in _RULES else f"{model}_{variant}"


def parameter_name(graph: str, key: str) -> str:
    """Our name of the reference's `key`; "" for what has no counterpart: `num_batches_tracked` and ImageNet's `fc`.

    Args:
        graph: one of GRAPHS.
        key: name in a state dict or checkpoint of that reference, such as "classifier.conv.1.weight".
    """
    if _WITHOUT_COUNTERPART.search(key):
        return ""
    layer, _, kind = key.rpartition(".")
    for pattern, replacement in _RULES[graph]:
        layer = re.sub(pattern, replacement, layer)
    return f"{layer}.{_BATCH_NORM.get(kind, kind) if layer.split('.')[-1] == 'bn' else kind}"


def convert(graph: str, state: Dict[str, Value]) -> Dict[str, Value]:
    """A reference's state dict (key -> value) with our names; values are untouched."""
    named = ((parameter_name(graph, key), value) for key, value in state.items())
    return {name: value for name, value in named if name}


def is_modelzoo(keys: Iterable[str]) -> bool:
    """Whether a checkpoint with these names was written by the model zoo's Fast-SCNN."""
    return any(re.match(r"(network\.)?learning_to_downsample\.conv\.conv\.0\.weight$", key) for key in keys)


def convert_modelzoo(checkpoint: Dict[str, Value]) -> Dict[str, Value]:
    """The weights of a checkpoint of the model zoo's Fast-SCNN with our names, without the state of its optimizer."""
    if any(key.startswith("network.") for key in checkpoint):
        checkpoint = {key: value for key, value in checkpoint.items() if key.startswith("network.")}
    return convert("fast_scnn_modelzoo", checkpoint)
