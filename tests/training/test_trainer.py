"""train.py and eval.py as a user runs them, in processes of their own, on a tiny synthetic data set."""
import csv
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import distributed_program
import mindspore as ms
import numpy as np
import pytest
import yaml
from script_helpers import PROJECT, flat_recipe, untimed

from rtseg.config.recipe import load_config
from rtseg.models.registry import create_model
from rtseg.models.weights import load_weights, read_checkpoint
from rtseg.runtime.distributed import ProcessGroup
from rtseg.synthetic.generator import generate
from rtseg.training import trainer

EPOCHS, STEPS = 3, 4  # 8 images in batches of 2
TINY = ["--crop_size", "64", "--base_size", "64", "--batch_size", "2", "--epochs", str(EPOCHS), "--lr", "0.05",
        "--aux", "1", "--eval_steps", "2", "--log_interval", "1", "--ckpt_save_max", "2", "--num_workers", "1"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("synthetic")
    generate(root / "data", train=8, val=4, test=1, height=64, width=128)
    return root / "data"


def command(program, dataset, output, *flags):
    return [sys.executable, program, "--dataset", str(dataset), "--output_path", str(output), *flags]


def run(*arguments):
    """The finished process, its log lines without the time in front."""
    done = subprocess.run(command(*arguments), cwd=PROJECT, capture_output=True, text=True, timeout=600)
    done.stdout = untimed(done.stdout)
    return done


def run_folder(output) -> Path:
    return max(path for path in Path(output).iterdir() if path.is_dir())


def contents(path):
    """Name -> array (or text) of everything in a checkpoint."""
    return {name: value if isinstance(value, str) else value.asnumpy() for name, value in read_checkpoint(path).items()}


def assert_same_state(found, expected):
    found, expected = contents(found), contents(expected)
    assert found.keys() == expected.keys()
    different = [name for name in expected if not np.array_equal(found[name], expected[name])]
    assert not different, different


def start_and_signal(arguments, line, number):
    """Starts training, sends the signal when a log line starts with `line`, and returns (exit code, output)."""
    process = subprocess.Popen(arguments, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    output = []
    for text in process.stdout:
        output.append(untimed(text))
        if output[-1].startswith(line):
            process.send_signal(number)
    return process.wait(60), "".join(output)


@pytest.fixture(scope="module")
def whole_run(dataset, tmp_path_factory):
    """(run folder, completed process) of a training in one go."""
    output = tmp_path_factory.mktemp("whole run")
    done = run("train.py", dataset, output, *TINY)
    assert done.returncode == 0, done.stderr
    return run_folder(output), done


def test_log_of_a_run(whole_run):
    folder, done = whole_run
    log = done.stdout
    assert re.search(r"^fast_scnn \(mmseg, 1 auxiliary head\), 1\.\d+ M parameters, global batch 2 = 2 x 1, 12 steps "
                     r"\(4 per epoch\), learning rate 0\.05 \(poly\), crop 64x64, CPU 0, MindSpore 2\.", log, re.M)
    for epoch in range(1, EPOCHS + 1):
        for step in range(1, STEPS + 1):
            assert re.search(rf"^epoch: {epoch} step: {step}, loss is \d+\.\d+$", log, re.M)
    assert len(re.findall(r"^epoch time: [\d.]+ ms, per step time: [\d.]+ ms$", log, re.M)) == EPOCHS
    # The rate and the time left are known from the second step on.
    assert len(re.findall(r"^epoch: \d, loss: \d+\.\d{4}, lr: \d\.\d{6}, [\d.]+ images/s, ETA \d+:\d\d:\d\d$", log,
                          re.M)) == EPOCHS
    assert re.findall(r"^epoch: (\d+), pixAcc: \d+\.\d\d, mIou: \d+\.\d\d$", log, re.M) == ["2", "3"]
    assert f"update best checkpoint at: {folder / 'best_map.ckpt'}" in log
    assert re.search(r"^End training, the best mIou is: \d+\.\d\d, it's epoch is [23]\n"
                     r"total time: \d:\d\d:\d\d, [\d.]+ images/s\n\Z", log, re.M)
    assert log == "device: CPU (--device_target auto)\n" + untimed((folder / "train.log").read_text())
    assert "Traceback" not in done.stderr and "deprecat" not in (log + done.stderr).lower()
    assert "WARNING" not in log + done.stderr


def test_files_of_a_run(whole_run):
    folder, _ = whole_run
    assert sorted(path.name for path in folder.iterdir()) == [
        "best_map.ckpt", "ckpt_0", "config.yaml", "curves.png", "last.ckpt", "metrics.csv", "result.json",
        "train.log"]
    assert sorted(path.name for path in (folder / "ckpt_0").iterdir()) == ["fast_scnn-2_4.ckpt", "fast_scnn-3_4.ckpt"]
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    assert [(row["epoch"], row["step"], bool(row["miou"])) for row in rows] == [
        ("1", "4", False), ("2", "8", True), ("3", "12", True)]
    assert yaml.safe_load((folder / "config.yaml").read_text())["data"]["crop_size"] == [64, 64]
    assert not [path for path in folder.rglob(".tmp-*")]


def test_result_of_a_run(whole_run):
    folder, done = whole_run
    result = json.loads((folder / "result.json").read_text())
    best, epoch = re.search(r"^End training, the best mIou is: ([\d.]+), it's epoch is (\d)$", done.stdout,
                            re.M).groups()
    assert (f"{100 * result['best_miou']:.2f}", result["best_epoch"]) == (best, int(epoch))
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    assert result["last_miou"] == float(rows[-1]["miou"])
    assert (result["epochs"], result["steps"], result["global_batch_size"], result["processes"]) == (3, 12, 2, 1)
    assert result["images_per_second"] > 0 and result["duration_seconds"] > 0 and not result["finished_early"]
    assert (result["model"], result["variant"], result["device"]) == ("fast_scnn", "mmseg", "CPU")
    assert result["versions"]["mindspore"] == ms.__version__
    assert result["commit"] is None or re.fullmatch("[0-9a-f]{40}", result["commit"])


def test_loss_falls(whole_run):
    rows = list(csv.DictReader((whole_run[0] / "metrics.csv").open()))
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])


