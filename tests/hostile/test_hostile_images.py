"""Images and labels that are damaged, lie about their size, are no images, or change while they are read."""
import os
import shutil
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from data_helpers import write_png, write_sample
from hostile_helpers import cases, command, damaged, random_of, tree, unwatched, written_outside

from rtseg.cli import eval as eval_command
from rtseg.cli import predict, preprocess, train
from rtseg.data import image_io
from rtseg.models.registry import create_model
from rtseg.models.weights import save_weights

SIZE = (32, 64)
TINY = ("--batch_size=2", "--base_size=32", "--crop_size=32,64", "--num_workers=0", "--aux=0", "--variant=tramac",
        "--epochs=1", "--warmup_epochs=0")


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, bits=8, color_type=0, content=b"\0" * 100, interlace=0, more=b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, interlace)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + more + chunk(b"IDAT", zlib.compress(content))
            + chunk(b"IEND", b""))


def image_path(root, name, split="val"):
    return root / "leftImg8bit" / split / name.split("_")[0] / f"{name}_leftImg8bit.png"


def label_path(root, name, split="val"):
    return root / "gtFine" / split / name.split("_")[0] / f"{name}_gtFine_labelIds.png"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "w.ckpt"
    save_weights(path, create_model("fast_scnn", "tramac", num_classes=19))
    return path


def run_preprocess(root, out, kind, codes=(0, 3)):
    outcome = command(preprocess.main, f"--image_path={root}", f"--out_dir={out}", "--image_height=32",
                      "--image_width=64", "--input_type=uint8", "--num_workers=1", kind=kind, codes=codes)
    assert not written_outside(outcome, out), outcome.writes
    assert not list(out.rglob(".tmp-*"))
    return outcome


@pytest.mark.parametrize("which", ["image", "label"])
def test_damaged_files(tmp_path, which):
    """What cannot be read is left out and named; what can be is exactly what it was."""
    root, out, rng = tmp_path / "data", tmp_path / "out", random_of("png", which)
    write_sample(root, "val", "bonn_0", np.arange(2048).reshape(SIZE) % 34, SIZE)
    run_preprocess(root, out, "damaged PNG", codes=(0,))
    whole = tree(out)
    path = (image_path if which == "image" else label_path)(root, "bonn_0")
    content = path.read_bytes()
    swaps = [label_path(root, "bonn_0").read_bytes(), b"GIF89a", b"\xff\xd8\xff\xe0" + bytes(50) + b"\xff\xd9"]
    for _ in range(cases(250)):
        path.write_bytes(damaged(content, rng, rng.choice(swaps)))
        outcome = run_preprocess(root, out, "damaged PNG")
        if outcome.code == 0:
            found = tree(out)
            assert found.keys() == whole.keys()
            assert path.read_bytes() == swaps[0] or found == whole
        else:
            assert not list(out.rglob("*.bin")) and path.name in outcome.stderr


LIES = {
    "100000 x 100000": png(100000, 100000), "2 billion": png(2 ** 31 - 1, 2 ** 31 - 1), "4 billion": png(2 ** 32 - 1,
                                                                                                         1),
    "30000 x 30000": png(30000, 30000), "16384 x 16384": png(16384, 16384), "nothing": png(0, 0), "no height": png(5,
                                                                                                                   0),
    "a line": png(16384, 1, content=b"\0" * 16385), "a column": png(1, 16384, content=b"\0\0" * 16384),
    "wider than OpenCV warps": png(40000, 1000, content=b"\0" * 40_001_000),
    "bits": png(64, 32, bits=99), "kind": png(64, 32, color_type=99), "interlaced": png(64, 32, interlace=9),
    "16 bits": png(64, 32, 16, 0, b"\0" * 32 * 129), "1 bit": png(64, 32, 1, 0, b"\0" * 32 * 9),
    "with alpha": png(64, 32, 8, 6, b"\0" * 32 * 257), "palette without one": png(64, 32, 8, 3, b"\0" * 32 * 65),
    "bomb in a text": png(64, 32, more=chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(1 << 26)))),
    "bomb in a profile": png(64, 32, more=chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(1 << 26)))),
    "too many pixels in it": png(64, 32, content=bytes(1 << 26)),
    "many chunks": png(64, 32, more=chunk(b"tEXt", b"x\0y") * 5000),
    "animated": png(64, 32, 8, 0, b"\0" * 32 * 65, more=chunk(b"acTL", struct.pack(">II", 2 ** 31 - 1, 0))),
    "frame": png(64, 32, 8, 0, b"\0" * 32 * 65, more=chunk(b"acTL", struct.pack(">II", 1, 0)) + chunk(
        b"fcTL", struct.pack(">IIIIIHHBB", 0, 2 ** 31 - 1, 2 ** 31 - 1, 0, 0, 1, 1, 0, 0))),
}


