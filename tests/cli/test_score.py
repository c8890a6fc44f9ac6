"""cal_mIoU.py: literal scores from both kinds of result files, and every way in which files can be wrong."""
import numpy as np
import pytest
from PIL import Image

from rtseg.cli import score as cal_mIoU
from rtseg.inference.bin_files import read_label, read_result
from rtseg.inference.metadata import ModelMetadata, write_metadata
from rtseg.utils.errors import ConfigError, DataError

HEIGHT, WIDTH = 2, 4
# Seven pixels count. road: 4 right, 1 missed, 1 wrongly claimed; car: 1 right, 1 missed, 1 wrongly claimed.
LABEL = np.array([[0, 0, 0, 0], [13, 13, 255, 0]], np.uint8)
PREDICTION = np.array([[0, 0, 0, 13], [13, 0, 0, 0]], np.uint8)


def logits_of(prediction):
    """float32 (19, H, W) whose largest value is at the prediction; equal values further down must not win."""
    logits = np.full((19, *prediction.shape), -1, np.float32)
    np.put_along_axis(logits, prediction[None].astype(np.int64), 2.5, axis=0)
    logits[18] = np.maximum(logits[18], 2.5)
    return logits


@pytest.fixture
def folders(tmp_path):
    """(labels, results), with one label "a"."""
    for name in ("label", "result"):
        (tmp_path / name).mkdir()
    (tmp_path / "label" / "a_label.bin").write_bytes(LABEL.tobytes())
    return tmp_path / "label", tmp_path / "result"


def run(folders, *flags):
    return cal_mIoU.main([f"--label_path={folders[0]}", f"--output_path={folders[1]}", f"--image_height={HEIGHT}",
                          f"--image_width={WIDTH}", *flags])


@pytest.mark.parametrize("content", [PREDICTION.tobytes(), logits_of(PREDICTION).astype("<f4").tobytes()])
def test_scores_literal(folders, content, capsys):
    (folders[1] / "a_img_0.bin").write_bytes(content)
    assert run(folders) == 0
    lines = {line.rpartition(" ")[0].strip(): line.split()[-1] for line in capsys.readouterr().out.splitlines()}
    assert (lines["road"], lines["car"], lines["sky"]) == ("66.67", "33.33", "n/a")
    assert (lines["mIoU"], lines["pixAcc"]) == ("50.00", "71.43")
    # road 4/5 and car 1/2 are right; IoU 4/6 and 1/3 weighted with 5 and 2 of 7 pixels
    assert (lines["mAcc"], lines["fwIoU"]) == ("65.00", "57.14") and "mBIoU" not in lines
    assert run(folders, "--boundary_iou=1") == 0
    # In an image of 2x4 every pixel is at its edge.
    assert capsys.readouterr().out.splitlines()[-1].split() == ["mBIoU", "50.00"]


def test_masks(folders, tmp_path):
    (folders[1] / "a_img_0.bin").write_bytes(PREDICTION.tobytes())
    assert run(folders, "--save_mask=1", f"--mask_result_path={tmp_path / 'masks'}") == 0
    mask = np.array(Image.open(tmp_path / "masks" / "a_mask.png"))
    assert mask.shape == (HEIGHT, WIDTH, 3)
    assert mask[0, 0].tolist() == [128, 64, 128] and mask[0, 3].tolist() == [0, 0, 142]


def test_bad_files_are_listed_and_the_others_scored(folders, capsys):
    labels, results = folders
    (results / "a_img_0.bin").write_bytes(PREDICTION.tobytes())
    for name in ("missing", "short", "nan", "unknown"):
        (labels / f"{name}_label.bin").write_bytes(LABEL.tobytes())
    (labels / "unknown_label.bin").write_bytes(bytes([77] * 8))
    (results / "unknown_img_0.bin").write_bytes(PREDICTION.tobytes())
    (results / "short_img_0.bin").write_bytes(b"1234567")
    broken = logits_of(PREDICTION)
    broken[3, 1, 1] = np.nan
    (results / "nan_img_0.bin").write_bytes(broken.tobytes())
    (results / "extra_img_0.bin").write_bytes(PREDICTION.tobytes())
    assert run(folders) == 3
    printed = capsys.readouterr()
    assert "mIoU" in printed.out and " 50.00\n" in printed.out
    for message in ("5 files are not in this score", "missing_label.bin: has no result missing_img_0.bin",
                    "extra_img_0.bin: has no label extra_label.bin",
                    "short_img_0.bin: expected 8 bytes (uint8 class map) or 608 bytes (float32 logits), found 7",
                    "nan_img_0.bin: expected finite logits",
                    "labels must be 0..18 or 255 (ignored), found 77"):
        assert message in printed.err


