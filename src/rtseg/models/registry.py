"""Registry of the networks: `create_model` is the only way the commands make one."""
import importlib
from typing import TYPE_CHECKING, Dict, NamedTuple, Optional, Tuple

from rtseg.utils.errors import ConfigError

if TYPE_CHECKING:
    from rtseg.models.segmentation_network import SegmentationNetwork


class Network(NamedTuple):
    """Where a network is and which forms it has. The first variant and backbone are the defaults."""

    path: str                        # module and class; imported when it is built, so that --help needs no MindSpore
    variants: Tuple[str, ...]        # published graphs
    backbones: Tuple[str, ...] = ()  # none for a network that is all its own


NETWORKS: Dict[str, Network] = {
    "fast_scnn": Network("rtseg.models.fast_scnn.FastSCNN", ("mmseg", "segmentron", "tramac", "modelzoo")),
    "icnet": Network("rtseg.models.icnet.ICNet", ("mmseg", "liminn"), ("resnet50", "resnet18", "resnet50_v1b")),
    "bisenetv1": Network("rtseg.models.bisenetv1.BiSeNetV1", ("coincheung", "mmseg"), ("resnet18", "resnet50")),
}
MODEL_VARIANTS = {name: network.variants for name, network in NETWORKS.items()}
MODEL_BACKBONES = {name: network.backbones for name, network in NETWORKS.items()}
# Every network halves its input five times.
SIZE_MULTIPLE = 32
MAX_AUX = 2
PUBLISHED_CLASSES = 19  # that the published graphs and weights tell apart: those of Cityscapes


def check_model(name: str, variant: str, *, aux: int = 0, backbone: Optional[str] = None) -> None:
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


def create_model(name: str, variant: str, *, num_classes: int, aux: int = 0, dropout: float = 0.1,
                 bn_momentum: Optional[float] = None, seed: int = 0,
                 backbone: Optional[str] = None) -> "SegmentationNetwork":
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
    check_model(name, variant, aux=aux, backbone=backbone)
    module, _, class_name = NETWORKS[name].path.rpartition(".")
    network = getattr(importlib.import_module(module), class_name)
    backbones = MODEL_BACKBONES[name]
    own = {"backbone": backbone or backbones[0]} if backbones else {}
    return network(num_classes, variant, aux=aux, dropout=dropout, bn_momentum=bn_momentum, seed=seed, **own)
