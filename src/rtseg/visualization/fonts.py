"""Fonts with the letters of class and file names, which may be of any language."""
import os
from functools import lru_cache
from pathlib import Path
from typing import FrozenSet, List, Optional, Tuple

_FOLDERS = ("~/.local/share/fonts", "~/.fonts", "/usr/local/share/fonts", "/usr/share/fonts")  # as Linux has them
_SUFFIXES = (".ttf", ".ttc", ".otf")


@lru_cache(maxsize=None)
def drawable(text: str) -> Tuple[str, Optional[str]]:
    r"""`text` and the path of a font that has all its letters; None for ASCII, which every font has.

    If no font of this machine has them all, the letters that Matplotlib's DejaVu Sans lacks become escapes such as
    \u9053: a font would draw the same empty box for each.
    """
    text = "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)
    if text.isascii():
        return text, None
    fonts = _fonts()
    for font in fonts:
        if _letters(font).issuperset(text):
            return text, font
    text = "".join(letter if letter in _letters(fonts[0]) else _escaped(letter) for letter in text)
    return text, None if text.isascii() else fonts[0]


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


@lru_cache(maxsize=None)
def _fonts() -> List[str]:
    """DejaVu Sans, which comes with Matplotlib, then those of this machine, the regular ones first."""
    import matplotlib  # here because it is slow

    found = [os.path.join(here, name) for folder in _FOLDERS for here, _, names in os.walk(os.path.expanduser(folder))
             for name in names if name.lower().endswith(_SUFFIXES)]
    found.sort(key=lambda path: ("Regular" not in path, path))
    return [str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), *found]


@lru_cache(maxsize=None)
def _letters(font: str) -> FrozenSet[str]:
    """The letters that a font file has; none if it is damaged, or has pixels instead of outlines."""
    from matplotlib.ft2font import FT2Font

    try:
        face = FT2Font(font)
    except (OSError, RuntimeError):
        return frozenset()
    return frozenset(map(chr, face.get_charmap())) if face.scalable else frozenset()
