"""Real-time semantic segmentation with MindSpore. The names below are loaded when they are first used, so importing
this package takes milliseconds and needs no MindSpore; see docs/python_api.md."""
import importlib
from typing import Any, Dict, List

__version__ = "0.2.0"

# Public name -> the module that has it.
_PUBLIC: Dict[str, str] = {
    "ConfigError": "rtseg.utils.errors",
    "DataError": "rtseg.utils.errors",
    "Dataset": "rtseg.api",
    "Segmentation": "rtseg.inference.segmenter",
    "Segmenter": "rtseg.inference.segmenter",
    "Window": "rtseg.inference.predictor",
    "create_model": "rtseg.api",
    "evaluate": "rtseg.api",
    "list_models": "rtseg.api",
    "list_variants": "rtseg.api",
    "load_weights": "rtseg.api",
}
__all__ = ["__version__"] + list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'rtseg' has no attribute '{name}'")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> List[str]:
    return sorted({*globals(), *__all__})
