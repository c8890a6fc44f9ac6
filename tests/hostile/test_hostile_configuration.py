"""Whatever stands in a YAML recipe or on the command line is a Config, or a ConfigError that names the key."""
import math
from pathlib import Path

import pytest
import yaml
from hostile_helpers import cases, command, count, damaged, examples, limits, random_of
from hypothesis import given
from hypothesis import strategies as st
from script_helpers import flat_recipe

from rtseg.cli import eval as eval_command
from rtseg.cli import export, preprocess
from rtseg.cli import score as cal_mIoU
from rtseg.cli import train
from rtseg.config.arguments import parse_arguments
from rtseg.config.config import FIELDS
from rtseg.config.fields import extra_of
from rtseg.config.recipe import load_config
from rtseg.utils.errors import ConfigError

RECIPE = Path(__file__).resolve().parents[2] / "configs" / "fast_scnn.yaml"
CONTENT = flat_recipe(RECIPE)
KEYS = list(FIELDS)
FLAGS = {command: [f"--{name}" for name, entry in FIELDS.items() if command in extra_of(entry.field)["commands"]]
         for command in ("train", "eval", "export")}

TEXTS = st.one_of(
    st.text(max_size=12), st.text("0123456789.,-+e=x ", max_size=9),
    st.sampled_from(["", "0", "1", "-1", "nan", "inf", "-inf", "1e400", "9" * 5000, "1,2", "64,64", "32", "none",
                     "None",
                     "true", "auto", "dynamic", "../..", "/", ".", "-x", "a\nb", "\0", "\udcff", "a=1,b=x", "=", ",,",
                     "obs://", "0x10", "1_0", "١"]))
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=4), st.dates(),
                    st.datetimes(), st.sampled_from([10 ** 400, -10 ** 400, 2 ** 31, 2 ** 63, 5e-324, 1e308]),
                    TEXTS)
VALUES = st.recursive(SCALARS, lambda inner: st.one_of(
    st.lists(inner, max_size=4), st.dictionaries(st.one_of(st.integers(), TEXTS), inner, max_size=3)), max_leaves=6)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return tmp_path_factory.mktemp("configuration") / "recipe.yaml"


def check_sane(config):
    """What every part of the program counts on."""
    assert math.isfinite(config.learning_rate) and config.learning_rate > 0
    for value in (config.value(name) for name in KEYS):
        assert not isinstance(value, float) or math.isfinite(value)
        assert not isinstance(value, int) or 0 <= value < 2 ** 31
        assert not isinstance(value, str) or "\0" not in value and value.encode() is not None
    assert all(0 < side <= 16384 and side % 32 == 0 for side in config.data.crop_size)


