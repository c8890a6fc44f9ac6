"""`python -m rtseg` is the console command `rtseg`."""
from rtseg.cli.main import main
from rtseg.utils.errors import run_command


def run() -> None:
    """Runs the subcommand of the command line and exits with its code."""
    run_command(main)


if __name__ == "__main__":
    run()
