"""The console command `rtseg`: one subcommand for each program."""
import importlib
import sys
from typing import Optional, Sequence

from rtseg.utils.errors import ConfigError

# Subcommand -> (module with `main(argv) -> exit code`, what it does).
COMMANDS = {
    "train": ("rtseg.cli.train", "train a network"),
    "eval": ("rtseg.cli.eval", "score a checkpoint"),
    "export": ("rtseg.cli.export", "export a checkpoint as MINDIR, ONNX or AIR"),
    "predict": ("rtseg.cli.predict", "segment images and videos"),
    "preprocess": ("rtseg.cli.preprocess", "write images and labels as .bin files for the C++ program"),
    "score": ("rtseg.cli.score", "score the result files of the C++ program"),
    "verify": ("rtseg.cli.verify", "compare an exported model with its checkpoint or with another engine's results"),
    "check-data": ("rtseg.tools.check_dataset", "check a data set"),
    "resize-data": ("rtseg.tools.resize_dataset", "copy a data set at another image size"),
    "build-cache": ("rtseg.data.cache", "build a dataset cache"),
    "convert-weights": ("rtseg.tools.convert_torch_weights", "convert PyTorch weights to a checkpoint"),
    "fetch-weights": ("rtseg.tools.fetch_weights", "download published weights and convert them"),
    "complexity": ("rtseg.tools.complexity", "count parameters and multiply-accumulates"),
    "parity": ("rtseg.tools.parity", "compare a network with its reference implementation"),
    "rank-table": ("rtseg.cli.rank_table", "write the rank table of an Ascend server"),
    "synthetic": ("rtseg.synthetic.generator", "draw a synthetic data set"),
}


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Runs the subcommand that the first argument names, with the others; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: rtseg COMMAND [--flag value ...]\n\ncommands (each has --help):")
        print("\n".join(f"  {name:16s} {text}" for name, (_, text) in COMMANDS.items()))
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        raise ConfigError(f"rtseg: expected one of {', '.join(COMMANDS)}, found '{name}'")
    return importlib.import_module(COMMANDS[name][0]).main(rest)
