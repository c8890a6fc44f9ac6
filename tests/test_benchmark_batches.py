"""benchmark_batches.sh with fakes of the programs that it runs: which models it makes and runs, and its table."""
import sys

import pytest
from script_helpers import PROJECT, fake_project, run

# Takes the place of every program: appends its arguments to calls.txt and fails if it is the one that FAIL names.
FAKE_PROGRAM = """#!{python}
import json, os, re, sys
from pathlib import Path
name = Path(sys.argv[0]).name
arguments = dict(flag[2:].split("=", 1) for flag in sys.argv[1:] if flag.startswith("--") and "=" in flag)
with open("calls.txt", "a") as file:
    file.write(re.sub(r"/[^ =]*/", "", " ".join([name] + sys.argv[1:])) + "\\n")
if os.environ.get("FAIL") == name:
    sys.exit(f"{{name}} has a problem")
if name == "build.py":
    print("-- runtimes: " + os.environ["ENGINES"])
    print(Path(__file__).parent / "program")
elif name == "program":
    batch = int((re.search(r"(\\d+)[.][a-z]+$", arguments["model_path"]) or [0, 1])[1])
    Path(arguments["report_json"]).write_text(json.dumps({{
        "runtime": "fake, CPU", "batch": batch, "inference_images_per_second": 8.0 + batch, "requests": 2,
        "run_latency_ms": {{"p50": 125.04}}}}))
"""
HEADER = "engine                       batch  images/s      run, ms  requests\n"


@pytest.fixture
def project(tmp_path):
    """The working folder is next to it."""
    project = fake_project(tmp_path, "benchmark_batches.sh", programs=["scripts/convert.py"],
                           content=FAKE_PROGRAM.format(python=sys.executable))
    (project / "scripts" / "convert_om.sh").write_text('exec "$PYTHON" "$(dirname "$0")/convert.py" "$@"\n')
    (tmp_path / "best.ckpt").write_text("")
    (tmp_path / "net.onnx").write_text("")
    return project


def benchmark(project, *arguments, engines="openvino", **variables):
    """The finished script, and the calls it made."""
    folder = project.parent
    done = run("bash", project / "scripts" / "benchmark_batches.sh", *arguments, cwd=folder, ENGINES=engines,
                       PYTHON=sys.executable, **variables)
    calls = folder / "calls.txt"
    return done, calls.read_text().splitlines() if calls.exists() else []


def test_a_checkpoint_is_exported_for_each_batch(project):
    done, calls = benchmark(project, "best.ckpt", "1,16", "--runs=3", "--config=run.yaml", "-DRUNTIME=openvino",
                            "--threads=2")
    assert done.returncode == 0, done.stderr
    exports = [f"export.py --ckpt_file=best.ckpt --file_name=model_{batch} --file_format=ONNX --input_type=uint8 "
               f"--output_type=head_logits --config=run.yaml --batch_size={batch}" for batch in (1, 16)]
    runs = [f"program --model_path=model_{batch}.onnx --loop=3 --time_path=" for batch in (1, 16)]
    assert calls[0] == "build.py -DRUNTIME=openvino"
    assert [calls[1], calls[3]] == exports
    assert calls[2].startswith(runs[0]) and calls[4].startswith(runs[1]) and calls[4].endswith(" --threads=2")
    assert done.stdout == (HEADER +
                           "fake, CPU                        1      9.00        125.0         2\n"
                           "fake, CPU                       16     24.00        125.0         2\n")


def test_every_engine_that_is_there(project, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "atc").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "atc").chmod(0o755)
    done, calls = benchmark(project, "best.ckpt", "4", engines="lite;acl;openvino", SOC_VERSION="Ascend310",
                            PATH=f"{tmp_path / 'bin'}:/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    assert [call.split(" --loop")[0].split(" --input_type")[0] for call in calls[1:]] == [
        "export.py --ckpt_file=best.ckpt --file_name=model_4 --file_format=ONNX", "program --model_path=model_4.onnx",
        "export.py --ckpt_file=best.ckpt --file_name=model_4 --file_format=MINDIR",
        "program --model_path=model_4.mindir", "convert.py model_4.onnx Ascend310", "program --model_path=model_4.om"]


def test_without_atc_ascendcl_is_left_out(project):
    done, calls = benchmark(project, "best.ckpt", "4", engines="acl", PATH="/usr/bin:/bin")
    assert done.returncode == 0 and len(calls) == 2
    assert "AscendCL left out: no atc in PATH" in done.stderr


def test_an_exported_model_runs_as_it_is(project):
    done, calls = benchmark(project, "net.onnx", "1,8", "--image_height=64")
    assert done.returncode == 0, done.stderr
    assert [call.split(" --time_path")[0] for call in calls] == [
        "build.py", *(f"program --model_path=net.onnx --batch_size={batch} --image_height=64 --loop=20"
                      for batch in (1, 8))]


@pytest.mark.parametrize("program", ["build.py", "export.py", "program"])
def test_a_failure_ends_it_and_is_shown(project, program):
    done, _ = benchmark(project, "best.ckpt", "1", FAIL=program)
    assert done.returncode == 1
    assert "error: exit code 1 of: " in done.stderr and done.stderr.endswith(f"{program} has a problem\n")


@pytest.mark.parametrize("arguments, code, message", [
    ((), 2, "[checkpoint or exported model]"), (("a", "1", "c"), 2, "[checkpoint or exported model]"),
    (("best.ckpt", "1,x"), 2, "expected batches such as 1,4,8,16, found '1,x'"),
    (("best.ckpt", "0"), 2, "expected batches"), (("best.ckpt", "--runs=0"), 2, "[checkpoint or exported model]"),
    (("missing.ckpt",), 3, "no file missing.ckpt"),
])
def test_wrong_usage(project, arguments, code, message):
    done, calls = benchmark(project, *arguments)
    assert (done.returncode, calls) == (code, [])
    assert message in done.stderr


def test_it_stands_in_the_project():
    assert (PROJECT / "scripts" / "benchmark_batches.sh").stat().st_mode & 0o111
