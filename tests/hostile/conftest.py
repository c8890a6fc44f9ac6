"""Prints how many hostile cases ran."""
from hostile_helpers import CASES, FACTOR


def pytest_terminal_summary(terminalreporter):
    if CASES:
        terminalreporter.section("hostile cases")
        for kind, number in sorted(CASES.items()):
            terminalreporter.write_line(f"{number:8d} {kind}")
        terminalreporter.write_line(f"{sum(CASES.values()):8d} in all (HOSTILE_CASES={FACTOR:g})")
