"""predict.py over several starts and machines, and from a camera, with a fake for the network."""
import os
import signal

import cv2
import numpy as np
import pytest
from data_helpers import write_png
from PIL import Image

from rtseg.cli import predict
from rtseg.inference.input_files import InputFile, camera_of, shard_of
from rtseg.inference.predictor import Prediction
from rtseg.utils.errors import ConfigError, DataError
from rtseg.visualization import video
from rtseg.visualization.video import Video, video_format

PALETTE = ((0, 60, 0), (255, 80, 0))


class Brightness:
    """Sees class 1 where it is bright, and remembers how many images it was given."""

    class_names, palette, description, batch_size = ("dark", "bright"), PALETTE, "brightness", 1
    calls = 0

    def predict(self, images):
        Brightness.calls += len(images)
        return [Prediction((image[..., 0] > 127).astype(np.uint8), image[..., 0]) for image in images]


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Function of flags: runs predict.py on the images of a folder `in`, and returns how many the network was given."""
    for seed in range(5):
        image = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        write_png(tmp_path / "in" / f"{seed}.png", image)
    (tmp_path / "a.onnx").write_text("a model")
    monkeypatch.setattr(predict, "open_segmenter", lambda config: Brightness())
    monkeypatch.setattr(Brightness, "calls", 0)

    def run(*flags, code=0):
        before = Brightness.calls
        defaults = [f"--model_path={tmp_path / 'a.onnx'}", f"--output_path={tmp_path / 'out'}"]
        inputs = [flag for flag in flags if not flag.startswith("--")] or [str(tmp_path / "in")]
        assert predict.main([*inputs, *defaults, *(flag for flag in flags if flag.startswith("--"))]) == code
        return Brightness.calls - before
    return run


def results(tmp_path, kind):
    return sorted(path.name for path in (tmp_path / "out" / kind).iterdir())


def test_finished_images_are_not_done_again(start, tmp_path, capsys):
    assert start() == 5
    assert "inputs are finished" not in capsys.readouterr().out
    assert start() == 0
    assert "5 of 5 inputs are finished: their results are in" in capsys.readouterr().out
    (tmp_path / "out" / "mask" / "3_mask.png").unlink()  # as if it had been broken off there
    assert start() == 1 and len(results(tmp_path, "mask")) == 5
    assert start("--save=mask") == 0
    assert start("--save=mask", "--overwrite=1") == 5
    assert start("--submit=1", "--dataset_config=cityscapes", code=3) == 0  # wrong names: nothing is done


@pytest.mark.parametrize("change", ["model", "metadata", "flip", "image", "older version"])
def test_what_another_model_or_image_left_is_done_again(start, tmp_path, change):
    assert start("--save=class_map") == 5
    flags = ["--save=class_map"]
    if change == "model":
        (tmp_path / "a.onnx").write_text("another model")
    elif change == "metadata":
        (tmp_path / "a.json").write_text("{}")
    elif change == "flip":
        flags.append("--flip=1")
    elif change == "image":
        write_png(tmp_path / "in" / "2.png", np.full((8, 8, 3), 255, np.uint8))
    else:
        for path in (tmp_path / "out" / "class_map").iterdir():
            Image.open(path).copy().save(path)  # without the key
    assert start(*flags) == (1 if change == "image" else 5)
    assert start(*flags) == 0
    if change == "image":
        assert (np.array(Image.open(tmp_path / "out" / "class_map" / "2_class_map.png")) == 1).all()


def test_class_maps_with_confidence_are_others(start):
    """They come from probabilities, in which a few pixels have another class."""
    assert start("--save=class_map,confidence") == 5
    assert start("--save=class_map") == 5
    assert start("--save=class_map,mask") == 5
    assert start("--save=mask") == 0


def test_a_link_that_leads_nowhere_stops_no_other(start, tmp_path, capsys):
    (tmp_path / "in" / "7.png").symlink_to(tmp_path / "absent.png")
    assert [start(code=3), start(code=3)] == [5, 0]
    assert capsys.readouterr().err.count("7.png: cannot be read (No such file or directory)") == 2


def test_a_model_that_is_missing(tmp_path):
    write_png(tmp_path / "in.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DataError, match="expected an exported model at .*none.onnx, found none"):
        predict.main([str(tmp_path / "in.png"), f"--model_path={tmp_path}/none.onnx", f"--output_path={tmp_path}/out"])


def test_settings_that_change_no_result_are_no_reason(start):
    assert start() == 5
    assert start("--num_workers=0", "--shard=1/2") == 0


def test_shards_share_all_images(start, tmp_path, capsys):
    assert [start(f"--shard={number}/3") for number in (1, 2, 3)] == [2, 2, 1]
    assert results(tmp_path, "class_map") == [f"{seed}_class_map.png" for seed in range(5)]
    capsys.readouterr()
    assert start("--shard=7/9") == 0
    assert capsys.readouterr().out == "nothing to do for part 7/9: there are only 5 inputs\n"
    for wrong in ("0/3", "4/3", "2", "1/0", "-1/3", "a/b", "1/3/5"):
        with pytest.raises(ConfigError, match=f"--shard: expected i/n with 1 <= i <= n, such as 1/4, found '{wrong}'"):
            start(f"--shard={wrong}")


def test_shards_literal(tmp_path):
    files = [InputFile(tmp_path / name, name) for name in "abcdefg"]
    assert ["".join(file.name for file in shard_of(files, (number, 3))) for number in (1, 2, 3)] == ["adg", "be", "cf"]


# --- cameras ---

class Capture:
    """Stands in for cv2.VideoCapture of a camera: frames of 48x80, each brighter than the one before."""

    frames = 10 ** 6    # until it is unplugged
    interrupt_at = 0    # frame at which the user presses Ctrl-C

    def __init__(self):
        self.read_frames, self.is_released = 0, False

    def read(self):
        if self.read_frames == self.frames:
            return False, None
        self.read_frames += 1
        if self.read_frames == self.interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
        return True, np.full((48, 80, 3), min(255, 10 * self.read_frames), np.uint8)

    def get(self, name):
        return {cv2.CAP_PROP_FPS: 12.5, cv2.CAP_PROP_FRAME_COUNT: -1.0}[name]

    def release(self):
        self.is_released = True


@pytest.fixture
def camera(monkeypatch):
    """The fake capture of camera 0; there is no other."""
    capture, real = Capture(), cv2.VideoCapture
    absent = type("Absent", (Capture,), {"frames": 0})()
    monkeypatch.setattr(video.cv2, "VideoCapture", lambda source, *rest: real(source, *rest) if isinstance(source, str)
                        else capture if source == 0 else absent)
    return capture


def recorded(tmp_path):
    (path,) = (tmp_path / "out" / "overlay").iterdir()
    assert path.name.startswith("camera_0_") and path.name.endswith(f"_overlay{video_format()[0]}")
    return Video(path)


def test_camera_until_max_frames(start, camera, tmp_path, capsys):
    assert start("0", "--max_frames=6") == 6
    found = recorded(tmp_path)
    assert (found.size, found.rate, found.frames) == ((48, 80), 12.5, 6) and camera.is_released
    assert np.abs(found.read().astype(int).mean(axis=(0, 1)) - (5, 35, 5)).max() < 8  # half "dark", half 10; compressed
    printed = capsys.readouterr().out
    assert "camera 0: 80x48 pixels; Ctrl-C ends it\n" in printed
    line = printed.splitlines()[-1]
    assert line.startswith("6 frames; end to end (camera, network, drawing, writing), without the first: ")
    assert float(line.split("first: ")[1].split(" frames/s")[0]) > 0


def test_camera_until_ctrl_c_keeps_what_was_computed(start, camera, tmp_path, capsys):
    camera.interrupt_at, before = 5, signal.getsignal(signal.SIGINT)
    done = start("0")
    assert 1 <= done <= 5 and recorded(tmp_path).frames == done and camera.is_released
    assert f"{done} frames; end to end" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is before


def test_camera_that_is_unplugged(start, camera, tmp_path, capsys):
    camera.frames = 4
    assert start("0", "--max_frames=9", code=3) == 4
    assert recorded(tmp_path).frames == 4
    assert "camera 0: gave no more frames after 4; these are done. Is it still connected?" in capsys.readouterr().err


def test_camera_that_cannot_be_used(start, camera, tmp_path):
    with pytest.raises(DataError, match="camera 3: expected a camera that gives frames, found none that OpenCV can"):
        start("3")
    with pytest.raises(ConfigError, match="camera 0: expected a camera to be the only input, found 2"):
        start("0", str(tmp_path / "in"))
    with pytest.raises(ConfigError, match="camera 0: expected neither --submit nor --shard with a camera"):
        start("0", "--shard=1/2")
    assert not (tmp_path / "out" / "overlay").exists() and Brightness.calls == 0


def test_a_camera_index_that_opencv_cannot_take():
    with pytest.raises(DataError, match="camera 12345678901: expected a camera that gives frames"):
        video.Camera(12345678901)


def test_a_file_of_digits_is_no_camera(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert camera_of(["12"]) == 12 and camera_of(["a.png"]) is None and camera_of(["1.5"]) is None
    (tmp_path / "12").mkdir()
    assert camera_of(["12"]) is None
