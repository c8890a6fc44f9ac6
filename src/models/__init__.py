"""Registry of the networks: `build_model` is the only way the doors make one."""
from typing import Dict, Optional, Tuple

from src.utils.errors import ConfigError

# model name -> its variants. Plain names, so that --help can list them without importing MindSpore.
MODEL_VARIANTS: Dict[str, Tuple[str, ...]] = {
    "fast_scnn": ("mmseg", "tramac"),
    "icnet": ("mmseg", "liminn"),
    "bisenetv1": ("coincheung", "mmseg"),
}
# model name -> its backbones, the published weights' first; none for a network that is all its own.
MODEL_BACKBONES: Dict[str, Tuple[str, ...]] = {
    "fast_scnn": (),
    "icnet": ("resnet50", "resnet18"),
    "bisenetv1": ("resnet18", "resnet50"),
}
# Every network halves its input five times.
SIZE_MULTIPLE = 32
MAX_AUX = 2


def check_model(name: str, variant: str, aux: int, backbone: Optional[str] = None) -> None:
    """Raises ConfigError when there is no such network, variant, backbone or number of auxiliary heads.

    Imports no MindSpore.
    """
    if name not in MODEL_VARIANTS:
        raise ConfigError(f"model: expected one of {', '.join(MODEL_VARIANTS)}, found '{name}'")
    if variant not in MODEL_VARIANTS[name]:
        raise ConfigError(f"variant: expected one of {', '.join(MODEL_VARIANTS[name])} for {name}, found '{variant}'")
    if backbone is not None and backbone not in MODEL_BACKBONES[name]:
        raise ConfigError(f"backbone: expected {' or '.join(MODEL_BACKBONES[name]) or 'none'} for {name}, found "
                          f"'{backbone}'")
    if not 0 <= aux <= MAX_AUX:
        raise ConfigError(f"aux: expected 0 to {MAX_AUX} auxiliary heads, found {aux}")


def build_model(name: str, variant: str, num_classes: int = 19, aux: int = 0, dropout: float = 0.1,
                bn_momentum: Optional[float] = None, seed: int = 0, backbone: Optional[str] = None):
    """Builds a network as a graph-mode Cell with fresh weights.

    Args:
        name: key of MODEL_VARIANTS.
        variant: one of the model's published graphs.
        num_classes: classes to tell apart.
        aux: number of auxiliary heads, 0, 1 or 2.
        dropout: probability before each classifier, in [0, 1).
        bn_momentum: of all BatchNorms in MindSpore's meaning; None for the variant's own.
        seed: of the dropout masks; one per rank.
        backbone: one of MODEL_BACKBONES[name]; None for the first.

    Raises:
        ConfigError: unknown name, variant or backbone, or too many heads.
    """
    check_model(name, variant, aux, backbone)
    from src.models.bisenetv1 import BiSeNetV1
    from src.models.fast_scnn import FastSCNN
    from src.models.icnet import ICNet

    networks = {"fast_scnn": FastSCNN, "icnet": ICNet, "bisenetv1": BiSeNetV1}
    backbones = MODEL_BACKBONES[name]
    own = {"backbone": backbone or backbones[0]} if backbones else {}
    return networks[name](num_classes, variant, aux, dropout, bn_momentum, seed, **own)