def test_eval_repeats_the_logged_score(whole_run, dataset, tmp_path):
    folder, done = whole_run
    best = re.findall(r"^update best result: ([\d.]+)$", done.stdout, re.M)[-1]
    scored = run("eval.py", dataset, tmp_path, "--resume_path", str(folder), "--resume_name", "best_map.ckpt")
    assert scored.returncode == 0, scored.stderr
    results = (tmp_path / "eval_results.txt").read_text()
    assert results in scored.stdout
    assert re.search(rf"^mIoU +{best}$", results, re.M) and re.search(r"^pixAcc +\d", results, re.M)
    assert len(list((tmp_path / "mask").glob("*.png"))) == len(list((tmp_path / "overlay").glob("*.png"))) == 4
    assert (tmp_path / "contact_sheet.png").is_file()


def test_a_checkpoint_of_another_variant_is_refused(whole_run, dataset, tmp_path):
    scored = run("eval.py", dataset, tmp_path, "--resume_path", str(whole_run[0]), "--variant", "tramac")
    assert scored.returncode == 3 and "Traceback" not in scored.stderr
    names = [f"feature_fusion.conv_{side}_res.conv.bias" for side in ("lower", "higher")]
    assert f"missing 2: {', '.join(names)}" in scored.stderr


def test_kill_9_and_resume_give_the_same_weights(whole_run, dataset, tmp_path):
    arguments = command("train.py", dataset, tmp_path / "a", *TINY)
    code, output = start_and_signal(arguments, "epoch: 2 step: 2,", signal.SIGKILL)
    assert code == -signal.SIGKILL and "epoch: 1, loss" in output
    killed = run_folder(tmp_path / "a")
    resumed = run("train.py", dataset, tmp_path / "b", *TINY, "--resume_path", str(killed), "--resume_name",
                  "last.ckpt")
    assert resumed.returncode == 0, resumed.stderr
    saved = yaml.safe_load((run_folder(tmp_path / "b") / "config.yaml").read_text())["run"]
    assert not {"resume_path", "resume_name"} & set(saved)  # which eval would take for its own
    assert f"resumed from {killed / 'last.ckpt'} after epoch 1, step 0 of the next" in resumed.stdout
    folder = run_folder(tmp_path / "b")
    assert_same_state(folder / "last.ckpt", whole_run[0] / "last.ckpt")
    assert_same_state(folder / "best_map.ckpt", whole_run[0] / "best_map.ckpt")
    columns = ("epoch", "step", "loss", "lr", "miou")
    found, expected = ([[row[name] for name in columns] for row in csv.DictReader((path / "metrics.csv").open())]
                       for path in (folder, whole_run[0]))
    assert found == expected


