"""result.json: what it says of where a run comes from."""
import subprocess

from rtseg.training import result


def test_the_commit_is_that_of_the_clone_and_of_no_project_around_it(tmp_path, monkeypatch):
    def git(*arguments):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=tmp_path, check=True,
                       capture_output=True)
    git("init")
    own, installed = tmp_path / "own.py", tmp_path / "installed.py"
    own.write_text("")
    git("add", "own.py")
    git("commit", "-m", "mine")
    installed.write_text("")
    monkeypatch.setattr(result, "__file__", str(own))
    assert len(result._commit()) == 40
    monkeypatch.setattr(result, "__file__", str(installed))
    assert result._commit() is None
