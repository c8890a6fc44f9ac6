"""Prints how many hostile cases ran, those of pytest-xdist's workers included."""
import sys

from hostile_helpers import CASES, FACTOR

# The first import of a command is no result that a refused input left behind.
sys.dont_write_bytecode = True


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["hostile_cases"] = dict(CASES)


class WorkerCases:
    """Known to pytest-xdist only, without which nobody calls it."""

    def pytest_testnodedown(self, node):
        CASES.update(getattr(node, "workeroutput", {}).get("hostile_cases", {}))


def pytest_configure(config):
    if config.pluginmanager.hasplugin("xdist"):
        config.pluginmanager.register(WorkerCases())


def pytest_terminal_summary(terminalreporter):
    if CASES:
        terminalreporter.section("hostile cases")
        for kind, number in sorted(CASES.items()):
            terminalreporter.write_line(f"{number:8d} {kind}")
        terminalreporter.write_line(f"{sum(CASES.values()):8d} in all (HOSTILE_CASES={FACTOR:g})")
