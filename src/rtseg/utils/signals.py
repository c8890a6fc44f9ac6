"""SIGINT and SIGTERM as a wish to stop, which the program grants when it can."""
import signal
import time
from contextlib import contextmanager
from typing import Callable, Iterator, List

# Slurm and systemd signal every process of a job, and the launcher passes its own signal on: two that mean one wish.
_SAME_WISH_SECONDS = 2


@contextmanager
def on_stop_signal(ask: Callable[[], None]) -> Iterator[None]:
    """Within the block the first SIGINT or SIGTERM calls `ask`; one that comes seconds later acts as it would without
    us.

    Which of the two it was is not told apart: while a graph runs, MindSpore turns a SIGINT into a SIGTERM.
    """
    asked: List[float] = []

    def handle(number: int, _frame: object) -> None:
        if not asked:
            asked.append(time.monotonic())
            ask()
        elif time.monotonic() - asked[0] > _SAME_WISH_SECONDS:
            restore()
            signal.raise_signal(number)

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in previous:
        signal.signal(number, handle)
    try:
        yield
    finally:
        restore()
