"""Import of PyTorch weights: names, files that PyTorch wrote, files that must be refused, the command."""
import io
import json
import os
import pickle
import stat
import zipfile
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from safetensors.numpy import save_file

from rtseg.models.reference_names import GRAPHS, convert
from rtseg.models.registry import create_model
from rtseg.models.weights import load_pretrained, load_weights
from rtseg.tools.convert_torch_weights import import_weights, main, match
from rtseg.tools.golden_rules import reference_weights
from rtseg.tools.torch_file import read_state_dict
from rtseg.utils.errors import ConfigError, DataError

TESTS = Path(__file__).resolve().parents[1]
SHAPES = {graph: json.loads((TESTS / "goldens" / f"{graph}.keys.json").read_text()) for graph in GRAPHS}


@pytest.mark.parametrize("name", ["torch_zip.pth", "torch_legacy.pth"])
def test_files_written_by_pytorch(name):
    """Made by PyTorch 2.13: in a `model` dictionary with `module.` prefix, and in the format from before 1.6."""
    state = read_state_dict(TESTS / "data" / name)
    assert list(state) == ["0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var",
                           "1.num_batches_tracked", "view", "half", "scalar", "parameter"]
    assert (state["0.weight"] == np.arange(18, dtype=np.float32).reshape(2, 1, 3, 3) / 8).all()
    assert state["1.running_var"].tolist() == [1, 1] and state["1.num_batches_tracked"] == 0
    assert state["view"].tolist() == [[1, 5, 9], [2, 6, 10], [3, 7, 11]]  # transposed, and not from the start
    assert state["half"].dtype == np.float16 and state["half"].tolist() == [1.5, -2]
    assert state["scalar"].shape == () and state["scalar"] == 2.5 and state["parameter"].tolist() == [4]


def zip_file(path, pickled, storages=()):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, data in dict(storages).items():
            archive.writestr(f"archive/data/{key}", data)
    return path


class _Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_calls_a_function_is_refused_and_not_run(tmp_path, legacy):
    target, path = tmp_path / "made by the pickle", tmp_path / "bad.pth"
    pickled = pickle.dumps({"weight": _Call(os.mkdir, str(target))}, protocol=2)
    if legacy:
        head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
        path.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in head) + pickled)
    else:
        zip_file(path, pickled)
    with pytest.raises(DataError, match="mkdir' in it is not a plain weight and is not loaded, for safety"):
        read_state_dict(path)
    assert not target.exists()


def tensor_pickle(offset, shape, strides):
    """A pickle of one tensor as PyTorch writes it, over a storage of four floats."""
    stream = io.BytesIO()
    pickler = pickle._Pickler(stream, protocol=2)
    stream.write(b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\n"
                 b"FloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ")
    for value in (offset, shape, strides, False):
        pickler.save(value)
    stream.write(b"NtRs.")
    return stream.getvalue()


def test_a_tensor_outside_its_storage_is_refused(tmp_path):
    storage = {"0": np.arange(4, dtype="<f4").tobytes()}
    good = zip_file(tmp_path / "good.pth", tensor_pickle(1, (3,), (1,)), storage)
    assert read_state_dict(good)["w"].tolist() == [1, 2, 3]
    for offset, shape, strides in ((2, (3,), (1,)), (0, (2, 2), (3, 1)), (0, (2,), (-1,)), (0, (2,), ()),
                                   (-1, (1,), (1,))):
        bad = zip_file(tmp_path / "bad.pth", tensor_pickle(offset, shape, strides), storage)
        with pytest.raises(DataError, match="lies outside its storage"):
            read_state_dict(bad)


@pytest.mark.parametrize("name", ["torch_zip.pth", "torch_legacy.pth"])
def test_every_truncation_is_an_error(tmp_path, name):
    whole, path = (TESTS / "data" / name).read_bytes(), tmp_path / name
    for length in range(0, len(whole), 61):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=str(path)):
            read_state_dict(path)


