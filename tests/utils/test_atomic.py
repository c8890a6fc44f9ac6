"""Files are written atomically; user errors become one message and an exit code."""
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rtseg.utils.atomic import atomic_write, write_text
from rtseg.utils.errors import ConfigError, DataError, UserError, run_command

PROJECT = Path(__file__).resolve().parents[2]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_writes_into_a_new_folder_and_replaces(tmp_path):
    path = tmp_path / "a" / "b" / "model.json"
    write_text(path, "first, a longer text")
    write_text(str(path), "zweite: ü")
    assert path.read_bytes() == "zweite: ü".encode()
    assert names(path.parent) == ["model.json"]


def test_a_file_name_that_is_not_utf8_can_be_written_into_a_text(tmp_path):
    name = os.fsdecode("道".encode("gbk"))
    write_text(tmp_path / "scores.csv", f"路 {name}\n")
    assert (tmp_path / "scores.csv").read_text(encoding="utf-8") == "路 \\udcb5\\udcc0\n"


def test_final_name_appears_only_when_the_block_ends(tmp_path):
    path = tmp_path / "curves.png"
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"image")
        assert temporary.parent == tmp_path and temporary.suffix == ".png" and temporary.name.startswith(".tmp-")
        assert not path.exists()
    assert path.read_bytes() == b"image"
    assert names(tmp_path) == ["curves.png"]


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt()])
def test_failed_block_leaves_the_old_file_and_no_rest(tmp_path, error):
    path = tmp_path / "last.ckpt"
    path.write_text("old")
    with pytest.raises(type(error)):
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["last.ckpt"]


def test_block_that_writes_nothing_raises_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "last.ckpt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError):
        with atomic_write(path):
            pass
    assert path.read_text() == "old"


def test_writers_of_the_same_file_do_not_meet(tmp_path):
    path = tmp_path / "metrics.csv"
    with atomic_write(path) as one, atomic_write(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"  # the outer block ends last
    assert names(tmp_path) == ["metrics.csv"]


def test_read_only_file_can_be_written_and_replaced(tmp_path):
    path = tmp_path / "best_map.ckpt"
    for text in ("first", "second"):
        with atomic_write(path) as temporary:
            temporary.write_text(text)
            temporary.chmod(0o400)  # as MindSpore leaves its checkpoints
    assert path.read_text() == "second"


def test_killed_process_leaves_the_old_file(tmp_path):
    path = tmp_path / "last.ckpt"
    path.write_text("old")
    code = ("import os, signal, sys\nfrom rtseg.utils.atomic import atomic_write\n"
            "with atomic_write(sys.argv[1]) as temporary:\n"
            "    temporary.write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)\n")
    result = subprocess.run([sys.executable, "-c", code, str(path)], cwd=PROJECT, check=False)
    assert result.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    rest, kept = names(tmp_path)
    assert rest.startswith(".tmp-") and kept == "last.ckpt"


def test_content_reaches_the_disk_before_the_name_and_the_name_at_the_end(tmp_path, monkeypatch):
    calls = []
    real_fsync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append("fsync"), real_fsync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), real_replace(*paths)))
    write_text(tmp_path / "config.yaml", "model: icnet\n")
    assert calls == ["fsync", "replace", "fsync"]


@pytest.mark.parametrize("outcome, code, message", [
    (lambda argv: 0, 0, ""),
    (lambda argv: 3, 3, ""),
    (UserError("disk full"), 1, "error: disk full\n"),
    (ConfigError("unknown key lrr"), 2, "error: unknown key lrr\n"),
    (DataError("no image"), 3, "error: no image\n"),
])
def test_run_command_exit_codes(outcome, code, message, capsys):
    def main(argv):
        if isinstance(outcome, UserError):
            raise outcome
        return outcome(argv)

    with pytest.raises(SystemExit) as stopped:
        run_command(main)
    assert stopped.value.code == code
    assert capsys.readouterr() == ("", message)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_run_command_without_output(closed):
    """As daemons are started."""
    code = ("import sys; from rtseg.utils.errors import run_command; "
            "run_command(lambda _: print('done', sys.stderr.isatty()))")
    done = subprocess.run(["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, code], cwd=PROJECT,
                          capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_run_command_does_not_hide_a_defect():
    def main(argv):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_command(main)