def test_a_run_without_its_best_checkpoint_begins_a_new_best(monkeypatch, tmp_path, caplog):
    """Only last.ckpt was brought to this machine: the best score's weights are not there to be kept."""
    monkeypatch.setattr(trainer._LOG, "propagate", True)
    config = load_config(PROJECT / "configs" / "fast_scnn.yaml", {"dataset": "d", "resume_path": str(tmp_path)})
    (tmp_path / "new").mkdir()
    for names, best in (((), (-1.0, 0)), (("best_map.ckpt",), (0.65, 10))):
        for name in names:
            ms.save_checkpoint([{"name": "weight", "data": ms.Tensor([1.0])}], str(tmp_path / name))
        context = SimpleNamespace(
            config=config, folder=tmp_path / "new", group=ProcessGroup(),
            state=SimpleNamespace(epoch=12, best_miou=0.65, best_epoch=10))
        trainer._build_callbacks(context, eval_set=None, upload=None)
        assert (context.state.best_miou, context.state.best_epoch) == best
    assert {record.getMessage() for record in caplog.records} == {
        f"{tmp_path}: expected best_map.ckpt of epoch 10, found none; the best of this run begins anew"}
    assert (tmp_path / "new" / "best_map.ckpt").read_bytes() == (tmp_path / "best_map.ckpt").read_bytes()


def test_sigterm_finishes_the_step_saves_and_resumes_exactly(whole_run, dataset, tmp_path):
    code, output = start_and_signal(command("train.py", dataset, tmp_path / "a", *TINY), "epoch: 2 step: 2,",
                                    signal.SIGTERM)
    assert code == 0 and "Traceback" not in output, output
    assert re.search(r"^stopped on request in epoch 2 after step \d; the state is in .*last.ckpt", output, re.M)
    resumed = run("train.py", dataset, tmp_path / "b", *TINY, "--resume_path", str(run_folder(tmp_path / "a")))
    assert resumed.returncode == 0, resumed.stderr
    assert_same_state(run_folder(tmp_path / "b") / "last.ckpt", whole_run[0] / "last.ckpt")
    assert_same_state(run_folder(tmp_path / "b") / "best_map.ckpt", whole_run[0] / "best_map.ckpt")


# --- on a network that compiles in a second -----------------------------------------------------------------------

TINY_NETWORK = [sys.executable, "tests/distributed_program.py", "train"]
FEATURES = ["--crop_size=64", "--base_size=64", "--lr=0.05", "--lr_end=0", "--aux=1", "--num_workers=0", "--epochs=4",
            "--log_interval=1", "--eval_steps=1", "--batch_size=1", "--accumulate=2", "--ema_decay=0.9",
            "--clip_norm=0.5", "--tensorboard=1"]


def train_tiny(dataset, folder, *flags):
    folder.mkdir(exist_ok=True)
    return [*TINY_NETWORK, str(folder), "--dataset", str(dataset), "--output_path", str(folder / "out"), *flags]