@examples(1000)
@given(key=st.sampled_from(KEYS), value=VALUES)
def test_any_value_of_any_key(key, value):
    count("configuration: value of a key")
    with limits(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("rtseg.config.recipe.load_yaml", lambda *_: dict(CONTENT))  # reading it takes most of the time
        try:
            check_sane(load_config(RECIPE, {key: value}))
        except ConfigError as error:
            assert key in str(error) or "do not go together" in str(error)
            assert len(str(error)) < 2000


@examples(40)
@given(changes=st.dictionaries(st.one_of(st.sampled_from(KEYS), st.sampled_from(KEYS), SCALARS), VALUES, max_size=3))
def test_any_recipe_that_can_be_written(recipe, changes):
    count("configuration: recipe with other keys and values")
    try:
        recipe.write_text(yaml.safe_dump({**CONTENT, **changes}), encoding="utf-8")
    except ValueError:  # a number that Python does not write out
        return
    with limits():
        try:
            check_sane(load_config(recipe))
        except ConfigError as error:
            assert str(recipe) in str(error) and len(str(error)) < 3000
            assert "not valid YAML" in str(error) or any(
                text[:20] in str(error) for key in changes for text in (str(key), repr(key))), changes


@pytest.mark.parametrize("name", ["train", "eval", "export"])
def test_any_command_line(name):
    main = {"train": train, "eval": eval_command, "export": export}[name].main
    rng = random_of("command line", name)
    words = FLAGS[name] + ["--config", "--help", "--bogus", "-", "--", "stray"]
    values = ["", "0", "1", "-1", "1.5", "nan", "1e999", "9" * 30, "x", "a b", "../x", "ü", "none", "64,64", "'", "\n"]
    # These would do real work; the folder or file that they name is not there in any case.
    always = {"train": ["--dataset=/nowhere"], "eval": ["--dataset=/nowhere", "--resume_path=/nowhere"],
              "export": ["--ckpt_file=/nowhere"]}[name]
    for _ in range(cases(60)):
        arguments = [rng.choice([f"{word}={value}", word, value]) if rng.random() < 0.3 else f"{word}={value}"
                     for word, value in ((rng.choice(words), rng.choice(values)) for _ in range(1 + rng.randrange(3)))]
        command(main, *(always + arguments), kind=f"command line of {name}.py")


@pytest.mark.parametrize("name", ["preprocess", "cal_mIoU"])
def test_any_command_line_of_the_commands_without_mindspore(name, tmp_path):
    main, words = {"preprocess": (preprocess.main, ["--split", "--out_dir", "--model_card", "--image_height",
                                                    "--image_width", "--input_type", "--config", "--num_workers"]),
                   "cal_mIoU": (cal_mIoU.main, ["--label_path", "--output_path", "--image_width", "--image_height",
                                                "--save_mask", "--mask_result_path"])}[name]
    rng = random_of("command line", name)
    values = ["", "0", "1", "-1", "nan", "9" * 30, "9" * 5000, "x", "/", ".", "..", "/dev/null", "/dev/zero", "uint8"]
    always = ["--image_path", str(tmp_path / "nowhere")] if name == "preprocess" else ["--label_path", str(tmp_path)]
    for _ in range(cases(60)):
        arguments = [f"{rng.choice(words)}={rng.choice(values)}" for _ in range(1 + rng.randrange(3))]
        command(main, *(always + arguments), kind=f"command line of {name}.py", codes=(1, 2, 3))


def test_damaged_recipes(recipe):
    rng, content = random_of("damaged recipe"), RECIPE.read_bytes()
    for _ in range(cases(60)):
        count("configuration: damaged recipe")
        recipe.write_bytes(damaged(content, rng, swap=b"\x89PNG\r\n\x1a\n"))
        with limits():
            try:
                check_sane(load_config(recipe))
            except ConfigError as error:
                assert str(recipe) in str(error)


HOSTILE_YAML = {
    "aliases": "base: &a 1\nlr: *a\n",
    "billion laughs": "lr: &a0 [lol]\n" + "".join(f"k{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1,
        30)),
    "billion laughs in a value": "lr: [&a0 [lol], " + ", ".join(
        f"&a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)) + "]\n",
    "billion laughs in a key": "? [&a0 [lol], " + ", ".join(
        f"&a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)) + "]\n: 1\n",
    "itself": "lr: &a [*a]\n",
    "merge": "x: &a {lr: 1}\n<<: *a\n",
    "deep": "lr: " + "[" * 900 + "]" * 900,
    "deep blocks": "".join(" " * i + "- \n" for i in range(2000)),
    "many keys": "".join(f"k{i}: 1\n" for i in range(10000)),
    "long key": "k" * 500_000 + ": 1\n",
    "code": "lr: !!python/object/apply:os.system ['touch executed']\n",
    "new object": "lr: !!python/object/new:os.system ['touch executed']\n",
    "name": "lr: !!python/name:os.system\n",
    "module": "lr: !!python/module:os\n",
    "long integer": "lr: " + "9" * 5000,
    "long hexadecimal integer": "lr: 0x" + "f" * 5000,
    "long hexadecimal integer as a key": "0x" + "f" * 5000 + ": 1\n",
    "long sexagesimal": "lr: " + ":".join(["59"] * 5000),
    "no date": "lr: 2001-99-99\n",
    "tags that do not fit": "lr: !!timestamp x\n",
    "tag int": "lr: !!int x\n", "empty int": "lr: !!int ''\n", "tag float": "lr: !!float x\n",
    "tag bool": "lr: !!bool x\n", "tag map": "!!map [lr]\n", "tag omap": "lr: !!omap [1]\n", "tag set": "!!set [lr]\n",
    "tag binary": "lr: !!binary '*'\n",
    "unhashable key": "? [lr]\n: 1\n", "unhashable key, twice": "? {lr: 1}\n: 1\n? {lr: 1}\n: 2\n",
    "null character": 'dataset: "a\\0b"\n', "surrogate": 'dataset: "\\ud800"\n', "bytes": b"\xff\xfe\xfa",
    "two documents": "lr: 1\n---\nlr: 2\n", "directive": "%YAML 9.9\n---\nlr: 1\n", "tab": "\tlr: 1\n",
    "huge": b"#" * (2 << 20),
}


