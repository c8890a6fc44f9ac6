"""Every benchmark runs in a tiny form and its --json can be read; the numbers themselves are not tested."""
import csv
import json
import math
import re
import sys

import cv2
import numpy as np
import pytest
from data_helpers import write_sample
from script_helpers import run


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Four images to train on and one to evaluate on, 64 x 128."""
    folder = tmp_path_factory.mktemp("data") / "city scapes"
    ids = np.random.default_rng(0).choice([0, 7, 8, 26], (64, 128))
    for split, name in (*(("train", f"a_{i}_0") for i in range(4)), ("val", "b_0_0")):
        write_sample(folder, split, name, label_ids=ids, size=(64, 128))
    return folder


def result(program, *flags):
    """What the program prints with --json, having checked that every number in it is finite."""
    process = run(sys.executable, f"benchmarks/{program}.py", *flags, "--json")
    assert process.returncode == 0, process.stderr
    (line,) = process.stdout.splitlines()
    found = json.loads(line)
    assert all(math.isfinite(value) for value in found.values() if isinstance(value, float))
    return found


def test_data_loading(root):
    found = result("data_loading", f"--dataset={root}", "--crop_size=32,64", "--samples=4", "--rounds=1")
    assert set(found["ms_per_sample"]) == {"pil", "cv2", "inflate", "png", "cache", "png, 1 worker", "png, 2 workers",
                                           "cache, 1 worker", "cache, 2 workers",
                                           *(f"{name}, GeneratorDataset, 2 {kind}" for name in ("png", "cache")
                                             for kind in ("threads", "processes"))}
    assert {"png : pil", "cache : pil", "cache, 2 workers : cache, 1 worker"} <= set(found["times_as_fast"])
    assert min(found["ms_per_sample"].values()) > 0


def test_confusion_matrix():
    found = result("confusion_matrix", "--height=64", "--width=128", "--rounds=1")
    assert set(found["times_as_fast"]) == {"histogram", "hist of pairs", "bincount"}
    assert found["size"] == [64, 128] and {"numpy", "opencv", "python"} <= set(found)


def test_evaluation(root):
    found = result("evaluation", f"--dataset={root}", "--images=2", "--rounds=1")
    assert found["size"] == [64, 128]
    assert set(found["ms_per_image"]) == {"whole", "decode", "forward", "score", "predict", "class_map"}
    assert found["whole_to_slowest_part"] > 0 and found["peak_mb"] > 0


def test_startup_and_what_the_commands_answer():
    found = result("startup", "--rounds=1")
    codes = found["exit_codes"]
    assert set(found["median_ms"]) == set(codes)
    assert {f"{command} --help" for command in (
        "python train.py", "python -m rtseg synthetic", "bash scripts/convert_om.sh")} < set(codes)
    assert {code for name, code in codes.items() if name.endswith("--no_such_flag")} == {2}
    assert {code for name, code in codes.items() if name.endswith("--help")} == {0}


def test_forward():
    found = result("forward", "--models=fast_scnn/mmseg", "--image_height=64", "--image_width=64", "--rounds=1")
    assert (found["model"], found["size"]) == ("fast_scnn", [64, 64]) and found["median_ms"] > 0


@pytest.mark.parametrize("program, flags, code, message", [
    ("forward", ["--models=icnet"], 2, "forward.py: error: --models: expected some of fast_scnn/mmseg,fast_scnn/segm"),
    ("forward", ["--torch", "--models=fast_scnn/segmentron"], 2, "expected some of fast_scnn/mmseg,fast_scnn/tramac,"),
    ("cpp_inference", ["--torch", "--model=icnet"], 2, "--torch: expected no other --model and no --ckpt_file: "),
    ("cpp_inference", ["--config=configs/icnet.yaml"], 2, "--config: expected --ckpt_file with it; "),
    ("train_step", ["--peers=eager,jit"], 2, "--peers: expected some of eager,channels_last,compile, found 'eager,jit"),
    ("evaluation", ["--dataset=nowhere", "--model=icnet"], 2, "argument --model: invalid choice: 'icnet' (choose from"),
    ("data_loading", ["--dataset=nowhere"], 3, "error: the dataset folder "),
    ("evaluation", ["--dataset=nowhere"], 3, "error: the dataset folder "),
    ("loss_curves", ["--config=nowhere.yaml"], 2, "error: --config nowhere.yaml: expected a readable YAML file")])
def test_wrong_arguments(program, flags, code, message):
    process = run(sys.executable, f"benchmarks/{program}.py", *flags)
    assert process.returncode == code and message in process.stderr and "Traceback" not in process.stderr


def test_loss_curves(root, tmp_path):
    pytest.importorskip("torch")
    plot = tmp_path / "curves.png"
    found = result("loss_curves", "--config=configs/fast_scnn_tramac.yaml", f"--dataset={root}", "--epochs=2",
                   "--batch_size=2", "--base_size=64", "--crop_size=64,64", "--seeds", "1", f"--plot={plot}")
    ours, theirs = (found["curves"][side][0] for side in ("MindSpore", "PyTorch"))
    assert len(ours) == len(theirs) == 2 and min(ours + theirs) > 0
    assert found["difference_by_epoch"] == [a / b - 1 for a, b in zip(ours, theirs)]
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_loss_curves_need_the_twins_graph(root):
    process = run(sys.executable, "benchmarks/loss_curves.py", "--config=configs/icnet_liminn.yaml",
                  f"--dataset={root}")
    assert process.returncode == 2
    assert process.stderr.startswith(
        "error: expected a recipe without bn_momentum and lr_factors of fast_scnn tramac, fast_scnn mmseg, icnet "
        "mmseg, bisenetv1 coincheung, bisenetv1 mmseg, found icnet liminn, bn_momentum None, lr_factors {'conv_sub1': ")


@pytest.mark.parametrize("recipe, loss", [("icnet", "ohem"), ("bisenetv1_mmseg", "mix")])
def test_the_twins_train(root, recipe, loss):
    """Two batches each; the batches come from the training's own loader, and so does the other side of a comparison."""
    pytest.importorskip("torch")
    process = run(sys.executable, "benchmarks/loss_curves.py", "--side=PyTorch", f"--config=configs/{recipe}.yaml",
                  f"--dataset={root}", f"--loss={loss}", "--epochs=1", "--batch_size=2", "--base_size=64",
                  "--crop_size=64,64")
    assert process.returncode == 0, process.stderr
    loss, = re.findall(r"^loss: (\S+)$", process.stdout, re.MULTILINE)
    assert 0 < float(loss) < 20


