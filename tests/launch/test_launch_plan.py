"""scripts/run_distribute_train.sh: what it would start, and which arguments it refuses."""
import json
import re
import shutil
import socket
import sys

import pytest
from launcher_helpers import SCRIPT, free_port
from script_helpers import PROJECT, SCRIPTS, run

DEVICE_IPS = [f"192.168.{100 + i % 4}.{101 - i // 4}" for i in range(8)]
HCCN_CONF = "".join(f"address_{i}={ip}\n" for i, ip in enumerate(DEVICE_IPS))
TABLE_OF_8 = {"version": "1.0", "server_count": "1", "server_list": [{
    "server_id": "10.0.0.1", "host_nic_ip": "reserve",
    "device": [{"device_id": str(i), "device_ip": ip, "rank_id": str(i)} for i, ip in enumerate(DEVICE_IPS)]}],
    "status": "completed"}
DEFAULTS = "HCCL_CONNECT_TIMEOUT=600 HCCL_EXEC_TIMEOUT=1836 MS_COMPILER_CACHE_ENABLE=0"
NO_SCHEDULER = "-u MS_ROLE -u MS_SCHED_HOST -u MS_SCHED_PORT -u MS_WORKER_NUM -u MS_NODE_ID -u MS_NODE_RANK"


def plan(place, environment, *, out=None, first_rank=0, group_size=8, scheduler=None, target="Ascend"):
    """What --dry_run prints for the eight processes of a server; <rank> in `environment` is the number of each."""
    out = out or place.output
    train = (f"{sys.executable} {place.code}/train.py --dataset={place.data} --epochs=3 --batch_size=2 --lr=0.1 "
             f"--output_path={place.output} --aux=1 --device_target={target} --is_distributed=1")
    lines = [f"working folder: {place.path}"]
    if scheduler:
        lines.append(f"scheduler: {scheduler} RANK_ID=0 DEVICE_ID=0 {train} --rank=0 --group_size={group_size} "
                     f"--device_id=0 > {out}/scheduler.log 2>&1")
    for i, rank in enumerate(range(first_rank, first_rank + 8)):
        lines.append(f"rank {rank}: {environment.replace('<rank>', str(rank))} RANK_ID={rank} DEVICE_ID={i} {train} "
                     f"--rank={rank} --group_size={group_size} --device_id={i} > {out}/device{i}/log.txt 2>&1")
    return "\n".join(lines) + "\n"


def test_plan_of_8_processes_with_a_rank_table(place):
    (place.path / "hccn.conf").write_text(HCCN_CONF)
    made = run(sys.executable, SCRIPTS / "make_rank_table.py", "--hccn_conf=hccn.conf", "--server_id=10.0.0.1",
               cwd=place.path)
    assert made.returncode == 0, made.stderr
    assert json.loads((place.path / "rank_table.json").read_text()) == TABLE_OF_8
    done = place.run("rank_table.json", "--aux=1", "--dry_run", "--bind_cores=off")
    assert done.returncode == 0, done.stderr
    assert done.stdout == plan(
        place, f"env {NO_SCHEDULER} {DEFAULTS} RANK_TABLE_FILE={place.path}/rank_table.json RANK_SIZE=8")
    assert list(place.output.iterdir()) == []


def test_plan_of_8_processes_without_a_rank_table(place):
    """The environment is that of msrun --worker_num=8 --local_worker_num=8."""
    port = free_port()
    for table in (("-",), ()):  # the seventh position is optional
        done = place.run(*table, "--aux=1", "--dry_run", f"--master_port={port}", DEVICE_TARGET="CPU")
        assert done.returncode == 0, done.stderr
        variables = ("env -u RANK_TABLE_FILE MS_COMPILER_CACHE_ENABLE=0 MS_SCHED_HOST=127.0.0.1 "
                     f"MS_SCHED_PORT={port} MS_WORKER_NUM=8 MS_TOPO_TIMEOUT=600 RANK_SIZE=8 MS_ROLE=")
        assert done.stdout == plan(place, variables + "MS_WORKER MS_NODE_ID=<rank>", target="CPU",
                                   scheduler=variables + "MS_SCHED")
    assert list(place.output.iterdir()) == []


def test_a_rank_table_next_to_the_script_is_taken_when_none_is_given(place):
    for name in ("run_distribute_train.sh", "common.sh"):
        shutil.copy(SCRIPTS / name, place.path / name)
    (place.path.parent / "src").symlink_to(PROJECT / "src")  # where the script looks for the launcher
    command = [place.path / "run_distribute_train.sh", *place.command()[1:], "--dry_run"]
    table = place.table().rename(place.path / "hccl_2p_01_10.0.0.1.json")
    done = run(*command, cwd=place.path, RANK_SIZE="2")
    assert done.returncode == 0 and f" RANK_TABLE_FILE={table} RANK_SIZE=2 RANK_ID=1 " in done.stdout, done.stderr
    for variables in ({"RANK_SIZE": "4"}, {"RANK_SIZE": "2", "DEVICE_TARGET": "CPU"}):
        done = run(*command, cwd=place.path, **variables)
        assert done.returncode == 0 and " RANK_TABLE_FILE=" not in done.stdout and "MS_SCHED_HOST=" in done.stdout
    shutil.copy(table, place.path / "hccl_2p_23_10.0.0.1.json")
    done = run(*command, cwd=place.path, RANK_SIZE="2")
    assert done.returncode == 2 and "rank_table_file: expected one of these to be given: " in done.stderr