def test_nothing_to_score(folders, tmp_path):
    with pytest.raises(DataError, match="expected a folder of .*_img_0.bin files, found none"):
        cal_mIoU.main([f"--label_path={folders[0]}", f"--output_path={tmp_path / 'none'}"])
    for result in folders[1].glob("*.bin"):
        result.unlink()
    with pytest.raises(DataError, match=f"files in {folders[1]}, found none; run the inference program first"):
        run(folders)
    (folders[0] / "a_label.bin").unlink()
    with pytest.raises(DataError, match="found none; run preprocess.py first"):
        run(folders)


def test_head_logits_are_scored_as_the_metadata_says(folders, tmp_path, capsys):
    """One source pixel each for road and car, upsampled four times with half-pixel centres."""
    write_metadata(tmp_path / "net.onnx", ModelMetadata.describe(
        model="fast_scnn", variant="mmseg", input_type="uint8", output_type="head_logits", size=(1, 4, 8),
        mean=(0.5,) * 3, std=(0.5,) * 3, dataset="two", classes=("road", "car"), palette=((0, 0, 0), (0, 0, 255)),
        stride=4, align_corners=False))
    (folders[0] / "a_label.bin").write_bytes(bytes([0, 0, 0, 0, 1, 1, 1, 255]) * 4)
    head = np.array([[[1, 0]], [[0, 1.5]]], "<f4")
    (folders[1] / "a_img_0.bin").write_bytes(head.tobytes())
    flags = [f"--label_path={folders[0]}", f"--output_path={folders[1]}", f"--metadata={tmp_path / 'net.json'}"]
    assert cal_mIoU.main(flags) == 0  # the size is the metadata's, too
    lines = {line.rpartition(" ")[0].strip(): line.split()[-1] for line in capsys.readouterr().out.splitlines()}
    # The classes meet 0.4 of the way from column 1.5 to column 5.5, at 3.1.
    assert (lines["road"], lines["car"], lines["pixAcc"]) == ("100.00", "100.00", "100.00")
    with pytest.raises(ConfigError, match="--image_height: expected 4, which the model takes as its metadata says"):
        cal_mIoU.main([*flags, "--image_height=8"])


def test_the_stride_is_that_of_the_first_result_that_has_one(folders, capsys):
    """Not of the first, which is cut short."""
    head = np.zeros((19, 4, 8), "<f4")
    head[13, :, 4:] = 1
    for name, size in (("a", 100), ("b", head.nbytes)):
        (folders[0] / f"{name}_label.bin").write_bytes(bytes([0, 0, 0, 255, 255, 13, 13, 13]) * 4)
        (folders[1] / f"{name}_img_0.bin").write_bytes(head.tobytes()[:size])
    flags = ("--output_type=head_logits", "--dataset_config=cityscapes", "--image_height=4", "--image_width=8")
    assert run(folders, *flags) == 3
    out, err = capsys.readouterr()
    assert "pixAcc" in out and "100.00" in out and "1 files are not in this score" in err and "a_img_0.bin: " in err
    (folders[1] / "b_img_0.bin").write_bytes(b"")
    with pytest.raises(DataError, match="a_img_0.bin: expected head logits of 19 classes .* found 100 bytes, which no"):
        run(folders, *flags)


@pytest.mark.parametrize("flags, message", [
    (["--image_height=0"], "--image_height: expected an integer >= 1, found '0'"),
    (["--image_width=big"], "--image_width: expected an integer >= 1, found 'big'"),
    (["--save_mask=2"], "--save_mask: expected 0 or 1, found '2'"),
    (["--dataset_config=camvid", "--metadata=m.json"], "--dataset_config, --metadata: both have the classes, expected "
     "one of them"),
])
def test_wrong_usage(flags, message):
    with pytest.raises(ConfigError) as error:
        cal_mIoU.main(flags)
    assert str(error.value) == message and error.value.exit_code == 2


def test_first_of_equal_classes_wins(tmp_path):
    path = tmp_path / "a_img_0.bin"
    path.write_bytes(np.zeros((19, HEIGHT, WIDTH), "<f4").tobytes())
    assert read_result(path, HEIGHT, width=WIDTH, num_classes=19).tolist() == [[0] * 4] * 2


def test_any_logits_give_numpys_argmax(tmp_path):
    logits = np.random.default_rng(0).integers(-3, 4, (19, 24, 40)).astype("<f4")
    path = tmp_path / "a_img_0.bin"
    path.write_bytes(logits.tobytes())
    np.testing.assert_array_equal(read_result(path, 24, width=40, num_classes=19), logits.argmax(0))
    with pytest.raises(DataError, match=r"expected 960 bytes \(uint8 train ids\), found 72960"):
        read_label(path, 24, width=40)
    with pytest.raises(DataError, match="cannot be read"):
        read_label(tmp_path / "none", 24, width=40)
