"""Rank tables: both forms, every way to be wrong, waiting, and the generator with fakes for what an Ascend has."""
import json
import sys
import threading

import pytest
from script_helpers import SCRIPTS, run

from rtseg.runtime.rank_table import Device, RankTable, Server, merge_rank_tables, read_rank_table
from rtseg.utils.errors import ConfigError

MAKE = SCRIPTS / "make_rank_table.py"

V1 = """{
  "version": "1.0",
  "server_count": "2",
  "server_list": [
    {
      "server_id": "10.0.0.1",
      "device": [
        {
          "device_id": "0",
          "device_ip": "192.168.100.101",
          "rank_id": "0"
        },
        {
          "device_id": "1",
          "device_ip": "192.168.101.101",
          "rank_id": "1"
        }
      ],
      "host_nic_ip": "reserve"
    },
    {
      "server_id": "10.0.0.2",
      "device": [
        {
          "device_id": "4",
          "device_ip": "192.168.100.102",
          "rank_id": "2"
        }
      ],
      "host_nic_ip": "reserve"
    }
  ],
  "status": "completed"
}
"""
SERVERS = (Server("10.0.0.1", (Device(0, 0, "192.168.100.101"), Device(1, 1, "192.168.101.101"))),
           Server("10.0.0.2", (Device(2, 4, "192.168.100.102"),)))
# The instances come in any order; the number of the pod is that of the node.
TEMPLATE_2 = {"status": "completed", "group_count": "2", "group_list": [
    {"group_name": "helpers", "device_count": "0", "instance_count": "0", "instance_list": []},
    {"group_name": "job", "device_count": "3", "instance_count": "2", "instance_list": [
        {"pod_name": "job-11-train-10", "server_id": "10.0.0.2", "devices": [
            {"device_id": "4", "device_ip": "192.168.100.102"}]},
        {"pod_name": "job-11-train-2", "server_id": "10.0.0.1", "devices": [
            {"device_id": "0", "device_ip": "192.168.100.101"}, {"device_id": "1", "device_ip": "192.168.101.101"}]}]}]}


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def problems_of(path, **arguments):
    with pytest.raises(ConfigError) as error:
        read_rank_table(path, **arguments)
    return str(error.value)


def test_version_1(tmp_path):
    path = write(tmp_path / "table.json", V1)
    table = read_rank_table(path, group_size=3)
    assert table == RankTable(SERVERS, path, converted=False)
    assert table.group_size == 3
    assert [device.device_id for device in table.devices[:3]] == [0, 1, 4]
    assert table.dump() == V1


def test_template_2_is_converted(tmp_path):
    path = write(tmp_path / "jobstart_hccl.json", TEMPLATE_2)
    for given in (path, tmp_path):  # the file, or the folder that holds it
        table = read_rank_table(given, group_size=3)
        assert table == RankTable(SERVERS, path, converted=True)
    table.write(tmp_path / "made" / "rank_table.json")
    assert (tmp_path / "made" / "rank_table.json").read_text() == V1
    assert [file.name for file in (tmp_path / "made").iterdir()] == ["rank_table.json"]


def test_two_instances_on_one_server_become_one_server(tmp_path):
    def instance(number):
        return {"pod_name": f"job-{number}", "server_id": "10.0.0.1",
                "devices": [{"device_id": str(number), "device_ip": f"192.168.100.{number}"}]}
    table = read_rank_table(write(tmp_path / "table.json", {"status": "completed", "group_count": "1", "group_list": [
        {"device_count": "2", "instance_count": "2", "instance_list": [instance(0), instance(1)]}]}))
    assert table.servers == (Server("10.0.0.1", (Device(0, 0, "192.168.100.0"), Device(1, 1, "192.168.100.1"))),)


