"""The configuration is strict: what is wrong is named, with its file, what was expected and what was found."""
import re
import subprocess
import sys
from pathlib import Path

import pydantic
import pytest
import yaml
from script_helpers import flat_recipe

from rtseg.config.arguments import parse_arguments
from rtseg.config.chinese import all_texts
from rtseg.config.config import FIELDS, SECTIONS
from rtseg.config.fields import extra_of
from rtseg.config.recipe import load_config
from rtseg.models.registry import check_model
from rtseg.utils.errors import ConfigError
from rtseg.utils.files import configs_folder

PROJECT = Path(__file__).resolve().parents[2]
RECIPES = sorted((PROJECT / "configs").glob("*.yaml"))
RECIPE = PROJECT / "configs" / "fast_scnn.yaml"


@pytest.fixture
def recipe(tmp_path):
    """Writes the Fast-SCNN recipe with changes (None removes the key) and returns its path."""
    def write(**changes):
        content = flat_recipe(RECIPE)
        content.update(changes)
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value != "REMOVED"}))
        return path
    return write


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_complete_and_right(path):
    config = load_config(path)
    check_model(config.network.model, config.network.variant, aux=config.network.aux)
    assert load_config(path, {"epochs": "30"}).schedule.epochs == 30


def test_command_line_overrides_the_recipe():
    config = parse_arguments("train", "", argv=["--dataset", "d", "--crop_size", "128,256", "--lr", "0.5"])
    assert (config.data.dataset, config.data.crop_size, config.data.batch_size) == ("d", (128, 256), 4)
    assert config.optimizer.lr == 0.5
    assert parse_arguments("train", "", argv=["--dataset", "d", "--crop_size=96"]).data.crop_size == (96, 96)


def test_paths_below_the_home_folder(recipe, monkeypatch):
    """A shell leaves --output_path=~/runs as it is, and so does YAML."""
    monkeypatch.setenv("HOME", "/home/me")
    config = load_config(recipe(output_path="~/runs"), {"dataset": "~/data", "pretrained": "a~/b.ckpt"})
    assert (config.run.output_path, config.data.dataset) == ("/home/me/runs", "/home/me/data")
    assert config.run.pretrained == "a~/b.ckpt"


def test_learning_rate_follows_the_global_batch_unless_given():
    assert load_config(RECIPE, {"batch_size": "8"}).learning_rate == pytest.approx(0.03)
    assert load_config(RECIPE, {"batch_size": "8", "lr": "0.2"}).learning_rate == 0.2


@pytest.mark.parametrize("flags, field, value", [
    (["--cityscapes_root", "x"], "dataset", "x"),
    (["--train_batch_size", "3"], "batch_size", 3),
    (["--valid_batch_size", "2"], "eval_batch_size", 2),
    (["--init_lr", "0.25"], "lr", 0.25),
    (["--name", "fast_scnn"], "model", "fast_scnn"),
    (["--load-from", "w.ckpt"], "pretrained", "w.ckpt"),
    (["--opt-level", "O2"], "amp_level", "O2"),
    (["--gpu-id", "1"], "device_id", 1),
    (["--no-validate"], "eval_while_train", False),
])
def test_names_from_other_repositories(flags, field, value):
    assert parse_arguments("train", "", argv=["--dataset", "d"] + flags).value(field) == value


@pytest.mark.parametrize("words, inputs, flip", [
    (["--flip", "a.png"], ("a.png",), True), (["a.png", "--flip"], ("a.png",), True),
    (["--flip", "0", "a.png"], ("a.png",), False), (["--flip", "true", "a.png"], ("a.png",), True),
    (["--overwrite", "--flip", "a.png", "b.png"], ("a.png", "b.png"), True)])
def test_a_switch_takes_no_input_for_its_value(words, inputs, flip):
    prediction = parse_arguments("predict", "", argv=words).prediction
    assert (prediction.inputs, prediction.flip) == (inputs, flip)


