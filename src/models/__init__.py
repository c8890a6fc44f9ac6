"""Registry of the networks: `build_model` is the only way the doors make one."""
from typing import Dict, Tuple

from src.utils.errors import ConfigError

# model name -> its variants. Plain names, so that --help can list them without importing MindSpore.
MODEL_VARIANTS: Dict[str, Tuple[str, ...]] = {
    "fast_scnn": ("mmseg", "tramac"),
}
# Every network halves its input five times.
SIZE_MULTIPLE = 32


def build_model(name: str, variant: str, num_classes: int = 19, aux: int = 0, dropout: float = 0.1, seed: int = 0):
    """Builds a network as a graph-mode Cell with fresh weights.

    Args:
        name: key of MODEL_VARIANTS.
        variant: one of the model's published graphs.
        num_classes: classes to tell apart.
        aux: number of auxiliary heads, 0, 1 or 2.
        dropout: probability before each classifier, in [0, 1).
        seed: of the dropout masks; one per rank.

    Raises:
        ConfigError: unknown name or variant.
    """
    if name not in MODEL_VARIANTS:
        raise ConfigError(f"unknown model '{name}'; expected one of {', '.join(MODEL_VARIANTS)}")
    if variant not in MODEL_VARIANTS[name]:
        raise ConfigError(f"model {name} has no variant '{variant}'; expected one of {', '.join(MODEL_VARIANTS[name])}")
    from src.models.fast_scnn import FastSCNN

    networks = {"fast_scnn": FastSCNN}
    return networks[name](num_classes=num_classes, variant=variant, aux=aux, dropout=dropout, seed=seed)
