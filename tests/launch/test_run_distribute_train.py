"""scripts/run_distribute_train.sh: what it starts, and how that ends.

All but the last test run a train.py that needs no MindSpore.
"""
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
from data_helpers import write_sample
from launcher_helpers import HELPER, SCRIPT, WAIT, free_port, is_running, process_ids, wait_for
from script_helpers import TRAIN_TINY, untimed

from rtseg.launch.rank_settings import cores_text
from rtseg.launch.supervisor import find_plog


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
        cores = sorted(os.sched_getaffinity(0))
        assert ("taskset" in words) == (start == "rank table" and len(cores) > 1)
        if "taskset" in words:
            program = words.index("taskset")
            cores = cores[:len(cores) // 2] if i == 0 else cores[len(cores) // 2:]
            assert words[program + 1:program + 3] == ["-c", cores_text(cores)]
        assert found["cores"] == cores
        assert dict(word.split("=", 1) for word in words[:program]).items() <= found["environment"].items()
        assert not unset & set(found["environment"])
        assert spaced.lines(i)[1] == "[WARNING] ME(1) noise"
    # What the first rank prints is shown, without MindSpore's own remarks.
    assert spaced.lines(0)[0] in done.stdout and "\n[WARNING]" not in done.stdout


def test_the_scheduler_outlives_a_signal_that_every_process_gets(spaced):
    done = spaced.run("-", "--foreground", RANK_SIZE="1", DEVICE_TARGET="CPU", do="""
import psutil
(scheduler,) = [process for process in psutil.Process(os.getppid()).children() if process.pid != os.getpid()]
while "MS_SCHED" not in open(os.environ["OUT"] + "/scheduler.log").read():
    time.sleep(0.05)
scheduler.terminate()
time.sleep(1)""", OUT=str(spaced.output))
    assert done.returncode == 0, done.stderr


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


def test_logs_that_are_removed_end_no_rank(place):
    launcher = place.start(do="""
print('ready', flush=True)
while not os.path.exists('go'):
    time.sleep(0.05)
time.sleep(1)
sys.exit(3 * rank)""")
    shutil.rmtree(place.output)
    (place.path / "go").touch()
    output, errors = launcher.communicate(timeout=60)
    assert launcher.returncode == 3, errors
    assert "error: rank 1 failed first: exit code 3; the end of " in errors
    assert "\n(No such file or directory)\n" in errors


PLOG = """
folder = os.environ["ASCEND_PROCESS_LOG_PATH"] + "/debug/plog"
os.makedirs(folder, exist_ok=True)
for pid, text in (os.getpid(), "older"), (os.getpid() + 1, "another's"), (os.getpid(), "EI0006: no answer of rank 3"):
    with open(f"{folder}/plog-{pid}_{time.time_ns()}.log", "w") as file:
        file.write("[INFO] HCCL(1) noise\\n[ERROR] HCCL(1) " + text + "\\n")
    time.sleep(0.02)
sys.exit(rank)
"""


def test_cann_log_of_the_first_to_fail_is_printed(spaced):
    done = spaced.run(spaced.table(), "--foreground", RANK_SIZE="2", do=PLOG,
                      ASCEND_PROCESS_LOG_PATH=str(spaced.path / "ascend log"))
    assert done.returncode == 1
    plog = re.search(r"^CANN's log of rank 1; the end of (.*):\n\[ERROR\] HCCL\(1\) EI0006: no answer of rank 3$",
                     done.stderr, re.MULTILINE)[1]
    assert plog.startswith(f"{spaced.path}/ascend log/debug/plog/plog-{process_ids(done.stdout)[1]}_")


@pytest.mark.parametrize("variables, folder", [
    ({"ASCEND_PROCESS_LOG_PATH": "given", "ASCEND_WORK_PATH": "work"}, "given"),
    ({"ASCEND_WORK_PATH": "work"}, "work/log"), ({}, "ascend/log")])
def test_places_of_cann_logs(tmp_path, monkeypatch, variables, folder):
    for name in ("ASCEND_PROCESS_LOG_PATH", "ASCEND_WORK_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    monkeypatch.setenv("HOME", str(tmp_path))
    plog = tmp_path / folder / "debug" / "plog" / "plog-7_20261121.log"
    assert find_plog(7, since=0) is None
    plog.parent.mkdir(parents=True)
    plog.write_text("[ERROR]")
    assert find_plog(7, since=0) == plog
    assert find_plog(77, since=0) is None
    assert find_plog(7, since=time.time() + 60) is None  # an earlier process had that number


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


def test_a_process_that_ends_by_the_stop_itself_is_no_failure(place):
    launcher = place.start(do=SAVE + WAIT)
    second = [int(launcher.stdout.readline().split("process id ")[1].split(",")[0]) for _ in range(2)][1]
    launcher.send_signal(signal.SIGTERM)
    os.kill(second, signal.SIGKILL)  # as Slurm signals every process of a job
    _, errors = launcher.communicate(timeout=60)
    assert launcher.returncode == 128 + signal.SIGTERM and place.lines(0)[-1] == "saved"
    assert errors == "error: broken off: rank 1: killed by SIGKILL (exit code 137)\n"


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


@pytest.mark.slow
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
