"""The weights, images and settings that goldens are computed with, all of which follow from names and seeds.

tests/goldens/make_golden.py gives them to a reference implementation, rtseg.tools.parity to the network here.
"""
import zlib
from typing import Dict, Sequence, Tuple

import numpy as np

MOMENTUM, WEIGHT_DECAY = 0.9, 1e-4
FROZEN_LOGIT_SCALE = 1e-3


def reference_weights(shapes: Dict[str, tuple]) -> Dict[str, np.ndarray]:
    """The weights that a golden file was computed with, from the reference's parameter names and shapes."""
    weights = {}
    for key, shape in shapes.items():
        rng = np.random.default_rng(zlib.crc32(key.encode()))
        if key.endswith("num_batches_tracked"):
            continue
        if key.endswith(("running_var", "moving_variance")):
            value = 0.5 + rng.random(shape)
        elif key.endswith(("running_mean", "moving_mean", ".bias", ".beta")):
            value = 0.1 * rng.standard_normal(shape)
        elif len(shape) == 1:
            value = 0.8 + 0.4 * rng.random(shape)
        else:
            value = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        weights[key] = value.astype(np.float32)
    return weights


def inference_image(height: int, width: int) -> np.ndarray:
    """(1, 3, H, W) float32."""
    return np.random.default_rng(height * 10000 + width).standard_normal((1, 3, height, width)).astype(np.float32)


def training_batch(shape: Sequence[int], seed: int) -> Tuple[np.ndarray, np.ndarray]:
    """x float32 of `shape` (B, 3, H, W), labels int32 (B, H, W): 0..18 in patches of 16x16, the first 8 rows 255."""
    rng = np.random.default_rng(seed)
    batch, _, height, width = shape
    x = rng.standard_normal(shape).astype(np.float32)
    labels = rng.integers(0, 19, (batch, height // 16, width // 16)).repeat(16, 1).repeat(16, 2).astype(np.int32)
    labels[:, :8] = 255
    return x, labels
