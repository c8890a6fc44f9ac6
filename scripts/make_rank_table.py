#!/usr/bin/env python3
"""Writes the rank table of this server: rtseg.cli.rank_table, from a clone that need not be installed."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from rtseg.cli.rank_table import main
from rtseg.utils.errors import run_command

if __name__ == "__main__":
    run_command(main)
