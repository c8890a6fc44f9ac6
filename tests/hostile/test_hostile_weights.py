"""Weight files, damaged or made to do harm: MindSpore checkpoints, PyTorch and safetensors files, MINDIR graphs.

Nothing in such a file is ever run, and nothing in it takes more memory than the file has reason to.
"""
import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from hostile_helpers import cases, command, count, damaged, limits, random_of, tree, written_outside

from rtseg.cli import eval as eval_command
from rtseg.cli import export
from rtseg.models.weights import load_pretrained, load_weights, read_checkpoint
from rtseg.tools import convert_torch_weights as torch_weights
from rtseg.tools.torch_file import read_state_dict
from rtseg.training.checkpoint import load_state
from rtseg.utils.errors import DataError, UserError

DATA = Path(__file__).resolve().parents[1] / "data"
OTHER_KINDS = [b"", b"\x89PNG\r\n\x1a\n", b"{}", b"PK\x05\x06" + bytes(18), b"\x80\x02}."]


@pytest.fixture(autouse=True)
def work_here(tmp_path, monkeypatch):
    """Whatever is run by mistake would leave its mark in this folder."""
    monkeypatch.chdir(tmp_path)


# --- MindSpore checkpoints ---

PROGRESS = {"epoch": 1, "step": 0, "loss_sum": 0.0, "best_miou": 0.5, "best_epoch": 1, "seed": 1,
            "global_batch_size": 4}


class Tiny(ms.nn.Cell):
    def __init__(self):
        super().__init__()
        self.weight = ms.Parameter(np.ones((3, 2), np.float32), name="weight")
        self.bias = ms.Parameter(np.zeros(3, np.float32), name="bias")


def tiny_checkpoint(path, progress=None):
    """The state of a run whose network has nine values; `progress` replaces the text about the run."""
    state = {"state.moment": np.ones(3, np.float32)}
    values = {name: parameter for name, parameter in Tiny().parameters_dict().items()}
    values.update({name: ms.Parameter(value, name=name) for name, value in state.items()})
    ms.save_checkpoint([{"name": name, "data": value} for name, value in values.items()], str(path),
                       append_dict={"progress": json.dumps(PROGRESS) if progress is None else progress})
    os.chmod(path, 0o644)
    return path.read_bytes()


def load_all(path):
    """Loads a checkpoint in every way that there is; each is well or a UserError about this file."""
    moment = {"moment": ms.Parameter(np.zeros(3, np.float32), name="moment")}
    for load in (read_checkpoint, lambda p: load_weights(p, Tiny()), lambda p: load_pretrained(p, Tiny()),
                 lambda p: load_state(p, Tiny(), step_state=moment)):
        with limits():
            try:
                load(path)
            except UserError as error:
                assert str(path) in str(error) and error.exit_code in (2, 3)


def test_damaged_checkpoints(tmp_path):
    path, rng = tmp_path / "last.ckpt", random_of("checkpoint")
    content = tiny_checkpoint(path)
    load_state(path, Tiny(), step_state={"moment": ms.Parameter(np.zeros(3, np.float32), name="moment")})
    for _ in range(cases(250)):
        count("damaged checkpoint")
        path.write_bytes(damaged(content, rng, rng.choice(OTHER_KINDS)))
        load_all(path)


@pytest.mark.parametrize("progress", [
    "", "{", "[]", "null", "1", '"x"', "[" * 100_000, "{}" * 3, '{"bogus": 1}', "9" * 5000,
    *(json.dumps({**PROGRESS, name: value}) for name, value in (
        ("epoch", -1), ("epoch", 1.5), ("epoch", "1"), ("epoch", None), ("epoch", 10 ** 30), ("step", -5),
        ("step", [1]), ("loss_sum", "x"), ("loss_sum", float("nan")), ("best_miou", None),
        ("best_miou", "x"), ("best_epoch", -1), ("seed", {}), ("seed", "1"), ("global_batch_size", 0.5)))])
def test_wrong_progress(tmp_path, progress):
    count("checkpoint with a wrong progress")
    path = tmp_path / "last.ckpt"
    tiny_checkpoint(path, progress)
    with pytest.raises(DataError), limits():
        load_state(path, Tiny(), step_state={"moment": ms.Parameter(np.zeros(3, np.float32), name="moment")})


