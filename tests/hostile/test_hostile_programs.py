"""Real processes with hostile input: the shell scripts, the commands' output, and the C++ inference program."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from data_helpers import write_sample
from hostile_helpers import cases, count, damaged, random_of
from script_helpers import PROJECT, SCRIPTS, run

NAME = "-a ü \n$(touch executed);`touch executed`'\"*?[x]%s{0}&|<>.."
BAD_MODEL = b"not a model"


def check(done, codes=(1, 2, 3)):
    """What holds for every program."""
    assert done.returncode in codes, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    if done.returncode:
        assert "error" in done.stderr or "Usage" in done.stderr or "usage" in done.stderr, done.stderr


# --- shell scripts ---

def test_scripts_take_any_name(tmp_path):
    """What looks like an option, a command, a wild card or two lines stays one name."""
    work = tmp_path / NAME
    (work / "data").mkdir(parents=True)
    (work / "model.mindir").write_bytes(BAD_MODEL)
    (work / "w.ckpt").write_bytes(BAD_MODEL)
    (work / "table.json").write_text("[" * 100_000)
    for arguments, codes in (
            (("run_train.sh", PROJECT, work / "data", 1, 1, 0.1, work / "out", "--foreground"), (3,)),
            (("run_train.sh", PROJECT, work / "data", 1, 1, 0.1, work / "model.mindir" / "x"), (2,)),
            (("run_train.sh", PROJECT, work / "data", NAME, 1, 0.1, work / "out"), (2,)),
            (("run_eval.sh", PROJECT, work / "data", work, "w.ckpt", work / "out", "--foreground"), (3,)),
            (("run_eval.sh", PROJECT, work / "data", work, NAME, work / "out"), (2,)),
            (("prepare_cache.sh", work / "data", work / "cache"), (3,)),
            (("run_infer_310.sh", work / "model.mindir", work / "data", work / "masks", 64, 128), (3,)),
            (("run_infer_310.sh", work / NAME, work / "data", work / "masks", 64, 128), (3,)),
            (("run_distribute_train.sh", PROJECT, work / "data", 1, 1, 0.1, work / "out", work / "table.json",
              "--foreground", "--device_target=Ascend"), (2,)),
            (("convert_om.sh", work / "model.mindir"), (2,)), (("convert_om.sh", work / f"{NAME}.onnx"), (3,))):
        count("shell script")
        check(run("bash", SCRIPTS / arguments[0], *arguments[1:], cwd=work, LITE_HOME=""), codes)
    assert not list(tmp_path.rglob("executed")) and [path.name for path in tmp_path.iterdir()] == [NAME]


def test_names_in_a_metadata_are_no_options_of_atc(tmp_path):
    from rtseg.inference.metadata import ModelMetadata, write_metadata
    name = "x;touch executed\n--framework=9 $(touch executed)"
    (tmp_path / "net.onnx").write_bytes(b"")
    write_metadata(tmp_path / "net.onnx", ModelMetadata.describe(
        model="m", variant="v", input_type="float32", output_type="logits", size=(1, 32, 64), mean=(0.5,) * 3,
        std=(0.2,) * 3, dataset="d", classes=("a", "b"), palette=((0, 0, 0), (1, 2, 3)), checkpoint_sha256="00",
        source="/etc/passwd", input_name=name))
    atc = tmp_path / "bin" / "atc"
    atc.parent.mkdir()
    atc.write_text('#!/bin/sh\nfor argument; do printf "%s\\0" "$argument"; done > arguments\n')
    atc.chmod(0o755)
    count("shell script")
    done = run("bash", SCRIPTS / "convert_om.sh", "net.onnx", cwd=tmp_path, PATH=f"{atc.parent}:{os.environ['PATH']}")
    check(done, (0,))
    assert f"--input_shape={name}:1,3,32,64" in (tmp_path / "arguments").read_text().split("\0")
    assert not list(tmp_path.rglob("executed"))


# --- what a process alone shows ---

def test_output_that_cannot_be_written(tmp_path):
    """A terminal without the letters of a name, a full disk behind `>`, a reader that has gone."""
    write_sample(tmp_path / "dätä", "val", "bonn_ü", 7, (32, 64))
    command = [sys.executable, PROJECT / "preprocess.py", f"--image_path={tmp_path / 'dätä'}", "--image_height=32",
               "--image_width=64", f"--out_dir={tmp_path / 'öut'}"]
    count("output that cannot be written", 3)
    done = run(*command, PYTHONIOENCODING="ascii:strict")
    check(done, (0,))
    assert "\\xf6ut" in done.stdout
    with open("/dev/full", "w") as full:
        done = subprocess.run([str(part) for part in command], stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1 and "No space left" in done.stderr and "Exception" not in done.stderr, done.stderr
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([str(part) for part in command], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writer)
    assert done.returncode == 1 and "Broken pipe" in done.stderr and "Exception" not in done.stderr, done.stderr


# --- the C++ program ---

@pytest.fixture(scope="module")
def inference(quick_demo):
    """(program, ONNX model, folder of its inputs): what the demo has built, exported and preprocessed."""
    done, output = quick_demo
    assert done.returncode == 0, done.stderr
    folder = output / "infer"
    return folder / "build" / "main", output / "model.onnx", folder / "preprocess_Result" / "img_data"


def infer(inference, work, kind, *, model=None, data=None, codes=(0, 1, 2, 3), arguments=(), room=None):
    """Runs the program in `work`; nothing but whole results may be there afterwards."""
    count(kind)
    program, onnx, inputs = inference
    command = [program, f"--model_path={model or onnx}", f"--dataset_path={data or inputs}", "--result_path=result",
               "--time_path=time", *arguments]
    shell = f"ulimit -c 0; {'' if room is None else f'ulimit -f {room}; '}exec \"$@\""
    # Not script_helpers.run: what a damaged model is told to be may be any bytes.
    done = subprocess.run(["bash", "-c", shell, "bash", *map(str, command)], cwd=work, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, errors="replace", timeout=120)
    assert done.returncode in codes, (done.returncode, done.stderr)
    assert done.returncode == 0 or "error:" in done.stderr or "bad input" in done.stderr, done.stderr
    assert {path.name for path in work.iterdir() if path.name not in ("data", "model.onnx")} <= {"result", "time"}
    results = list((work / "result").iterdir()) if (work / "result").is_dir() else []
    assert all(path.stat().st_size == 64 * 128 and path.name.endswith("_img_0.bin") for path in results), results
    return done, {path.name for path in results}


def test_damaged_inputs(inference, tmp_path):
    (tmp_path / "data").mkdir()
    rng = random_of("img.bin")
    content = next(inference[2].glob("*.bin")).read_bytes()
    good = {"good", "ü ñ", "a\nb", "-rf", "a..", "x" * 240}
    for name in (*good, ".."):  # the last one's file is hidden
        (tmp_path / "data" / f"{name}_img.bin").write_bytes(content)
    for number, make in enumerate((os.mkfifo, Path.mkdir, lambda p: p.symlink_to("/dev/zero"),
                                   lambda p: p.symlink_to("no"),
                                   lambda p: p.symlink_to(p), Path.touch)):
        make(tmp_path / "data" / f"bad{number}_img.bin")
    for i in range(cases(60)):
        count("damaged .bin for C++")
        spoilt = damaged(content, rng)
        (tmp_path / "data" / f"{'fits' if len(spoilt) == len(content) else 'bad'}_{i}_img.bin").write_bytes(spoilt)
    done, results = infer(inference, tmp_path, "C++ program", data=tmp_path / "data", codes=(3,))
    assert {f"{name}_img_0.bin" for name in good} <= results
    assert not any(name.startswith(("bad", ".")) for name in results)
    assert done.stderr.count("bad input: ") == len(list((tmp_path / "data").glob("bad*")))


def test_damaged_models(inference, tmp_path):
    rng, content = random_of("onnx"), inference[1].read_bytes()
    model = tmp_path / "model.onnx"
    for i in range(cases(12)):
        # The weights are most of the file, and any weights will do; the graph is at its beginning.
        size = rng.choice([4000, len(content)])
        model.write_bytes(damaged(content[:size], rng, BAD_MODEL) + content[size:])
        shutil.rmtree(tmp_path / "result", ignore_errors=True)
        infer(inference, tmp_path, "damaged model for C++", model=model, arguments=("--threads=1",))


def test_output_of_the_program_on_a_full_disk(inference, tmp_path):
    for room in (0, 4):  # blocks of 1024 bytes; a result has 8
        (tmp_path / str(room)).mkdir()
        done, results = infer(inference, tmp_path / str(room), "full disk", room=room, codes=(1,))
        assert results == set() and "cannot write" in done.stderr


@pytest.mark.parametrize("arguments, code", [
    (("--result_path=/proc/x",), 1), (("--time_path=/dev/null/x",), 1), (("--loop=99999999999",), 2),
    (("--threads=-1",), 2),
    (("--warmup=1e3",), 2), (("--dataset_path=/nowhere",), 3), (("--dataset_path=/dev/null",), 3),
    (("--model_path=",), 2),
    (("--model_path=/dev/zero",), 2), (("--model_path=x\n.onnx",), 1), (("--=x",), 2), (("--",), 2), (("stray",), 2),
    (("--device_type=$(touch executed)",), 2), (("--precision=\xff",), 2), (("--fusion_switch_path=..",), 2)])
def test_arguments_of_the_program(inference, tmp_path, arguments, code):
    infer(inference, tmp_path, "C++ program", arguments=arguments, codes=(code,))
