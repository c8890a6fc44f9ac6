import pytest
from launcher_helpers import Place


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.fixture
def spaced(tmp_path):
    return Place(tmp_path / "with space")
