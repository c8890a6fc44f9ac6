"""Time-outs, cores and compile cache of the ranks."""
import os

import pytest

from rtseg.launch.launcher import LaunchOptions
from rtseg.launch.rank_settings import cores_of_ranks, cores_text, environment_of_ranks, graph_key
from rtseg.utils.errors import ConfigError

VARIABLES = ("HCCL_CONNECT_TIMEOUT", "HCCL_EXEC_TIMEOUT", "MS_COMPILER_CACHE_ENABLE", "MS_COMPILER_CACHE_PATH")


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone with one module and one recipe; the environment has none of the variables."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "src" / "rtseg" / "models").mkdir(parents=True)
    (tmp_path / "configs").mkdir()
    for name in ("train.py", "src/rtseg/models/net.py", "configs/net.yaml", "own.yaml"):
        (tmp_path / name).write_text("1")
    return tmp_path


def environment(clone, device_target="Ascend", group_size=8, flags=("--eval_while_train=0",)):
    options = LaunchOptions.model_validate({
        "device_target": device_target, "output_path": str(clone / "out"), "script": str(clone / "train.py"),
        "rank_table": "-",
        "train_arguments": ["--lr=0.1", f"--output_path={clone / 'out'}", "--dataset=data", *flags]})
    return environment_of_ranks(options, group_size)


def test_defaults(clone):
    assert environment(clone) == {
        "HCCL_CONNECT_TIMEOUT": "600", "HCCL_EXEC_TIMEOUT": "1836", "MS_COMPILER_CACHE_ENABLE": "0"}
    assert environment(clone, "CPU") == {"MS_COMPILER_CACHE_ENABLE": "0"}


def test_the_environment_overrides(clone, monkeypatch):
    for name, value in zip(VARIABLES, ("7200", "0", "1", "/cache")):
        monkeypatch.setenv(name, value)
    assert environment(clone) == dict(zip(VARIABLES, ("7200", "0", "1", "/cache")))
    monkeypatch.setenv("HCCL_CONNECT_TIMEOUT", "60")
    with pytest.raises(ConfigError, match=r"^HCCL_CONNECT_TIMEOUT: expected seconds in 120\.\.7200, found '60'$"):
        environment(clone)
    assert "HCCL_CONNECT_TIMEOUT" not in environment(clone, "CPU")


def test_cache_that_is_asked_for_lies_in_the_output_path(clone, monkeypatch):
    monkeypatch.setenv("MS_COMPILER_CACHE_ENABLE", "1")
    paths = [environment(clone, group_size=size)["MS_COMPILER_CACHE_PATH"] for size in (8, 8, 4)]
    assert paths[0] == paths[1] != paths[2]
    assert os.path.dirname(paths[0]) == str(clone / "out" / "compile_cache")


def test_cache_is_refused_with_evaluations(clone, monkeypatch):
    monkeypatch.setenv("MS_COMPILER_CACHE_ENABLE", "1")
    with pytest.raises(ConfigError, match="^MS_COMPILER_CACHE_ENABLE=1: expected --eval_while_train=0 with it, "):
        environment(clone, flags=("--eval_while_train=1",))


def test_key_changes_with_all_that_makes_the_graph(clone):
    flags = ["--lr=0.1", f"--config={clone / 'own.yaml'}"]
    key = graph_key(clone / "train.py", flags)
    assert key == graph_key(clone / "train.py", [*flags, "--resume_path=RUN", "--output_path=out"])
    keys = {key, graph_key(clone / "train.py", ["--lr=0.2", flags[1]])}
    for name in ("train.py", "src/rtseg/models/net.py", "configs/net.yaml", "own.yaml"):
        (clone / name).write_text("2")
        keys.add(graph_key(clone / "train.py", flags))
    assert len(keys) == 6


@pytest.fixture
def twelve_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {*range(10), 20, 21})


@pytest.mark.parametrize("text, target, count, expected", [
    ("auto", "Ascend", 3, [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 20, 21)]),
    ("auto", "Ascend", 8, [(0,), (1, 2), (3,), (4, 5), (6,), (7, 8), (9,), (20, 21)]),
    ("auto", "Ascend", 13, [()] * 13),
    ("auto", "CPU", 2, [(), ()]), ("auto", "auto", 2, [(), ()]),
    ("on", "CPU", 2, [(0, 1, 2, 3, 4, 5), (6, 7, 8, 9, 20, 21)]),
    ("off", "Ascend", 2, [(), ()]),
    ("0-2,20:3", "Ascend", 2, [(0, 1, 2, 20), (3,)])])
def test_cores(twelve_cores, text, target, count, expected):
    assert cores_of_ranks(text, target, count=count) == expected


@pytest.mark.parametrize("text, message", [
    ("0-3", "expected 2 lists, one for each rank of this server, with cores of 0-9,20-21; found 1 lists in '0-3'"),
    ("0:10-12", "found core 10 in '0:10-12'"),
    ("3-0:4-7", "expected auto, on, off, or lists such as 0-3:4-7, found '3-0:4-7'"),
    ("yes", "expected auto, on, off, or lists such as 0-3:4-7, found 'yes'"),
    ("0:1-999999999999", "expected auto, on, off, or lists"), ("0:", "expected auto, on, off, or lists")])
def test_wrong_cores(twelve_cores, text, message):
    with pytest.raises(ConfigError) as error:
        cores_of_ranks(text, "Ascend", count=2)
    assert str(error.value).startswith("--bind_cores: ") and message in str(error.value)


def test_cores_text():
    assert [cores_text(cores) for cores in ((0, 1, 2, 5), (3,), ())] == ["0-2,5", "3", ""]
