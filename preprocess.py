"""Writes images and labels as .bin files: rtseg.cli.preprocess, from a clone that need not be installed."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from rtseg.cli.preprocess import main
from rtseg.utils.errors import run_command

if __name__ == "__main__":
    run_command(main)
