"""Imports the PyTorch weights of the reference implementations, and ImageNet weights of their backbones.

    rtseg convert-weights --model bisenetv1 --input model_final_v1_city.pth --output bisenetv1.ckpt
    rtseg convert-weights --model bisenetv1 --input resnet18.pth --output resnet18.ckpt --backbone_only

The first checkpoint is for eval.py and export.py; both are for `train.py --pretrained`. PyTorch is not needed.
"""
import argparse
import os
import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from rtseg.models.registry import MAX_AUX, MODEL_BACKBONES, MODEL_VARIANTS, check_model, create_model
from rtseg.runtime.device import setup_device
from rtseg.tools.torch_file import read_state_dict
from rtseg.utils.atomic import atomic_write
from rtseg.utils.errors import ConfigError, DataError, run_command

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
_BACKBONE_KEYS = {"icnet_liminn": "pretrained.", "icnet_liminn_v1b": "pretrained.", "icnet_mmseg": "backbone.backbone.",
                  "bisenetv1_coincheung": "cp.resnet.", "bisenetv1_mmseg": "backbone.context_path.backbone."}
# Layers that depend on the number of classes.
_CLASSIFIER = re.compile(r"(^|\.)classifier\.(weight|bias)$|^(head|aux_heads\.\d)\.(weight|bias)$")


class ImportReport(NamedTuple):
    """What became of a file; `ignored` are its own names, each with the reason, the others are our names."""

    mapped: List[str]
    other_classes: List[str]  # those of them that are classifiers of another number of classes
    ignored: Dict[str, str]
    missing: List[str]

    def lines(self) -> List[str]:
        """The report as text."""
        groups = [(f"ignored ({reason})", [key for key, given in self.ignored.items() if given == reason])
                  for reason in dict.fromkeys(self.ignored.values())]
        groups = [("of another number of classes, only for --pretrained,", self.other_classes)] + groups
        return [f"mapped {len(self.mapped)} parameters"] + [
            f"{title} {len(names)}: {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"
            for title, names in groups + [("missing", self.missing)] if names]


def graph_name(model: str, variant: str, backbone: Optional[str] = None) -> str:
    """The one of GRAPHS by whose names the weights of this network are published."""
    own = f"{model}_{variant}_{(backbone or '').rpartition('_')[2]}"  # a stem of its own, such as v1b
    return own if own in _RULES else f"{model}_{variant}"


def parameter_name(graph: str, key: str) -> str:
    """Our name of the reference's `key`; "" for what has no counterpart: `num_batches_tracked` and ImageNet's `fc`.

    Args:
        graph: one of GRAPHS.
        key: name in a PyTorch state dict of that reference, such as "classifier.conv.1.weight".
    """
    if _WITHOUT_COUNTERPART.search(key):
        return ""
    layer, _, kind = key.rpartition(".")
    for pattern, replacement in _RULES[graph]:
        layer = re.sub(pattern, replacement, layer)
    return f"{layer}.{_BATCH_NORM.get(kind, kind) if layer.split('.')[-1] == 'bn' else kind}"