def checkpoint_entry(name: bytes, dims, kind: bytes, content: bytes) -> bytes:
    """An entry of a .ckpt file (a protobuf message of name and tensor) as bytes."""
    def varint(number):
        number &= (1 << 64) - 1
        text = b""
        while number > 127:
            text, number = text + bytes([number & 127 | 128]), number >> 7
        return text + bytes([number])

    def field(number, data):
        return bytes([number << 3 | 2]) + varint(len(data)) + data

    tensor = b"".join(b"\x08" + varint(length) for length in dims) + field(2, kind) + field(3, content)
    return field(1, field(1, name) + field(2, tensor))


@pytest.mark.parametrize("name, dims, kind, content", [
    (b"weight", [3, 2], b"Float32", bytes(24)), (b"weight", [10 ** 6, 10 ** 6], b"Float32", bytes(24)),
    (b"weight", [-1, 2], b"Float32", bytes(24)), (b"weight", [2 ** 62, 2 ** 62], b"Float32", b""),
    (b"weight", [3, 2], b"Object", bytes(24)), (b"weight", [3, 2], b"", b""), (b"weight", [], b"str", b"\xff\xfe"),
    (b"weight", [], b"Float32", b""), (b"weight", [0], b"Float32", b""), (b"", [3], b"Float32", bytes(12)),
    (b"\xff", [3], b"Float32", bytes(12)), (b"weight", [3, 2], b"Float32", bytes(23)),
    (b"weight", [3, 2], b"Int4", bytes(3)), (b"weight", [3, 2], b"BFloat16", bytes(12)),
    (b"progress", [0], b"str", b"{}"), (b"progress", [3], b"Float32", bytes(12)), (b"weight", [0], b"int", b"x" * 5000),
    (b"weight", [0], b"float", b"x"), (b"weight", [0], b"bool", b""), (b"weight", [3] * 5000, b"Float32", bytes(12)),
])
def test_made_up_checkpoints(tmp_path, name, dims, kind, content):
    count("made-up checkpoint")
    path = tmp_path / "last.ckpt"
    path.write_bytes(checkpoint_entry(name, dims, kind, content))
    load_all(path)


# --- PyTorch files ---

class Code:
    """A pickle of it calls a function when it is loaded."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def zipped(data_pickle: bytes, compression=zipfile.ZIP_STORED, **files) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("a/data.pkl", data_pickle)
        for name, content in files.items():
            archive.writestr(f"a/data/{name}", content)
    return buffer.getvalue()


def tensor_pickle(shape=b"K\x02\x85", strides=b"K\x01\x85", offset=b"K\x00", count_=b"K\x02", key=b"X\x01\0\0\0w",
                  after=b"") -> bytes:
    """{"w": a tensor in storage "0"} with parts replaced by other opcodes."""
    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0" + b"0X\x03\0\0\0cpu" + count_ + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + offset + shape + strides + b"\x89}tR" + after
    return b"\x80\x02}" + key + tensor + b"s."


CODE = [pickle.dumps(Code(function, *arguments), protocol) for protocol in (0, 2, 4) for function, arguments in (
    (os.system, ("touch executed",)), (exec, ("open('executed', 'w')",)), (eval, ("open('executed', 'w')",)),
    (open, ("executed", "w")), (os.mkdir, ("executed",)), (__import__, ("this",)),
    (np.load, ("executed",)), (pickle.loads, (b"cos\nsystem\n(S'touch executed'\ntR.",)), (print, ("executed",)))]
CODE += [b"\x80\x02cbuiltins\ngetattr\n(ctorch\nFloatStorage\nX\x04\0\0\0typetR.",
         b"(S'touch executed'\nios\nsystem\n.", b"\x80\x02(cos\nsystem\nX\x0e\0\0\0touch executedo.",
         b"\x80\x02ccollections\nOrderedDict.__init__\n)R.",
         b"\x80\x04\x8c\x0bcollections\x8c\x17OrderedDict.__class__\x93.",
         b"\x80\x02\x82\x01.", b"\x80\x02ctorch\nnn.Module\n.", b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n.",
         b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x0c\0\0\0__defaults__K\x01\x85s\x86b.",
         b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x08\0\0\0__code__K\x01s\x86b."]


def legacy(*pickles: bytes) -> bytes:
    """A file in PyTorch's old format up to its content."""
    return b"".join([pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2),
                     pickle.dumps({"little_endian": True}, 2), *pickles])


