"""run_infer_310.sh: its stages and flags with fakes for the programs, and the whole of it with the real ones."""
import importlib.util
import json
import os
import shutil
import sys

import pytest
from script_helpers import PROJECT, SCRIPTS, fake_project, run

FUSION_OFF = PROJECT / "ascend310_infer" / "fusion_switch.cfg"
# Takes the place of every program: appends its arguments to calls.txt and fails if it is the one that FAIL names.
FAKE_PROGRAM = """#!{python}
import os, sys
from pathlib import Path
name = Path(sys.argv[0]).name
with open("calls.txt", "a") as file:
    file.write(" ".join([name] + sys.argv[1:]) + "\\n")
if name == "export.py":
    source = [flag for flag in sys.argv if flag.startswith("--from_mindir=")][0].split("=", 1)[1]
    Path(source).with_suffix(".onnx").write_text("")
print(Path(__file__).parent / "program" if name == "build.py" else f"{{name}} says hello")
if os.environ.get("FAIL") == name:
    print(f"{{name}} has a problem")
    sys.exit(7)
"""


@pytest.fixture
def project(tmp_path):
    """The working folder is next to it."""
    project = fake_project(tmp_path, "run_infer_310.sh", programs=["preprocess.py", "cal_mIoU.py"],
                           content=FAKE_PROGRAM.format(python=sys.executable))
    (tmp_path / "net.mindir").write_text("")
    (tmp_path / "net.json").write_text("{}")
    return project


def infer(project, *arguments, **variables):
    """The finished script, and the calls it made."""
    folder = project.parent
    (folder / "calls.txt").unlink(missing_ok=True)
    done = run("bash", project / "scripts" / "run_infer_310.sh", *arguments, cwd=folder, LITE_HOME="", **variables)
    calls = folder / "calls.txt"
    return done, calls.read_text().splitlines() if calls.exists() else []


def test_stages_and_flags(project):
    (project.parent / "result_Files").mkdir()
    (project.parent / "result_Files" / "old_img_0.bin").write_text("")
    done, calls = infer(project, "net.mindir", "data", "masks", "64", "128", "3", "--num_workers=4", "--threads=2",
                        "--save_mask=0", "--mean=0,0,0", "--output_type=logits", "-DRUNTIME=openvino",
                        f"--fusion_switch_path={FUSION_OFF}")
    assert done.returncode == 0, done.stderr
    assert json.loads(FUSION_OFF.read_text()) == {"Switch": {"GraphFusion": {"ALL": "off"}, "UBFusion": {"ALL": "off"}}}
    assert calls == [
        "export.py --from_mindir=net.mindir --file_format=ONNX",
        "build.py -DRUNTIME=openvino",
        "preprocess.py --image_path=data --out_dir=preprocess_Result --image_height=64 --image_width=128 "
        "--num_workers=4 --mean=0,0,0 --model_card=net.json",
        "program --model_path=net.onnx --dataset_path=preprocess_Result/img_data --result_path=result_Files "
        f"--time_path=time_Result --device_id=3 --threads=2 --fusion_switch_path={FUSION_OFF} --image_height=64 "
        "--image_width=128",
        "cal_mIoU.py --label_path=preprocess_Result/label --output_path=result_Files --image_height=64 "
        "--image_width=128 --save_mask=1 --mask_result_path=masks --save_mask=0 --output_type=logits"]
    assert "converting net.mindir to net.onnx" in done.stdout and done.stdout.endswith("cal_mIoU.py says hello\n")
    assert not list((project.parent / "result_Files").iterdir())

    done, calls = infer(project, "net.mindir", "data", "masks", "64", "128")
    assert "using net.onnx, converted earlier" in done.stdout
    assert [call.split()[0] for call in calls] == ["build.py", "preprocess.py", "program", "cal_mIoU.py"]


@pytest.mark.parametrize("stage, program, calls_made", [
    ("convert", "export.py", 1), ("build", "build.py", 2), ("preprocess", "preprocess.py", 3), ("infer", "program", 4),
    ("acc", "cal_mIoU.py", 5)])
def test_first_failing_stage_stops_it(project, stage, program, calls_made):
    done, calls = infer(project, "net.mindir", "data", "masks", "64", "128", FAIL=program)
    assert (done.returncode, len(calls)) == (7, calls_made)
    assert f"error: {stage} failed with exit code 7; the end of {stage}.log:\n" in done.stderr
    assert done.stderr.endswith(f"{program} has a problem\n")


def test_with_mindspore_lite_the_mindir_is_used(project):
    folder = project.parent
    done = run("bash", project / "scripts" / "run_infer_310.sh", "net.mindir", "data", "masks", "64", "128", cwd=folder,
               LITE_HOME="/lite")
    assert done.returncode == 0 and not (folder / "net.onnx").exists()
    assert "program --model_path=net.mindir " in (folder / "calls.txt").read_text()


@pytest.mark.skipif(not (PROJECT / ".git").exists(), reason="not a clone")
@pytest.mark.parametrize("path", ["preprocess_Result/img_data/a_img.bin", "result_Files/a_img_0.bin", "infer.log",
                                  "time_Result/test_perform_static.txt"])
def test_git_ignores_what_it_writes_into_a_clone(path):
    assert run("git", "check-ignore", path).returncode == 0


@pytest.mark.parametrize("arguments, code, message", [
    ((), 2, "[model_path] [data_path]"), (("net.mindir", "data", "masks", "64"), 2, "[model_path] [data_path]"),
    (("net.mindir", "data", "masks", "64", "128", "--bogus=1"), 2, "unknown argument --bogus=1"),
    (("none.mindir", "data", "masks", "64", "128"), 3, "no model file none.mindir"),
])
def test_wrong_usage(project, arguments, code, message):
    done, calls = infer(project, *arguments)
    assert (done.returncode, calls) == (code, [])
    assert message in done.stderr