def test_plan_of_server_1_of_2(place):
    out = f"{place.output}/node1"
    table = place.table(devices=8, servers=2)
    done = place.run(table, "--aux=1", "--dry_run", "--node_rank=1", BIND_CORES="off")
    assert done.stdout == plan(place, f"env {NO_SCHEDULER} {DEFAULTS} RANK_TABLE_FILE={table} RANK_SIZE=16", out=out,
                               first_rank=8, group_size=16), done.stderr

    done = place.run("-", "--aux=1", "--dry_run", "--node_num=2", "--node_rank=1", "--master_addr=10.0.0.1",
                     BIND_CORES="off")
    assert done.stdout == plan(
        place, f"env -u RANK_TABLE_FILE {DEFAULTS} MS_SCHED_HOST=10.0.0.1 MS_SCHED_PORT=8118 MS_WORKER_NUM=16 "
        "MS_TOPO_TIMEOUT=600 RANK_SIZE=16 MS_ROLE=MS_WORKER MS_NODE_ID=<rank>",
        out=out, first_rank=8, group_size=16), done.stderr


def test_some_devices_of_a_table_in_the_form_of_modelarts(place):
    (place.path / "jobstart_hccl.json").write_text(json.dumps({
        "status": "completed", "group_count": "1", "group_list": [
            {"device_count": "2", "instance_count": "1", "instance_list": [
                {"pod_name": "job-0", "server_id": "10.0.0.1", "devices": [
                    {"device_id": "4", "device_ip": "192.168.100.105"},
                    {"device_id": "6", "device_ip": "192.168.100.107"}]}]}]}))
    made = place.output / "rank_table.json"
    done = place.run(place.path, "--dry_run", RANK_SIZE="2")
    found = re.findall(r"RANK_TABLE_FILE=(\S+) RANK_SIZE=2 RANK_ID=(\d) DEVICE_ID=(\d) .*/(device\d)/log.txt",
                       done.stdout)
    assert found == [(str(made), "0", "4", "device4"), (str(made), "1", "6", "device6")], done.stderr
    assert not made.exists()
    done = place.run(place.path, "--foreground", RANK_SIZE="2")
    assert done.returncode == 0, done.stderr
    assert json.loads(made.read_text())["server_list"][0]["device"][1] == {
        "device_id": "6", "device_ip": "192.168.100.107", "rank_id": "1"}


# --- wrong arguments ---

@pytest.mark.parametrize("flags, variables, message", [
    (("-", "--rank=1"), {}, "error: --rank: expected it to be left out, this script gives every process its own"),
    (("-", "--epochs=many"), {}, "error: '--epochs': expected an integer >= 1, found 'many'"),
    (("-",), {"RANK_SIZE": "two"}, "error: RANK_SIZE: expected an integer >= 1, found 'two'"),
    (("-",), {"DEVICE_TARGET": "TPU"}, "error: '--device_target': expected one of auto, Ascend, CPU, GPU, found 'TPU'"),
    (("-", "--node_num=2"), {}, "error: --node_rank: expected the number of this server, 0 to 1, found nothing"),
    (("-", "--node_num=2", "--node_rank=2"), {}, "error: --node_rank: expected 0 to 1 (--node_num=2), found 2"),
    (("-", "--node_num=2", "--node_rank=1"), {}, "error: --master_addr: expected the address of server 0"),
    (("-", "--node_num=2", "--node_rank=1", "--master_addr=no host"), {},
     "error: --master_addr: expected the address of server 0, found 'no host': "),
    (("-", "--node_num=3", "--node_rank=1", "--master_addr=10.0.0.1"), {"RANK_SIZE": "8"},
     "error: RANK_SIZE: expected the same number of ranks on each of 3 servers, found 8 in all"),
    (("-", "--master_port=80"), {}, "error: --master_port: expected an integer >= 1024 and <= 65535, found '80'"),
    (("TABLE",), {"DEVICE_TARGET": "CPU"}, "error: rank_table_file: a rank table lists Ascend devices; with "
     "DEVICE_TARGET=CPU expected -, found "),
    (("TABLE", "--master_addr=10.0.0.1"), {}, "error: --master_addr, --master_port: with a rank table the ranks find "),
    (("TABLE",), {}, "expected 8 devices per server, found 2 on 1; if that is right, set RANK_SIZE=2"),
    (("TABLE",), {"RANK_SIZE": "4"}, "not a usable rank table:\n  - expected 4 devices (RANK_SIZE), found 2\n"),
    (("TABLE", "--node_num=2", "--node_rank=0"), {"RANK_SIZE": "2"},
     "error: --node_num: expected 1, the number of servers in "),
    (("nowhere.json",), {}, "error: nowhere.json: expected a rank table in JSON; No such file or directory"),
])
def test_what_is_wrong_is_found_before_anything_starts(place, flags, variables, message):
    done = place.run(place.table() if flags[0] == "TABLE" else flags[0], *flags[1:], **variables)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not place.output.exists() or list(place.output.iterdir()) == []


def test_port_in_use_is_refused(place):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = place.run("-", f"--master_port={port}")
    assert done.returncode == 2
    assert f"error: --master_port: expected a port that is free, found {port}: Address already in use" in done.stderr


def test_usage():
    done = run(SCRIPT, "--help")
    assert done.returncode == 0 and done.stdout.startswith("Usage: run_distribute_train.sh [train_code_path] ")
    done = run(SCRIPT, ".", "data", 1, 2, 0.1, "--aux=1")
    assert done.returncode == 2 and done.stderr.startswith("Usage: run_distribute_train.sh ")