def test_a_checkpoint_in_its_run_needs_no_config(tmp_path, capsys):
    """Of the run come network, classes and normalization; all else, and what is given, are the command's."""
    run = tmp_path / "run"
    (run / "ckpt_0").mkdir(parents=True)
    saved = load_config(configs_folder() / "bisenetv1_mmseg.yaml", {
        "dataset_config": "camvid11", "mean": "0.1,0.2,0.3", "dataset": "theirs", "output_path": "theirs"})
    (run / "config.yaml").write_text(saved.dump(), encoding="utf-8")

    def network(config):
        data = config.data
        return (config.network.variant, data.dataset_config.num_classes, data.mean, data.dataset,
                config.run.output_path)
    ours = ("mmseg", 11, (0.1, 0.2, 0.3))
    for where in ([f"--resume_path={run}"], [f"--resume_path={run}/ckpt_0", "--resume_name=a.ckpt"],
                  [f"--resume_name={run}/ckpt_0/a.ckpt"], [f"--resume_path={run}/best_map.ckpt", "--model=bisenetv1"]):
        assert network(parse_arguments("eval", "", argv=["--dataset=d", *where])) == (*ours, "d", "output")
        assert capsys.readouterr().err == f"note: network and classes are those of {run}/config.yaml\n"
    given = parse_arguments("export", "", argv=[f"--ckpt_file={run}/best_map.ckpt", "--mean=0,0,0"])
    assert given.data.mean == (0, 0, 0) and given.network == saved.network
    capsys.readouterr()
    for flags in (["--model=icnet"], ["--config", str(RECIPE)]):
        other = parse_arguments("predict", "", argv=["a.png", f"--ckpt_file={run}/best_map.ckpt", *flags])
        assert other.data.dataset_config.num_classes == 19
    assert capsys.readouterr().err == ""


def test_what_an_older_run_continued_names_no_file_of_another_path(recipe):
    continued = recipe(resume_path="/runs/first", resume_name="last.ckpt")
    assert load_config(continued, {"dataset": "d"}).run.resume_name == "last.ckpt"
    run = load_config(continued, {"dataset": "d", "resume_path": "/runs/second"}).run
    assert (run.resume_path, run.resume_name) == ("/runs/second", "")


def test_saved_configuration_reads_back_the_same(tmp_path):
    config = load_config(RECIPE, {"lr_factors": "aux_heads=10,classifier=2", "lr_milestones": "3,5",
                                  "dataset": "a b/ü"})
    path = tmp_path / "config.yaml"
    path.write_text(config.dump(), encoding="utf-8")
    assert load_config(path) == config
    assert config.optimizer.lr_factors == {"aux_heads": 10.0, "classifier": 2.0}
    assert config.schedule.lr_milestones == (3.0, 5.0)


def test_a_recipe_may_have_sections_or_flat_keys_as_older_run_folders_have(tmp_path):
    flat = Path(__file__).with_name("flat_config.yaml")
    config = load_config(flat)
    assert config.network.model_dump() == {"model": "bisenetv1", "variant": "mmseg", "backbone": "resnet50", "aux": 2,
                                           "dropout": 0.0, "bn_momentum": None}
    assert (config.loss.name, config.export.batch_size, config.data.crop_size) == ("ohem", 1, (512, 1024))
    assert (config.optimizer.lr_factors, config.run.seed, config.schedule.warmup) == (
        {"aux_heads": 10.0}, 7, "exponential")
    nested = tmp_path / "nested.yaml"
    nested.write_text(config.dump())
    content = yaml.safe_load(nested.read_text())
    assert list(content) == ["network", "data", "loss", "optimizer", "schedule", "evaluation", "run", "modelarts",
                             "prediction", "export"]
    assert content["loss"]["name"] == "ohem" and content["export"]["batch_size"] == 1
    assert load_config(nested) == config
    nested.write_text(yaml.safe_dump({**content, "modelarts": None}))  # a section of which nothing is left
    assert load_config(nested) == config


@pytest.mark.parametrize("content, message", [
    ("loss: {nam: mix}", r"key 'loss.nam' is unknown; expected one of name, aux_weight, .*, perhaps 'name'"),
    ("network: {model: icnet}\nmodel: icnet", "key 'model': expected it once, found it inside a section and outside"),
    ("schedule: {epochs: 0}", "key 'epochs': expected an integer >= 1, found 0"),
    ("schedule: 3", "key 'schedule' is unknown"),
])
def test_sections_are_as_strict_as_flat_keys(tmp_path, content, message):
    path = tmp_path / "nested.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_config(path, {name: flat_recipe(RECIPE).get(name) for name in FIELDS
                           if FIELDS[name].field.is_required() and name not in content})


def test_it_is_frozen():
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        load_config(RECIPE).optimizer.lr = 1.0


def test_unknown_key_names_the_file_and_the_nearest_key(recipe):
    path = recipe(batchsize=4)
    with pytest.raises(ConfigError, match=r"recipe.yaml: key 'batchsize' is unknown; .* perhaps 'batch_size'"):
        load_config(path)