@pytest.mark.parametrize("old, new, problem", [
    ('"rank_id": "1"', '"rank_id": "0"', "rank 0 comes 2 times\n  - rank 1 is missing"),
    ('"rank_id": "2"', '"rank_id": "3"', "rank 2 is missing\n  - rank 3: expected less than the number of devices, 3"),
    ('"device_id": "1"', '"device_id": "0"', "server 10.0.0.1: device 0 comes 2 times"),
    ('"192.168.101.101"', '"192.168.100.102"', "device_ip 192.168.100.102 comes 2 times"),
    ('"10.0.0.2"', '"10.0.0.1"', "server 10.0.0.1 comes 2 times"),
    ('"server_count": "2"', '"server_count": "4"', '"server_count" is "4", but there are 2 in "server_list"'),
    ('"version": "1.0"', '"version": "1.2"', '"version": expected "1.0", found "1.2"'),
    ('"device_id": "4"', '"device_id": 4', 'server_list[1].device[0]: expected text in quotes as "device_id", found 4'),
    ('"device_id": "4"', '"device_id": "x"', 'server_list[1].device[0]: expected a number in quotes as "device_id", '
     'found "x"'),
    ('"device_ip": "192.168.100.102",', "", 'server_list[1].device[0]: expected text in quotes as "device_ip", found '
     "nothing"),
    ('"192.168.100.102"', '"192.168.100"', 'server_list[1].device[0]: expected an IP address as "device_ip", found '
     '"192.168.100"'),
    ('"server_id": "10.0.0.2"', '"server_id": ""', 'server_list[1]: expected text in quotes as "server_id", found ""'),
    (',\n  "status": "completed"', "", 'expected text in quotes as "status", found nothing'),
])
def test_one_thing_wrong(tmp_path, old, new, problem):
    path = write(tmp_path / "table.json", V1.replace(old, new, 1))
    assert problems_of(path) == (f"{path}: not a usable rank table:\n  - {problem}\n"
                                 "Correct it, or make a new one with scripts/make_rank_table.py")


def test_everything_wrong_is_said_at_once(tmp_path):
    table = json.loads(V1)
    table["server_count"] = "1"
    table["server_list"][0]["device"][1] = {"device_id": "0", "rank_id": "0"}
    del table["server_list"][1]["device"]
    path = write(tmp_path / "table.json", table)
    assert problems_of(path, group_size=8).splitlines()[1:-1] == [
        '  - "server_count" is "1", but there are 2 in "server_list"',
        '  - server_list[0].device[1]: expected text in quotes as "device_ip", found nothing',
        '  - server_list[1]: expected a list of objects "device", found nothing',
        "  - rank 0 comes 2 times",
        "  - server 10.0.0.1: device 0 comes 2 times",
        "  - rank 1 is missing",
        "  - expected 8 devices (RANK_SIZE), found 2"]


def test_wrong_template_2(tmp_path):
    table = json.loads(json.dumps(TEMPLATE_2))
    table["group_list"][1]["instance_list"][1]["devices"].pop()
    path = write(tmp_path / "table.json", table)
    assert problems_of(path, group_size=3).splitlines()[1:-1] == [
        '  - group_list[1]: "device_count" is "3", but there are 2 in "devices"',
        "  - expected 3 devices (RANK_SIZE), found 2"]


@pytest.mark.parametrize("text, message", [
    (V1[:300], "expected a rank table in JSON; not JSON, or cut off: "),
    ("", "expected a rank table in JSON; not JSON, or cut off: "),
    ("[]", 'not a usable rank table:\n  - expected an object with "status" and "server_list" (v1.0) or "group_list" '
     "(ModelArts)"),
    ("{}", "not a usable rank table:\n  - expected an object with"),
    ('{"status": "completed", "server_list": [1]}', 'expected a list of objects "server_list", found [1]'),
    ('{"status": "initializing"}', 'expected a rank table with "status": "completed", found "initializing"'),
])
def test_what_is_no_table_is_refused_at_once(tmp_path, text, message):
    assert message in problems_of(write(tmp_path / "table.json", text))


def test_missing_file(tmp_path):
    path = tmp_path / "table.json"
    assert problems_of(path, timeout=60) == f"{path}: expected a rank table in JSON; No such file or directory"


def test_waits_until_the_platform_has_completed_the_table(tmp_path, capsys):
    steps = [lambda: write(tmp_path / "jobstart_hccl.json", '{"status": "initializing"}'),
             lambda: write(tmp_path / "jobstart_hccl.json", json.dumps(TEMPLATE_2)[:99]),
             lambda: write(tmp_path / "jobstart_hccl.json", TEMPLATE_2)]
    timers = [threading.Timer(0.3 + 0.6 * i, step) for i, step in enumerate(steps)]
    for timer in timers:
        timer.start()
    assert read_rank_table(tmp_path, timeout=60).servers == SERVERS
    assert capsys.readouterr().err == (f"waiting up to 60 s: {tmp_path}/jobstart_hccl.json: expected a rank table in "
                                       "JSON; No such file or directory\n")


def test_waiting_ends(tmp_path):
    path = write(tmp_path / "table.json", '{"status": "initializing"}')
    assert problems_of(path, timeout=0.1) == (f'{path}: expected a rank table with "status": "completed", found '
                                              '"initializing" after waiting 0.1 s')


