"""SIGINT and SIGTERM as a wish to stop, which the program grants when it can."""
import signal
from contextlib import contextmanager
from typing import Callable, Iterator


@contextmanager
def on_stop_signal(ask: Callable[[], None]) -> Iterator[None]:
    """Within the block the first SIGINT or SIGTERM calls `ask`; a second one acts as it would without us.

    Which of the two it was is not told apart: while a graph runs, MindSpore turns a SIGINT into a SIGTERM.
    """
    def handle(_number: int, _frame: object) -> None:
        restore()
        ask()

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