@pytest.mark.parametrize("key, value, message", [
    ("lr", "fast", "expected a number > 0, found 'fast'"),
    ("epochs", 1.5, "expected an integer >= 1, found 1.5"),
    ("epochs", True, "expected an integer >= 1, found True"),
    ("momentum", float("nan"), "expected a number >= 0 and <= 1, found nan"),
    ("weight_decay", float("inf"), "expected a number >= 0, found inf"),
    ("crop_size", 100, "expected one number or H,W, both positive multiples of 32 up to 16384, found 100"),
    ("crop_size", [64, 64, 64], "expected one number or H,W"),
    ("mean", [0.5, 0.5], "expected 3 numbers"),
    ("lr_scheduler", "linear", "expected one of poly, cosine, step, constant, found 'linear'"),
    ("loss_scale", "auto", "expected a number > 0 or 'dynamic', found 'auto'"),
    ("decay_bn_bias", 2, "expected 0 or 1, found 2"),
    ("lr_factors", [1], "expected a mapping"),
    ("lr_factors", "head", "expected a mapping"),
    ("dataset", ["x"], "expected text"),
    ("dataset_config", None, "expected a name or a YAML file, found None"),
])
def test_wrong_type_or_value(recipe, key, value, message):
    with pytest.raises(ConfigError) as caught:
        load_config(recipe(**{key: value}))
    assert f"recipe.yaml: key '{key}': " in str(caught.value) and message in str(caught.value)
    assert caught.value.exit_code == 2


def test_missing_keys_are_all_named(recipe):
    with pytest.raises(ConfigError, match="missing: momentum, lr_power"):
        load_config(recipe(momentum="REMOVED", lr_power="REMOVED"))


@pytest.mark.parametrize("flags, message", [
    (["--loss_scale", "dynamic"], "loss_scale: 'dynamic' needs amp_level"),
    (["--warmup_epochs", "5", "--epochs", "4"], "warmup_epochs: expected at most epochs = 4, found 5"),
    (["--lr_scheduler", "step"], "lr_milestones"),
    (["--scale_range", "2,0.5"], "scale_range: expected smallest,largest"),
    (["--lr", "0.00001"], "lr_end: expected at most the learning rate"),
    (["--rank", "1"], "rank: expected less than group_size = 1, found 1"),
    (["--model", "unet"], "--model unet"),
])
def test_impossible_combinations(flags, message):
    with pytest.raises(ConfigError) as caught:
        parse_arguments("train", "", argv=["--dataset", "d"] + flags)
    assert message in str(caught.value) and ("fast_scnn.yaml" in str(caught.value) or "unet" in message)


@pytest.mark.parametrize("content, message", [
    ("- a\n- b\n", "expected 'key: value' lines, found list"),
    ("a: [1", "not valid YAML"),
    ("lr: 1\nepochs: 3\nlr: 2\n", "the key 'lr' stands there 2 times"),
    ("\x00", "not valid YAML"),
    ("", "expected 'key: value' lines, found NoneType"),
])
def test_broken_files(tmp_path, content, message):
    path = tmp_path / "broken.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_config(path)
    with pytest.raises(ConfigError, match="nothing.yaml: expected a readable YAML file"):
        load_config(tmp_path / "nothing.yaml")


@pytest.mark.parametrize("arguments, message", [
    ([], "--dataset"),
    (["--dataset", "d", "--variant", "v"], "variant: expected one of"),
    (["--dataset", "d", "--aux", "3"], "aux: expected 0 to 2"),
    (["--dataset", "d", "--bogus", "1"], "--bogus"),
    (["--dataset", "d", "--lr", "-1"], "'--lr': expected a number > 0, found '-1'"),
])
@pytest.mark.parametrize("command", ["train.py", "eval.py"])
def test_commands_answer_wrong_arguments_with_exit_code_2_and_no_traceback(command, arguments, message):
    if command == "eval.py":
        arguments = [word.replace("--lr", "--device_id") for word in arguments] + ["--resume_path", "p"]
        message = message.replace("--lr': expected a number > 0", "--device_id': expected an integer >= 0")
    done = subprocess.run([sys.executable, command] + arguments, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["train.py", "eval.py"])
def test_help_lists_every_flag_without_importing_mindspore(command):
    done = subprocess.run([sys.executable, "-X", "importtime", command, "--help"], cwd=PROJECT, capture_output=True,
                          text=True)
    assert done.returncode == 0 and "| mindspore" not in done.stderr
    known = [name for name, entry in FIELDS.items() if command[:-3] in extra_of(entry.field)["commands"]]
    assert all(f"--{name}" in done.stdout for name in known)