@pytest.mark.parametrize("name, content", [
    ("text.pth", b"not weights"), ("text.safetensors", b"not weights"), ("empty.pth", b""), ("none.pth", None),
    ("list.pth", pickle.dumps([1])),
])
def test_other_files_are_errors(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        read_state_dict(tmp_path / name)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_is_no_file_is_named(tmp_path, suffix):
    (tmp_path / f"folder{suffix}").mkdir()
    os.mkfifo(tmp_path / f"pipe{suffix}")
    for name, reason in (("none", "No such file or directory"), ("folder", "Is a directory"),
                         ("pipe", "it is no regular file")):
        with pytest.raises(DataError, match=f"expected a weight file at .*{name}{suffix}; {reason}"):
            read_state_dict(tmp_path / f"{name}{suffix}")


def test_match_reports_classes_heads_and_strangers():
    shapes = {"head.conv.bn.gamma": (2,), "head.classifier.weight": (19, 2, 1, 1), "aux_heads.0.classifier.bias": (19,)}
    state = {"conv_out.conv.bn.weight": np.ones(2), "conv_out.conv_out.weight": np.ones((7, 2, 1, 1)),
             "stranger.weight": np.ones(1), "conv_out.conv.bn.num_batches_tracked": np.ones(())}
    weights, report = match("bisenetv1_coincheung", state, shapes=shapes)
    assert list(weights) == report.mapped == ["head.conv.bn.gamma", "head.classifier.weight"]
    assert weights["head.conv.bn.gamma"].dtype == np.float32
    assert report.other_classes == ["head.classifier.weight"]
    assert report.ignored == {"stranger.weight": "not part of this network",
                              "conv_out.conv.bn.num_batches_tracked": "has no counterpart"}
    assert report.missing == ["aux_heads.0.classifier.bias"]
    assert report.lines() == [
        "mapped 2 parameters",
        "of other classes, for which eval, export and predict need --dataset_config, 1: head.classifier.weight",
        "ignored (not part of this network) 1: stranger.weight",
        "ignored (has no counterpart) 1: conv_out.conv.bn.num_batches_tracked",
        "missing 1: aux_heads.0.classifier.bias"]


def test_match_refuses_missing_and_misshaped_parameters():
    shapes = {"head.conv.bn.gamma": (2,), "head.conv.bn.beta": (2,)}
    with pytest.raises(DataError) as error:
        match("bisenetv1_coincheung", {"conv_out.conv.bn.weight": np.ones(3)}, shapes=shapes)
    assert "conv_out.conv.bn.weight: expected shape (2,), found (3,)" in str(error.value)
    assert "missing: head.conv.bn.beta" in str(error.value)


def test_command_imports_a_whole_network(tmp_path, capsys):
    state, output = reference_weights(SHAPES["fast_scnn_tramac"]), tmp_path / "new" / "fast_scnn.ckpt"
    save_file({f"module.{key}": value for key, value in state.items()}, tmp_path / "weights.safetensors")
    arguments = ["--model", "fast_scnn", "--variant", "tramac", "--input", str(tmp_path / "weights.safetensors")]
    assert main(arguments + ["--output", str(output)]) == 0
    expected = convert("fast_scnn_tramac", state)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"mapped {len(expected)} parameters" and lines[-1] == f"wrote {output}"
    assert lines[1].startswith("missing ") and "aux_heads.1." in lines[1]  # this reference has one head
    found = ms.load_checkpoint(str(output))
    assert set(found) == set(expected)
    assert all((found[name].asnumpy() == value).all() for name, value in expected.items())
    assert stat.S_IMODE(output.stat().st_mode) == 0o644 and list(output.parent.iterdir()) == [output]


def test_weights_of_other_classes_start_a_training(tmp_path):
    state = reference_weights(SHAPES["fast_scnn_tramac"])
    for key in [key for key in state if key.startswith(("classifier.conv.1.", "auxlayer.4."))]:
        state[key] = state[key][:7]
    save_file(state, tmp_path / "seven.safetensors")
    report = import_weights("fast_scnn", "tramac", backbone=None, source=tmp_path / "seven.safetensors",
                            target=tmp_path / "seven.ckpt")
    assert sorted(report.other_classes) == ["aux_heads.0.classifier.bias", "aux_heads.0.classifier.weight",
                                            "classifier.classifier.bias", "classifier.classifier.weight"]
    network = create_model("fast_scnn", "tramac", num_classes=19, aux=2)
    load_pretrained(tmp_path / "seven.ckpt", network)
    name, key = "classifier.dsconv2.pointwise.conv.weight", "classifier.dsconv2.conv.3.weight"
    assert (network.parameters_dict()[name].asnumpy() == state[key]).all()


def test_a_wrong_file_leaves_no_output(tmp_path):
    save_file(reference_weights(SHAPES["fast_scnn_mmseg"]), tmp_path / "other.safetensors")
    output = tmp_path / "x.ckpt"
    with pytest.raises(DataError, match="other.safetensors: expected weights of fast_scnn_tramac, found others"):
        import_weights("fast_scnn", "tramac", backbone=None, source=tmp_path / "other.safetensors", target=output)
    assert not output.exists()


def test_imports_a_torchvision_backbone(tmp_path):
    prefix = "cp.resnet."
    state = {key[len(prefix):]: value for key, value in reference_weights(SHAPES["bisenetv1_coincheung"]).items()
             if key.startswith(prefix)}
    state["fc.weight"] = np.ones((1000, 512), np.float32)
    save_file(state, tmp_path / "resnet18.safetensors")
    source = tmp_path / "resnet18.safetensors"
    report = import_weights("bisenetv1", "coincheung", backbone=None, source=source, target=tmp_path / "b.ckpt",
                            backbone_only=True)
    assert (len(report.mapped), report.missing, list(report.ignored)) == (100, [], ["fc.weight"])
    found = ms.load_checkpoint(str(tmp_path / "b.ckpt"))
    assert (found["context_path.backbone.layer1.0.conv1.conv.weight"].asnumpy()
            == state["layer1.0.conv1.weight"]).all() and len(found) == 100
    with pytest.raises(DataError, match=r"expected weights of bisenetv1_coincheung \(its backbone\)"):
        import_weights("bisenetv1", "coincheung", backbone="resnet50", source=source, target=tmp_path / "c.ckpt",
                       backbone_only=True)


def modelzoo_checkpoint(path, of_a_training):
    """A checkpoint as the zoo writes it: of the network alone, or with the state of its SGD and its prefix."""
    state = reference_weights(SHAPES["fast_scnn_modelzoo"])
    prefix = "network." if of_a_training else ""
    entries = {prefix + name: value for name, value in state.items()}
    if of_a_training:
        entries.update({f"accum.{name}": np.zeros_like(value) for name, value in list(entries.items())[:3]})
        entries.update({"learning_rate": np.float32([1e-3]), "momentum": np.float32(0.9),
                        "global_step": np.int32([372])})
    ms.save_checkpoint([{"name": name, "data": ms.Tensor(value)} for name, value in entries.items()], str(path))
    return state


@pytest.mark.parametrize("of_a_training", [False, True])
def test_reads_a_checkpoint_of_the_model_zoo(tmp_path, of_a_training):
    state = modelzoo_checkpoint(tmp_path / "zoo.ckpt", of_a_training)
    report = import_weights("fast_scnn", "modelzoo", backbone=None, source=tmp_path / "zoo.ckpt",
                            target=tmp_path / "ours.ckpt")
    assert (len(report.mapped), report.missing, len(report.ignored)) == (235, [], 6 if of_a_training else 0)
    network = create_model("fast_scnn", "modelzoo", num_classes=19, aux=2)
    for name in ("ours.ckpt", "zoo.ckpt"):  # the zoo's as it is, too
        load_weights(tmp_path / name, network)
        parameters = network.parameters_dict()
        assert (parameters["aux_heads.1.classifier.bias"].asnumpy() == state["auxlayer2.4.bias"]).all()
        assert (parameters["learning_to_downsample.conv.bn.moving_variance"].asnumpy()
                == state["learning_to_downsample.conv.conv.1.moving_variance"]).all()
        for parameter in parameters.values():
            parameter.set_data(ms.Tensor(np.zeros(parameter.shape), parameter.dtype))
    load_weights(tmp_path / "zoo.ckpt", create_model("fast_scnn", "modelzoo", num_classes=19, aux=0))
    assert "235 of 235 parameters" in load_pretrained(tmp_path / "zoo.ckpt", network)


def test_another_graph_refuses_a_checkpoint_of_the_model_zoo(tmp_path):
    modelzoo_checkpoint(tmp_path / "zoo.ckpt", True)
    with pytest.raises(DataError, match=r"parameters\n  missing 3: .*classifier.classifier.bias"):
        load_weights(tmp_path / "zoo.ckpt", create_model("fast_scnn", "tramac", num_classes=19, aux=0))


def test_a_checkpoint_of_ours_needs_no_conversion(tmp_path):
    ms.save_checkpoint([{"name": "head.weight", "data": ms.Tensor([1.0])}], str(tmp_path / "ours.ckpt"))
    with pytest.raises(DataError, match="ours.ckpt: expected a checkpoint of the MindSpore model zoo's Fast-SCNN, "
                                        "found other names, such as head.weight. One of this package needs no"):
        import_weights("fast_scnn", "modelzoo", backbone=None, source=tmp_path / "ours.ckpt",
                       target=tmp_path / "x.ckpt")


@pytest.mark.parametrize("variant", ["liminn", "mmseg"])
def test_imports_torchvisions_resnet50_for_icnet(tmp_path, variant):
    state = reference_weights(torchvision_resnet50())
    save_file(state, tmp_path / "resnet50.safetensors")
    output = tmp_path / "b.ckpt"
    report = import_weights("icnet", variant, backbone="resnet50_v1b", source=tmp_path / "resnet50.safetensors",
                            target=output, backbone_only=True)
    assert (len(report.mapped), report.missing, sorted(report.ignored)) == (265, [], ["fc.bias", "fc.weight"])
    found = ms.load_checkpoint(str(output))
    assert (found["encoder.backbone.stem.0.conv.weight"].asnumpy() == state["conv1.weight"]).all()
    assert (found["encoder.backbone.layer3.0.downsample.bn.moving_mean"].asnumpy()
            == state["layer3.0.downsample.1.running_mean"]).all()
    with pytest.raises(DataError, match="its backbone"):  # the deep stem of this graph
        import_weights("icnet", variant, backbone="resnet50", source=tmp_path / "resnet50.safetensors", target=output,
                       backbone_only=True)


def torchvision_resnet50():
    """Names and shapes of torchvision's resnet50."""
    shapes, width = {"conv1.weight": (64, 3, 7, 7), "fc.weight": (1000, 2048), "fc.bias": (1000,)}, 64

    def batch_norm(name, channels):
        shapes.update({f"{name}.{kind}": (channels,) for kind in ("weight", "bias", "running_mean", "running_var")})

    batch_norm("bn1", 64)
    for layer, blocks in enumerate((3, 4, 6, 3)):
        channels = 64 * 2 ** layer
        for block in range(blocks):
            name = f"layer{layer + 1}.{block}"
            convolutions = (channels, width, 1, 1), (channels, channels, 3, 3), (4 * channels, channels, 1, 1)
            for i, shape in enumerate(convolutions, start=1):
                shapes[f"{name}.conv{i}.weight"] = shape
                batch_norm(f"{name}.bn{i}", shape[0])
            if block == 0:
                shapes[f"{name}.downsample.0.weight"] = (4 * channels, width, 1, 1)
                batch_norm(f"{name}.downsample.1", 4 * channels)
            width = 4 * channels
    return shapes


@pytest.mark.parametrize("model, output, backbone_only, message", [
    ("fast_scnn", "x.ckpt", True, "fast_scnn has no backbone; expected a network of icnet, bisenetv1"),
    ("fast_scnn", "x.mindir", False, "expected a name that ends in .ckpt"),
])
def test_wrong_usage(tmp_path, model, output, backbone_only, message):
    with pytest.raises(ConfigError, match=message):
        import_weights(model, "mmseg", backbone=None, source=tmp_path / "none.pth", target=tmp_path / output,
                       backbone_only=backbone_only)