@pytest.mark.parametrize("form", ["zip", "zip in a dictionary", "legacy", "legacy, first", "bare"])
def test_pickles_that_would_run_code(tmp_path, form):
    path = tmp_path / "w.pth"
    for code in CODE:
        path.write_bytes({"zip": zipped(code), "legacy": legacy(code), "bare": code, "legacy, first": code + legacy(),
                          "zip in a dictionary": zipped(b"\x80\x04}\x8c\x01x" + code[:-1] + b"s.")}[form])
        before = tree(tmp_path)
        outcome = command(torch_weights.main, "--model=fast_scnn", f"--input={path}", "--output=out.ckpt",
                       kind="pickle that would run code, at the command", codes=(3,))
        assert tree(tmp_path) == before and not outcome.writes
    assert read_state_dict(DATA / "torch_zip.pth")  # what a pickle did to a function does not last


def int4(number):
    return b"J" + struct.pack("<i", number)


BOMBS = {
    "memo": b"\x80\x02]r\xff\xff\xff\x0f.", "memo as text": b"\x80\x02]p2147483647\n.",
    "deep tuple as a key": b"\x80\x02})" + b"\x85" * 2_000_000 + b"Ns.",
    "deep list": b"\x80\x02" + b"]" * 300_000 + b"a" * 299_999 + b".",
    "long bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 46) + b"x.",
    "long text": b"\x80\x04\x8d" + b"\xff" * 8 + b".",
    "bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".", "long integer": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "frame": b"\x80\x04\x95" + b"\xff" * 8 + b".", "repeated value": tensor_pickle(b"J\xff\xff\xff\x7f\x85",
                                                                                   b"K\x00\x85"),
    "repeated, two dimensions": tensor_pickle(int4(10 ** 9) * 2 + b"\x86", b"K\x00K\x00\x86"),
    "repeated classifier": tensor_pickle(b"(" + int4(10 ** 7) + b"K\x80K\x01K\x01t", b"(K\x00K\x00K\x00K\x00t",
                                         key=b"X\x18\0\0\0classifier.conv.1.weight"),
    "negative stride": tensor_pickle(b"K\x02\x85", int4(-1) + b"\x85"),
    "beyond its storage": tensor_pickle(b"K\x02\x85", b"K\x01\x85", b"K\x01"),
    "negative offset": tensor_pickle(offset=int4(-2)), "negative shape": tensor_pickle(int4(-2) + b"\x85"),
    "shape of text": tensor_pickle(b"X\x01\0\0\0a\x85"), "shape of floats": tensor_pickle(b"G?\xf0\0\0\0\0\0\0\x85"),
    "storage count": tensor_pickle(count_=int4(2 ** 31 - 1)), "negative count": tensor_pickle(count_=int4(-1)),
    "key is a tuple": tensor_pickle(key=b"K\x01\x85"), "key is a number": tensor_pickle(key=b"K\x01"),
    "long key": tensor_pickle(key=b"X" + struct.pack("<I", 300_000) + b"conv_" * 60_000),
    "replaced method": b"\x80\x02ccollections\nOrderedDict\n)RN}X\x05\0\0\0itemsK\x01s\x86b.",
    "replaced method, class":
        b"\x80\x02ccollections\nOrderedDict\n)RN}X\x03\0\0\0getccollections\nOrderedDict\ns\x86b.",
    "state of an array": tensor_pickle(after=b"(K\x01" + int4(10 ** 9) + b"\x85ctorch\nFloatStorage\n\x89C\x04abcdtb"),
    "state of a type": b"\x80\x02ctorch\nFloatStorage\n(K\x03X\x01\0\0\0|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb.",
    "itself": b"\x80\x02}q\x00X\x05\0\0\0modelh\x00s.", "recursive list": b"\x80\x02]q\x00h\x00a.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_pickle_bombs(tmp_path, name):
    path = tmp_path / "w.pth"
    for content in (zipped(BOMBS[name], **{"0": bytes(8)}), legacy(BOMBS[name])):
        path.write_bytes(content)
        command(torch_weights.main, "--model=fast_scnn", "--variant=tramac", f"--input={path}", "--output=out.ckpt",
             kind="pickle bomb", codes=(3,))
        assert not (tmp_path / "out.ckpt").exists()


