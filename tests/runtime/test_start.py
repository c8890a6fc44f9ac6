"""How one process of several starts: what it must be told, what it finds out, and what is refused."""
import json

import distributed_program
import mindspore as ms
import pytest
from mindspore import communication

from rtseg.config.arguments import parse_arguments
from rtseg.config.recipe import load_config
from rtseg.runtime import distributed
from rtseg.runtime.distributed import start
from rtseg.training import resume
from rtseg.training.checkpoint import TrainState
from rtseg.utils.errors import ConfigError

RECIPE = distributed_program.RECIPE


@pytest.fixture
def no_launcher(monkeypatch):
    for name in ("MS_ROLE", "OMPI_COMM_WORLD_SIZE", "RANK_TABLE_FILE", "RANK_ID", "DEVICE_ID", "ASCEND_DEVICE_ID",
                 "OMPI_COMM_WORLD_LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
def engine(no_launcher):
    """Stands in for MindSpore's engine as rank 3 of 8 on Ascend, and notes the calls."""
    calls = []

    def noting(name, answer=None):
        return lambda *arguments, **options: calls.append((name, *arguments, *options.values())) or answer

    no_launcher.setattr(distributed, "setup_device", noting("set_device"))
    no_launcher.setattr(communication, "init", noting("init"))
    no_launcher.setattr(communication, "get_rank", noting("get_rank", 3))
    no_launcher.setattr(communication, "get_group_size", noting("get_group_size", 8))
    no_launcher.setattr(ms, "set_auto_parallel_context", noting("set_auto_parallel_context"))
    no_launcher.setenv("MS_ROLE", "MS_WORKER")
    return calls


def ascend(**flags):
    return load_config(RECIPE, {"is_distributed": "1", "device_target": "Ascend", **flags})


def test_the_order_of_the_start(engine):
    config, group = start(ascend(device_id="5"), seed=7)
    assert engine == [("set_device", "Ascend", 5, 7, "auto"), ("init",), ("get_rank",), ("get_group_size",),
                      ("set_auto_parallel_context", "data_parallel", True, 8)]
    assert (config.run.rank, config.run.group_size, group.rank, group.size) == (3, 8, 3, 8)
    assert config.global_batch_size == 8 * config.data.batch_size


def write_table(folder, ranks):
    devices = [{"device_id": str(i), "device_ip": f"192.168.1.{i}", "rank_id": str(i)} for i in range(ranks)]
    path = folder / "table.json"
    path.write_text(json.dumps({"version": "1.0", "server_count": "1", "status": "completed",
                                "server_list": [{"server_id": "10.0.0.1", "device": devices}]}))
    return str(path)


@pytest.mark.parametrize("flags, table_ranks, rank_id, message", [
    ({"rank": "3", "group_size": "8"}, 8, "3", ""),
    ({"rank": "2"}, None, "", "--rank: says that the rank is 2, but this process was started as rank 3 of 8"),
    ({"rank": "0"}, None, "", "--rank: says that the rank is 0"),
    ({"group_size": "4"}, None, "", "--group_size: says that the group size is 4"),
    ({}, 4, "3", "table.json: says that the group size is 4"),
    ({}, 8, "5", "RANK_ID: says that the rank is 5"),
])
def test_what_is_known_beforehand_is_checked(engine, no_launcher, tmp_path, flags, table_ranks, rank_id, message):
    if table_ranks:
        no_launcher.setenv("RANK_TABLE_FILE", write_table(tmp_path, table_ranks))
        no_launcher.setenv("RANK_ID", rank_id)
    if not message:
        assert start(ascend(**flags))[0].run.rank == 3
        return
    with pytest.raises(ConfigError) as caught:
        start(ascend(**flags))
    assert message in str(caught.value) and caught.value.exit_code == 2


@pytest.mark.parametrize("target, variables, message", [
    ("CPU", {}, "expected a process started by a launcher"),
    ("CPU", {"RANK_TABLE_FILE": "table.json", "RANK_ID": "0"}, "expected a process started by a launcher"),
    ("Ascend", {"RANK_TABLE_FILE": "table.json"}, "expected the number of this process in RANK_ID, found ''"),
])
def test_without_a_launcher_the_answer_is_a_command(no_launcher, target, variables, message):
    for name, value in variables.items():
        no_launcher.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        start(load_config(RECIPE, {"is_distributed": "1", "device_target": target, "group_size": "4"}))
    assert message in str(caught.value)
    assert "msrun --worker_num=4 --local_worker_num=4 --master_port=8118 --join=True train.py" in str(caught.value)


@pytest.mark.parametrize("variables, flags, device_id", [
    ({"DEVICE_ID": "3", "ASCEND_DEVICE_ID": "4"}, [], 3), ({"ASCEND_DEVICE_ID": "4"}, [], 4), ({}, [], 0),
    ({"DEVICE_ID": "3"}, ["--device_id=2"], 2), ({"DEVICE_ID": "", "ASCEND_DEVICE_ID": "4"}, [], 4),
    ({"OMPI_COMM_WORLD_LOCAL_RANK": "5"}, [], 5)])
def test_device_of_the_environment(no_launcher, variables, flags, device_id):
    for name, value in variables.items():
        no_launcher.setenv(name, value)
    assert parse_arguments("train", "", argv=["--dataset", "d", *flags]).run.device_id == device_id


def test_the_saved_configuration_is_not_tied_to_the_number_of_processes(engine, tmp_path):
    config, _ = start(ascend())
    (tmp_path / "config.yaml").write_text(config.dump())
    again = load_config(tmp_path / "config.yaml")
    assert (again.run.is_distributed, again.run.rank, again.run.group_size) == (False, 0, 1)


@pytest.mark.parametrize("batch_size, ranks, advice", [
    (4, 1, "found 4 x 1 = 4; use --batch_size 12"), (12, 2, "found 12 x 2 = 24; use --batch_size 6"),
    (2, 5, "found 2 x 5 = 10; use a number of processes that divides 12")])
def test_another_global_batch_is_explained_with_the_flag_to_use(monkeypatch, batch_size, ranks, advice):
    monkeypatch.setattr(resume, "load_state", lambda *_, **__: TrainState(global_batch_size=12))
    config = load_config(RECIPE, {"batch_size": batch_size, "is_distributed": "1", "group_size": ranks,
                                  "resume_path": "run"})
    with pytest.raises(ConfigError) as caught:
        resume.load_start(config, None, step_state={}, steps_per_epoch=10)
    assert f"expected a global batch of 12, with which the run began, {advice}" in str(caught.value)


@pytest.mark.parametrize("flags, message", [
    ({"group_size": "2"}, "rank, group_size: expected is_distributed 1 with them, found 0 and 2"),
    ({"is_distributed": "1", "rank": "2", "group_size": "2"}, "rank: expected less than group_size = 2, found 2"),
    ({"rank": "x"}, "'--rank': expected an integer >= 0, found 'x'"),
])
def test_impossible_ranks(flags, message):
    with pytest.raises(ConfigError) as caught:
        load_config(RECIPE, flags)
    assert message in str(caught.value)
