"""`--profile N`: the table from the profiler's files, and a training whose operators are counted."""
import csv
import re
import sys

import pytest
from script_helpers import TINY_TRAINING, TRAIN_TINY, run

from rtseg.synthetic import generator
from rtseg.training.profiling import OperatorTime, read_operator_times, table_lines
from rtseg.utils.errors import UserError

CPU_TABLE = ("op_type,type_occurrences,execution_frequency(per-step),total_compute_time,avg_time(ms),percent\n"
             "Sub,4,1,0.5,0.125,0.05\nConv2D,8,2,9.5,1.1875,0.95\n")
# The columns that CANN's documentation has for op_statistic.
ASCEND_TABLE = ("Device_id,OP Type,Core Type,Count,Total Time(us),Min Time(us),Avg Time(us),Max Time(us),Ratio(%)\n"
                "0,Sub,AI_VECTOR_CORE,3,400,100,133,150,4\n0,Sub,AI_CPU,1,100,100,100,100,1\n0,Conv2D,AI_CORE,8,9500,1000,1187.5,1300,95\n")


@pytest.mark.parametrize("name, content", [("FRAMEWORK/cpu_op_type_info_0.csv", CPU_TABLE),
                                           ("ASCEND_PROFILER_OUTPUT/op_statistic.csv", ASCEND_TABLE)])
def test_table_literal(tmp_path, name, content):
    path = tmp_path / "host_1_ascend_ms" / name
    path.parent.mkdir(parents=True)
    path.write_text(content)
    operators = read_operator_times(tmp_path, 4)
    assert operators == [OperatorTime("Conv2D", 2.0, 2.375, 0.95), OperatorTime("Sub", 1.0, 0.125, 0.05)]
    assert table_lines(operators) == ["operator calls/step   ms/step   share",
                                      "Conv2D          2.0      2.38   95.0%", "Sub             1.0      0.12    5.0%"]


def test_a_profiler_that_wrote_no_table(tmp_path):
    with pytest.raises(UserError, match="expected a table of operators from MindSpore's profiler, found none"):
        read_operator_times(tmp_path, 4)


def test_a_training_is_profiled(tmp_path):
    assert generator.main([f"--output={tmp_path / 'data'}", "--train=4", "--val=1", "--test=0", "--height=64",
                           "--width=128"]) == 0
    done = run(sys.executable, "-c", TRAIN_TINY, "--dataset", tmp_path / "data", *TINY_TRAINING, "--epochs=3",
               "--profile=3", "--output_path", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "performance: 3 steps after the first, " in done.stdout
    assert re.search(r"profile: 3 steps after the first, [\d.]+ ms per step with the profiler, [\d.]+ ms in operators; "
                     r"all of them are in .*operators.csv\n.*: operator +calls/step +ms/step +share\n", done.stdout)
    (folder,) = (tmp_path / "out").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml", "profile", "train.log"]
    rows = {row["operator"]: row for row in csv.DictReader((folder / "profile" / "operators.csv").open())}
    assert sum(float(row["share"]) for row in rows.values()) == pytest.approx(1, abs=1e-3)
    assert rows["Conv2D"]["calls_per_step"].isdigit() and float(rows["Conv2D"]["ms_per_step"]) > 0
    assert len(list((folder / "profile").rglob("trace_view.json"))) == 1