def test_compressed_bomb(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(zipped(tensor_pickle(count_=int4(1 << 28)), zipfile.ZIP_DEFLATED, **{"0": bytes(1 << 26)}))
    outcome = command(torch_weights.main, "--model=fast_scnn", f"--input={path}", "--output=out.ckpt",
                      kind="pickle bomb", codes=(3,))
    assert "which PyTorch never does" in outcome.stderr


@pytest.mark.parametrize("name", ["torch_zip.pth", "torch_legacy.pth", "made.safetensors"])
def test_damaged_weights_of_others(tmp_path, name):
    if name == "made.safetensors":
        numpy_files = pytest.importorskip("safetensors.numpy")
        content = numpy_files.save({"a.weight": np.ones((2, 3), np.float32), "b": np.zeros(2, np.int64)})
    else:
        content = (DATA / name).read_bytes()
    path, rng = tmp_path / name, random_of(name)
    for _ in range(cases(250)):
        count(f"damaged {name}")
        path.write_bytes(damaged(content, rng, rng.choice(OTHER_KINDS)))
        before = tree(tmp_path)
        with limits():
            try:
                for value in read_state_dict(path).values():
                    value.astype(np.float32).sum()
            except DataError as error:
                assert str(path) in str(error) and len(str(error)) < 5000
        assert tree(tmp_path) == before


@pytest.mark.parametrize("header", [
    b"", b"\xff" * 8, struct.pack("<Q", 1 << 40) + b"{}", struct.pack("<Q", 2) + b"{}", struct.pack("<Q", 2) + b"[]",
    *(struct.pack("<Q", len(text)) + text for text in (
        b'{"w":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4]}}',
        b'{"w":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,4]}}',
        b'{"w":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}',
        b'{"w":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}',
        b'{"w":{"dtype":"O","shape":[1],"data_offsets":[0,4]}}',
        b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}',
        b'{"__metadata__":{"x":1}}', b'{"__metadata__":{"format":"pt"}}', b"{" * 10_000))])
def test_made_up_safetensors(tmp_path, header):
    pytest.importorskip("safetensors")
    path = tmp_path / "w.safetensors"
    path.write_bytes(header + bytes(4))
    command(torch_weights.main, "--model=fast_scnn", f"--input={path}", "--output=out.ckpt", kind="made-up safetensors",
         codes=(3,))


# --- MINDIR graphs ---

@pytest.fixture(scope="module")
def mindir(tmp_path_factory):
    """An exported network, small enough to be converted thousands of times."""
    path = tmp_path_factory.mktemp("exported") / "net.mindir"

    class Small(ms.nn.Cell):
        def __init__(self):
            super().__init__()
            self.layers = ms.nn.SequentialCell(ms.nn.Conv2d(3, 4, 3, 2, pad_mode="pad", padding=1),
                                               ms.nn.BatchNorm2d(4), ms.nn.ReLU(), ms.nn.Conv2d(4, 3, 1))

        def construct(self, x):
            y = self.layers(x)
            return ms.ops.concat((y, ms.ops.interpolate(y, size=(16, 16), mode="bilinear", align_corners=True)), axis=1)

    network = Small().set_train(False)
    ms.export(network, ms.Tensor(np.zeros((1, 3, 32, 32), np.float32)), file_name=str(path), file_format="MINDIR")
    os.chmod(path, 0o644)
    return path


def test_damaged_mindir(tmp_path, mindir):
    pytest.importorskip("onnx")
    rng, content = random_of("mindir"), mindir.read_bytes()
    path = tmp_path / "net.mindir"
    for _ in range(cases(250)):
        path.write_bytes(damaged(content, rng, rng.choice(OTHER_KINDS)))
        onnx_path = tmp_path / "net.onnx"
        onnx_path.unlink(missing_ok=True)
        outcome = command(export.main, f"--from_mindir={path}", "--file_format=ONNX", kind="damaged MINDIR",
                          codes=(0, 3))
        assert onnx_path.exists() == (outcome.code == 0)
        assert not written_outside(outcome, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} <= {"net.mindir", "net.onnx"}


@pytest.mark.parametrize("path", ["/", ".", "..", "", "/dev/zero", "/dev/null", "x\ny", "x" * 300, "-", "~"])
def test_weights_that_are_no_file(tmp_path, path):
    kind = "weights that are no file"
    for main, arguments in (
            (export.main, (f"--from_mindir={path}", "--file_format=ONNX")), (export.main, (f"--ckpt_file={path}",)),
            (eval_command.main, ("--dataset=.", f"--resume_path={path}")),
            (torch_weights.main, ("--model=fast_scnn", f"--input={path}", "--output=out.ckpt"))):
        outcome = command(main, *arguments, kind=kind, codes=(1, 2, 3) if len(path) > 255 else (2, 3))
        assert not outcome.writes


def test_pipes_do_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.mindir")
    for main, arguments in (
            (export.main, ("--from_mindir=pipe.mindir", "--file_format=ONNX")),
            (export.main, ("--ckpt_file=pipe.mindir",)),
            (export.main, ("--config=pipe.mindir", "--ckpt_file=x")),
            (torch_weights.main, ("--model=fast_scnn", "--input=pipe.mindir", "--output=out.ckpt"))):
        command(main, *arguments, kind="weights that are no file", codes=(2, 3))
