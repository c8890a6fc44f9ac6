"""The help texts in Chinese, for `LANG=zh_CN`: those of chinese.yaml; one that is missing there stays in English."""
import os
from functools import lru_cache
from pathlib import Path
from typing import Dict

from rtseg.utils.yaml_file import load_yaml


@lru_cache(maxsize=None)
def all_texts() -> Dict[str, Dict[str, str]]:
    """"sections" and "flags": name -> text."""
    return load_yaml(Path(__file__).with_name("chinese.yaml"), "the Chinese texts")


def texts(kind: str) -> Dict[str, str]:
    """The texts of "sections" or "flags" by name; none unless the environment asks for Chinese."""
    return all_texts()[kind] if is_chinese() else {}


def is_chinese() -> bool:
    """Whether the environment asks for Chinese."""
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):  # the first that is set counts, as in POSIX
        if os.environ.get(variable):
            return os.environ[variable].lower().startswith("zh")
    return False
