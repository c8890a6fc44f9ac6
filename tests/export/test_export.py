"""export.py: what it writes gives eval.py's classes in MindSpore and in ONNX Runtime, and says what it is."""
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import mindspore as ms
import numpy as np
import pytest
from data_helpers import CLASS_NAMES, PALETTE
from mindspore import Tensor, nn
from script_helpers import PROJECT

from rtseg.cli import export
from rtseg.config.recipe import load_config
from rtseg.export.atc import main as om_metadata
from rtseg.inference.graph import InferenceGraph
from rtseg.inference.metadata import ModelMetadata, check_metadata_is_free, read_metadata, write_metadata
from rtseg.inference.postprocessing import argmax_upsampled
from rtseg.inference.preprocessing import normalize
from rtseg.models.registry import create_model
from rtseg.models.weights import save_weights
from rtseg.utils.errors import ConfigError, DataError

HEIGHT, WIDTH = 160, 352
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
METADATA = ModelMetadata.describe(
    model="fast_scnn", variant="mmseg", input_type="float32", output_type="logits", size=(1, 64, 96), mean=MEAN,
    std=STD, dataset="cityscapes", classes=CLASS_NAMES, palette=PALETTE, checkpoint_sha256="ab12",
    source="best_map.ckpt")


STATISTICS = {"gamma": (0.7, 1.3), "beta": (-0.3, 0.3), "moving_mean": (-0.2, 0.2), "moving_variance": (0.5, 1.5)}


