"""The console command `rtseg`: one subcommand for each program."""
import importlib
import sys
from typing import Dict, NamedTuple, Optional, Sequence

from rtseg.utils.errors import ConfigError


class Command(NamedTuple):
    """A subcommand."""

    module: str        # with `main(argv) -> exit code`
    help: str
    program: str = ""  # at the top of a clone, or in its scripts/, that is the same


GROUPS: Dict[str, Dict[str, Command]] = {
    "Train and score": {
        "train": Command("rtseg.cli.train", "train a network", "train.py"),
        "eval": Command("rtseg.cli.eval", "score a checkpoint", "eval.py"),
        "predict": Command("rtseg.cli.predict", "segment images and videos", "predict.py"),
        "demo": Command("rtseg.tools.demo", "open a page that shows what a network sees"),
    },
    "Deploy": {
        "export": Command("rtseg.cli.export", "export a checkpoint as MINDIR, ONNX or AIR", "export.py"),
        "verify": Command("rtseg.cli.verify", "compare an exported model with its checkpoint or with another engine's "
                          "results"),
        "preprocess": Command("rtseg.cli.preprocess", "write images and labels as .bin files for the C++ program",
                              "preprocess.py"),
        "score": Command("rtseg.cli.score", "score the result files of the C++ program", "cal_mIoU.py"),
    },
    "Data": {
        "check-data": Command("rtseg.tools.check_dataset", "check a data set"),
        "resize-data": Command("rtseg.tools.resize_dataset", "copy a data set at another image size"),
        "build-cache": Command("rtseg.data.cache", "build a dataset cache", "scripts/prepare_cache.sh"),
        "synthetic": Command("rtseg.synthetic.generator", "draw a synthetic data set"),
    },
    "Weights and networks": {
        "fetch-weights": Command("rtseg.tools.fetch_weights", "download published weights and convert them"),
        "convert-weights": Command("rtseg.tools.convert_torch_weights", "convert PyTorch weights to a checkpoint"),
        "complexity": Command("rtseg.tools.complexity", "count parameters and multiply-accumulates"),
        "parity": Command("rtseg.tools.parity", "compare a network with its reference implementation"),
    },
    "This machine": {
        "doctor": Command("rtseg.tools.doctor", "say what is missing here for training, export and inference"),
        "rank-table": Command("rtseg.cli.rank_table", "write the rank table of an Ascend server",
                              "scripts/make_rank_table.py"),
    },
}
COMMANDS: Dict[str, Command] = {name: command for group in GROUPS.values() for name, command in group.items()}


def help_text() -> str:
    """What `rtseg --help` prints."""
    lines = ["usage: rtseg COMMAND [--flag value ...]", "",
             "Each command has --help. In brackets: the program of a clone that does the same."]
    for title, group in GROUPS.items():
        lines += ["", f"{title}:"]
        lines += [f"  {name:16s} {command.help}" + (f" ({command.program})" if command.program else "")
                  for name, command in group.items()]
    return "\n".join(lines)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Runs the subcommand that the first argument names, with the others; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(help_text())
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        raise ConfigError(f"rtseg: expected one of {', '.join(COMMANDS)}, found '{name}'")
    return importlib.import_module(COMMANDS[name].module).main(rest)
