"""Looks at this machine and says what is missing for training, export and inference, and how to fix it.

One line for each finding: ok, note (nothing to do unless you need it), warning, or error. The exit code is 0 without an
error and 2 with one. It runs to its end whatever is missing: MindSpore, a driver, a file that it may not read.
"""
import argparse
import concurrent.futures
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import rtseg
from rtseg.runtime.rank_table import read_rank_table
from rtseg.utils.errors import ConfigError, UserError
from rtseg.utils.files import read_regular_file
from rtseg.utils.packages import installed_version

# Packages with libraries that may fail to load -> their modules.
_MODULES = {"mindspore": "mindspore", "numpy": "numpy", "opencv-python-headless": "cv2", "onnxruntime": "onnxruntime",
            "openvino": "openvino"}
_ENGINES = ("onnxruntime", "openvino")  # a choice: an Ascend machine needs neither
_OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python")
# Which CANN a MindSpore is built for: docs/versions.md.
_CANN_OF_MINDSPORE = {"2.7.0": "8.2", "2.7.1": "8.3", "2.7.2": "8.5", "2.9.0": "9.0"}
_MANAGERS = ("davinci_manager", "devmm_svm", "hisi_hdc")  # device files beside /dev/davinci<n>
_NPU_LINE = re.compile(r"^\|\s*(\d+)\s+([A-Za-z0-9]+)\s*\|\s*([A-Za-z]+)\s*\|", re.MULTILINE)
_SECONDS = 120  # after which a program is given up
_LEAST_GIGABYTES = 5
_MOST_BYTES = 1 << 20


class Finding(NamedTuple):
    """One line of the report."""

    level: str  # ok, note, warning, error
    text: str   # what it is, and what to do about it

    def __str__(self) -> str:
        return f"{self.level:8s}{' '.join(self.text.split())}"


class Machine(NamedTuple):
    """What is looked at."""

    root: Path = Path("/")  # of /dev, /usr and /cache; another folder in tests
    rank_table: str = ""    # file or folder; empty for none

    def devices(self) -> List[Path]:
        """The device files of the Ascend processors."""
        return sorted((self.root / "dev").glob("davinci[0-9]*"))

    def cann(self) -> Optional[Path]:
        """Folder of the CANN toolkit."""
        ascend = self.root / "usr" / "local" / "Ascend"
        given = os.environ.get("ASCEND_HOME_PATH")
        homes = [Path(given)] if given else [ascend / "ascend-toolkit" / "latest", ascend / "cann"]
        return next((home for home in homes if home.is_dir()), None)


# --- Python and its packages ---

def check_python(_: Machine) -> Iterator[Finding]:
    """Interpreter and rtseg itself."""
    version = platform.python_version()
    if (3, 9) <= sys.version_info[:2] <= (3, 12):
        yield Finding("ok", f"Python {version}")
    else:
        yield Finding("error", f"Python {version}: MindSpore needs 3.9 to 3.12; make a virtual environment with one")
    yield Finding("ok", f"rtseg {rtseg.__version__} in {Path(rtseg.__file__).parent}")


def check_packages(machine: Machine) -> Iterator[Finding]:
    """Versions of all requirements, and whether the heavy ones can be imported."""
    for name, requirement in _requirements().items():
        found = _version(name)
        if found is None or not _fits(found, requirement):
            yield Finding("note" if name in _ENGINES else "error",
                          f"{name}: expected {requirement}, found {found or 'none'}; pip install '{requirement}'")
    installed = [package for package in _MODULES if _version(package)]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        results = pool.map(_import, (_MODULES[package] for package in installed))
    for package, (works, said) in zip(installed, results):
        if not works:
            yield Finding("error", f"{_MODULES[package]} {_version(package)} cannot be imported: {said}; install the "
                                   "system library that it names, or the package again")
            continue
        yield Finding("ok", f"{_MODULES[package]} {_version(package)}")
        if package == "mindspore" and machine.devices() and said:
            yield Finding("error", f"MindSpore cannot use the Ascend devices: {said}; install CANN and the MindSpore "
                                   "that fits it, and source CANN's set_env.sh")


def _requirements() -> Dict[str, str]:
    """Name -> requirement of all that `pip install` would install."""
    try:
        lines = [line for line in importlib.metadata.requires("rtseg") or [] if "extra ==" not in line]
    except importlib.metadata.PackageNotFoundError:  # a clone
        file = Path(rtseg.__file__).parents[2] / "requirements.txt"
        lines = file.read_text(encoding="utf-8").splitlines()
    names = [(re.match(r"[A-Za-z0-9._-]+", line), line.strip()) for line in lines]
    return {match[0]: line for match, line in names if match}


def _version(package: str) -> Optional[str]:
    names = _OPENCV if package in _OPENCV else (package,)  # they all bring cv2
    return next(filter(None, map(installed_version, names)), None)


def _fits(version: str, requirement: str) -> bool:
    try:
        from packaging.requirements import Requirement
    except ImportError:  # MindSpore needs it, so that is missing too, and reported
        return True
    return Requirement(requirement).specifier.contains(version, prereleases=True)