def test_mmsegmentation_trains_under_the_same_flags(tmp_path):
    pytest.importorskip("mmseg", reason="the package mmsegmentation is not installed")
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for folder in (split, f"{split}annot"):
            (tmp_path / "data" / folder).mkdir(parents=True)
        for i in range(count):
            cv2.imwrite(str(tmp_path / "data" / split / f"{i}.png"), rng.integers(0, 256, (96, 128, 3), np.uint8))
            cv2.imwrite(str(tmp_path / "data" / f"{split}annot" / f"{i}.png"), rng.integers(0, 12, (96, 128), np.uint8))
    for flags in ([], ["--softmax", "--lr_end=0.001"]):  # into the same folder: the second replaces the first
        process = run(sys.executable, "benchmarks/mmsegmentation_training.py", "--config=configs/camvid/fast_scnn.yaml",
                      f"--dataset={tmp_path / 'data'}", f"--output_path={tmp_path / 'run'}", "--epochs=2",
                      "--eval_steps=1", "--base_size=96", "--crop_size=64,96", "--warmup_epochs=0", "--batch_size=2",
                      *flags)
        assert process.returncode == 0, process.stderr
        rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").open()))
        assert [row["epoch"] for row in rows] == ["1", "2"] and all(0 <= float(row["miou"]) < 1 for row in rows)
    log = max((tmp_path / "run" / "mmsegmentation").glob("*/vis_data/scalars.json")).read_text()
    assert float(re.findall(r'"lr": ([\d.e-]+)', log)[-1]) == pytest.approx(0.001)  # of the last step


def test_score_curves(tmp_path):
    (tmp_path / "a.csv").write_text("epoch,loss,miou\n1,2.5,\n2,2.0,0.25\n3,1.5,0.5\n4,1.0,0.375\n")
    (tmp_path / "b.csv").write_text("epoch,pix_acc,miou,seconds\n2,0.5,0.125,60\n4,0.5,0.25,120\n")
    process = run(sys.executable, "benchmarks/score_curves.py", tmp_path / "scores.png",
                  f"ours={tmp_path / 'a.csv'},{tmp_path / 'b.csv'}", f"theirs={tmp_path / 'b.csv'}")
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines() == ["ours: last 31.25 (37.50, 25.00), best 37.50 (50.00, 25.00)",
                                           "theirs: last 25.00 (25.00), best 25.00 (25.00)"]
    assert cv2.imread(str(tmp_path / "scores.png")).std() > 1
