"""Errors that a user can act on, each with the exit code of its kind, and the one place that exits with that code."""
import os
import sys
from typing import Callable, Optional, Sequence


class UserError(Exception):
    """Something the user can fix. The message says what was expected, what was found and what to do. Exit code 1."""

    exit_code = 1


class ConfigError(UserError):
    """Wrong flag, configuration key, value or combination. Exit code 2."""

    exit_code = 2


class DataError(UserError):
    """Missing, unreadable or wrong input data, checkpoints included. Exit code 3."""

    exit_code = 3


def report_errors(headline: str, errors: Sequence) -> int:
    """Prints `error: <headline>` and the errors on stderr, a line each, and returns DataError's exit code.

    For a command that has done the good items and now lists the bad ones; without any it prints nothing and returns 0.
    """
    if not errors:
        return 0
    print(f"error: {headline}", *(f"  {error}" for error in errors), sep="\n", file=sys.stderr)
    return DataError.exit_code


def _give_up_output() -> None:
    """Python would try once more at its end to write what a full disk or a closed pipe did not take."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run_command(main: Callable[[Optional[Sequence[str]]], int]) -> None:
    """Runs a command's `main` and exits with its code; a `UserError` becomes one message on stderr, not a traceback."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by what started us; now no other file gets its number
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file name that this terminal cannot show ends nothing
    try:
        code = main(None)
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 1
    except MemoryError as error:
        print(f"error: expected enough memory, found too little; smaller images, batches or crops take less. {error}",
              file=sys.stderr)
        code = 1
    except OSError as error:  # a full disk, a folder that went away: nobody needs the stack for these
        print(f"error: {error}", file=sys.stderr)
        code = 1
        _give_up_output()
    sys.exit(code)