@pytest.mark.parametrize("name", HOSTILE_YAML)
def test_hostile_yaml(recipe, name, monkeypatch):
    monkeypatch.chdir(recipe.parent)
    content = HOSTILE_YAML[name]
    recipe.write_bytes(content if isinstance(content, bytes) else content.encode())
    outcome = command(train.main, "--dataset", "d", "--config", recipe, kind="hostile YAML", codes=(2,))
    assert "recipe.yaml" in outcome.stderr and len(outcome.stderr) < 3000
    assert not (recipe.parent / "executed").exists()


@pytest.mark.parametrize("flag", ["--model", "--dataset_config"])
@pytest.mark.parametrize("name", ["x" * 300, "9" * 4000, "../x", "\n", "ü", "\udcff"])
def test_names_of_recipes_and_descriptions(flag, name):
    command(train.main, "--dataset", "d", f"{flag}={name}", kind="hostile YAML", codes=(2,))


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/", ".", "a\nb", "x" * 300, "x/" * 3000])
def test_recipes_that_are_no_file(path):
    command(train.main, "--dataset", "d", f"--config={path}", kind="hostile YAML", codes=(2,))


PLAIN = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=15)


@examples(40)
@given(dataset=PLAIN, name=PLAIN, pretrained=TEXTS, lr=st.floats(1e-4, 1e3), batch=st.integers(1, 10 ** 6),
       factors=st.dictionaries(PLAIN, st.floats(0, 100), max_size=3), scale=st.floats(0.01, 100),
       milestones=st.lists(st.floats(0, 1e6), max_size=3))
def test_dump_reads_back_the_same(recipe, dataset, name, pretrained, lr, batch, factors, scale, milestones):
    count("configuration: dump and load")
    try:
        config = load_config(RECIPE, {"dataset": dataset, "prepared_cache": name, "pretrained": pretrained, "lr": lr,
                                      "batch_size": batch, "lr_factors": factors, "scale_range": [scale, scale],
                                      "lr_milestones": milestones})
    except ConfigError:
        assert "\0" in pretrained or "\udcff" in pretrained
        return
    recipe.write_text(config.dump(), encoding="utf-8")
    assert load_config(recipe) == config


@examples(60)
@given(value=TEXTS)
def test_device_number_of_the_environment(value):
    count("configuration: DEVICE_ID")
    with pytest.MonkeyPatch.context() as patch:
        if "\0" in value:
            return
        patch.setenv("DEVICE_ID", value)
        try:
            assert 0 <= parse_arguments("train", "", argv=["--dataset", "d"]).run.device_id < 2 ** 31
        except ConfigError as error:
            assert "device_id" in str(error)