def convert(graph: str, state: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """A reference's state dict (key -> array) with our names; values are untouched."""
    named = ((parameter_name(graph, key), value) for key, value in state.items())
    return {name: value for name, value in named if name}


def match(graph: str, state: Dict[str, np.ndarray], shapes: Dict[str, tuple],
          backbone_only: bool = False) -> Tuple[Dict[str, np.ndarray], ImportReport]:
    """The part of `state` that fits a network, by our names, and the report about all of it.

    Args:
        graph: one of GRAPHS.
        state: a reference's state dict, or with `backbone_only` possibly that of the backbone alone.
        shapes: our parameter name -> shape. Auxiliary heads may be missing in `state`, and classifiers may be of
            another number of classes.
        backbone_only: take the backbone's parameters and ignore all others.

    Raises:
        DataError: a parameter is missing or of another shape.
    """
    prefix = _BACKBONE_KEYS.get(graph, "") if backbone_only else ""
    if backbone_only:
        shapes = {name: shape for name, shape in shapes.items() if ".backbone." in name}
    weights, other_classes, ignored, wrong = {}, [], {}, []
    for key, value in state.items():
        name = parameter_name(graph, key if key.startswith(prefix) else prefix + key)
        if name not in shapes:
            ignored[key] = "not part of this network" if name else "has no counterpart"
        elif value.shape == shapes[name]:
            weights[name] = value.astype(np.float32)
        elif _CLASSIFIER.search(name) and value.shape[1:] == shapes[name][1:]:
            weights[name] = value.astype(np.float32)
            other_classes.append(name)
        else:
            wrong.append(f"{key}: expected shape {shapes[name]}, found {value.shape}")
    missing = [name for name in shapes if name not in weights]
    wrong += [f"missing: {name}" for name in missing if not name.startswith("aux_heads.")]
    if wrong:
        raise DataError(f"expected weights of {graph}{' (its backbone)' if backbone_only else ''}, found others; "
                        f"{len(wrong)} problems, first:\n  " + "\n  ".join(wrong[:10])
                        + "\nIs it of another --model, --variant or --backbone?")
    return weights, ImportReport(list(weights), other_classes, ignored, missing)


def import_weights(model: str, variant: str, backbone: Optional[str], source, target,
                   backbone_only: bool = False) -> ImportReport:
    """Converts the PyTorch or safetensors file `source` to the checkpoint `target`, written atomically.

    Raises:
        ConfigError: no such network, or one without a backbone.
        DataError: `source` cannot be read or is not of this network.
    """
    import mindspore as ms

    check_model(model, variant, MAX_AUX, backbone)
    if backbone_only and not MODEL_BACKBONES[model]:
        raise ConfigError(f"--backbone_only: {model} has no backbone; expected a network of "
                          f"{', '.join(name for name, known in MODEL_BACKBONES.items() if known)}")
    if Path(target).suffix != ".ckpt":
        raise ConfigError(f"--output {target}: expected a name that ends in .ckpt")
    state = read_state_dict(source)
    network = create_model(model, variant, aux=MAX_AUX, backbone=backbone)
    shapes = {name: tuple(parameter.shape) for name, parameter in network.parameters_dict().items()
              if not name.endswith("dropout_step")}
    try:
        weights, report = match(graph_name(model, variant, backbone), state, shapes, backbone_only)
    except DataError as error:
        raise DataError(f"{source}: {error}") from None
    with atomic_write(target) as temporary:
        ms.save_checkpoint([{"name": name, "data": ms.Tensor(np.ascontiguousarray(value))}
                            for name, value in weights.items()], str(temporary))
        os.chmod(temporary, 0o644)  # MindSpore leaves it read-only, which surprises whoever copies over it
    return report


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(prog="rtseg convert-weights", description=__doc__.split("\n")[0],
                                     allow_abbrev=False)
    parser.add_argument("--model", required=True, help=f"one of {', '.join(MODEL_VARIANTS)}")
    parser.add_argument("--variant", help="published graph (default: the model's first)")
    parser.add_argument("--backbone", help="backbone (default: the model's first)")
    parser.add_argument("--input", required=True, type=Path, help=".pth or .safetensors file")
    parser.add_argument("--output", required=True, type=Path, help="checkpoint to write (.ckpt)")
    parser.add_argument("--backbone_only", action="store_true", help="only the backbone, for train.py --pretrained")
    arguments = parser.parse_args(argv)
    variant = arguments.variant or MODEL_VARIANTS.get(arguments.model, ("",))[0]
    check_model(arguments.model, variant, MAX_AUX, arguments.backbone)
    setup_device("CPU")
    report = import_weights(arguments.model, variant, arguments.backbone, arguments.input, arguments.output,
                            arguments.backbone_only)
    print("\n".join(report.lines()))
    print(f"wrote {arguments.output}")
    return 0


if __name__ == "__main__":
    run_command(main)
