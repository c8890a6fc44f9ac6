"""A data set of one's own, two classes with colour-coded labels, goes the whole way with a YAML file and no code."""
import importlib.util
import json
import os
import re
import shutil
import sys

import cv2
import numpy as np
import pytest
from data_helpers import write_png
from script_helpers import PROJECT, SCRIPTS, run

from rtseg.utils.errors import DataError

DESCRIPTION = """name: balls
label_form: colors
image_suffix: .jpg
label_suffix: _mask.png
splits:
  train: {images: photos/first, labels: masks/first}
  val: {images: photos/second, labels: masks/second}
classes:
  - {name: table, color: [0, 60, 0]}
  - {name: ball, color: [255, 80, 0]}
ignored:
  - {name: rim, color: [255, 255, 255]}
"""
HEIGHT, WIDTH = 64, 96
# Enough to find the ball in seconds.
TRAINING = ("--variant=tramac", "--aux=1", "--bn_momentum=0.9", "--dropout=0", "--lr=0.1", "--batch_size=2",
            f"--base_size={HEIGHT}", f"--crop_size={HEIGHT},{WIDTH}", "--scale_range=0.75,1.25", "--num_workers=0")
SCORES = re.compile(r"table +(\S+)\nball +(\S+)\n-+\nmIoU +(\S+)\npixAcc +(\S+)\n")
MISSING = [name for name in ("onnx", "openvino") if importlib.util.find_spec(name) is None]
MISSING += [tool for tool in ("cmake", os.environ.get("CXX", "c++")) if shutil.which(tool) is None]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Working folder, its name with a blank, with `my data`, which holds an orange ball on a green table in each
    image, and `balls.yaml`."""
    folder = tmp_path_factory.mktemp("own data")
    rng = np.random.default_rng(0)
    for split, count in (("first", 6), ("second", 2)):
        for i in range(count):
            image = rng.integers(0, 60, (HEIGHT, WIDTH, 3), dtype=np.uint8) + np.array([0, 90, 0], np.uint8)
            mask = np.full((HEIGHT, WIDTH, 3), (0, 60, 0), np.uint8)
            center, radius = (int(rng.integers(24, 72)), int(rng.integers(20, 44))), int(rng.integers(10, 20))
            cv2.circle(image, center, radius, (230, 110, 40), -1)
            cv2.circle(mask, center, radius + 1, (255, 255, 255), -1)
            cv2.circle(mask, center, radius - 1, (255, 80, 0), -1)
            write_png(folder / "my data" / "photos" / split / f"{i}.jpg", image)
            write_png(folder / "my data" / "masks" / split / f"{i}_mask.png", mask)
    (folder / "balls.yaml").write_text(DESCRIPTION)
    return folder


def python(project, *arguments):
    done = run(sys.executable, *arguments, cwd=project, PYTHONPATH=str(PROJECT / "src"))
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done


def scores_in(text):
    return [float(score) for score in SCORES.search(text).groups()]


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
def test_the_whole_way_without_code(project, quick_demo):
    checked = python(project, "-m", "rtseg", "check-data", "--dataset=my data", "--dataset_config=balls.yaml").stdout
    assert "my data: 'balls', 2 classes" in checked and "train: 6 images, 6 of them good" in checked

    python(project, PROJECT / "train.py", "--dataset=my data", "--dataset_config=balls.yaml", "--output_path=runs",
           "--epochs=8", "--eval_steps=8", *TRAINING)
    (run_folder,) = (project / "runs").iterdir()
    moved = project / "elsewhere"
    shutil.move(run_folder, moved)  # the run needs nothing of what it was made from
    (project / "balls.yaml").rename(project / "balls.copy.yaml")

    python(project, PROJECT / "eval.py", "--config=elsewhere/config.yaml", "--dataset=my data",
           "--resume_path=elsewhere", "--output_path=evaluated")
    by_eval = scores_in((project / "evaluated" / "eval_results.txt").read_text())
    assert f"mIou: {by_eval[2]:.2f}" in (moved / "train.log").read_text()
    mask = cv2.imread(str(project / "evaluated" / "mask" / "0_mask.png"))[..., ::-1]
    assert {tuple(color) for color in mask.reshape(-1, 3).tolist()} == {(0, 60, 0), (255, 80, 0)}
    assert by_eval[1] > 30  # a network that finds no ball gets 0

    python(project, PROJECT / "export.py", "--config=elsewhere/config.yaml", "--ckpt_file=elsewhere/best_map.ckpt",
           "--file_name=model", "--file_format=ONNX", f"--image_height={HEIGHT}", f"--image_width={WIDTH}",
           "--input_type=uint8", "--output_type=class_map")
    metadata = json.loads((project / "model.json").read_text())
    assert (metadata["dataset"], metadata["classes"]) == ("balls", ["table", "ball"])
    assert metadata["palette"] == [[0, 60, 0], [255, 80, 0]]

    python(project, PROJECT / "predict.py", "my data/photos/second/0.jpg", "--model_path=model.onnx",
           "--output_path=seen")
    (class_map,) = (project / "seen" / "class_map").iterdir()
    seen = np.array([[0, 60, 0], [255, 80, 0]])[cv2.imread(str(class_map), cv2.IMREAD_UNCHANGED)]
    assert (seen != mask).any(-1).mean() < 0.001  # two runtimes round differently where the classes are nearly equal

    infer = ("bash", SCRIPTS / "run_infer_310.sh", "model.onnx", "my data", "masks", HEIGHT, WIDTH)
    variables = {"BUILD_DIR": str(quick_demo[1] / "infer" / "build"), "LITE_HOME": ""}
    done = run(*infer, "--dataset_config=balls.copy.yaml", cwd=project, **variables)
    assert done.returncode == 0, done.stderr
    # Two runtimes round differently where the classes are nearly equal: one of 12288 pixels is 0.01 %.
    assert scores_in(done.stdout) == pytest.approx(by_eval, abs=0.1)
    assert sorted(path.name for path in (project / "masks").iterdir()) == ["0_mask.png", "1_mask.png"]

    scoring = ("cal_mIoU.py", f"--image_height={HEIGHT}", f"--image_width={WIDTH}", "--model_card=model.json")
    assert SCORES.search(python(project, PROJECT / scoring[0], *scoring[1:]).stdout)[0] in done.stdout
    done = run(*infer, cwd=project, **variables)
    assert done.returncode == 2
    assert ("--dataset_config: expected the specification of a data set with the model's classes table, ba"
            in done.stderr)


def test_weights_for_other_classes_are_refused(tmp_path):
    from rtseg.models.registry import create_model
    from rtseg.models.weights import load_pretrained, load_weights, save_weights

    save_weights(tmp_path / "two.ckpt", create_model("fast_scnn", "mmseg", num_classes=2))
    network = create_model("fast_scnn", "mmseg", num_classes=19)
    with pytest.raises(DataError, match="expected a network for the 19 classes of the data set, found one for 2. "):
        load_weights(tmp_path / "two.ckpt", network)
    note = load_pretrained(tmp_path / "two.ckpt", network)
    assert note.endswith("220 of 222 parameters; fresh: classifier.classifier.bias, classifier.classifier.weight")


def test_the_documents_show_this_specification():
    assert f"```yml\n{DESCRIPTION}```" in (PROJECT / "docs" / "data.md").read_text(encoding="utf-8")