@pytest.mark.parametrize("flags, aux", [
    (["--aux"], 2), (["--aux=True"], 2), (["--aux", "false"], 0), (["--aux", "1"], 1), ([], 2),
    (["--aux", "--config", "NO_HEADS"], 1)])
def test_aux_is_a_switch_too(recipe, flags, aux):
    flags = [str(recipe(aux=0)) if flag == "NO_HEADS" else flag for flag in flags]
    assert parse_arguments("train", "", argv=["--dataset", "d", *flags]).network.aux == aux


def test_a_recipe_without_a_name_is_not_the_default_one():
    with pytest.raises(ConfigError, match="--config: expected a recipe, a YAML file, found ''"):
        parse_arguments("train", "", argv=["--dataset", "d", "--config="])  # an unset variable of a script


def test_a_recipes_warm_up_is_shortened_for_a_short_run(recipe, capsys):
    path = str(recipe(epochs=400, warmup_epochs=20))
    flags = ["--dataset", "d", "--config", path]
    assert parse_arguments("train", "", argv=[*flags, "--epochs", "10"]).schedule.warmup_epochs == 0.5
    assert capsys.readouterr().err == ("note: the recipe's warm-up of 20 epochs is longer than this run of 10; it is "
                                       "shortened to 0.5, the same share of the run\n")
    assert parse_arguments("train", "", argv=[*flags, "--epochs", "20"]).schedule.warmup_epochs == 20
    with pytest.raises(ConfigError, match="warmup_epochs: expected at most epochs = 10, found 11"):
        parse_arguments("train", "", argv=[*flags, "--epochs", "10", "--warmup_epochs", "11"])


def test_an_early_stop_needs_evaluations():
    with pytest.raises(ConfigError, match="--early_stop 5: expected --eval_while_train 1 with it"):
        parse_arguments("train", "", argv=["--dataset", "d", "--early_stop", "5", "--eval_while_train", "0"])


def test_splits_of_the_model_zoo_are_known():
    with pytest.raises(ConfigError, match="split 'test': the data set 'cityscapes' has no labels of it"):
        parse_arguments("train", "", argv=["--dataset", "d", "--train_split", "test"])
    with pytest.raises(ConfigError, match="split 'testval': the data set 'cityscapes' has no labels of it"):
        parse_arguments("train", "", argv=["--dataset", "d", "--train_split", "testval"])
    assert parse_arguments("train", "", argv=["--dataset", "d", "--train_split", "testval", "--dataset_config",
                                              "camvid"]
                           ).data.train_split == "testval"


def test_eval_answers_the_training_flags_of_the_model_zoos_eval(capsys):
    config = parse_arguments("eval", "", argv=["--dataset", "d", "--resume_path", "r", "--epochs", "5", "--aux",
                                               "--lr=0.1"])
    assert (config.schedule.epochs, config.network.aux, config.optimizer.lr) == (1720, 2, None)
    assert capsys.readouterr().err == ("note: eval.py has no use for --epochs, --lr, which belong to train.py; "
                                       "images per step are --eval_batch_size\n")


@pytest.mark.parametrize("command", ["train", "eval", "export", "predict"])
def test_help_says_the_default_of_every_flag(command, capsys):
    with pytest.raises(SystemExit):
        parse_arguments(command, "", argv=["--help"])
    entries = re.split(r"\n  (?=-)", capsys.readouterr().out)[1:]
    texts = {entry.split()[0].rstrip(","): " ".join(entry.split()) for entry in entries}
    assert len(texts) > 15 and [flag for flag, text in texts.items() if flag not in ("-h", "--no-validate")
                                and "default: " not in text and "empty: " not in text] == []


@pytest.mark.parametrize("variables, is_chinese", [
    ({"LANG": "zh_CN.UTF-8"}, True), ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, False), ({"LANG": "en_US.UTF-8"}, False)])
def test_help_in_chinese(monkeypatch, capsys, variables, is_chinese):
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        parse_arguments("train", "", argv=["--help"])
    text = "".join(capsys.readouterr().out.split())
    assert ("遍历训练划分的次数（默认：见配方）" in text) == is_chinese
    assert ("两次评估之间的轮数（默认：10）" in text) == is_chinese
    assert ("passesoverthetrainingsplit(default:therecipe's)" in text) != is_chinese


def test_chinese_help_knows_no_other_flags():
    assert set(all_texts()["flags"]) - set(FIELDS) == set() and set(all_texts()["sections"]) == set(SECTIONS)
