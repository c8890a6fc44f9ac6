"""scripts/run_distribute_train.sh: what it would start, what it starts, and how that ends.

All but the last test run a train.py that needs no MindSpore.
"""
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from data_helpers import write_sample
from script_helpers import PROJECT, SCRIPTS, TRAIN_TINY, run, untimed

from rtseg.runtime.rank_table import Device, RankTable, Server

SCRIPT = SCRIPTS / "run_distribute_train.sh"

# Stands in for train.py: says how it was started, then does what the test says.
STAND_IN = """\
import json, os, signal, subprocess, sys, time
print(json.dumps({"arguments": sys.argv, "environment": dict(os.environ)}), flush=True)
rank = int(os.environ["RANK_ID"])
if os.environ.get("MS_ROLE") == "MS_SCHED":
    time.sleep(100)
exec(os.environ["DO"])
"""
# A helper that the launcher has not started and that is in none of its process groups.
HELPER = "print(subprocess.Popen(['sleep', '100'], start_new_session=True).pid, flush=True)\n"
WAIT = "print('ready', flush=True)\ntime.sleep(100)"


class Place:
    """Folders for a launch of the fake, which runs the Python code `do`."""

    def __init__(self, path):
        self.path = path
        self.code, self.data, self.output = path / "code", path / "data", path / "output"
        self.data.mkdir(parents=True)
        self.code.mkdir()
        (self.code / "train.py").write_text(STAND_IN)
        for name in ("src", "configs"):
            (self.code / name).symlink_to(PROJECT / name)

    def table(self, cards=2, servers=1):
        path = self.path / "rank_table.json"
        RankTable(tuple(Server(f"10.0.0.{k + 1}", tuple(
            Device(cards * k + i, i, f"192.168.{100 + k}.{101 + i}") for i in range(cards))) for k in range(servers))
        ).write(path)
        return path

    def command(self, *arguments):
        """`arguments`: the rank table, which may be left out, and flags."""
        return [str(part) for part in (SCRIPT, self.code, self.data, 3, 2, 0.1, self.output, *arguments)]

    def run(self, *arguments, do="", **variables):
        return run(*self.command(*arguments), cwd=self.path, DO=do, **variables)

    def start(self, *flags, do=WAIT):
        """Starts two ranks in front and returns the launcher once both have printed that they are ready."""
        launcher = subprocess.Popen(self.command(self.table(), "--foreground", *flags), cwd=self.path, text=True,
                                    env={**os.environ, "PYTHON": sys.executable, "RANK_SIZE": "2", "DO": do},
                                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.await_ready()
        return launcher

    def await_ready(self):
        for i in range(2):
            wait_for(lambda i=i: "ready" in self.lines(i))

    def lines(self, device):
        path = self.output / f"device{device}" / "log.txt"
        return untimed(path.read_text()).splitlines() if path.is_file() else []


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.fixture
def spaced(tmp_path):
    return Place(tmp_path / "with space")


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain"
        time.sleep(0.05)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def process_ids(output):
    return [int(number) for number in re.findall(r": process id (\d+), log ", output)]


def free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


# --- what would be started ---

HCCN_CONF = """\
address_0=192.168.100.101
address_1=192.168.101.101
address_2=192.168.102.101
address_3=192.168.103.101
address_4=192.168.100.100
address_5=192.168.101.100
address_6=192.168.102.100
address_7=192.168.103.100
"""
TABLE_OF_8 = {"version": "1.0", "server_count": "1", "server_list": [{"server_id": "10.0.0.1", "device": [
    {"device_id": "0", "device_ip": "192.168.100.101", "rank_id": "0"},
    {"device_id": "1", "device_ip": "192.168.101.101", "rank_id": "1"},
    {"device_id": "2", "device_ip": "192.168.102.101", "rank_id": "2"},
    {"device_id": "3", "device_ip": "192.168.103.101", "rank_id": "3"},
    {"device_id": "4", "device_ip": "192.168.100.100", "rank_id": "4"},
    {"device_id": "5", "device_ip": "192.168.101.100", "rank_id": "5"},
    {"device_id": "6", "device_ip": "192.168.102.100", "rank_id": "6"},
    {"device_id": "7", "device_ip": "192.168.103.100", "rank_id": "7"}], "host_nic_ip": "reserve"}],
    "status": "completed"}

RANK_TABLE_PLAN = """\
working folder: {folder}
rank 0: {env} RANK_ID=0 DEVICE_ID=0 {train} --rank=0 --group_size=8 --device_id=0 > {out}/device0{end}
rank 1: {env} RANK_ID=1 DEVICE_ID=1 {train} --rank=1 --group_size=8 --device_id=1 > {out}/device1{end}
rank 2: {env} RANK_ID=2 DEVICE_ID=2 {train} --rank=2 --group_size=8 --device_id=2 > {out}/device2{end}
rank 3: {env} RANK_ID=3 DEVICE_ID=3 {train} --rank=3 --group_size=8 --device_id=3 > {out}/device3{end}
rank 4: {env} RANK_ID=4 DEVICE_ID=4 {train} --rank=4 --group_size=8 --device_id=4 > {out}/device4{end}
rank 5: {env} RANK_ID=5 DEVICE_ID=5 {train} --rank=5 --group_size=8 --device_id=5 > {out}/device5{end}
rank 6: {env} RANK_ID=6 DEVICE_ID=6 {train} --rank=6 --group_size=8 --device_id=6 > {out}/device6{end}
rank 7: {env} RANK_ID=7 DEVICE_ID=7 {train} --rank=7 --group_size=8 --device_id=7 > {out}/device7{end}
"""
RANK_TABLE_PLAN_OF_SERVER_1 = """\
working folder: {folder}
rank 8: {env} RANK_ID=8 DEVICE_ID=0 {train} --rank=8 --group_size=16 --device_id=0 > {out}/device0{end}
rank 9: {env} RANK_ID=9 DEVICE_ID=1 {train} --rank=9 --group_size=16 --device_id=1 > {out}/device1{end}
rank 10: {env} RANK_ID=10 DEVICE_ID=2 {train} --rank=10 --group_size=16 --device_id=2 > {out}/device2{end}
rank 11: {env} RANK_ID=11 DEVICE_ID=3 {train} --rank=11 --group_size=16 --device_id=3 > {out}/device3{end}
rank 12: {env} RANK_ID=12 DEVICE_ID=4 {train} --rank=12 --group_size=16 --device_id=4 > {out}/device4{end}
rank 13: {env} RANK_ID=13 DEVICE_ID=5 {train} --rank=13 --group_size=16 --device_id=5 > {out}/device5{end}
rank 14: {env} RANK_ID=14 DEVICE_ID=6 {train} --rank=14 --group_size=16 --device_id=6 > {out}/device6{end}
rank 15: {env} RANK_ID=15 DEVICE_ID=7 {train} --rank=15 --group_size=16 --device_id=7 > {out}/device7{end}
"""
SCHEDULER_PLAN = """\
working folder: {folder}
scheduler: {scheduler} RANK_ID=0 DEVICE_ID=0 {train} --rank=0 --group_size=8 --device_id=0 > {out}/scheduler.log 2>&1
rank 0: {env} MS_NODE_ID=0 RANK_ID=0 DEVICE_ID=0 {train} --rank=0 --group_size=8 --device_id=0 > {out}/device0{end}
rank 1: {env} MS_NODE_ID=1 RANK_ID=1 DEVICE_ID=1 {train} --rank=1 --group_size=8 --device_id=1 > {out}/device1{end}
rank 2: {env} MS_NODE_ID=2 RANK_ID=2 DEVICE_ID=2 {train} --rank=2 --group_size=8 --device_id=2 > {out}/device2{end}
rank 3: {env} MS_NODE_ID=3 RANK_ID=3 DEVICE_ID=3 {train} --rank=3 --group_size=8 --device_id=3 > {out}/device3{end}
rank 4: {env} MS_NODE_ID=4 RANK_ID=4 DEVICE_ID=4 {train} --rank=4 --group_size=8 --device_id=4 > {out}/device4{end}
rank 5: {env} MS_NODE_ID=5 RANK_ID=5 DEVICE_ID=5 {train} --rank=5 --group_size=8 --device_id=5 > {out}/device5{end}
rank 6: {env} MS_NODE_ID=6 RANK_ID=6 DEVICE_ID=6 {train} --rank=6 --group_size=8 --device_id=6 > {out}/device6{end}
rank 7: {env} MS_NODE_ID=7 RANK_ID=7 DEVICE_ID=7 {train} --rank=7 --group_size=8 --device_id=7 > {out}/device7{end}
"""
SCHEDULER_PLAN_OF_SERVER_1 = """\
working folder: {folder}
rank 8: {env} MS_NODE_ID=8 RANK_ID=8 DEVICE_ID=0 {train} --rank=8 --group_size=16 --device_id=0 > {out}/device0{end}
rank 9: {env} MS_NODE_ID=9 RANK_ID=9 DEVICE_ID=1 {train} --rank=9 --group_size=16 --device_id=1 > {out}/device1{end}
rank 10: {env} MS_NODE_ID=10 RANK_ID=10 DEVICE_ID=2 {train} --rank=10 --group_size=16 --device_id=2 > {out}/device2{end}
rank 11: {env} MS_NODE_ID=11 RANK_ID=11 DEVICE_ID=3 {train} --rank=11 --group_size=16 --device_id=3 > {out}/device3{end}
rank 12: {env} MS_NODE_ID=12 RANK_ID=12 DEVICE_ID=4 {train} --rank=12 --group_size=16 --device_id=4 > {out}/device4{end}
rank 13: {env} MS_NODE_ID=13 RANK_ID=13 DEVICE_ID=5 {train} --rank=13 --group_size=16 --device_id=5 > {out}/device5{end}
rank 14: {env} MS_NODE_ID=14 RANK_ID=14 DEVICE_ID=6 {train} --rank=14 --group_size=16 --device_id=6 > {out}/device6{end}
rank 15: {env} MS_NODE_ID=15 RANK_ID=15 DEVICE_ID=7 {train} --rank=15 --group_size=16 --device_id=7 > {out}/device7{end}
"""
NO_SCHEDULER = "-u MS_ROLE -u MS_SCHED_HOST -u MS_SCHED_PORT -u MS_WORKER_NUM -u MS_NODE_ID -u MS_NODE_RANK"


def filled(plan, place, out, target="Ascend", **values):
    train = (f"{sys.executable} {place.code}/train.py --dataset={place.data} --epochs=3 --batch_size=2 --lr=0.1 "
             f"--output_path={place.output} --aux=1 --device_target={target} --is_distributed=1")
    return plan.format(folder=place.path, out=out, train=train, end="/log.txt 2>&1", **values)


def test_plan_of_8_processes_with_a_rank_table(place):
    (place.path / "hccn.conf").write_text(HCCN_CONF)
    made = run(SCRIPTS / "make_rank_table.py", "--hccn_conf=hccn.conf", "--server_id=10.0.0.1", cwd=place.path)
    assert made.returncode == 0, made.stderr
    assert json.loads((place.path / "rank_table.json").read_text()) == TABLE_OF_8
    done = place.run("rank_table.json", "--aux=1", "--dry_run")
    assert done.returncode == 0, done.stderr
    assert done.stdout == filled(RANK_TABLE_PLAN, place, place.output, env=(
        f"env {NO_SCHEDULER} RANK_TABLE_FILE={place.path}/rank_table.json RANK_SIZE=8"))
    assert list(place.output.iterdir()) == []


def test_plan_of_8_processes_without_a_rank_table(place):
    """The environment is that of msrun --worker_num=8 --local_worker_num=8."""
    port = free_port()
    for table in (("-",), ()):  # the seventh position is optional
        done = place.run(*table, "--aux=1", "--dry_run", f"--master_port={port}", DEVICE_TARGET="CPU")
        assert done.returncode == 0, done.stderr
        variables = (f"env -u RANK_TABLE_FILE MS_SCHED_HOST=127.0.0.1 MS_SCHED_PORT={port} MS_WORKER_NUM=8 "
                     "MS_TOPO_TIMEOUT=600 RANK_SIZE=8 MS_ROLE=")
        assert done.stdout == filled(SCHEDULER_PLAN, place, place.output, "CPU", env=variables + "MS_WORKER",
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
    table = place.table(cards=8, servers=2)
    done = place.run(table, "--aux=1", "--dry_run", "--node_rank=1")
    assert done.stdout == filled(RANK_TABLE_PLAN_OF_SERVER_1, place, out, env=(
        f"env {NO_SCHEDULER} RANK_TABLE_FILE={table} RANK_SIZE=16")), done.stderr

    done = place.run("-", "--aux=1", "--dry_run", "--node_num=2", "--node_rank=1", "--master_addr=10.0.0.1")
    assert done.stdout == filled(SCHEDULER_PLAN_OF_SERVER_1, place, out, env=(
        "env -u RANK_TABLE_FILE MS_SCHED_HOST=10.0.0.1 MS_SCHED_PORT=8118 MS_WORKER_NUM=16 MS_TOPO_TIMEOUT=600 "
        "RANK_SIZE=16 MS_ROLE=MS_WORKER")), done.stderr


def test_some_cards_of_a_table_in_the_form_of_modelarts(place):
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
    (("-", "--master_port=80"), {}, "error: argument --master_port: expected an integer in 1024..65535, found '80'"),
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


# --- what is started ---

@pytest.mark.parametrize("start", ["rank table", "scheduler"])
def test_processes_get_what_the_plan_says(spaced, start):
    table, flags = (spaced.table(), ()) if start == "rank table" else ("-", (f"--master_port={free_port()}",))
    target = "CPU" if start == "scheduler" else "Ascend"
    variables = {"RANK_SIZE": "2", "DEVICE_TARGET": target, "MS_ROLE": "left behind"}
    plan = spaced.run(table, *flags, "--dry_run", **variables).stdout
    done = spaced.run(table, *flags, "--foreground", do="print('[WARNING] ME(1) noise')", **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    for i in range(2):
        words = shlex.split(re.search(rf"^rank {i}: env (.*) > ", plan, re.MULTILINE)[1])
        unset = set()
        while words[0] == "-u":
            unset.add(words[1])
            words = words[2:]
        program = words.index(sys.executable)
        found = json.loads(spaced.lines(i)[0])
        assert found["arguments"] == words[program + 1:]
        assert dict(word.split("=", 1) for word in words[:program]).items() <= found["environment"].items()
        assert not unset & set(found["environment"])
        assert spaced.lines(i)[1] == "[WARNING] ME(1) noise"
    # What the first rank prints is shown, without MindSpore's own remarks.
    assert spaced.lines(0)[0] in done.stdout and "\n[WARNING]" not in done.stdout


@pytest.mark.parametrize("start", ["rank table", "scheduler"])
def test_the_first_to_fail_ends_the_others(spaced, start):
    table, target = (spaced.table(), "Ascend") if start == "rank table" else ("-", "CPU")
    done = spaced.run(table, "--foreground", RANK_SIZE="2", DEVICE_TARGET=target, do=HELPER + """
if rank == 1:
    print('error: no such image', flush=True)
    sys.exit(3)
time.sleep(100)""")
    assert done.returncode == 3
    assert f"error: rank 1 failed first: exit code 3; the end of {spaced.output}/device1/log.txt:\n" in done.stderr
    assert done.stderr.endswith("error: no such image\n"
                                "all processes have ended; rank 1 failed first: exit code 3\n")
    started = process_ids(done.stdout)
    assert len(started) == (2 if start == "rank table" else 3)  # the scheduler too
    assert not any(map(is_running, [*started, int(spaced.lines(1)[1])]))


def test_kill_of_one_rank(place):
    launcher = place.start(do=HELPER + WAIT)
    helpers = [int(place.lines(i)[1]) for i in range(2)]
    first = [int(launcher.stdout.readline().split("process id ")[1].split(",")[0]) for _ in range(2)]
    os.kill(first[1], signal.SIGKILL)
    _, errors = launcher.communicate(timeout=60)
    assert launcher.returncode == 128 + signal.SIGKILL
    assert "error: rank 1 failed first: killed by SIGKILL (exit code 137); the end of " in errors
    assert not any(map(is_running, first + helpers))


SAVE = """
def save(*_):
    print('saved', flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_lets_the_ranks_save(place, number):
    launcher = place.start(do=SAVE + WAIT)
    launcher.send_signal(number)
    output, errors = launcher.communicate(timeout=60)
    assert launcher.returncode == 0, errors
    assert [place.lines(i)[-1] for i in range(2)] == ["saved", "saved"]
    assert "stop requested: the ranks have 60 s to finish their step and save; once more to break off" in output
    assert output.endswith("stopped on request; all ranks have ended by themselves\n")
    assert not any(map(is_running, process_ids(output)))


def test_ranks_that_do_not_heed_a_stop_are_killed(place):
    launcher = place.start("--stop_seconds=1", do="signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAIT)
    launcher.send_signal(signal.SIGTERM)
    time.sleep(1.5)
    launcher.send_signal(signal.SIGTERM)  # asked again: no need to wait
    output, errors = launcher.communicate(timeout=60)
    assert launcher.returncode == 128 + signal.SIGTERM
    assert errors == ("error: broken off: rank 0: killed by SIGKILL (exit code 137), rank 1: killed by SIGKILL (exit "
                      "code 137)\n")
    assert not any(map(is_running, process_ids(output)))


def test_ranks_end_with_a_launcher_that_is_killed(place):
    launcher = place.start()
    started = [int(launcher.stdout.readline().split("process id ")[1].split(",")[0]) for _ in range(2)]
    assert all(map(is_running, started))
    launcher.kill()
    launcher.communicate()
    wait_for(lambda: not any(map(is_running, started)))


def test_background(spaced):
    done = spaced.run(spaced.table(), do=WAIT, RANK_SIZE="2")
    assert done.returncode == 0, done.stderr
    pid, log = re.fullmatch(r"process id: (\d+)\nlog: (.*)\n", done.stdout).groups()
    assert log == f"{spaced.output}/log.txt"
    spaced.await_ready()
    os.kill(int(pid), signal.SIGTERM)
    wait_for(lambda: not is_running(int(pid)))
    text = (spaced.output / "log.txt").read_text()
    assert text.endswith("error: broken off: rank 0: killed by SIGTERM (exit code 143), rank 1: killed by SIGTERM "
                         "(exit code 143)\n")
    assert not any(map(is_running, process_ids(text)))


# --- with MindSpore ---

TINY_FLAGS = ("--aux=0", "--base_size=32", "--crop_size=32", "--num_workers=0", "--eval_while_train=0")


def test_training_goes_on_after_one_of_two_processes_was_killed(spaced):
    (spaced.code / "train.py").write_text(TRAIN_TINY)
    for i in range(4):
        write_sample(spaced.data, "train", f"a_{i}", label_ids=7, size=(32, 32))

    def start(*flags):
        command = [str(part) for part in (SCRIPT, spaced.code, spaced.data, 5000, 1, 0.01, spaced.output, "-",
                                          "--foreground", *TINY_FLAGS, *flags)]
        return subprocess.Popen(command, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, env={**os.environ, "PYTHON": sys.executable,
                                                             "DEVICE_TARGET": "CPU", "RANK_SIZE": "2"})

    launcher = start()
    wait_for(lambda: any(line.startswith("epoch: 2, loss: ") for line in spaced.lines(0)), seconds=300)
    started = [int(launcher.stdout.readline().split("process id ")[1].split(",")[0]) for _ in range(3)]
    os.kill(started[2], signal.SIGKILL)
    _, errors = launcher.communicate(timeout=60)
    assert launcher.returncode == 128 + signal.SIGKILL, errors
    assert "error: rank 1 failed first: killed by SIGKILL (exit code 137); the end of " in errors
    assert not any(map(is_running, started))

    (run_folder,) = (path.parent for path in spaced.output.glob("*/last.ckpt"))
    launcher = start(f"--resume_path={run_folder}")
    wait_for(lambda: re.search(r"^resumed from .*^epoch time: ", "\n".join(spaced.lines(0)), re.MULTILINE | re.DOTALL),
             seconds=300)
    launcher.send_signal(signal.SIGTERM)
    output, errors = map(untimed, launcher.communicate(timeout=120))
    assert launcher.returncode == 0, output + errors
    note = re.search(rf"^resumed from {re.escape(str(run_folder))}/last\.ckpt after epoch (\d+), step 0 of the next$",
                     output, re.MULTILINE)
    first_epoch = int(re.search(r"^epoch: (\d+) step: 1, loss is ", output, re.MULTILINE)[1])
    assert first_epoch == int(note[1]) + 1 >= 3
    assert "stopped on request in epoch " in output
    assert output.endswith("stopped on request; all ranks have ended by themselves\n")
