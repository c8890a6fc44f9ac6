"""Metadata, .bin files, rank tables and metrics.csv, damaged, in contradiction, or naming other places."""
import json
import os
from pathlib import Path

import numpy as np
import pytest
from data_helpers import CITYSCAPES, write_sample
from hostile_helpers import cases, command, count, damaged, examples, limits, random_of, tree, written_outside
from hypothesis import given
from hypothesis import strategies as st

from rtseg.cli import preprocess
from rtseg.cli import score as cal_mIoU
from rtseg.export import atc as om_metadata
from rtseg.inference.metadata import ModelMetadata, read_metadata, write_metadata
from rtseg.runtime.rank_table import read_rank_table
from rtseg.training.callbacks import METRICS_COLUMNS, load_previous_metrics
from rtseg.utils.errors import ConfigError, DataError

METADATA = ModelMetadata.describe(
    model="fast_scnn", variant="mmseg", input_type="uint8", output_type="class_map", size=(1, 32, 64),
    mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), dataset="cityscapes", classes=CITYSCAPES.class_names,
    palette=CITYSCAPES.palette, checkpoint_sha256="00", source="w.ckpt")
HEAD_METADATA = METADATA.changed(output_type="head_logits", stride=8, align_corners=True)
TABLE = {"version": "1.0", "server_count": "1", "status": "completed", "server_list": [{"server_id": "10.0.0.1",
                                                                                        "device": [
    {"device_id": str(i), "device_ip": f"10.1.0.{i}", "rank_id": str(i)} for i in range(2)], "host_nic_ip": "reserve"}]}
TEMPLATE_2 = {"status": "completed", "group_count": "1", "group_list": [{"device_count": "1", "instance_count": "1",
              "group_name": "x", "instance_list": [{"pod_name": "job-0", "server_id": "10.0.0.1", "devices": [
                  {"device_id": "0", "device_ip": "10.1.0.0"}]}]}]}

JSON = st.recursive(st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.integers(-2, 40000),
    st.sampled_from(["float32", "uint8", "NCHW", "NHWC", "../../x", "/etc/passwd", "a\nb", "\0", "9" * 5000, 10 ** 30,
                     "１"])),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=8)


def places(value, path=()):
    """The paths of all values in a JSON value, its own included."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, path + (key,))


def replaced(value, path, new):
    """A copy of a JSON value with another value at `path`."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


HOSTILE_JSON = ["", "null", "[" * 100_000, '{"a":' * 100_000, "9" * 5000, '{"format_version": 1}', "\ud800".encode(
    "utf-8", "surrogatepass"), b"\xff\xfe", "NaN", '{"status": "completed"}',
    '{"status": "completed", "server_list": {}}',
    '{"status": "completed", "group_list": [[]]}', '{"status": {}, "group_list": 1}', "{" + " " * (2 << 20) + "}"]


# --- metadata files ---

@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("metadata")
    write_sample(root, "val", "bonn_0", 7, (32, 64))
    return root