@pytest.mark.parametrize("name", LIES)
def test_headers_that_lie(tmp_path, name):
    """Neither much memory nor much time, and the other image is done."""
    root, out = tmp_path / "data", tmp_path / "out"
    for image in ("bonn_0", "bonn_1"):
        write_sample(root, "val", image, 7, SIZE)
    for path in (image_path(root, "bonn_0"), label_path(root, "bonn_0")):
        content = path.read_bytes()
        path.write_bytes(LIES[name])
        run_preprocess(root, out, "PNG header that lies")
        assert (out / "img_data" / "bonn_1_img.bin").stat().st_size == 32 * 64 * 3
        path.write_bytes(content)


def spoil(root: Path):
    """Turns a data set of good images into one with each kind of bad one; returns the good ones' names."""
    good = ["bonn_good", "bonn_ü ñ 中 '\"$(touch executed)`;&", "bonn_-rf --bogus", "bonn_a\nb", "bonn_..",
            "bonn_%s{0}",
            "bonn_" + "x" * 200]
    bad = ["fifo", "loop", "dangling", "empty", "text", "huge", "device", "label-fifo", "label-gone",
           "label-colour", "label-ids", "label-size", "label-jpeg", "outside"]
    for name in good + [f"bonn_{kind}" for kind in ["folder"] + bad]:  # a folder is no image, whatever its name
        write_sample(root, "val", name, 7, SIZE)

    def replace(kind, make, path=image_path):
        file = path(root, f"bonn_{kind}")
        file.unlink()
        make(file)

    replace("fifo", os.mkfifo)
    replace("folder", Path.mkdir)
    replace("loop", lambda file: file.symlink_to(file))
    replace("dangling", lambda file: file.symlink_to("/nowhere/at/all.png"))
    replace("device", lambda file: file.symlink_to("/dev/zero"))
    replace("outside", lambda file: file.symlink_to("/etc/passwd"))
    replace("empty", Path.touch)
    replace("text", lambda file: file.write_text("an image\n"))
    replace("huge", lambda file: file.write_bytes(png(100000, 100000)))
    replace("label-fifo", os.mkfifo, label_path)
    replace("label-gone", lambda file: None, label_path)
    replace("label-colour", lambda file: write_png(file, np.zeros((*SIZE, 3), np.uint8)), label_path)
    replace("label-ids", lambda file: write_png(file, np.full(SIZE, 99, np.uint8)), label_path)
    replace("label-size", lambda file: write_png(file, np.full((16, 64), 7, np.uint8)), label_path)
    replace("label-jpeg", lambda file: file.write_bytes(cv2.imencode(".jpg", np.zeros(SIZE, np.uint8))[1].tobytes()),
            label_path)
    return good, bad


