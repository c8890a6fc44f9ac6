import sys

import pytest
from launcher_helpers import Place
from moxing_helpers import FAKE

from rtseg.launch import object_storage


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.fixture
def spaced(tmp_path):
    return Place(tmp_path / "with space")


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """The folder of all buckets; in this process the fake is moxing, and failed attempts are repeated at once."""
    for name in ("moxing", "moxing.file"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(FAKE))
    monkeypatch.setenv("MOXING_BUCKETS", str(tmp_path / "buckets"))
    monkeypatch.setenv("MOXING_CALLS", str(tmp_path / "calls"))
    monkeypatch.setattr(object_storage, "_PAUSES", (0, 0, 0))
    for name in ("MOXING_FAULTS", "RANK_ID", "MS_ROLE"):
        monkeypatch.delenv(name, raising=False)
    files = tmp_path / "buckets" / "b" / "data"
    for name, text in (("leftImg8bit/val/a.png", "image"), ("gtFine/val/a.png", "label"), ("z.txt", "the last")):
        (files / name).parent.mkdir(parents=True, exist_ok=True)
        (files / name).write_text(text)
    yield tmp_path / "buckets"
    for name in ("moxing", "moxing.file"):
        sys.modules.pop(name, None)


@pytest.fixture
def faults(bucket, monkeypatch):
    def inject(text=""):
        sys.modules.pop("moxing", None)
        sys.modules.pop("moxing.file", None)  # it counts its calls anew
        monkeypatch.setenv("MOXING_FAULTS", text)
    return inject
