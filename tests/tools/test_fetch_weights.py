"""Published weights: the table, and from a name to a checkpoint with a server on this machine."""
import hashlib
import io
import json
import re
import zipfile

import pytest
from http_server import serve
from safetensors.numpy import save
from script_helpers import PROJECT

from rtseg.cli import train
from rtseg.config.recipe import load_config
from rtseg.models.registry import check_model, create_model
from rtseg.models.weights import load_weights
from rtseg.tools import fetch_weights
from rtseg.tools.fetch_weights import PublishedFile, check_pretrained, fetch, main, published, published_files
from rtseg.tools.golden_rules import reference_weights
from rtseg.utils import download
from rtseg.utils.errors import ConfigError, DataError, UserError

GOLDENS = PROJECT / "tests" / "goldens"
CONTENT = b"weights" * 1000
SHA256 = "9bdd2b10"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "PAUSE_SECONDS", (0.0, 0.0))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serve({"/w-9bdd2b10.pth": CONTENT}) as running:
        yield running


def entry(server, name="/w-9bdd2b10.pth", **other):
    return PublishedFile("some_weights", server.address + name, "fast_scnn", "tramac", "somebody", "MIT", **other)


def ignore(line):
    pass


def test_every_entry_of_the_table_is_of_a_network_and_says_whose_it_is():
    files = published_files()
    assert len(files) == 15
    for file in files.values():
        for variant in (file.variant, *file.other_variants):
            check_model(file.model, variant, backbone=file.backbone)
        assert file.address.startswith("https://") and file.source and file.license
        assert file.name.startswith(f"{file.model}_")
        assert file.name.endswith("_imagenet" if file.backbone_only else "_cityscapes")
        assert (file.miou is None) == file.backbone_only == (not file.recipe)
        in_name = re.search(r"-([0-9a-f]{8})\.(pth|zip)$", file.address)
        if in_name:
            assert (file.sha1 if file.member else file.sha256).startswith(in_name[1]), file.name


def test_recipes_of_the_table_are_those_of_the_graphs():
    for file in published_files().values():
        if not file.backbone_only:
            network = load_config(PROJECT / "configs" / file.config).network
            assert (network.model, network.variant) == (file.model, file.variant), file.name


def test_files_without_a_hash_are_the_two_that_nobody_has_published_one_of():
    assert [file.name for file in published_files().values() if not file.sha256 + file.sha1 + file.git_blob] == [
        "fast_scnn_segmentron_cityscapes", "bisenetv1_coincheung_cityscapes"]


def test_downloads_checks_and_keeps(server, tmp_path):
    file = entry(server, sha256=SHA256, size_mib=0.007)
    assert published(file, tmp_path, report=ignore) == tmp_path / "w-9bdd2b10.pth"
    assert published(file, tmp_path, report=ignore).read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_goes_on_after_a_cut(server, tmp_path):
    server.cuts = [4000]
    assert published(entry(server, sha256=SHA256), tmp_path, report=ignore).read_bytes() == CONTENT
    assert server.requests[1] == ("/w-9bdd2b10.pth", "bytes=4000-")


@pytest.mark.parametrize("known, message", [
    ({"sha256": "0000abcd"}, "expected a file whose SHA-256 begins with 0000abcd, found 9bdd2b10"),
    ({"sha1": "0000abcd"}, "expected a file whose SHA-1 begins with 0000abcd, found "),
    ({"git_blob": "0000abcd"}, "expected a file whose git blob begins with 0000abcd, found "),
    ({"size_mib": 1.5}, "expected 1.5 MiB, found 0.007"),
    ({"member": "w.pth", "sha1": "00"}, "expected a zip archive with w.pth in it, found another"),
])
def test_a_file_that_is_not_the_published_one_is_deleted(server, tmp_path, known, message):
    with pytest.raises(DataError, match=f"{message}.*It was deleted again; try once more"):
        published(entry(server, **known), tmp_path, report=ignore)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_the_user_has_put_there_is_checked_and_not_deleted(server, tmp_path):
    (tmp_path / "w-9bdd2b10.pth").write_bytes(b"something else")
    with pytest.raises(DataError, match="begins with 9bdd2b10, found .*Delete it; try once more"):
        published(entry(server, sha256=SHA256), tmp_path, report=ignore)
    assert (tmp_path / "w-9bdd2b10.pth").exists() and server.requests == []


def test_hashes_of_git_and_of_a_member(server, tmp_path):
    # `printf 'hello\n' | git hash-object --stdin`
    server.files["/hello.pth"] = b"hello\n"
    published(entry(server, "/hello.pth", git_blob="ce013625030ba8dba906f756967f9e9ca394464a"), tmp_path, report=ignore)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("w.pth", CONTENT)
    server.files["/w.zip"] = archive.getvalue()
    sha1 = hashlib.sha1(CONTENT).hexdigest()
    found = published(entry(server, "/w.zip", member="w.pth", sha1=sha1), tmp_path, report=ignore)
    assert found == tmp_path / "w.pth" and found.read_bytes() == CONTENT


def test_a_missing_file_and_no_network(server, tmp_path):
    with pytest.raises(DataError, match="none.pth: expected a file, found '404 Not Found'"):
        published(entry(server, "/none.pth"), tmp_path, report=ignore)
    file = entry(server)._replace(address="http://127.0.0.1:1/w.pth")
    with pytest.raises(UserError, match=f"Without a network, .* copy it to {tmp_path}/w.pth and try again"):
        published(file, tmp_path, report=ignore)


def test_a_login_page_instead_of_a_file_without_a_hash_says_what_to_delete(server, tmp_path):
    server.files["/w.pth"] = b"<html>please log in</html>"
    for _ in range(2):
        with pytest.raises(DataError, match=f"w.pth: expected weights .* Delete {tmp_path}/w.pth and try once more"):
            fetch(entry(server, "/w.pth"), tmp_path, report=ignore)


