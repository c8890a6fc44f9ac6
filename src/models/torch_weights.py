"""Names of the reference implementations' PyTorch weights -> names of our parameters."""
import re
from typing import Dict, List, Tuple

import numpy as np

# Ordered (pattern, replacement) pairs that rename the layer (the key without its last part), per graph.
_SEPARABLE = [(r"(dsconv\d)\.conv\.0$", r"\1.depthwise.conv"), (r"(dsconv\d)\.conv\.1$", r"\1.depthwise.bn"),
              (r"(dsconv\d)\.conv\.3$", r"\1.pointwise.conv"), (r"(dsconv\d)\.conv\.4$", r"\1.pointwise.bn")]
_RULES: Dict[str, List[Tuple[str, str]]] = {
    "fast_scnn_tramac": _SEPARABLE + [
        (r"\.block\.0\.", ".expand."), (r"\.block\.1\.", ".depthwise."),
        (r"\.block\.2$", ".project.conv"), (r"\.block\.3$", ".project.bn"),
        (r"\.ppm\.conv1\.", ".ppm.branches.0."), (r"\.ppm\.conv2\.", ".ppm.branches.1."),
        (r"\.ppm\.conv3\.", ".ppm.branches.2."), (r"\.ppm\.conv4\.", ".ppm.branches.3."),
        (r"\.ppm\.out\.", ".out."),
        (r"^classifier\.conv\.1$", "classifier.classifier"),
        (r"^auxlayer\.0$", "aux_heads.0.conv.conv"), (r"^auxlayer\.1$", "aux_heads.0.conv.bn"),
        (r"^auxlayer\.4$", "aux_heads.0.classifier"),
        (r"\.conv\.0$", ".conv"), (r"\.conv\.1$", ".bn"),
        (r"(conv_\w+_res)\.0$", r"\1.conv"), (r"(conv_\w+_res)\.1$", r"\1.bn"),
    ],
    "fast_scnn_mmseg": [
        (r"^backbone\.", ""), (r"depthwise_conv\.", "depthwise."), (r"pointwise_conv\.", "pointwise."),
        (r"(bottleneck\d\.\d)\.conv\.0\.", r"\1.expand."), (r"(bottleneck\d\.\d)\.conv\.1\.", r"\1.depthwise."),
        (r"(bottleneck\d\.\d)\.conv\.2\.", r"\1.project."),
        (r"\.ppm\.(\d)\.1\.", r".ppm.branches.\1."),
        (r"^decode_head\.convs\.0\.", "classifier.dsconv1."), (r"^decode_head\.convs\.1\.", "classifier.dsconv2."),
        (r"^decode_head\.conv_seg$", "classifier.classifier"),
        (r"^auxiliary_head\.(\d)\.convs\.0\.", r"aux_heads.\1.conv."),
        (r"^auxiliary_head\.(\d)\.conv_seg$", r"aux_heads.\1.classifier"),
    ],
}
GRAPHS = tuple(_RULES)
_BATCH_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def parameter_name(graph: str, key: str) -> str:
    """Our name of the reference's `key`; "" for `num_batches_tracked`, which MindSpore does not keep.

    Args:
        graph: one of GRAPHS.
        key: name in a PyTorch state dict of that reference, such as "classifier.conv.1.weight".
    """
    layer, _, kind = key.rpartition(".")
    if kind == "num_batches_tracked":
        return ""
    for pattern, replacement in _RULES[graph]:
        layer = re.sub(pattern, replacement, layer)
    return f"{layer}.{_BATCH_NORM[kind] if layer.split('.')[-1] == 'bn' else kind}"


def convert(graph: str, state: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """A reference's state dict (key -> array) with our names; values are untouched."""
    named = ((parameter_name(graph, key), value) for key, value in state.items())
    return {name: value for name, value in named if name}
