"""docs/coming_from.md names only programs, files and flags that exist, and the old names it promises do work.

In a table a flag of the column "Here", and of the remark after it, belongs to the program named last before it in the
row, or else to the one in the head of the column.
"""
import contextlib
import io
import re
import shlex

import pytest
from script_helpers import PROJECT

from rtseg.cli import preprocess
from rtseg.cli import score as cal_mIoU
from rtseg.config.arguments import parse_arguments
from rtseg.config.config import FIELDS
from rtseg.config.fields import extra_of
from rtseg.data.sampler import DistributedSampler
from rtseg.tools import convert_torch_weights as torch_weights

PAGE = (PROJECT / "docs" / "coming_from.md").read_text(encoding="utf-8")
PROGRAM = re.compile(r"(?:train|eval|export|predict|preprocess|cal_mIoU)\.py|scripts/\w+\.sh|"
                     r"rtseg\.tools\.convert_torch_weights|main")
FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*")
# What a program needs next to the flags that are tested.
REQUIRED = {"train": ["--dataset=d"], "eval": ["--dataset=d", "--resume_path=r"], "export": ["--ckpt_file=c"],
            "predict": ["image.png", "--ckpt_file=c"]}

# Scripts that hand what follows their positions to a command, as --flag=value only.
DOOR_OF_SCRIPT = {"scripts/run_train.sh": "train", "scripts/run_distribute_train.sh": "train",
                  "scripts/run_eval.sh": "eval"}

# (command, command line with the old name, field, value)
OLD_NAMES = [
    ("train", ["--cityscapes_root", "x"], "dataset", "x"),
    ("train", ["--data_path", "x"], "dataset", "x"),
    ("train", ["--dataset_path", "x"], "dataset", "x"),
    ("eval", ["--cityscapes_root", "x"], "dataset", "x"),
    ("eval", ["--data_path", "x"], "dataset", "x"),
    ("eval", ["--dataset_path", "x"], "dataset", "x"),
    ("train", ["--name", "icnet"], "model", "icnet"),
    ("eval", ["--name", "icnet"], "model", "icnet"),
    ("export", ["--name", "icnet"], "model", "icnet"),
    ("predict", ["--name", "icnet"], "model", "icnet"),
    ("train", ["--train_batch_size", "3"], "batch_size", 3),
    ("train", ["--valid_batch_size", "2"], "eval_batch_size", 2),
    ("eval", ["--valid_batch_size", "2"], "eval_batch_size", 2),
    ("train", ["--init_lr", "0.25"], "lr", 0.25),
    ("train", ["--load-from", "w.ckpt"], "pretrained", "w.ckpt"),
    ("train", ["--finetune-from", "w.ckpt"], "pretrained", "w.ckpt"),
    ("train", ["--resume-from", "run/last.ckpt"], "resume_path", "run/last.ckpt"),
    ("train", ["--checkpoint_path", "run/last.ckpt"], "resume_path", "run/last.ckpt"),
    ("eval", ["--resume-from", "best.ckpt"], "resume_path", "best.ckpt"),
    ("eval", ["--checkpoint_path", "best.ckpt"], "resume_path", "best.ckpt"),
    ("train", ["--work-dir", "w"], "output_path", "w"),
    ("eval", ["--work-dir", "w"], "output_path", "w"),
    ("predict", ["--work-dir", "w"], "output_path", "w"),
    ("train", ["--opt-level", "O2"], "amp_level", "O2"),
    ("train", ["--loss-scale", "128"], "loss_scale", 128.0),
    ("train", ["--gpu-id", "1"], "device_id", 1),
    ("train", ["--gpu-ids", "1"], "device_id", 1),
    ("eval", ["--gpu-id", "1"], "device_id", 1),
    ("eval", ["--gpu-ids", "1"], "device_id", 1),
    ("export", ["--gpu-id", "1"], "device_id", 1),
    ("export", ["--gpu-ids", "1"], "device_id", 1),
    ("predict", ["--gpu-id", "1"], "device_id", 1),
    ("predict", ["--gpu-ids", "1"], "device_id", 1),
    ("train", ["--no-validate"], "eval_while_train", False),
    ("export", ["--ckpt-file", "w.ckpt"], "ckpt_file", "w.ckpt"),
    ("predict", ["--ckpt-file", "w.ckpt"], "ckpt_file", "w.ckpt"),
    ("export", ["--batch_size", "4"], "export_batch_size", 4),
]
# The flags of the model zoo's Fast-SCNN, as its README lists them.
MODEL_ZOO = {
    "train.py": "dataset base_size crop_size train_split aux aux_weight epochs save_every resume_path resume_name "
                "batch_size lr momentum weight_decay eval_while_train eval_steps eval_start_epoch use_modelarts "
                "train_url data_url output_path outer_path device_target is_distributed rank group_size "
                "is_save_on_master ckpt_save_max",
    "eval.py": "dataset base_size crop_size resume_path resume_name use_modelarts train_url data_url output_path "
               "outer_path device_target is_distributed rank group_size",
    "export.py": "batch_size aux image_height image_width ckpt_file file_name file_format device_target device_id",
    "preprocess.py": "out_dir image_path image_height image_width",
    "cal_mIoU.py": "label_path output_path image_width image_height save_mask",
}


def tables():
    """Yields (head, rows); a row is a list of cells."""
    for block in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE):
        head, _, *rows = ([cell.strip() for cell in line.strip("|\n").split("|")] for line in block.splitlines(True))
        yield head, rows