class Trained(NamedTuple):
    """A checkpoint, and what MindSpore and eval.py say of an image with it."""

    checkpoint: Path
    image: np.ndarray    # uint8 (HEIGHT, WIDTH, 3)
    logits: np.ndarray   # float32 (1, 19, HEIGHT, WIDTH)
    classes: np.ndarray  # (1, HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    network = create_model("fast_scnn", "mmseg", num_classes=19, aux=1)
    rng = np.random.default_rng(0)
    for parameter in network.get_parameters():
        if parameter.name.rpartition(".")[2] in STATISTICS:
            low, high = STATISTICS[parameter.name.rpartition(".")[2]]
            parameter.set_data(Tensor(rng.uniform(low, high, parameter.shape).astype(np.float32)))
    weight, bias = network.classifier.classifier.weight, network.classifier.classifier.bias
    weight.set_data(Tensor(rng.normal(0, 0.5, weight.shape).astype(np.float32)))
    network.set_train(False)
    coarse = rng.integers(0, 216, (HEIGHT // 32, WIDTH // 32, 3), dtype=np.uint8)
    image = np.kron(coarse, np.ones((32, 32, 1), np.uint8)) + rng.integers(0, 40, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    x = Tensor(normalize(image, MEAN, std=STD)[None])
    bias.set_data(Tensor(-network(x).asnumpy().mean(axis=(0, 2, 3))))  # no class is ahead everywhere
    path = tmp_path_factory.mktemp("run") / "best_map.ckpt"
    save_weights(path, network)
    classes = InferenceGraph(network, MEAN, std=STD)(Tensor(image[None])).asnumpy()
    assert len(np.unique(classes)) > 5
    return Trained(path, image, network(x).asnumpy(), classes)


def run_onnx(path, x):
    onnxruntime = pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("input_type, output_type", [("float32", "logits"), ("uint8", "class_map"),
                                                     ("uint8", "head_logits")])
def test_every_form_agrees_with_eval(trained, input_type, output_type, tmp_path, capsys):
    pytest.importorskip("onnx", reason="the package onnx is not installed")
    name = tmp_path / "net.v1"
    assert export.main([f"--ckpt_file={trained.checkpoint}", f"--file_name={name}", f"--image_height={HEIGHT}",
                        f"--image_width={WIDTH}", f"--input_type={input_type}", f"--output_type={output_type}",
                        "--aux=2"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"exported {name}.mindir"
    assert os.stat(f"{name}.mindir").st_mode & 0o777 == 0o644
    before = Path(f"{name}.json").read_text()
    # In a process of its own, as a user does: the order in which packages are imported matters.
    done = subprocess.run([sys.executable, "export.py", "--from_mindir", f"{name}.mindir", "--file_format", "ONNX"],
                          cwd=PROJECT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"exported {name}.onnx\n"), done.stderr
    assert Path(f"{name}.json").read_text() == before

    x = trained.image[None] if input_type == "uint8" else normalize(trained.image, MEAN, std=STD)[None]
    for result in (nn.GraphCell(ms.load(f"{name}.mindir"))(Tensor(x)).asnumpy(), run_onnx(f"{name}.onnx", x)):
        if output_type == "logits":
            assert np.linalg.norm(result - trained.logits) < 1e-3 * np.linalg.norm(trained.logits)
            result = result.argmax(1)
        elif output_type == "head_logits":
            assert (result.dtype, result.shape) == (np.float32, (1, 19, HEIGHT // 8, WIDTH // 8))
            result = argmax_upsampled(result[0], (HEIGHT, WIDTH), align_corners=False)[None]
        else:
            assert result.dtype == np.uint8
        assert (result == trained.classes).mean() > 0.999
    metadata = read_metadata(f"{name}.json")
    assert (metadata.input_type, metadata.output_type, metadata.size) == (input_type, output_type, (1, HEIGHT, WIDTH))
    assert metadata.checkpoint_sha256 == hashlib.sha256(trained.checkpoint.read_bytes()).hexdigest()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["net.v1.json", "net.v1.mindir", "net.v1.onnx"]


def test_onnx_and_batch_size_in_one_step(trained, tmp_path, monkeypatch):
    pytest.importorskip("onnx", reason="the package onnx is not installed")
    monkeypatch.chdir(tmp_path)
    assert export.main(["--ckpt_file", str(trained.checkpoint), "--file_format", "ONNX", "--batch_size", "2",
                        "--image_height", "64", "--image_width", "96"]) == 0
    assert run_onnx("fast_scnn.onnx", np.zeros((2, 3, 64, 96), np.float32)).shape == (2, 19, 64, 96)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["fast_scnn.json", "fast_scnn.onnx"]


@pytest.mark.parametrize("arguments, message", [
    ([], "expected one of them, found neither"),
    (["--ckpt_file=a", "--from_mindir=b"], "expected one of them, found both"),
    (["--from_mindir=b"], "can only be converted to --file_format ONNX, found MINDIR"),
    (["--from_mindir=b", "--file_format=ONNX", "--input_type=uint8", "--batch_size=2"],
     "--export_batch_size, --input_type: expected none of these with --from_mindir"),
    (["--ckpt_file=a", "--file_format=AIR"], "AIR needs --device_target Ascend, found CPU"),
    (["--ckpt_file=a", "--image_width=100"], "expected a positive multiple of 32 up to 16384, found '100'"),
    (["--ckpt_file=a", "--output_type=mask"], "expected one of logits, class_map"),
])
def test_wrong_usage(arguments, message):
    with pytest.raises(ConfigError, match=message):
        export.main(arguments)


def test_bad_inputs(tmp_path):
    with pytest.raises(DataError, match="expected a checkpoint file, found none"):
        export.main(["--ckpt_file", str(tmp_path / "none.ckpt")])
    with pytest.raises(DataError, match="--verify .*nowhere"):  # before the export, which may take minutes
        export.main(["--ckpt_file", str(tmp_path / "none.ckpt"), f"--verify={tmp_path / 'nowhere'}"])
    with pytest.raises(DataError, match="expected a MINDIR file at"):
        pytest.importorskip("onnx", reason="the package onnx is not installed")
        export.main(["--from_mindir", str(tmp_path / "none.mindir"), "--file_format", "ONNX"])


def test_training_batch_size_does_not_leak():
    assert load_config(PROJECT / "configs" / "fast_scnn.yaml").export.batch_size == 1


def test_metadata_literal(tmp_path):
    path = write_metadata(tmp_path / "net.mindir", METADATA)
    assert path == tmp_path / "net.json"
    assert json.loads(path.read_text()) == {
        "format_version": 1, "model": "fast_scnn", "variant": "mmseg",
        "input": {"name": "x", "shape": [1, 3, 64, 96], "dtype": "float32", "layout": "NCHW"},
        "normalization": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "in_graph": False},
        "color_order": "RGB",
        "output": {"name": "output", "kind": "logits", "shape": [1, 19, 64, 96], "dtype": "float32"},
        "dataset": "cityscapes", "classes": list(CLASS_NAMES), "palette": PALETTE.tolist(), "ignore_label": 255,
        "checkpoint_sha256": "ab12", "source": "best_map.ckpt"}
    assert read_metadata(path) == METADATA


def test_metadata_of_head_logits_literal():
    metadata = METADATA.changed(output_type="head_logits", stride=8, align_corners=False)
    assert json.loads(metadata.to_json())["output"] == {
        "name": "output", "kind": "head_logits", "shape": [1, 19, 8, 12], "dtype": "float32", "stride": 8,
        "align_corners": False}


@pytest.mark.parametrize("change, message", [
    (lambda content: content.pop("output"), r"found another file \(output: Field required\)"),
    (lambda content: content.update(format_version=2), "expected format_version 1, found 2"),
    (lambda content: content["input"].update(dtype="uint8"), "contradict each other: layout is NCHW, expected NHWC"),
    (lambda content: content["input"].update(shape=[1, 3, "64", 96]), r"input.shape.2: .*valid integer"),
    (lambda content: content["input"].update(shape=[1, 3, 0, 96]), r"input.shape.2: .*greater than or equal to 1"),
    (lambda content: content["output"].update(stride=8), "belong to head_logits"),
    (lambda content: content["output"].update(kind="head_logits"), "head_logits needs both"),
    (lambda content: content["palette"].pop(), "the palette has 18 colours for 19 classes"),
    (lambda content: content["palette"][3].append(0), "palette.3"),
    (lambda content: content.update(colour=1), "colour: Extra inputs"),
])
def test_damaged_metadata(change, message, tmp_path):
    path = write_metadata(tmp_path / "net.mindir", METADATA)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        read_metadata(path)


def test_models_of_one_name_have_one_form(tmp_path):
    (tmp_path / "net.mindir").write_bytes(b"")
    write_metadata(tmp_path / "net.mindir", METADATA)
    check_metadata_is_free(tmp_path / "net.onnx", METADATA)
    with pytest.raises(ConfigError, match="net.json describes .*net.mindir, which differs in input.shape, input.dtype, "
                                          "input.layout, normalization.in_graph; expected another name than net$"):
        check_metadata_is_free(tmp_path / "net.onnx", METADATA.changed(input_type="uint8"))
    other = METADATA.changed(model="icnet", classes=("a",), palette=PALETTE[:1])
    with pytest.raises(ConfigError, match="differs in model, output.shape, classes, palette; expected another name"):
        check_metadata_is_free(tmp_path / "net.onnx", other)


def test_a_model_whose_checkpoint_the_metadata_no_longer_names_is_named(tmp_path, capsys):
    for name in ("net.onnx", "net.om"):
        (tmp_path / name).write_bytes(b"")
    write_metadata(tmp_path / "net.onnx", METADATA)
    check_metadata_is_free(tmp_path / "net.mindir", METADATA)
    assert capsys.readouterr() == ("", "")
    check_metadata_is_free(tmp_path / "net.mindir", METADATA.changed(checkpoint_sha256="cd34"))
    note = (f"note: {tmp_path / 'net.json'} will name the new checkpoint, no longer that of {tmp_path / 'net.onnx'}, "
            f"{tmp_path / 'net.om'}: export these again\n")
    assert capsys.readouterr() == ("", note)  # not on stdout, where scripts/convert_om.sh reads


def test_aipp_literal(tmp_path, capsys):
    write_metadata(tmp_path / "net.onnx", METADATA)
    assert om_metadata([str(tmp_path / "net.onnx"), str(tmp_path / "net_aipp.om"), "1"]) == 0
    assert capsys.readouterr().out == "NCHW x:1,3,64,96\n"
    assert (tmp_path / "net_aipp.aipp.cfg").read_text() == """aipp_op {
    aipp_mode: static
    input_format: RGB888_U8
    csc_switch: false
    rbuv_swap_switch: false
    src_image_size_w: 96
    src_image_size_h: 64
    min_chn_0: 123.675
    var_reci_chn_0: 0.017124754
    min_chn_1: 116.28
    var_reci_chn_1: 0.017507003
    min_chn_2: 103.53
    var_reci_chn_2: 0.017429194
}
"""
    assert read_metadata(tmp_path / "net_aipp.json").input_shape == [1, 64, 96, 3]
    with pytest.raises(ConfigError, match="expected a model with --input_type float32"):
        om_metadata([str(tmp_path / "net_aipp.om"), str(tmp_path / "b.om"), "1"])


def test_om_of_another_shape(tmp_path, capsys):
    write_metadata(tmp_path / "net.onnx", METADATA.changed(dynamic=("batch",)))
    assert om_metadata([str(tmp_path / "net.onnx"), str(tmp_path / "b8.om"), "0", "x:8,3,64,96"]) == 0
    assert capsys.readouterr().out == "NCHW x:8,3,64,96\n"
    om = read_metadata(tmp_path / "b8.json")
    assert (om.input_shape, list(om.output.shape), om.input.dynamic) == ([8, 3, 64, 96], [8, 19, 64, 96], None)
    for shape, message in (("x:8,3,64,128", "expected width 96, found 128; .* --dynamic_size 1"),
                           ("y:8,3,64,96", "expected the model's input .* x:1,3,64,96, found y:8,3,64,96"),
                           ("x:-1,3,64,96", "found x:-1,3,64,96"), ("x:8,3", "found x:8,3")):
        with pytest.raises(ConfigError, match=message):
            om_metadata([str(tmp_path / "net.onnx"), str(tmp_path / "c.om"), "0", shape])


def test_om_of_another_size(tmp_path):
    """As a user runs it: the error is one line. The lengths that the model leaves open are multiples of 32."""
    write_metadata(tmp_path / "dyn.onnx", METADATA.changed(output_type="head_logits", stride=8, align_corners=False,
                                                           dynamic=("height", "width")))
    command = [sys.executable, "-m", "rtseg.export.atc", "dyn.onnx", "dyn_x.om", "0"]
    for shape, message in (
            ("x:1,3,1020,68", "--input_shape: expected height and width that are multiples of 32, found 1020 and 68"),
            ("x:1,3,64,16416", "input.shape.3: Input should be less than or equal to 16384, found 16416")):
        done = subprocess.run([*command, shape], cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {message}\n")
    assert not (tmp_path / "dyn_x.json").exists()
    assert om_metadata([str(tmp_path / "dyn.onnx"), str(tmp_path / "dyn_x.om"), "0", "x:1,3,96,128"]) == 0
    assert read_metadata(tmp_path / "dyn_x.json").size == (1, 96, 128)


def test_convert_om_prints_the_command_and_needs_atc(tmp_path):
    write_metadata(tmp_path / "net.onnx", METADATA)
    (tmp_path / "net.onnx").write_bytes(b"")
    script = PROJECT / "scripts" / "convert_om.sh"
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(["bash", script, "net.onnx", "Ascend310", "--precision_mode=force_fp16"], cwd=tmp_path,
                          env=environment, capture_output=True, text=True)
    assert done.stdout.split() == [
        "atc", "--framework=5", "--model=net.onnx", "--output=net", "--soc_version=Ascend310",
        "--input_shape=x:1\\,3\\,64\\,96", "--input_format=NCHW", "--precision_mode=force_fp16"], done.stderr
    assert (done.returncode, done.stderr.startswith("error: atc not found")) == (1, True)
    write_metadata(tmp_path / "net.onnx", METADATA.changed(dynamic=("batch",)))
    done = subprocess.run(["bash", script, "net.onnx", "--input_shape=x:8,3,64,96"], cwd=tmp_path, env=environment,
                          capture_output=True, text=True)
    assert " --output=net_8x3x64x96 " in done.stdout, done.stderr
    assert read_metadata(tmp_path / "net_8x3x64x96.json").input_shape == [8, 3, 64, 96]
    for arguments, code in ((["net.mindir"], 2), (["none.onnx"], 3), ([], 2)):
        assert subprocess.run(["bash", script, *arguments], cwd=tmp_path, env=environment,
                              capture_output=True).returncode == code
