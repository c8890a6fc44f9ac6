"""Output folders that cannot be written or fill up: an answer, no traceback, and no partial file under a final name."""
import contextlib
import os
import resource
import shutil
from pathlib import Path

import cv2
import mindspore as ms
import pytest
from data_helpers import write_sample
from hostile_helpers import command, count, limits, tree, written_outside

from rtseg.cli import eval as eval_command
from rtseg.cli import export, preprocess
from rtseg.cli import score as cal_mIoU
from rtseg.cli import train
from rtseg.models.registry import create_model
from rtseg.models.weights import read_checkpoint, save_weights
from rtseg.synthetic import generator as synthetic
from rtseg.utils.logging import setup_logger

TINY = ("--batch_size=2", "--base_size=32", "--crop_size=32,64", "--num_workers=0", "--aux=0", "--variant=tramac",
        "--epochs=1", "--warmup_epochs=0", "--no-validate")
HOSTILE_NAME = "-a ü \n$(touch executed);'\"*%s{0}.."


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data set with two images in train and val, bins of it, a checkpoint, and weights in PyTorch's form."""
    root = tmp_path_factory.mktemp("folders")
    for split in ("train", "val"):
        for name in ("bonn_0", "bonn_1"):
            write_sample(root / "data", split, name, 7, (32, 64))
    network = create_model("fast_scnn", "tramac", num_classes=19)
    save_weights(root / "w.ckpt", network)
    assert preprocess.main([f"--image_path={root / 'data'}", f"--out_dir={root / 'bins'}", "--image_height=32",
                            "--image_width=64"]) == 0
    shutil.copytree(root / "bins" / "label", root / "results")
    for path in (root / "results").iterdir():
        path.rename(path.with_name(path.name.replace("_label.bin", "_img_0.bin")))
    return root


def commands(data, out):
    """{name: (main, arguments)} of every command that writes, with everything going below `out`."""
    return {
        "train": (train.main, [f"--dataset={data / 'data'}", f"--output_path={out}", *TINY]),
        "eval": (eval_command.main, [f"--dataset={data / 'data'}", f"--resume_path={data / 'w.ckpt'}",
                                      "--variant=tramac", f"--output_path={out}", "--num_workers=0"]),
        "export": (export.main, [f"--ckpt_file={data / 'w.ckpt'}", "--variant=tramac", f"--file_name={out}/net",
                                 "--image_height=32", "--image_width=64"]),
        "preprocess": (preprocess.main, [f"--image_path={data / 'data'}", f"--out_dir={out}", "--image_height=32",
                                         "--image_width=64"]),
        "cal_mIoU": (cal_mIoU.main, [f"--label_path={data / 'bins' / 'label'}", f"--output_path={data / 'results'}",
                                     "--image_height=32", "--image_width=64", "--save_mask=1",
                                     f"--mask_result_path={out}"]),
        "synthetic": (synthetic.main, [f"--output={out}", "--train=1", "--val=0", "--test=0", "--height=64",
                                       "--width=128"]),
    }


COMMANDS = sorted(commands(Path(), Path()))


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("place", ["below a file", "in /proc", "in a folder without permission"])
def test_folders_that_cannot_be_written(data, tmp_path, name, place):
    if place == "in a folder without permission":
        if os.geteuid() == 0:
            pytest.skip("root may write everywhere")
        (tmp_path / "closed").mkdir(mode=0o500)
    (tmp_path / "file").touch()
    out = {"below a file": tmp_path / "file" / "x", "in /proc": Path("/proc/nothing/x"),
           "in a folder without permission": tmp_path / "closed" / "x"}[place]
    main, arguments = commands(data, out)[name]
    outcome = command(main, *arguments, kind="folder that cannot be written", codes=(1, 2))
    assert "error" in outcome.stderr and sorted(tree(tmp_path)) in (["file"], ["closed", "file"])


@contextlib.contextmanager
def full_disk(room: int):
    """Every file of this process ends after `room` bytes, with the error that a full disk gives at another place."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def check_whole(path: Path):
    """A file under a final name can be read to its end."""
    if path.suffix == ".png":
        assert cv2.imread(str(path)) is not None, path
    elif path.suffix == ".ckpt":
        read_checkpoint(path)
    elif path.suffix == ".bin":
        assert path.stat().st_size in (32 * 64, 32 * 64 * 12), path
    elif path.suffix == ".mindir":
        ms.load(str(path))
    elif path.name == "config.yaml":
        assert "output_type" in path.read_text()
    else:
        assert path.suffix in (".txt", ".log", ".csv", ".json"), path


@pytest.mark.parametrize("name, rooms", [
    ("train", (1000,)), ("eval", (120,)), ("export", (1000,)), ("preprocess", (0, 1000, 10_000)),
    ("cal_mIoU", (0, 50)), ("synthetic", (0, 700, 5000))])
def test_full_disks(data, tmp_path, name, rooms):
    for room in rooms:
        out = tmp_path / f"out {room}"
        main, arguments = commands(data, out)[name]
        with full_disk(room):
            outcome = command(main, *arguments, kind="full disk", codes=(1, 2))
        assert "File too large" in outcome.stderr, outcome
        assert name == "export" or str(out) in outcome.stderr, outcome  # MindSpore writes to another folder first
        for path in out.rglob("*"):
            assert not path.name.startswith(".tmp-"), path
            if path.is_file():
                check_whole(path)


def test_a_log_on_a_full_disk(tmp_path, capsys):
    count("full disk")
    logger = setup_logger(tmp_path / "train.log")
    try:
        with full_disk(500):
            for i in range(200):
                logger.info(f"a line, number {i}")
    finally:
        setup_logger(None)
    captured = capsys.readouterr()
    assert captured.err.count("lacks lines from now on") == 1 and "Traceback" not in captured.err
    assert captured.out.count("\n") == 200


@pytest.mark.parametrize("name", ["preprocess", "cal_mIoU", "synthetic", "export"])
def test_names_that_mean_something_elsewhere(data, tmp_path, monkeypatch, name):
    """Spaces, line breaks, quotes, wild cards, leading dashes and dots are letters like others."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    main, arguments = commands(data, Path("a") / ".." / HOSTILE_NAME)[name]
    outcome = command(main, *arguments, kind="names that mean something elsewhere", codes=(0,))
    assert sorted(path.name for path in tmp_path.iterdir() if path.name not in ("rank_0", "kernel_meta")) == [
        HOSTILE_NAME, "a"]
    assert not written_outside(outcome, tmp_path / HOSTILE_NAME, os.environ.get("TMPDIR", "/tmp")), outcome.writes


@pytest.mark.parametrize("name", ["preprocess", "cal_mIoU"])
def test_links_in_the_output_folder(data, tmp_path, name):
    """A link under the name of a result is replaced, what it pointed to is untouched."""
    main, arguments = commands(data, tmp_path / "out")[name]
    assert command(main, *arguments, kind="link in the output folder").code == 0
    outside = tmp_path / "precious"
    outside.write_text("precious")
    results = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    for path in results:
        path.unlink()
        path.symlink_to(outside)
    assert command(main, *arguments, kind="link in the output folder").code == 0
    assert outside.read_text() == "precious" and results and not any(path.is_symlink() for path in results)


def test_checkpoints_on_a_full_disk(tmp_path):
    """MindSpore's own temporary file goes too."""
    count("full disk")
    with full_disk(100_000), limits(), pytest.raises(OSError, match="File too large"):
        save_weights(tmp_path / "out.ckpt", create_model("fast_scnn", "tramac", num_classes=19))
    assert not list(tmp_path.iterdir())
