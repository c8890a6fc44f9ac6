"""The sides of a comparison measured in turns, so that a busy machine disturbs all of them."""
import statistics
import time
from typing import Callable, Dict, List


def measure(sides: Dict[str, Callable[[], object]], rounds: int,
            clock: Callable[[], float] = time.perf_counter, *, uncounted: int = 1) -> Dict[str, List[float]]:
    """Seconds by `clock` of each side in each of `rounds` rounds, after some that are not counted.

    time.process_time, for what runs in one thread, leaves out the time that other programs take.
    """
    seconds = {name: [] for name in sides}
    for i in range(uncounted + rounds):
        for name, run in sides.items():
            start = clock()
            run()
            if i >= uncounted:
                seconds[name].append(clock() - start)
    return seconds


def ratio(over: List[float], under: List[float]) -> float:
    """Median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(over, under))


def millisecond_medians(seconds: Dict[str, List[float]], count: int = 1) -> Dict[str, float]:
    """Median milliseconds of each side for each of the `count` things that it handles in a round."""
    return {name: 1000 * statistics.median(values) / count for name, values in seconds.items()}
