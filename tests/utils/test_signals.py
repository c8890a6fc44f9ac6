"""Signals that ask a program to stop."""
import signal

import pytest

from rtseg.utils import signals


def test_a_signal_that_comes_twice_at_once_is_one_wish(monkeypatch):
    asked = []
    with pytest.raises(KeyboardInterrupt):
        with signals.on_stop_signal(lambda: asked.append("stop")):
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            assert asked == ["stop"]
            monkeypatch.setattr(signals, "_SAME_WISH_SECONDS", -1)  # as if it came later
            signal.raise_signal(signal.SIGINT)
    assert asked == ["stop"] and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