@pytest.fixture(scope="module")
def run_with_features(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    done = subprocess.run(train_tiny(dataset, folder, *FEATURES), cwd=PROJECT, capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == 0, done.stderr
    return run_folder(folder / "out"), untimed(done.stdout)


def test_accumulation_average_and_clipping_resume_exactly(run_with_features, dataset, tmp_path):
    expected, log = run_with_features
    assert "global batch 2 = 1 x 1 x 2 accumulated, 16 steps (4 per epoch)" in log
    code, output = start_and_signal(train_tiny(dataset, tmp_path, *FEATURES), "epoch: 3 step: 2,", signal.SIGKILL)
    assert code == -signal.SIGKILL, output
    killed = run_folder(tmp_path / "out")
    for epoch, number in ((3, signal.SIGTERM), (0, 0)):  # broken off in mid-epoch, and at last to the end
        flags = FEATURES
        if not number:  # by its own configuration alone, with all keys at one level as older versions wrote it
            config = killed / "config.yaml"
            config.write_text(yaml.safe_dump(flat_recipe(config)))
            flags = ["--config", str(config)]
        code, output = start_and_signal(train_tiny(dataset, tmp_path, *flags, "--resume_path=auto"),
                                        f"epoch: {epoch} step: 2,", number)
        assert code == 0, output
        assert f"resumed from {killed / 'last.ckpt'} after epoch 2, step " in output
        killed = run_folder(tmp_path / "out")
    assert_same_state(killed / "last.ckpt", expected / "last.ckpt")
    assert_same_state(killed / "best_map.ckpt", expected / "best_map.ckpt")


def test_auto_writes_the_result_of_a_complete_run_that_lacks_it(run_with_features, dataset, tmp_path):
    """It was killed between its last state and result.json, and is started again by a platform."""
    finished, _ = run_with_features
    expected = json.loads((finished / "result.json").read_text())
    folder = shutil.copytree(finished, tmp_path / "out" / "run", ignore=shutil.ignore_patterns("result.json"))
    done = subprocess.run(train_tiny(dataset, tmp_path, *FEATURES, "--resume_path=auto"), cwd=PROJECT,
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"the run is complete with 4 epochs; results in {folder}\nEnd training, " in untimed(done.stdout)
    result = json.loads((folder / "result.json").read_text())
    assert result["images_per_second"] is None and list(folder.parent.iterdir()) == [folder]
    own = ("images_per_second", "duration_seconds")  # of a start
    assert {key: result[key] for key in result if key not in own} == {
        key: expected[key] for key in expected if key not in own}


def test_the_average_is_what_is_evaluated_and_saved(run_with_features):
    folder, _ = run_with_features
    state, saved = contents(folder / "last.ckpt"), contents(folder / "ckpt_0" / "tiny-4_4.ckpt")
    name = "encoder.conv.weight"
    assert np.array_equal(saved[name], state[f"state.average.{name}"]) and not np.array_equal(saved[name], state[name])
    network = distributed_program.tiny_network(19, "plain", 1, 0.0, None, 0)
    load_weights(folder / "last.ckpt", network)
    assert np.array_equal(network.encoder.conv.weight.asnumpy(), saved[name])
    assert np.array_equal(network.encoder.bn.moving_mean.asnumpy(), state["state.average.encoder.bn.moving_mean"])


def test_auto_begins_where_there_is_nothing_to_continue_and_early_stop_ends(dataset, tmp_path):
    again = train_tiny(dataset, tmp_path, *FEATURES[:5], "--batch_size=2", "--epochs=40", "--eval_steps=2",
                       "--early_stop=2", "--lr_scheduler=constant", "--resume_path=auto")
    done = subprocess.run(again, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    best, since = re.search(r"early stop: no better mIoU than ([\d.]+) since epoch (\d+)$", done.stdout, re.M).groups()
    folder = run_folder(tmp_path / "out")
    result = json.loads((folder / "result.json").read_text())
    assert result["finished_early"] and result["epochs"] == int(since) + 4 < 40
    assert f"{100 * result['best_miou']:.2f}" == best
    progress = json.loads(contents(folder / "last.ckpt")["progress"])
    assert (progress["epoch"], progress["steps_per_epoch"]) == (result["epochs"], 4)
    assert json.loads(contents(folder / "best_map.ckpt")["state.best"]) == {
        "best_epoch": result["best_epoch"], "best_miou": result["best_miou"]}

    (folder / "result.json").unlink()
    done = subprocess.run(again, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"the run is complete with {result['epochs']} epochs; results in {folder}\n" in untimed(done.stdout)
    assert list((tmp_path / "out").iterdir()) == [folder]
    found = json.loads((folder / "result.json").read_text())
    assert found["finished_early"] and found["epochs"] == result["epochs"] and found["steps"] == result["steps"]


def test_sigint_while_an_evaluation_is_due(dataset, tmp_path):
    code, output = start_and_signal(train_tiny(dataset, tmp_path, *TINY), "epoch: 2, loss", signal.SIGINT)
    assert code == 0 and "Traceback" not in output, output
    epoch, step = re.search(r"^stopped on request in epoch (\d) after step (\d);", output, re.M).groups()
    progress = json.loads(contents(run_folder(tmp_path / "out") / "last.ckpt")["progress"])
    assert (progress["epoch"], progress["step"]) == (int(epoch) - 1, int(step))


def test_a_diverging_run_stops_and_keeps_the_last_good_state(run_with_features, dataset, tmp_path):
    state = shutil.copytree(run_with_features[0], tmp_path / "run") / "last.ckpt"
    before = state.read_bytes()
    flags = [*FEATURES, "--clip_norm=0", "--lr=1e9", f"--pretrained={state}"]
    done = subprocess.run(train_tiny(dataset, tmp_path, *flags), cwd=PROJECT, capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert re.search(r"error: training stopped: the loss of epoch 1 step \d is (nan|inf)", done.stderr)
    assert state.read_bytes() == before
    assert not list(run_folder(tmp_path / "out").rglob("*.ckpt"))


def test_performance_run(dataset, tmp_path):
    done = run("train.py", dataset, tmp_path, *TINY, "--max_steps", "6", "--variant", "tramac", "--loss", "ohem")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^performance: 5 steps after the first, [\d.]+ ms per step, [\d.]+ images/s$", done.stdout, re.M)
    assert not list(tmp_path.rglob("*.ckpt"))


def damage_missing_label(image, label):
    label.unlink()


def damage_truncated(image, label):
    image.write_bytes(image.read_bytes()[:-100])


def damage_size(image, label):
    import cv2
    cv2.imwrite(str(label), np.zeros((32, 64), np.uint8))


def damage_id(image, label):
    import cv2
    cv2.imwrite(str(label), np.full((64, 128), 77, np.uint8))


@pytest.mark.parametrize("damage", [damage_missing_label, damage_truncated, damage_size, damage_id])
def test_bad_data_is_named_with_exit_code_3(dataset, tmp_path, damage):
    copy = shutil.copytree(dataset, tmp_path / "data")
    image = sorted((copy / "leftImg8bit" / "train").rglob("*.png"))[0]
    label = sorted((copy / "gtFine" / "train").rglob("*.png"))[0]
    damage(image, label)
    done = run("train.py", copy, tmp_path / "out", *TINY)
    assert done.returncode == 3 and "Traceback" not in done.stderr
    assert image.name.split("_leftImg8bit")[0] in done.stderr
    if damage is damage_id:  # found when the image is read, after training has begun
        assert "77" in done.stderr
    else:
        assert not (tmp_path / "out").exists()  # found before anything was made


def test_eval_scores_the_good_images_and_lists_the_bad(whole_run, dataset, tmp_path):
    copy = shutil.copytree(dataset, tmp_path / "data")
    bad = sorted((copy / "leftImg8bit" / "val").rglob("*.png"))[1]
    bad.write_bytes(bad.read_bytes()[:500])
    done = run("eval.py", copy, tmp_path / "out", "--resume_path", str(whole_run[0]))
    assert done.returncode == 3 and "Traceback" not in done.stderr
    assert "1 of 4 images are not in this score" in done.stderr and bad.name in done.stderr
    assert "3 images in" in (tmp_path / "out" / "eval_results.txt").read_text()


def test_an_output_folder_that_cannot_be_written(whole_run, dataset, tmp_path):
    (tmp_path / "file").write_text("")
    for program, flags in (("train.py", TINY), ("eval.py", ["--resume_path", str(whole_run[0])])):
        done = run(program, dataset, tmp_path / "file" / "out", *flags)
        assert done.returncode == 2 and "--output_path" in done.stderr and "Traceback" not in done.stderr


def test_the_other_networks_train_and_a_backbone_is_taken(dataset, tmp_path):
    """ICNet with losses at reduced sizes; BiSeNetV1 with OHEM from a backbone's weights alone."""
    network = create_model("bisenetv1", "coincheung", num_classes=19)
    backbone = {name: value for name, value in network.parameters_dict().items() if ".backbone." in name}
    ms.save_checkpoint([{"name": name, "data": value} for name, value in backbone.items()],
                       str(tmp_path / "resnet18.ckpt"))
    settings = [*TINY, "--max_steps", "2", "--warmup_epochs", "0"]
    for model, flags in (("icnet", ["--variant", "liminn", "--backbone", "resnet18"]),
                         ("bisenetv1", ["--pretrained", str(tmp_path / "resnet18.ckpt"), "--loss", "ohem"])):
        done = run("train.py", dataset, tmp_path / model, "--model", model, *settings, *flags)
        assert done.returncode == 0, done.stderr
        assert re.search(r"^epoch: 1 step: 2, loss is \d+\.\d+$", done.stdout, re.M)
    assert f"pretrained: took the backbone from {tmp_path / 'resnet18.ckpt'}, {len(backbone)} of" in done.stdout