def _import(module: str) -> Tuple[bool, str]:
    """(whether the module can be imported, why not), in a process of its own, because a library may crash it.

    For MindSpore that works: why it cannot use Ascend, or "".
    """
    source = str(Path(rtseg.__file__).parents[1])
    code = f"import sys; sys.path[0] = {source!r}; import {module}"  # not from the working folder
    if module == "mindspore":
        code += "; from rtseg.runtime.device import why_no_ascend; print('why:', why_no_ascend())"
    exit_code, output = _run([sys.executable, "-c", code])
    lines = output.strip().splitlines() or [f"exit code {exit_code}"]
    if exit_code:
        return False, lines[-1]
    return True, next((line[len("why:"):].strip() for line in lines if line.startswith("why:")), "")


def _run(command: Sequence[str]) -> Tuple[int, str]:
    """(exit code, what it printed); code 1 and the reason if it cannot be started or takes too long."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=_SECONDS)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return 1, str(error)
    return done.returncode, done.stdout.decode(errors="replace")


# --- Ascend ---

def check_devices(machine: Machine) -> Iterator[Finding]:
    """Device files and what npu-smi says of them."""
    devices = machine.devices()
    if not devices:
        yield Finding("note", "no Ascend device (/dev/davinci*), so the CPU is used; in a container give it "
                              "--device /dev/davinci0 and the others")
        return
    yield Finding("ok", "Ascend devices: " + ", ".join(device.name for device in devices))
    for path in [*devices, *(machine.root / "dev" / name for name in _MANAGERS)]:
        if not path.exists():
            yield Finding("error", f"{path}: expected next to the devices; give it to the container with --device, or "
                                   "install the driver")
        elif not os.access(path, os.R_OK | os.W_OK):
            yield Finding("error", f"{path}: this user may not use it; join the group that owns it (usually "
                                   "HwHiAiUser), or run as root")
    yield from _npu_smi(machine)


def _npu_smi(machine: Machine) -> Iterator[Finding]:
    folders = [str(machine.root / "usr" / "local" / folder) for folder in ("bin", "sbin")]
    tool = shutil.which("npu-smi") or shutil.which("npu-smi", path=os.pathsep.join(folders))
    if not tool:
        yield Finding("note", "npu-smi not found, so the health of the devices is unknown; in a container mount "
                              "/usr/local/bin/npu-smi")
        return
    code, output = _run([tool, "info"])
    chips = _NPU_LINE.findall(output)
    if code or not chips:
        reason = (output.strip().splitlines() or ["no output"])[-1]
        yield Finding("error", f"npu-smi info: expected a line for each device, found exit code {code}, {reason}; "
                               "install or reload the driver")
    for number, name, health in chips:
        yield Finding("ok" if health == "OK" else "warning", f"NPU {number}: {name}, health {health}" + (
            "" if health == "OK" else f"; npu-smi info -t health -i {number} says why"))


def check_cann(machine: Machine) -> Iterator[Finding]:
    """CANN, its driver, and whether they fit each other and MindSpore."""
    home, level = machine.cann(), "error" if machine.devices() else "note"
    if home is None:
        place = os.environ.get("ASCEND_HOME_PATH") or "/usr/local/Ascend"
        yield Finding(level, f"no CANN in {place}; Ascend devices need it: install the toolkit and source its "
                             "set_env.sh, or take a CANN image (docs/deployment.md)")
        return
    facts = _facts(sorted(home.glob("*-linux/ascend_toolkit_install.info"))
                   + [home / name / "version.info" for name in ("toolkit", "compiler", "opp", "runtime")])
    version = facts.get("version_dir") or facts.get("version", "")  # of old packages `version` is a part's
    if not version:
        yield Finding("warning", f"CANN in {home}: expected its version in compiler/version.info, found none that can "
                                 "be read; check its permissions, or install it again")
        return
    yield Finding("ok", f"CANN {version} in {home}")
    if not os.environ.get("ASCEND_HOME_PATH"):
        scripts = [place / "set_env.sh" for place in (home, home.parent)]
        yield Finding("warning", "ASCEND_HOME_PATH is not set, so CANN's libraries are not found; source "
                                 f"{next(filter(Path.is_file, scripts), scripts[0])}")
    yield from _mindspore_fits(version)
    driver = machine.root / "usr" / "local" / "Ascend" / "driver" / "version.info"
    yield from _driver_fits(_facts([driver]), facts, file=driver, level=level)


def _facts(files: Sequence[Path]) -> Dict[str, str]:
    """The values of lines `name=value`, names in lower case; of the first file that has each."""
    facts: Dict[str, str] = {}
    for file in files:
        try:
            text = read_regular_file(file, _MOST_BYTES).decode(errors="replace")
        except OSError:
            continue
        for name, _, value in (line.partition("=") for line in text.splitlines()):
            facts.setdefault(name.strip().lower(), value.strip().strip('"'))
    return facts


def _mindspore_fits(cann: str) -> Iterator[Finding]:
    mindspore = _version("mindspore")
    if mindspore is None:
        return
    expected, found = _CANN_OF_MINDSPORE.get(mindspore), ".".join(cann.split(".")[:2])
    if expected is None:
        yield Finding("note", f"MindSpore {mindspore}: compare https://www.mindspore.cn/install with CANN {cann}")
    elif expected == found:
        yield Finding("ok", f"MindSpore {mindspore} is built for CANN {expected}")
    else:
        fitting = "".join(f" or mindspore=={name}" for name, version in _CANN_OF_MINDSPORE.items() if version == found)
        yield Finding("warning", f"MindSpore {mindspore} is built for CANN {expected}, found {cann}; install CANN "
                                 f"{expected}{fitting}")


def _driver_fits(driver: Dict[str, str], cann: Dict[str, str], *, file: Path, level: str) -> Iterator[Finding]:
    """The packages list the releases that they work with, such as V100R001C21; one of the two has to name the other."""
    version = driver.get("version")
    if not version:
        yield Finding(level, f"{file}: expected the driver's version, found nothing that can be read; install "
                             "the driver, or mount this file into the container")
        return
    releases = [re.match(r"V\d+R\d+C\d+", facts.get("innerversion", "")) for facts in (driver, cann)]
    lists = [facts.get("compatible_version", "") for facts in (cann, driver)]
    if not all(releases) or not all(lists):
        yield Finding("note", f"driver {version}: ascend-dmi -c compares it with CANN")
    elif any(release and f"[{release[0]}]" in listed for release, listed in zip(releases, lists)):
        yield Finding("ok", f"driver {version} fits CANN")
    else:
        yield Finding("warning", f"driver {version}: neither it nor CANN lists the other as compatible; install the "
                                 "driver that CANN's release notes name")


# --- engines, disk, rank table ---

def check_engines(machine: Machine) -> Iterator[Finding]:
    """The libraries that the C++ program runs models with; OpenVINO and ONNX Runtime are among the packages."""
    lite, cann = os.environ.get("LITE_HOME"), machine.cann()
    places = {"MindSpore Lite": [Path(lite) / "runtime" / "lib" / "libmindspore-lite.so"] if lite else [],
              "AscendCL": [cann / folder / "libascendcl.so" for folder in ("lib64", "runtime/lib64")] if cann else []}
    hints = {"MindSpore Lite": "unpack its tarball and set LITE_HOME to the folder", "AscendCL": "install CANN"}
    for name, libraries in places.items():
        library = next((path for path in libraries if path.is_file()), None)
        yield Finding("ok", f"{name}: {library}") if library else Finding(
            "note", f"{name}: no {libraries[0] if libraries else 'library'}; to run models with it, {hints[name]}")


def check_disk(machine: Machine) -> Iterator[Finding]:
    """Free space where runs, temporary files and ModelArts' copies go."""
    folders = dict.fromkeys([os.getcwd(), tempfile.gettempdir(), str(machine.root / "cache")])
    for folder in filter(os.path.isdir, folders):
        free = shutil.disk_usage(folder).free / 1e9
        yield Finding("ok", f"disk: {free:.1f} GB free in {folder}") if free >= _LEAST_GIGABYTES else Finding(
            "warning", f"disk: {free:.1f} GB free in {folder}, expected {_LEAST_GIGABYTES}; free some, or choose "
                       "another --output_path (TMPDIR for temporary files)")