def here():
    """Yields (program, code span) for everything that the tables say about this project."""
    for head, rows in tables():
        for column in [i for i, title in enumerate(head) if title.startswith("Here")]:
            of_head = PROGRAM.search(head[column])
            for row in rows:
                program = of_head[0] if of_head else ""
                for span in re.findall(r"`([^`]+)`", " ".join(row[column:])):
                    named = PROGRAM.match(span)
                    program = named[0] if named else program
                    yield program, span


@pytest.fixture(scope="module")
def known():
    """Program -> its flags."""
    def of_help(start):
        text = io.StringIO()
        with contextlib.redirect_stdout(text), pytest.raises(SystemExit):
            start(["--help"])
        return set(FLAG.findall(text.getvalue()))

    flags = {f"{command}.py": of_help(lambda argv, command=command: parse_arguments(command, "", argv))
             for command in REQUIRED}
    flags["preprocess.py"] = of_help(preprocess.main)
    flags["cal_mIoU.py"] = of_help(cal_mIoU.main)
    flags["rtseg.tools.convert_torch_weights"] = of_help(torch_weights.main)
    flags["main"] = {f"--{name}" for name in re.findall(r'^ +\{"(\w+)",', (
        PROJECT / "ascend310_infer" / "src" / "flags.cc").read_text(), re.MULTILINE)}
    for script in (PROJECT / "scripts").glob("*.sh"):
        name = f"scripts/{script.name}"
        flags[name] = set(FLAG.findall(script.read_text())) | flags.get(f"{DOOR_OF_SCRIPT.get(name)}.py", set())
    return flags


def test_every_flag_it_names_is_one_of_that_program(known):
    named = [(program, flag) for program, span in here() for flag in FLAG.findall(span)]
    assert len(named) > 100 and {program for program, _ in named} >= {
        "train.py", "eval.py", "export.py", "predict.py", "preprocess.py", "cal_mIoU.py", "main"}
    assert [(program, flag) for program, flag in named if flag not in known[program]] == []


def test_every_command_with_values_is_accepted(monkeypatch):
    monkeypatch.chdir(PROJECT)
    parsed = 0
    for program, span in here():
        command = DOOR_OF_SCRIPT.get(program, program.partition(".py")[0])
        words = [word for word in shlex.split(span) if word != program]
        if command not in REQUIRED or not words or not words[0].startswith("--"):
            continue
        if program in DOOR_OF_SCRIPT:
            assert all(re.match(r"--\w+=", word) for word in words), span
        elif any("=" not in word and value.startswith("--") for word, value in zip(words, words[1:] + ["--"])
                 if word.startswith("--")):  # a flag's name without a value
            continue
        parse_arguments(command, "", REQUIRED[command] + words)
        parsed += 1
    assert parsed >= 25


def test_every_file_it_names_is_there():
    spans = [span for _, span in here()] + re.findall(r"`([^`]+)`", re.sub(r"^\|.*", "", PAGE, flags=re.MULTILINE))
    paths = {path for span in spans for path in re.findall(
        r"(?<![\w/])(?:configs/\w+\.yaml|scripts/\w+\.sh|ascend310_infer/\w+\.sh|\w+\.py)", span)}
    assert paths >= {"configs/icnet_liminn.yaml", "scripts/convert_om.sh", "predict.py", "ascend310_infer/build.sh"}
    assert [path for path in paths if not (PROJECT / path).is_file()] == []


def test_every_link_has_its_heading():
    headings = re.findall(r"^#+ (.*)", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= anchors


@pytest.mark.parametrize("command, flags, field, value", OLD_NAMES,
                         ids=lambda part: part if isinstance(part, str) else "")
def test_old_name(command, flags, field, value):
    assert parse_arguments(command, "", REQUIRED[command] + flags).value(field) == value


def test_the_page_has_every_old_name_and_no_other():
    ((_, rows),) = [table for table in tables() if table[0][0] == "Old name"]
    promised = {(command, old, new) for olds, new, commands in rows for old in FLAG.findall(olds)
                for command in re.findall(r"`(\w+)\.py`", commands) for new in FLAG.findall(new)}
    assert promised == {(command, flags[0], f"--{field}") for command, flags, field, _ in OLD_NAMES}
    names = {name for entry in FIELDS.values() for name in extra_of(entry.field)["aliases"]}
    assert {old for _, old, _ in promised} == names | {"--no-validate"}


def test_a_boolean_alone_means_1():
    config = parse_arguments("train", "", ["--dataset=d", "--diff_seed", "--is_distributed", "--tensorboard", "0"])
    assert (config.run.diff_seed, config.run.is_distributed, config.run.tensorboard) == (True, True, False)


@pytest.mark.parametrize("program", MODEL_ZOO)
def test_flags_of_the_model_zoo_are_accepted(program, known):
    assert {f"--{name}" for name in MODEL_ZOO[program].split()} <= known[program]


def test_example_of_iterations_and_epochs():
    """80000 iterations on 2 cards x 8 images, as the page calculates."""
    steps = len(DistributedSampler(2975, rank=1, group_size=2, drop_last=True)) // 8
    assert (steps, round(80000 / steps + 0.5), round(1000 / steps, 1)) == (185, 433, 5.4)
    assert "185 steps per epoch: `--epochs 433 --warmup_epochs 5.4`" in PAGE
