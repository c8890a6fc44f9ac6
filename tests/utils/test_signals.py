"""Signals that ask a program to stop."""
import signal

import pytest

from rtseg.utils import signals


@pytest.fixture
def defaults():
    """The handlers of a program in a terminal: one that runs in the background ignores SIGINT."""
    previous = {number: signal.signal(number, handler) for number, handler in (
        (signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL))}
    yield
    for number, handler in previous.items():
        signal.signal(number, handler)


def test_a_signal_that_comes_twice_at_once_is_one_wish(defaults, monkeypatch):
    asked = []
    with pytest.raises(KeyboardInterrupt):
        with signals.on_stop_signal(lambda: asked.append("stop")):
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            assert asked == ["stop"]
            monkeypatch.setattr(signals, "_SAME_WISH_SECONDS", -1)  # as if it came later
            signal.raise_signal(signal.SIGINT)
    assert asked == ["stop"] and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
