import pytest


@pytest.fixture
def describe(tmp_path):
    """Writes a description, with each (old, new) replaced in it, and returns its path."""
    def write(text, *changes):
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path = tmp_path / "mine.yaml"
        path.write_text(text, encoding="utf-8")
        return path
    return write
