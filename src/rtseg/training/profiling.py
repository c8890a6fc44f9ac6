"""`--profile N`: which operators the time of a training step goes to, by MindSpore's profiler."""
import csv
import logging
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Tuple

from mindspore import Tensor

from rtseg.training import run_folder
from rtseg.training.callbacks import Callback
from rtseg.training.context import TrainContext
from rtseg.utils.atomic import write_csv
from rtseg.utils.errors import UserError
from rtseg.utils.logging import LOGGER_NAME

TABLE_NAME = "operators.csv"
_MOST_LOGGED = 15
_LOG = logging.getLogger(LOGGER_NAME)


class OperatorTime(NamedTuple):
    """What the operators of one type take in a step."""

    type: str
    calls: float
    milliseconds: float
    share: float  # of all operators, 0..1


class OperatorProfiler(Callback):
    """Profiles the steps after the first, which compiles the graph, logs a table and writes it to the run folder.

    profile/operators.csv has all operator types; the profiler's own files, a timeline trace_view.json among them, are
    in the folders next to it.
    """

    def __init__(self) -> None:
        self.profiler: Any = None
        self.steps = -1  # profiled so far; the first is not
        self.start = self.seconds = 0.0

    def on_step_end(self, context: TrainContext, loss: Tensor) -> None:
        loss.asnumpy()  # a device may still be at work
        self.steps += 1
        if self.profiler is None:
            self.profiler = _started_profiler(context.folder / run_folder.PROFILE, context.config.run.device_target)
            self.start = time.perf_counter()
        self.seconds = time.perf_counter() - self.start

    def close(self, context: TrainContext) -> None:
        if self.profiler is not None:
            self.profiler.stop()
        if self.steps < 1:
            return
        folder = context.folder / run_folder.PROFILE
        operators = read_operator_times(folder, self.steps)
        write_csv(folder / TABLE_NAME, ("operator", "calls_per_step", "ms_per_step", "share"), rows=[
            (kind, f"{calls:.6g}", f"{milliseconds:.6g}", f"{share:.6f}")
            for kind, calls, milliseconds, share in operators])
        total = sum(operator.milliseconds for operator in operators)
        _LOG.info(f"profile: {self.steps} steps after the first, {1000 * self.seconds / self.steps:.1f} ms per step "
                  f"with the profiler, {total:.1f} ms in operators; all of them are in {folder / TABLE_NAME}")
        for line in table_lines(operators[:_MOST_LOGGED]):
            _LOG.info(line)


def read_operator_times(folder: Path, steps: int) -> List[OperatorTime]:
    """The operator types in the profiler's files below `folder`, those that take longest first.

    Raises:
        UserError: the profiler has not written a table of operators.
    """
    # What the profiler writes for an Ascend, and for a CPU: file, columns, milliseconds of a unit of time.
    for pattern, (name, calls, duration), unit in (
            ("op_statistic*.csv", ("OP Type", "Count", "Total Time(us)"), 1e-3),
            ("cpu_op_type_info_*.csv", ("op_type", "type_occurrences", "total_compute_time"), 1.0)):
        for path in sorted(folder.rglob(pattern))[:1]:
            found: Dict[str, Tuple[float, float]] = {}  # an Ascend has a line for each kind of core
            with path.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    count, time_so_far = found.get(row[name], (0.0, 0.0))
                    found[row[name]] = count + float(row[calls]), time_so_far + float(row[duration]) * unit
            total = sum(spent for _, spent in found.values()) or 1.0
            return sorted((OperatorTime(kind, count / steps, spent / steps, spent / total)
                           for kind, (count, spent) in found.items()), key=lambda row: -row.milliseconds)
    raise UserError(f"{folder}: expected a table of operators from MindSpore's profiler, found none; the timeline "
                    "trace_view.json, if it is there, opens in chrome://tracing")


def table_lines(operators: List[OperatorTime]) -> List[str]:
    """A table for people."""
    width = max([len("operator"), *(len(operator.type) for operator in operators)])
    return [f"{'operator':<{width}} {'calls/step':>10} {'ms/step':>9} {'share':>7}"] + [
        f"{kind:<{width}} {calls:>10.1f} {milliseconds:>9.2f} {100 * share:>6.1f}%"
        for kind, calls, milliseconds, share in operators]


def _started_profiler(folder: Path, device_target: str) -> Any:
    from mindspore import profiler

    options: Dict[str, Any] = {}
    activities = [profiler.ProfilerActivity.CPU]
    if device_target == "Ascend":
        activities.append(profiler.ProfilerActivity.NPU)
        # The first level with a table of operators.
        options["experimental_config"] = profiler._ExperimentalConfig(profiler_level=profiler.ProfilerLevel.Level1)
    return profiler.profile(activities=activities, on_trace_ready=profiler.tensorboard_trace_handler(str(folder)),
                            **options)
