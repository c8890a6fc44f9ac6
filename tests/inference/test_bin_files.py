"""The .bin files of a folder; what is in them: tests/cli/test_preprocess.py, test_score.py and tests/hostile/."""
import pytest

from rtseg.inference.bin_files import LABEL_SUFFIX, list_files
from rtseg.utils.errors import DataError


def test_files_by_name_without_hidden_ones(tmp_path):
    """A program that was killed leaves .tmp- files."""
    for name in ("b_label.bin", "a_label.bin", ".tmp-0123456789ab-a_label.bin", ".hidden_label.bin", "a_img.bin"):
        (tmp_path / name).touch()
    assert list(list_files(tmp_path, LABEL_SUFFIX).items()) == [
        ("a", tmp_path / "a_label.bin"), ("b", tmp_path / "b_label.bin")]
    with pytest.raises(DataError, match=r"expected a folder of \*_label.bin files, found none at .*none"):
        list_files(tmp_path / "none", LABEL_SUFFIX)
