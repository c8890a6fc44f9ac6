"""Which files folders mean where links are in them; the other rules: tests/cli/test_predict.py."""
import pytest

from rtseg.inference.input_files import find_inputs


@pytest.fixture
def data(tmp_path, monkeypatch):
    """store/a.png, store/day/b.png and sym/val -> ../store."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "store" / "day").mkdir(parents=True)
    (tmp_path / "store" / "a.png").touch()
    (tmp_path / "store" / "day" / "b.png").touch()
    (tmp_path / "sym").mkdir()
    (tmp_path / "sym" / "val").symlink_to("../store")
    return tmp_path


def found(*inputs, results=()):
    files, problems = find_inputs(inputs, results)
    assert problems == []
    return [str(file.path) for file in files]


def test_links_to_folders_are_followed(data):
    assert found("sym") == ["sym/val/a.png", "sym/val/day/b.png"] == found("sym/val") == found("sym/**")


def test_a_folder_counts_once_and_a_loop_ends(data):
    (data / "sym" / "other").symlink_to("../store/day")
    assert found("sym") == ["sym/other/b.png", "sym/val/a.png"]
    (data / "store" / "self").symlink_to(".")
    (data / "store" / "day" / "up").symlink_to("..")
    assert found("store") == ["store/a.png", "store/day/b.png"]


def test_results_stay_left_out_behind_a_link(data):
    (data / "out" / "overlay").mkdir(parents=True)
    for name in ("overlay/a_overlay.png", "legend.png", "mine.png"):
        (data / "out" / name).touch()
    (data / "sym" / "out").symlink_to("../out")
    assert found("sym", results=[data / "out" / "overlay", data / "out" / "legend.png"]) == [
        "sym/out/mine.png", "sym/val/a.png", "sym/val/day/b.png"]


def test_a_link_to_a_file_keeps_its_own_name(data):
    (data / "sym" / "c.png").symlink_to("../store/a.png")
    (data / "sym" / "gone.d").symlink_to("nowhere")
    assert found("sym") == ["sym/c.png", "sym/val/a.png", "sym/val/day/b.png"]