def check_rank_table(machine: Machine) -> Iterator[Finding]:
    """The table that is given, in either form."""
    if not machine.rank_table:
        return
    table = read_rank_table(machine.rank_table)
    yield Finding("ok", f"rank table {table.source}: devices {table.group_size}, servers {len(table.servers)}")


CHECKS = (check_python, check_packages, check_devices, check_cann, check_engines, check_disk, check_rank_table)


def examine(machine: Machine) -> Iterator[Finding]:
    """All findings, in the order of CHECKS."""
    for check in CHECKS:
        try:
            yield from check(machine)
        except UserError as error:  # it says what to do
            yield Finding("error", str(error))
        except Exception as error:  # whatever is broken here, the other checks are still wanted
            yield Finding("warning", f"{check.__name__}: could not be finished, {type(error).__name__}: {error}")


def main(argv: Optional[Sequence[str]] = None) -> int:
    # Not parse_options: pydantic may be what is missing.
    parser = argparse.ArgumentParser(prog="rtseg doctor", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rank_table", metavar="FILE", default=os.environ.get("RANK_TABLE_FILE", ""),
                        help="rank table to check (default: RANK_TABLE_FILE of the environment)")
    options = parser.parse_args(argv)
    levels: List[str] = []
    for finding in examine(Machine(rank_table=options.rank_table)):
        print(finding, flush=True)
        levels.append(finding.level)
    print(f"{levels.count('error')} errors, {levels.count('warning')} warnings")
    return ConfigError.exit_code if "error" in levels else 0
