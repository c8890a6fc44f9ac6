"""How wide text is on a terminal."""
import unicodedata


def text_width(text: str) -> int:
    """Columns that `text` takes: two for each Chinese, Japanese or Korean letter."""
    return sum(2 if unicodedata.east_asian_width(letter) in "FW" else 1 for letter in text)


def pad(text: str, width: int) -> str:
    """`text` with blanks up to `width` columns."""
    return text + " " * (width - text_width(text))