def test_a_data_set_of_bad_images(tmp_path, checkpoint, monkeypatch):
    """Through the commands: the good ones are done, the bad ones are named, nothing else is written."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "my däta"
    good, bad = spoil(root)
    before = tree(root / "gtFine").keys()
    outcome = run_preprocess(root, tmp_path / "out", "data set of bad images", codes=(3,))
    assert sorted(path.name for path in (tmp_path / "out" / "img_data").iterdir()) == sorted(
        f"{name}_img.bin" for name in good)
    assert [kind for kind in bad if f"bonn_{kind}" not in outcome.stderr] == []

    outcome = command(eval_command.main, f"--dataset={root}", f"--resume_path={checkpoint}", "--output_path=eval",
                   "--variant=tramac",
                   "--num_workers=1", kind="data set of bad images", codes=(3,))
    assert not written_outside(outcome, tmp_path / "eval"), outcome.writes
    assert {path.name for path in (tmp_path / "eval" / "mask").iterdir()} == {f"{name}_mask.png" for name in good}
    assert f"{len(bad)} of {len(good) + len(bad)} images are not in this score" in outcome.stderr

    outcome = command(train.main, f"--dataset={root}", "--train_split=val", "--output_path=train", *TINY,
                   kind="data set of bad images", codes=(3,))
    assert "problem(s)" in outcome.stderr and not (tmp_path / "train").exists()
    (root / "leftImg8bit" / "val" / "junk.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(500))
    outcome = command(predict.main, f"{root}/leftImg8bit", f"--ckpt_file={checkpoint}", "--output_path=predict",
                   "--variant=tramac", "--num_workers=1", kind="data set of bad images", codes=(3,))
    assert not written_outside(outcome, tmp_path / "predict"), outcome.writes
    assert len(list((tmp_path / "predict" / "mask").iterdir())) == len(good) + \
               sum(kind.startswith("label") for kind in bad)
    # and the video
    assert f"error: {sum(not kind.startswith('label') for kind in bad) + 1} of the inputs" in outcome.stderr
    assert tree(root / "gtFine").keys() == before and not (tmp_path / "executed").exists()


def gone(path):
    path.unlink()


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def emptied(path):
    os.truncate(path, 0)


def other_size(path):
    write_png(path, np.full((8, 8), 7, np.uint8))


def other_kind(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("change", [gone, cut, emptied, other_size, other_kind])
@pytest.mark.parametrize("which", ["image", "label"])
def test_files_that_change_while_they_are_read(tmp_path, monkeypatch, change, which):
    """After the header was looked at, and before the pixels are decoded."""
    root, out = tmp_path / "data", tmp_path / "out"
    for name in ("bonn_0", "bonn_1", "bonn_2"):
        write_sample(root, "val", name, 7, SIZE)
    victim = (image_path if which == "image" else label_path)(root, "bonn_1")
    look = image_io._read_header

    def look_then_change(path):
        header = look(path)
        if path == victim:
            with unwatched():
                change(victim)
        return header

    monkeypatch.setattr(image_io, "_read_header", look_then_change)
    outcome = run_preprocess(root, out, "file that changes while it is read", codes=(3,))
    assert "bonn_1" in outcome.stderr
    assert sorted(path.name for path in (out / "img_data").iterdir()) == ["bonn_0_img.bin", "bonn_2_img.bin"]


def test_a_data_set_that_goes_away_while_training(tmp_path, monkeypatch):
    """The state so far is kept."""
    root = tmp_path / "data"
    for name in ("bonn_0", "bonn_1", "bonn_2", "bonn_3"):
        write_sample(root, "train", name, 7, SIZE)
    decode, calls = image_io._decode, []

    def decode_while_files_go(path, flags):
        calls.append(path)
        if len(calls) == 5:
            with unwatched():
                shutil.rmtree(root)
        return decode(path, flags)

    monkeypatch.setattr(image_io, "_decode", decode_while_files_go)
    outcome = command(train.main, f"--dataset={root}", "--no-validate", f"--output_path={tmp_path / 'out'}", *TINY,
                   kind="data set that goes away", codes=(3,))
    assert str(root) in outcome.stderr and not written_outside(outcome, tmp_path / "out"), outcome.writes
    (run,) = (tmp_path / "out").iterdir()
    assert (run / "last.ckpt").is_file() and not list(run.rglob(".tmp-*"))
