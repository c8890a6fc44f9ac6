"""What the name of a parameter says about it, the same for all networks. No MindSpore.

`ChannelDropout` names its counter DROPOUT_STEP, every network its auxiliary heads `aux_heads` and its last layers
`classifier` (or `head` and `aux_heads.<i>`, where these are nothing but a classifier).
"""
import re

DROPOUT_STEP = "dropout_step"
_CLASSIFIER = re.compile(r"(^|\.)classifier\.(weight|bias)$|^(head|aux_heads\.\d+)\.(weight|bias)$")


def is_weight(name: str) -> bool:
    """Whether it belongs to the network, and not to the random state of a training run."""
    return not name.endswith(DROPOUT_STEP)


def is_auxiliary(name: str) -> bool:
    """Whether it belongs to an auxiliary head, which a network built for inference does not have."""
    return name.startswith("aux_heads.")


def is_backbone(name: str) -> bool:
    """Whether it belongs to a backbone, whose weights may come from elsewhere."""
    return ".backbone." in name


def is_classifier(name: str) -> bool:
    """Whether it belongs to a last layer, whose first dimension is the number of classes."""
    return _CLASSIFIER.search(name) is not None