def check_metadata(path, text):
    """It is refused, or describes a model that there can be."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with limits():
        try:
            metadata = read_metadata(path)
        except DataError as error:
            assert str(path) in str(error) and len(str(error)) < 3000
            return
    assert len(metadata.mean) == len(metadata.std) == 3 and min(metadata.std) > 0
    assert all(0 <= mean <= 1 for mean in metadata.mean) and np.isfinite(metadata.std).all()
    assert all(1 <= length <= 16384 for length in metadata.size)
    if metadata.input_type == "float32":
        om_metadata.aipp_config(metadata)


CONTENT, HEAD_CONTENT = (json.loads(metadata.to_json()) for metadata in (METADATA, HEAD_METADATA))


@examples(400)
@given(place=st.sampled_from([(content, path) for content in (CONTENT, HEAD_CONTENT) for path in places(content)]),
       value=JSON)
def test_any_value_in_metadata(data, place, value):
    count("metadata with another value")
    check_metadata(data / "net.json", json.dumps(replaced(*place, value)))


def test_damaged_metadata(data):
    rng = random_of("metadata")
    for _ in range(cases(300)):
        count("damaged metadata")
        check_metadata(data / "net.json", damaged(METADATA.to_json().encode(), rng, b"PK\x03\x04"))
    for text in HOSTILE_JSON:
        count("damaged metadata")
        check_metadata(data / "net.json", text)


@pytest.mark.parametrize("path, value", [
    (("normalization", "mean"), [0.5]), (("normalization", "std"), [0, 0, 0]), (("normalization", "std"), [1e-300] * 3),
    (("normalization", "std"), [float("nan")] * 3), (("input", "shape"), [1, 10 ** 9, 10 ** 9, 3]),
    (("input", "shape"), [1, 0, 64, 3]), (("input", "shape"), [True, 32, 64, 3]), (("input", "name"), "../../x"),
    (("source",), "/etc/passwd"), (("classes",), []), (("classes",), ["x"] * 1000), (("format_version",), 2)])
def test_metadata_at_a_command(data, tmp_path, path, value):
    content = replaced(CONTENT, path, value)
    if path == ("input", "shape"):
        content = replaced(content, ("output", "shape"), value[:3])
    (tmp_path / "net.json").write_text(json.dumps(content))
    outcome = command(preprocess.main, f"--image_path={data}", f"--out_dir={tmp_path / 'out'}",
                   f"--metadata={tmp_path / 'net.json'}", kind="metadata at a command")
    assert not written_outside(outcome, tmp_path / "out"), outcome.writes
    assert not list(tmp_path.rglob(".tmp-*"))


@pytest.mark.parametrize("name", ["../../outside", "/outside", "a b;touch executed",
                         "x\n--framework=9", "$(touch executed)"])
def test_names_in_a_metadata_are_only_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_metadata(tmp_path / "net.onnx", METADATA.changed(
        input_type="float32", output_type="logits", input_name=name, source=name, model=name))
    outcome = command(om_metadata.main, "net.onnx", "out.om", "1", kind="metadata at a command", codes=(0,))
    assert sorted(tree(tmp_path)) == ["net.json", "out.aipp.cfg", "out.json"]
    assert not written_outside(outcome, tmp_path)


# --- .bin files ---

def bins(folder: Path):
    """Labels and results of three images of 8 x 16: (folder of labels, folder of results)."""
    labels, results = folder / "label", folder / "result"
    for path in (labels, results):
        path.mkdir(parents=True)
    for name in "abc":
        (labels / f"{name}_label.bin").write_bytes(bytes(range(16)) * 8)
        (results / f"{name}_img_0.bin").write_bytes(bytes(range(16)) * 8)
    return labels, results


def score(folder, labels, results, kind, codes=(0, 3), *more):
    outcome = command(cal_mIoU.main, f"--label_path={labels}", f"--output_path={results}", "--image_height=8",
                   "--image_width=16", "--save_mask=1", f"--mask_result_path={folder / 'masks'}", *more, kind=kind,
                   codes=codes)
    assert not written_outside(outcome, folder / "masks"), outcome.writes
    return outcome


@pytest.mark.parametrize("which", ["label", "result"])
def test_damaged_bins(tmp_path, which):
    labels, results = bins(tmp_path)
    path, rng = {"label": labels / "b_label.bin", "result": results / "b_img_0.bin"}[which], random_of("bin", which)
    logits = np.zeros((19, 8, 16), np.float32).tobytes()
    for i in range(cases(120)):
        path.write_bytes(damaged(bytes(range(16)) * 8 if i % 2 else logits, rng, logits))
        outcome = score(tmp_path, labels, results, "damaged .bin")
        assert outcome.code == 0 or str(path) in outcome.stderr
        assert "mIoU" in outcome.stdout  # of the others


def test_bins_that_are_no_files(tmp_path):
    """Pipes, folders (one with as many bytes as a label), devices, links to nothing; and names that mean something.

    The names that begin with ".." are hidden files, which do not count.
    """
    labels, results = bins(tmp_path)
    for number, make in enumerate((os.mkfifo, Path.mkdir, lambda p: p.symlink_to("/dev/zero"),
                                   lambda p: p.symlink_to("no"),
                                   lambda p: p.symlink_to(p), Path.touch)):
        make(labels / f"x{number}_label.bin")
        (results / f"x{number}_img_0.bin").write_bytes(bytes(128))
        (labels / f"y{number}_label.bin").write_bytes(bytes(128))
        make(results / f"y{number}_img_0.bin")
    for name in ("ü ñ", "-rf", "..", "a\nb", "%s"):
        (labels / f"{name}_label.bin").write_bytes(bytes(128))
        (results / f"{name}_img_0.bin").write_bytes(bytes(128))
    outcome = score(tmp_path, labels, results, "bins that are no files", (3,))
    assert len(list((tmp_path / "masks").iterdir())) == 7 and "12 files are not in this score" in outcome.stderr


def test_links_are_replaced_and_not_followed(tmp_path):
    labels, results = bins(tmp_path)
    outside = tmp_path / "outside.png"
    outside.write_text("precious")
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a_mask.png").symlink_to(outside)
    score(tmp_path, labels, results, "link in the output folder", (0,))
    assert outside.read_text() == "precious" and not (tmp_path / "masks" / "a_mask.png").is_symlink()


# --- rank tables ---

def check_table(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with limits():
        try:
            table = read_rank_table(path)
        except ConfigError as error:
            assert str(path) in str(error) and len(str(error)) < 20_000
            return
    assert [device.rank_id for device in table.devices] == list(range(table.group_size)) and table.group_size > 0
    json.loads(table.dump())
    table.write(path)
    assert read_rank_table(path).devices == table.devices


@examples(300)
@given(which=st.sampled_from([TABLE, TEMPLATE_2]), data=st.data())
def test_any_value_in_a_rank_table(tmp_path_factory, which, data):
    count("rank table with another value")
    path, value = data.draw(st.sampled_from(list(places(which)))), data.draw(JSON)
    check_table(tmp_path_factory.getbasetemp() / "table.json", json.dumps(replaced(which, path, value)))


def test_damaged_rank_tables(tmp_path):
    rng = random_of("rank table")
    for i in range(cases(300)):
        count("damaged rank table")
        check_table(tmp_path / "table.json", damaged(json.dumps((TABLE, TEMPLATE_2)[i % 2]).encode(), rng, b"\x89PNG"))
    for text in HOSTILE_JSON:
        count("damaged rank table")
        check_table(tmp_path / "table.json", text)


@pytest.mark.parametrize("path, value", [
    (("server_list", 0, "device", 1, "rank_id"), "9" * 5000), (("server_list", 0, "device", 1, "rank_id"),
                                                               "2147483647"),
    (("server_list", 0, "device", 1, "device_id"), "-1"), (("server_list", 0, "device", 1, "device_ip"), "10.0.0.0/8"),
    (("server_list", 0, "server_id"), "../../x"), (("server_count",), "9" * 5000), (("status",), "initializing")])
def test_wrong_rank_tables(tmp_path, path, value):
    count("rank table with another value")
    check_table(tmp_path / "table.json", json.dumps(replaced(TABLE, path, value)))
    pods = replaced(TEMPLATE_2, ("group_list", 0, "instance_list", 0, "pod_name"), "job-" + "9" * 5000)
    check_table(tmp_path / "table.json", json.dumps(pods))


# --- metrics.csv of a run that is resumed ---

def test_damaged_metrics(tmp_path):
    content = (",".join(METRICS_COLUMNS) + "\n" + "".join(
        f"{epoch},{epoch * 7},1.5,0.01,12.3,0.5,0.25\n" for epoch in range(1, 9))).encode()
    rng = random_of("metrics")
    (tmp_path / "metrics.csv").write_bytes(content)
    assert len(load_previous_metrics(tmp_path, 5)) == 5
    for _ in range(cases(400)):
        count("damaged metrics.csv")
        (tmp_path / "metrics.csv").write_bytes(damaged(content, rng, b"\x89PNG\r\n\0"))
        with limits():
            try:
                for row in load_previous_metrics(tmp_path, 5):
                    assert len(row) == len(METRICS_COLUMNS) and [float(value or 0) for value in row]
            except DataError as error:
                assert "metrics.csv" in str(error)
