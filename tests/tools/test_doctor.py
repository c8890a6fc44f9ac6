"""rtseg doctor: on a machine with nothing, on a fake Ascend server, and with broken parts of each."""
import os
import re
import resource
import subprocess
import sys
from types import SimpleNamespace

import pytest
from script_helpers import PROJECT

from rtseg.runtime.rank_table import Device, RankTable, Server
from rtseg.tools import doctor
from rtseg.tools.doctor import Finding, Machine, check_cann, check_devices, check_engines, check_rank_table, examine

NPU_SMI = """\
#!/bin/sh
cat << END
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     910B4               | OK            | 105.5       39                0    / 0             |
| 0                         | 0000:C1:00.0  | 5           0    / 0          6154 / 65536         |
| 1     910B4               | Alarm         | 105.5       39                0    / 0             |
| 0                         | 0000:C2:00.0  | 5           0    / 0          6154 / 65536         |
+---------------------------+---------------+----------------------------------------------------+
| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |
+===========================+===============+====================================================+
| 0       0                 | 4182345       | python3.9                | 113                     |
END
"""


def lines(findings):
    return [str(finding) for finding in findings]


def write(path, text, mode=0o644):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A fake server with two devices, a driver and CANN 8.5.0; MindSpore 2.7.2 is installed."""
    for name in ("ASCEND_HOME_PATH", "LITE_HOME", "RANK_TABLE_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(doctor, "_version", {"mindspore": "2.7.2"}.get)
    for name in ("davinci0", "davinci1", "davinci_manager", "devmm_svm", "hisi_hdc"):
        write(tmp_path / "dev" / name, "")
    ascend = tmp_path / "usr" / "local" / "Ascend"
    home = ascend / "ascend-toolkit" / "latest"
    write(ascend / "driver" / "version.info", "Version=25.3.rc1\nInnerversion=V100R001C23SPC002B212\n"
          "compatible_version=[V100R001C19],[V100R001C20],[V100R001C21]\n")
    write(home / "compiler" / "version.info", "Version=8.5.0.2.220\nversion_dir=8.5.0\n")
    write(home / "x86_64-linux" / "ascend_toolkit_install.info", "version=8.5.0\ninnerversion=V100R001C24SPC001B1\n"
          "compatible_version=[V100R001C22],[V100R001C23]\n")
    write(home / "lib64" / "libascendcl.so", "")
    write(home.parent / "set_env.sh", "")
    write(tmp_path / "usr" / "local" / "bin" / "npu-smi", NPU_SMI.replace("cat", "/bin/cat"), 0o755)
    monkeypatch.setenv("ASCEND_HOME_PATH", str(home))
    return Machine(tmp_path)


def test_with_nothing_at_all(tmp_path):
    """No package, no program, no device, no readable file, and a working folder that is gone."""
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import sys; sys.path.insert(0, {str(PROJECT / 'src')!r}); import os; os.rmdir({str(gone)!r})\n" \
           "from rtseg.cli.main import main; sys.exit(main(['doctor']))"
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=gone, capture_output=True, text=True, env={
        "PATH": "", "ASCEND_HOME_PATH": "/nowhere", "LITE_HOME": "/nowhere", "RANK_TABLE_FILE": str(tmp_path)})
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 2
    assert done.returncode == 2 and done.stderr == "", done.stderr
    found = done.stdout.splitlines()
    assert [line for line in found if line[:8] not in ("ok      ", "note    ", "warning ", "error   ")] == found[-1:]
    ranges = "(mindspore>=2.7,<2.11|mindspore<2.11,>=2.7)"  # as in requirements.txt, or as an installed package has it
    assert any(re.fullmatch(f"error   mindspore: expected {ranges}, found none; pip install '{ranges}'", line)
               for line in found)
    assert [line[:25] for line in found if "onnxruntime" in line] == ["note    onnxruntime: expe"]
    assert any(line.startswith("note    no CANN in /nowhere; ") for line in found)
    assert any(line.startswith("warning check_disk: could not be finished, FileNotFoundError: ") for line in found)
    assert any(line.startswith(f"error   {tmp_path}/jobstart_hccl.json: expected a rank table in ") for line in found)


def test_server_that_is_in_order(server):
    assert lines(check_devices(server)) == [
        "ok      Ascend devices: davinci0, davinci1", "ok      NPU 0: 910B4, health OK",
        "warning NPU 1: 910B4, health Alarm; npu-smi info -t health -i 1 says why"]
    home = os.environ["ASCEND_HOME_PATH"]
    assert lines(check_cann(server)) == [
        f"ok      CANN 8.5.0 in {home}", "ok      MindSpore 2.7.2 is built for CANN 8.5",
        "ok      driver 25.3.rc1 fits CANN"]
    assert lines(check_engines(server))[1] == f"ok      AscendCL: {home}/lib64/libascendcl.so"


@pytest.mark.parametrize("version, expected", [
    ("2.7.1", "warning MindSpore 2.7.1 is built for CANN 8.3, found 8.5.0; install CANN 8.3 or mindspore==2.7.2"),
    ("2.8.0", "note    MindSpore 2.8.0: compare https://www.mindspore.cn/install with CANN 8.5.0")])
def test_mindspore_and_cann(server, monkeypatch, version, expected):
    monkeypatch.setattr(doctor, "_version", lambda package: version)
    assert lines(check_cann(server))[1] == expected


def test_driver_and_cann(server):
    driver = server.root / "usr" / "local" / "Ascend" / "driver" / "version.info"
    write(driver, "Version=23.0.0\nInnerversion=V100R001C15\ncompatible_version=[V100R001C14]\n")
    assert lines(check_cann(server))[2].startswith("warning driver 23.0.0: neither it nor CANN lists the other as ")
    write(driver, "Version=23.0.0\n")
    assert lines(check_cann(server))[2] == "note    driver 23.0.0: ascend-dmi -c compares it with CANN"
    driver.unlink()
    os.mkfifo(driver)  # must not be waited for
    assert lines(check_cann(server))[2].startswith(f"error   {driver}: expected the driver's version, found nothing ")


def test_cann_of_which_nothing_can_be_read(server, monkeypatch):
    home = server.root / "usr" / "local" / "Ascend" / "ascend-toolkit" / "latest"
    monkeypatch.delenv("ASCEND_HOME_PATH")
    assert lines(check_cann(server))[1] == (
        f"warning ASCEND_HOME_PATH is not set, so CANN's libraries are not found; source {home.parent}/set_env.sh")
    for path in home.glob("*/*.info"):
        path.unlink()
        path.mkdir()
    (finding,) = lines(check_cann(server))
    assert finding.startswith(f"warning CANN in {home}: expected its version in compiler/version.info, found none ")
    monkeypatch.setenv("ASCEND_HOME_PATH", "/nowhere")
    assert lines(check_cann(server))[0].startswith("error   no CANN in /nowhere; ")


def test_devices_that_cannot_be_used(server, monkeypatch):
    (server.root / "dev" / "hisi_hdc").unlink()
    monkeypatch.setattr(os, "access", lambda path, mode: "davinci1" not in str(path))
    tool = server.root / "usr" / "local" / "bin" / "npu-smi"
    write(tool, "#!/bin/sh\necho dcmi module initialize failed. ret is -8005\nexit 1\n", 0o755)
    monkeypatch.setattr(doctor.shutil, "which", lambda name, path=None: str(tool))
    dev = server.root / "dev"
    assert lines(check_devices(server))[1:] == [
        f"error   {dev}/davinci1: this user may not use it; join the group that owns it (usually HwHiAiUser), or run "
        "as root", f"error   {dev}/hisi_hdc: expected next to the devices; give it to the container with --device, or "
        "install the driver", "error   npu-smi info: expected a line for each device, found exit code 1, dcmi module "
        "initialize failed. ret is -8005; install or reload the driver"]


def test_packages(server, monkeypatch):
    monkeypatch.setattr(doctor, "_version", {"mindspore": "2.6.0", "numpy": "1.26.4", "opencv-python": "4.1"}.get)
    monkeypatch.setattr(doctor, "_requirements", lambda: {
        "mindspore": "mindspore>=2.7,<2.11", "numpy": "numpy>=1.20,<2", "openvino": "openvino>=2024.0"})
    monkeypatch.setattr(doctor, "_import", {"mindspore": (True, "no libascendcl.so"), "numpy": (False, "no libz")}.get)
    assert lines(doctor.check_packages(server)) == [
        "error   mindspore: expected mindspore>=2.7,<2.11, found 2.6.0; pip install 'mindspore>=2.7,<2.11'",
        "note    openvino: expected openvino>=2024.0, found none; pip install 'openvino>=2024.0'",
        "ok      mindspore 2.6.0",
        "error   MindSpore cannot use the Ascend devices: no libascendcl.so; install CANN and the MindSpore that fits "
        "it, and source CANN's set_env.sh",
        "error   numpy 1.26.4 cannot be imported: no libz; install the system library that it names, or the package "
        "again"]


def test_import_that_fails_or_crashes(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    write(tmp_path / "lacking.py", "raise ImportError('libGL.so.1: cannot open shared object file')")
    write(tmp_path / "crashing.py", "import os; os.abort()")
    write(tmp_path / "working.py", "print('noise')")
    assert [doctor._import(name) for name in ("lacking", "crashing", "working")] == [
        (False, "ImportError: libGL.so.1: cannot open shared object file"), (False, "exit code -6"), (True, "")]


def test_rank_table(tmp_path, monkeypatch):
    table = RankTable((Server("10.0.0.1", (Device(0, 0, "192.168.100.101"),)),))
    table.write(tmp_path / "table.json")
    assert lines(check_rank_table(Machine(rank_table=str(tmp_path / "table.json")))) == [
        f"ok      rank table {tmp_path}/table.json: devices 1, servers 1"]
    write(tmp_path / "wrong.json", '{"status": "completed", "server_list": []}')
    monkeypatch.setattr(doctor, "CHECKS", (check_rank_table,))
    (finding,) = lines(examine(Machine(rank_table=str(tmp_path / "wrong.json"))))
    assert finding.startswith(f"error   {tmp_path}/wrong.json: not a usable rank table: - ")
    assert finding.endswith("make a new one with scripts/make_rank_table.py")


def test_disk_that_is_nearly_full(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=1e9))
    assert lines(doctor.check_disk(Machine(tmp_path)))[0].startswith(
        f"warning disk: 1.0 GB free in {tmp_path}, expected 5; free some, or choose another --output_path ")


@pytest.mark.parametrize("level, code", [("ok", 0), ("note", 0), ("warning", 0), ("error", 2)])
def test_exit_code(monkeypatch, capsys, level, code):
    def broken(_):
        yield Finding(level, "something\nis said")
        raise KeyError("x")
    monkeypatch.setattr(doctor, "CHECKS", (broken, lambda _: [Finding("ok", "the next")]))
    assert len(list(examine(Machine()))) == 3
    assert doctor.main([]) == code
    assert capsys.readouterr().out == (
        f"{level:8s}something is said\nwarning broken: could not be finished, KeyError: 'x'\nok      the next\n"
        f"{int(level == 'error')} errors, {1 + int(level == 'warning')} warnings\n")
