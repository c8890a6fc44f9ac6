"""The .bin files of a folder; what is in them: tests/cli/test_preprocess.py, test_score.py and tests/hostile/."""
import numpy as np
import pytest

from rtseg.inference.bin_files import LABEL_SUFFIX, list_files, read_result, write_array
from rtseg.utils.errors import DataError


def test_files_by_name_without_hidden_ones(tmp_path):
    """A program that was killed leaves .tmp- files."""
    for name in ("b_label.bin", "a_label.bin", ".tmp-0123456789ab-a_label.bin", ".hidden_label.bin", "a_img.bin"):
        (tmp_path / name).touch()
    assert list(list_files(tmp_path, LABEL_SUFFIX).items()) == [
        ("a", tmp_path / "a_label.bin"), ("b", tmp_path / "b_label.bin")]
    with pytest.raises(DataError, match=r"expected a folder of \*_label.bin files, found none at .*none"):
        list_files(tmp_path / "none", LABEL_SUFFIX)


def test_class_maps_of_sixteen_classes_are_no_head_logits(tmp_path):
    """At stride 8 both have as many bytes, and the C++ program writes class maps."""
    path = tmp_path / "a_img_0.bin"
    class_map = np.random.default_rng(0).integers(0, 16, (32, 64), dtype=np.uint8)
    class_map[0, 0] = 255
    write_array(path, class_map)
    np.testing.assert_array_equal(read_result(path, 32, width=64, num_classes=16, stride=8), class_map)
    head = np.zeros((16, 4, 8), np.float32)
    head[5] = 1
    write_array(path, head)
    assert (read_result(path, 32, width=64, num_classes=16, stride=8) == 5).all()


@pytest.mark.parametrize("dtype", ["<i4", "<i8"])
def test_classes_of_larger_integers(tmp_path, dtype):
    """What models of others end in; two classes, of which int64 ones have as many bytes as logits."""
    path = tmp_path / "a_img_0.bin"
    class_map = np.random.default_rng(0).integers(0, 2, (4, 8)).astype(dtype)
    class_map[0, :2] = 255, 1
    write_array(path, class_map)
    found = read_result(path, 4, width=8, num_classes=2)
    assert found.dtype == np.uint8 and found.tolist() == class_map.tolist()
    logits = np.random.default_rng(1).normal(size=(2, 4, 8)).astype("<f4")
    write_array(path, logits)
    assert (read_result(path, 4, width=8, num_classes=2) == logits.argmax(0)).all()


@pytest.mark.parametrize("stride, shape", [(None, (3, 32, 64)), (8, (3, 4, 8))])
def test_logits_in_float16(tmp_path, stride, shape):
    """atc --output_type=FP16, and models of others."""
    logits = np.random.default_rng(0).normal(size=shape).astype("<f2")
    classes = []
    for dtype in ("<f2", "<f4"):
        write_array(tmp_path / "a_img_0.bin", logits.astype(dtype))
        classes.append(read_result(tmp_path / "a_img_0.bin", 32, width=64, num_classes=3, stride=stride))
    np.testing.assert_array_equal(*classes)