@pytest.fixture
def tramac(server, monkeypatch, tmp_path):
    """The table with one entry, served from this machine; the cache is in tmp_path."""
    shapes = json.loads((GOLDENS / "fast_scnn_tramac.keys.json").read_text())
    content = server.files["/tramac.safetensors"] = save(reference_weights(shapes))
    sha256 = hashlib.sha256(content).hexdigest()
    file = entry(server, "/tramac.safetensors", sha256=sha256, config="fast_scnn_tramac.yaml", miou=54.84,
                 recipe="train.py")
    monkeypatch.setattr(fetch_weights, "published_files", lambda: {file.name: file})
    monkeypatch.setenv("RTSEG_CACHE", str(tmp_path / "cache"))
    return file


def test_command_makes_a_checkpoint_that_loads(server, tramac, tmp_path, capsys):
    assert main(["some_weights", "--output", str(tmp_path / "w.ckpt")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"some_weights: downloading {server.address}/tramac.safetensors"
    assert lines[-3:] == [
        f"{tmp_path}/w.ckpt: for fast_scnn, variant tramac", "Published mIoU 54.84 (train.py). To score it here:",
        f"  rtseg eval --config configs/fast_scnn_tramac.yaml --resume_path {tmp_path}/w.ckpt --dataset CITYSCAPES"]
    load_weights(tmp_path / "w.ckpt", create_model("fast_scnn", "tramac", num_classes=19, aux=1))
    assert main(["some_weights"]) == 0  # a second time from the cache
    assert len(server.requests) == 1 and str(tmp_path / "cache" / "some_weights.ckpt") in capsys.readouterr().out


def test_pretrained_by_name(tramac, monkeypatch, tmp_path):
    monkeypatch.setattr(fetch_weights, "fetch", lambda file, folder, report: folder / f"{file.name}.ckpt")
    assert fetch_weights.resolve_pretrained("some_weights", print) == str(tmp_path / "cache" / "some_weights.ckpt")
    for path in ("", "w.ckpt", "folder/w", str(tmp_path)):
        assert fetch_weights.resolve_pretrained(path, print) == path


@pytest.mark.parametrize("name, model, variant, backbone, message", [
    ("bisenetv1_resnet18_imagenet", "bisenetv1", "mmseg", "resnet18", None),
    ("bisenetv1_resnet18_imagenet", "bisenetv1", "coincheung", None, None),
    ("icnet_resnet50_v1b_imagenet", "icnet", "mmseg", "resnet50_v1b", None),
    ("fast_scnn_segmentron_cityscapes", "fast_scnn", "segmentron", None, None),
    ("path/of/a.ckpt", "fast_scnn", "mmseg", None, None),
    ("fast_scnn_mmseg_cityscapes", "fast_scnn", "tramac", None,
     "--pretrained fast_scnn_mmseg_cityscapes: expected weights for fast_scnn tramac, found those for fast_scnn mmseg"),
    ("icnet_resnet50_v1b_imagenet", "icnet", "mmseg", None, "expected weights for icnet mmseg resnet50, found those "
                                                            "for icnet liminn resnet50_v1b"),
    ("icnet_resnet50_v1c_imagenet", "icnet", "liminn", None, "expected weights for icnet liminn resnet50, found"),
    ("resnet18", "bisenetv1", "mmseg", None, "no published weights are called 'resnet18'; expected "),
])
def test_pretrained_must_fit_the_network(name, model, variant, backbone, message):
    if message is None:
        check_pretrained(name, model=model, variant=variant, backbone=backbone)
        return
    with pytest.raises(ConfigError) as error:
        check_pretrained(name, model=model, variant=variant, backbone=backbone)
    assert message in str(error.value)


def test_a_training_refuses_a_wrong_name_before_it_starts():
    with pytest.raises(ConfigError, match="no published weights are called 'fast_scnn_mmsge_cityscapes'; expected "
                                          "fast_scnn_mmseg_cityscapes or "):
        train.main(["--dataset=/none", "--pretrained=fast_scnn_mmsge_cityscapes"])


def test_a_training_starts_from_the_checkpoint_that_the_name_stands_for(tramac, monkeypatch, tmp_path):
    started = []
    monkeypatch.setattr(fetch_weights, "fetch", lambda file, folder, report: folder / f"{file.name}.ckpt")
    monkeypatch.setattr("rtseg.runtime.distributed.start", lambda config, seed: (config, None))
    monkeypatch.setattr("rtseg.training.trainer.train", lambda config, upload, **_: started.append(config))
    assert train.main(["--dataset=/none", "--variant=tramac", "--pretrained=some_weights"]) == 0
    assert started[0].run.pretrained == str(tmp_path / "cache" / "some_weights.ckpt")


def test_wrong_usage_and_the_table(capsys):
    with pytest.raises(ConfigError, match="--output w.pth: expected a name that ends in .ckpt"):
        main(["fast_scnn_tramac_cityscapes", "--output", "w.pth"])
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 15
    assert lines[0].split()[:5] == ["fast_scnn_mmseg_cityscapes", "fast_scnn", "mmseg", "mIoU", "70.96"]


def test_ranks_that_ask_at_once_download_once(server, tramac, monkeypatch, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    monkeypatch.setattr(fetch_weights, "_convert", lambda file, source, checkpoint, report:
                        checkpoint.write_bytes(source.read_bytes()))
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: fetch(tramac, tmp_path, report=ignore), range(4)))
    assert set(paths) == {tmp_path / "some_weights.ckpt"} and len(server.requests) == 1
