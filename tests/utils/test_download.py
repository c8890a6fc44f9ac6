"""Downloads from a server on this machine: whole, cut, resumed, refused."""
import os
import socket

import pytest
from http_server import serve

from rtseg.utils import download as module
from rtseg.utils.download import download
from rtseg.utils.errors import DataError, UserError

CONTENT = bytes(range(256)) * 40  # 10240 bytes


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module, "PAUSE_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(module, "_CHUNK", 1000)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serve({"/w.pth": CONTENT}) as running:
        yield running


@pytest.fixture
def lines():
    return []


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_whole_file_with_progress(server, lines, tmp_path):
    download(f"{server.address}/w.pth", tmp_path / "w.pth", report=lines.append)
    assert (tmp_path / "w.pth").read_bytes() == CONTENT and names(tmp_path) == ["w.pth"]
    assert len(lines) == 6 and lines[-1].startswith("w.pth: 0.0 of 0.0 MiB, ")
    assert server.requests == [("/w.pth", "")]


def test_goes_on_after_a_cut(server, lines, tmp_path):
    server.cuts = [3000, 2500]
    download(f"{server.address}/w.pth", tmp_path / "w.pth", report=lines.append)
    assert (tmp_path / "w.pth").read_bytes() == CONTENT and names(tmp_path) == ["w.pth"]
    assert server.requests == [("/w.pth", ""), ("/w.pth", "bytes=3000-"), ("/w.pth", "bytes=5500-")]
    assert "w.pth: the connection ended after 3000 of 10240 bytes; trying again in 0 s" in lines


def test_goes_on_in_a_later_call(server, lines, tmp_path):
    server.cuts = [1000, 1000, 1000]
    with pytest.raises(UserError, match="but the connection ended after 3000 of 10240 bytes"):
        download(f"{server.address}/w.pth", tmp_path / "w.pth", report=lines.append)
    assert names(tmp_path) == ["w.pth.part", "w.pth.part.version"]
    download(f"{server.address}/w.pth", tmp_path / "w.pth", report=lines.append)
    assert (tmp_path / "w.pth").read_bytes() == CONTENT and server.requests[-1] == ("/w.pth", "bytes=3000-")


def test_another_version_is_downloaded_from_its_beginning(server, lines, tmp_path):
    server.cuts = [3000, 3000, 3000]
    with pytest.raises(UserError):
        download(f"{server.address}/w.pth", tmp_path / "w.pth", report=lines.append)
    server.version, server.files["/w.pth"] = '"2"', CONTENT[::-1]
    download(f"{server.address}/w.pth", tmp_path / "w.pth", report=lines.append)
    assert (tmp_path / "w.pth").read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("version, ranges", [("", True), ('W/"1"', True), ('"1"', False)])
def test_a_server_that_cannot_send_the_rest_sends_all(server, lines, tmp_path, version, ranges):
    server.version, server.ranges, server.cuts = version, ranges, [3000]
    download(f"{server.address}/w.pth", tmp_path / "w.pth", report=lines.append)
    assert (tmp_path / "w.pth").read_bytes() == CONTENT and len(server.requests) == 2


def test_a_part_that_is_longer_than_the_file_is_thrown_away(server, lines, tmp_path):
    (tmp_path / "w.pth.part").write_bytes(bytes(20000))
    (tmp_path / "w.pth.part.version").write_text('"1"')
    download(f"{server.address}/w.pth", tmp_path / "w.pth", report=lines.append)
    assert (tmp_path / "w.pth").read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == ["bytes=20000-", ""]


def test_a_busy_server_is_asked_again(server, lines, tmp_path):
    server.statuses = [503, 429]
    download(f"{server.address}/w.pth", tmp_path / "w.pth", report=lines.append)
    assert (tmp_path / "w.pth").read_bytes() == CONTENT
    assert lines[0] == "w.pth: the server answered '503 Service Unavailable'; trying again in 0 s"


def test_a_missing_file_is_asked_for_once(server, lines, tmp_path):
    with pytest.raises(DataError, match="/none.pth: expected a file, found '404 Not Found'"):
        download(f"{server.address}/none.pth", tmp_path / "none.pth", report=lines.append)
    assert len(server.requests) == 1 and names(tmp_path) == []


def test_no_network(server, lines, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/w.pth"
        with pytest.raises(UserError, match=r"expected the whole file, but .*Connection refused.*Without a network, "
                                            r"download it on another machine, copy it to .*w.pth and try again"):
            download(address, tmp_path / "w.pth", report=lines.append)
    assert len(lines) == 2


def test_addresses_are_http(lines, tmp_path):
    with pytest.raises(UserError, match="begins with https:// or http://, found file:///etc/passwd"):
        download("file:///etc/passwd", tmp_path / "w.pth", report=lines.append)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_no_reason_to_try_again(server, lines, tmp_path):
    (tmp_path / "w.pth.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match="w.pth.part: expected to be able to write it; No space left on device"):
        download(f"{server.address}/w.pth", tmp_path / "w.pth", report=lines.append)
    assert len(server.requests) == 1


def test_a_folder_that_cannot_be_written(server, lines, tmp_path):
    with pytest.raises(UserError, match="expected to be able to write it; No such file or directory"):
        download(f"{server.address}/w.pth", tmp_path / "none" / "w.pth", report=lines.append)
    assert len(server.requests) == 1