MISSING = [name for name in ("onnx", "openvino") if importlib.util.find_spec(name) is None]
MISSING += [tool for tool in ("cmake", os.environ.get("CXX", "c++")) if shutil.which(tool) is None]


def write_two_samples(data):
    """Images of 64x96 with random labels."""
    import numpy as np
    from data_helpers import write_sample

    labels = np.random.default_rng(0).integers(0, 34, (64, 96), dtype=np.uint8)
    for name in ("bonn_000000_000000", "bonn_000001_000000"):
        write_sample(data, "val", name, labels, size=(64, 96))


@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
def test_a_model_of_open_size_runs_at_the_size_asked_for(tmp_path, quick_demo):
    """BiSeNetV1, the network that can be exported so: the scores of eval.py at a size that it was not exported at."""
    from rtseg.models.registry import create_model
    from rtseg.models.weights import save_weights

    save_weights(tmp_path / "best_map.ckpt", create_model("bisenetv1", "coincheung", num_classes=19))
    write_two_samples(tmp_path / "data")
    network = ("--model=bisenetv1", "--variant=coincheung")
    done = run(sys.executable, PROJECT / "export.py", "--ckpt_file=best_map.ckpt", *network, "--image_height=32",
               "--image_width=64", "--input_type=uint8", "--output_type=head_logits", "--file_format=ONNX",
               "--dynamic_size=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run("bash", SCRIPTS / "run_infer_310.sh", "bisenetv1.onnx", "data", "masks", "64", "96", cwd=tmp_path,
               BUILD_DIR=str(quick_demo[1] / "infer" / "build"))
    assert done.returncode == 0, done.stderr
    scores = done.stdout[done.stdout.index("class "):]
    assert "input           uint8 [1, 64, 96, 3]\n" in (tmp_path / "infer.log").read_text()
    done = run(sys.executable, PROJECT / "eval.py", "--dataset=data", "--resume_path=best_map.ckpt", *network,
               "--output_path=eval", "--save_mask=0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert scores in (tmp_path / "eval" / "eval_results.txt").read_text()


@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
def test_whole_way_agrees_with_eval(tmp_path, quick_demo):
    """A fresh network in the deploy form: the same table of scores from eval.py and through C++."""
    import numpy as np
    from data_helpers import ID_TO_TRAIN_ID

    from rtseg import Segmenter
    from rtseg.models.registry import create_model
    from rtseg.models.weights import save_weights

    build = quick_demo[1] / "infer" / "build"
    network = create_model("fast_scnn", "mmseg", num_classes=19)
    save_weights(tmp_path / "best_map.ckpt", network)
    write_two_samples(tmp_path / "data")
    done = run(sys.executable, PROJECT / "export.py", "--ckpt_file=best_map.ckpt", "--image_height=64",
               "--image_width=96", "--input_type=uint8", "--output_type=class_map", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run("bash", SCRIPTS / "run_infer_310.sh", "fast_scnn.mindir", "data", "masks", "64", "96",
               cwd=tmp_path, BUILD_DIR=str(build), LITE_HOME="")
    assert done.returncode == 0, done.stderr
    scores = done.stdout[done.stdout.index("class "):]
    assert len(list((tmp_path / "masks").iterdir())) == 2
    done = run(sys.executable, PROJECT / "eval.py", "--dataset=data", "--resume_path=best_map.ckpt",
               "--output_path=eval", "--save_mask=0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = (tmp_path / "eval" / "eval_results.txt").read_text()
    assert scores in results

    # The same from a model of others, which has no metadata.
    shutil.copy(tmp_path / "fast_scnn.onnx", tmp_path / "foreign.onnx")
    done = run("bash", SCRIPTS / "run_infer_310.sh", "foreign.onnx", "data", "masks", "64", "96", "--input_type=uint8",
               "--output_type=class_map", cwd=tmp_path, BUILD_DIR=str(build))
    assert done.returncode == 0 and scores in done.stdout, done.stderr

    # An int8 model is a model as any other: the classes are those that Python finds.
    done = run(sys.executable, PROJECT / "export.py", "--ckpt_file=best_map.ckpt", "--image_height=64",
               "--image_width=96", "--input_type=uint8", "--output_type=class_map", "--file_format=ONNX",
               "--file_name=int8", "--precision=int8", "--calibration=data/leftImg8bit", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run(build / "main", "--model_path=int8.onnx", "--dataset_path=preprocess_Result/img_data",
               "--result_path=int8_results", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    segmenter = Segmenter(tmp_path / "int8.onnx")
    for path in (tmp_path / "preprocess_Result" / "img_data").iterdir():
        image = np.fromfile(path, np.uint8).reshape(64, 96, 3)
        found = np.fromfile(tmp_path / "int8_results" / f"{path.stem}_0.bin", np.uint8).reshape(64, 96)
        assert (found == segmenter(image).class_map).mean() > 0.99

    # The same from the images themselves, without Python.
    ids = ",".join(str(ID_TO_TRAIN_ID.tolist().index(train_id)) for train_id in range(19))
    done = run(build / "main", "--model_path=fast_scnn.onnx", "--dataset_path=data/leftImg8bit/val",
               "--label_path=data/gtFine/val", f"--label_ids={ids}", cwd=tmp_path)
    if "libpng or libjpeg was not found" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    assert done.stdout[done.stdout.index("class "):] in results
