"""scripts/train_camvid.sh from images to a scored C++ program, with tiny images in CamVid's layout."""
import re
import shutil

import numpy as np
import pytest
from data_helpers import write_png
from script_helpers import PROJECT, SCRIPTS, run

TRAIN_CAMVID = SCRIPTS / "train_camvid.sh"
TINY = ("--epochs=1", "--batch_size=2", "--base_size=64", "--crop_size=64,64", "--eval_steps=1", "--num_workers=0",
        "--warmup_epochs=0")


@pytest.fixture
def camvid(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2), ("test", 2)):
        for i in range(count):
            write_png(tmp_path / "Cam Vid" / split / f"{i}.png", rng.integers(0, 256, (36, 48, 3), np.uint8))
            label = rng.integers(0, 12, (3, 4)).astype(np.uint8).repeat(12, 0).repeat(12, 1)
            write_png(tmp_path / "Cam Vid" / f"{split}annot" / f"{i}.png", label)
    return tmp_path / "Cam Vid"


@pytest.mark.slow
def test_the_whole_way(camvid, tmp_path, quick_demo):
    _, demo = quick_demo
    settings = {"SIZE": "64,96", "BUILD_DIR": str(demo / "infer" / "build")}
    weights = shutil.copy(PROJECT / "pretrained" / "fast_scnn_camvid.ckpt", tmp_path)
    done = run(TRAIN_CAMVID, camvid, tmp_path / "out put", f"--pretrained={weights}", *TINY, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    scores = done.stdout.splitlines()[-1]
    found = re.fullmatch(r"mIoU on val \d+\.\d\d, on test (\S+), on test through C\+\+ (\S+)", scores)
    assert abs(float(found[1]) - float(found[2])) <= 0.01
    assert sorted(path.name for path in (tmp_path / "out put" / "results").iterdir()) == [
        "config.yaml", "curves.png", "metrics.csv", "result.json", "test_class_iou.png", "test_confusion_matrix.png",
        "test_eval_results.txt", "val_class_iou.png", "val_confusion_matrix.png", "val_eval_results.txt"]
    for name in ("config.yaml", "val_eval_results.txt"):
        assert str(tmp_path) not in (tmp_path / "out put" / "results" / name).read_text()
    assert "pretrained: fast_scnn_camvid.ckpt" in (tmp_path / "out put" / "results" / "config.yaml").read_text()


@pytest.mark.parametrize("dataset, flags, variables, message", [
    ("Cam Vid", (), {"RECIPE": "segnet"}, "error: RECIPE: expected fast_scnn, icnet or bisenetv1, found 'segnet'"),
    (".", (), {}, "error: dataset: expected the folder that holds train/ and trainannot/, found"),
    ("Cam Vid", ("--epochs=many",), {}, "error: '--epochs': expected an integer >= 1, found 'many'"),
])
def test_refused(camvid, tmp_path, dataset, flags, variables, message):
    done = run(TRAIN_CAMVID, dataset, "out", *flags, cwd=tmp_path, **variables)
    assert done.returncode == 2 and done.stderr.startswith(message)
    assert not (tmp_path / "out" / "data").exists()
