"""Names of flags that other code bases have, and that work here too; docs/coming_from.md lists them."""
import contextlib
import io
import re

import pytest

from rtseg.cli import preprocess, score
from rtseg.config.arguments import parse_arguments
from rtseg.config.config import FIELDS
from rtseg.config.fields import extra_of
from rtseg.data.sampler import DistributedSampler

# What a program needs next to the flags that are tested.
REQUIRED = {"train": ["--dataset=d"], "eval": ["--dataset=d", "--resume_path=r"], "export": ["--ckpt_file=c"],
            "predict": ["image.png", "--ckpt_file=c"]}

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
    "train": "dataset base_size crop_size train_split aux aux_weight epochs save_every resume_path resume_name "
                "batch_size lr momentum weight_decay eval_while_train eval_steps eval_start_epoch use_modelarts "
                "train_url data_url output_path outer_path device_target is_distributed rank group_size "
                "is_save_on_master ckpt_save_max",
    "eval": "dataset base_size crop_size resume_path resume_name use_modelarts train_url data_url output_path "
               "outer_path device_target is_distributed rank group_size",
    "export": "batch_size aux image_height image_width ckpt_file file_name file_format device_target device_id",
    "preprocess": "out_dir image_path image_height image_width",
    "score": "label_path output_path image_width image_height save_mask",
}


def flags_of(program):
    start = {"preprocess": preprocess.main, "score": score.main}.get(
        program, lambda argv: parse_arguments(program, "", argv=argv))
    text = io.StringIO()
    with contextlib.redirect_stdout(text), pytest.raises(SystemExit):
        start(["--help"])
    return set(re.findall(r"--([a-z]\w+)", text.getvalue()))


@pytest.mark.parametrize("command, flags, field, value", OLD_NAMES,
                         ids=lambda part: part if isinstance(part, str) else "")
def test_old_name(command, flags, field, value):
    assert parse_arguments(command, "", argv=REQUIRED[command] + flags).value(field) == value


def test_every_alias_is_tested():
    aliases = {name for entry in FIELDS.values() for name in extra_of(entry.field)["aliases"]}
    assert {flags[0] for _, flags, _, _ in OLD_NAMES} == aliases | {"--no-validate"}


def test_a_boolean_alone_means_1():
    config = parse_arguments("train", "", argv=["--dataset=d", "--diff_seed", "--is_distributed", "--tensorboard", "0"])
    assert (config.run.diff_seed, config.run.is_distributed, config.run.tensorboard) == (True, True, False)


@pytest.mark.parametrize("program", MODEL_ZOO)
def test_flags_of_the_model_zoo_are_accepted(program):
    assert set(MODEL_ZOO[program].split()) <= flags_of(program)


def test_epochs_of_a_number_of_iterations():
    """The page's example: 80000 iterations on 2 devices x 8 images are 433 epochs, 1000 of warm-up 5.4."""
    steps = len(DistributedSampler(2975, rank=1, group_size=2, drop_last=True)) // 8
    assert (steps, round(80000 / steps + 0.5), round(1000 / steps, 1)) == (185, 433, 5.4)