def test_merge_counts_the_ranks_anew():
    tables = [RankTable((Server(f"10.0.0.{i}", (Device(0, 0, f"192.168.{i}.1"), Device(1, 1, f"192.168.{i}.2"))),))
              for i in (1, 2)]
    assert merge_rank_tables(tables).servers == (
        Server("10.0.0.1", (Device(0, 0, "192.168.1.1"), Device(1, 1, "192.168.1.2"))),
        Server("10.0.0.2", (Device(2, 0, "192.168.2.1"), Device(3, 1, "192.168.2.2"))))
    with pytest.raises(ConfigError, match="the merged table: not a usable rank table:\n  - server 10.0.0.1 comes 2 t"):
        merge_rank_tables([tables[0], tables[0]])


# --- scripts/make_rank_table.py ---

@pytest.fixture
def hccn_conf(tmp_path):
    return write(tmp_path / "hccn.conf", "address_0=192.168.100.101\nnetmask_0=255.255.255.0\naddress_1 = "
                 "192.168.101.101\n")


@pytest.fixture
def hccn_tool(tmp_path):
    """Answers as the tool does, for the devices 0 and 2 of this server."""
    tool = write(tmp_path / "hccn_tool", """#!/bin/sh
[ "$1 $3 $4" = "-i -ip -g" ] || exit 9
case $2 in
0 | 2) printf 'ipaddr:192.168.100.10%s\\nnetmask:255.255.255.0\\n' "$2" ;;
*) echo 'no such device'; exit 1 ;;
esac
""")
    tool.chmod(0o755)
    return tool


def make(*arguments, cwd, conf="no conf", tool="no tool"):
    return run(sys.executable, MAKE, *arguments, f"--hccn_conf={conf}", f"--hccn_tool={tool}", cwd=cwd)


def test_made_from_hccn_conf(tmp_path, hccn_conf):
    done = make("--server_id=10.0.0.1", cwd=tmp_path, conf=hccn_conf)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("server 10.0.0.1: rank 0 device 0 192.168.100.101, rank 1 device 1 192.168.101.101\n"
                           "rank table of 2 devices: rank_table.json\n")
    assert read_rank_table(tmp_path / "rank_table.json").servers == SERVERS[:1]


def test_made_from_hccn_tool(tmp_path, hccn_tool):
    done = make("--output=made.json", cwd=tmp_path, tool=hccn_tool)
    assert done.returncode == 0, done.stderr
    (server,) = read_rank_table(tmp_path / "made.json", group_size=2).servers
    assert server.devices == (Device(0, 0, "192.168.100.100"), Device(1, 2, "192.168.100.102"))
    assert make("--output=made.json", "--devices=2", cwd=tmp_path, tool=hccn_tool).returncode == 0
    assert read_rank_table(tmp_path / "made.json").servers[0].devices == (Device(0, 2, "192.168.100.102"),)


def test_merged_for_several_servers(tmp_path, hccn_conf):
    group = TEMPLATE_2["group_list"][1]
    write(tmp_path / "server_1.json", {"status": "completed", "group_count": "1", "group_list": [
        {"device_count": "1", "instance_count": "1", "instance_list": group["instance_list"][:1]}]})
    assert make("--server_id=10.0.0.1", "--output=server_0.json", cwd=tmp_path, conf=hccn_conf).returncode == 0
    done = make("--merge", "server_0.json", "server_1.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "rank_table.json").read_text() == V1


@pytest.mark.parametrize("arguments, code, message", [
    ((), 1, "error: expected the addresses of the devices in no conf (lines such as address_0=192.168.100.101) or from "
     "no tool; found neither. "),
    (("--hccn_conf=hccn.conf", "--devices=0-3"), 2, "error: hccn.conf: expected the address of device 2, 3, found "
     "those of 0, 1\n"),
    (("--hccn_conf=hccn.conf", "--devices=0,0"), 2, "device 0 comes 2 times"),
    (("--hccn_conf=hccn.conf", "--devices=7-0"), 2, "expected device numbers such as 0-7 or 0,1,4,5, found '7-0'"),
    (("--hccn_conf=hccn.conf", "--devices=a"), 2, "expected device numbers such as 0-7 or 0,1,4,5, found 'a'"),
    (("--merge", "hccn.conf"), 2, "error: hccn.conf: expected a rank table in JSON; not JSON, or cut off: "),
    (("--merge", "a.json", "--devices=0"), 2, "error: --devices, --server_id: the tables of --merge have them "),
])
def test_what_cannot_be_made(tmp_path, hccn_conf, arguments, code, message):
    done = run(sys.executable, MAKE, "--hccn_conf=no conf", "--hccn_tool=no tool", *arguments, cwd=tmp_path)
    assert done.returncode == code
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "rank_table.json").exists()
