"""Scores a checkpoint on a labelled split: rtseg.cli.eval, from a clone that need not be installed."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from rtseg.cli.eval import main
from rtseg.utils.errors import run_command

if __name__ == "__main__":
    run_command(main)
