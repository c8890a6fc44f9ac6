"""The Dockerfile without a Docker daemon: its form, its context, and its RUN steps as shell commands in a folder.

Stand-ins take the place of what needs root, a network or minutes: apt-get, useradd and install are noted, pip installs
this package only and checks that the requirements are here, and cmake configures without compiling.
"""
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from script_helpers import PROJECT, run, skip_unless_installed

STAND_INS = {
    "pip": f"""\
case "$*" in
*" .") exec {sys.executable} -m pip "$@" --quiet --no-index --no-build-isolation --ignore-installed \\
    --prefix "$ROOT/usr/local" ;;
*) [ -z "$({sys.executable} {PROJECT}/scripts/missing_requirements.py requirements.txt)" ] ;;
esac""",
    "cmake": """\
case "$1" in
--build) touch "$2/main" ;;
*) exec "$CMAKE" "$@" ;;
esac""",
    **dict.fromkeys(("apt-get", "useradd", "install"), "")}


def instructions():
    """(instruction, its argument), with continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (PROJECT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = filter(None, text.replace("\\\n", " ").splitlines())
    return [(line.split(None, 1)[0], " ".join(line.split(None, 1)[1].split())) for line in lines]


def arguments_of(name):
    return [argument for instruction, argument in instructions() if instruction == name]


def context_files():
    """What Docker sends to the build: the files of a clone that .dockerignore leaves."""
    ignored = [line for line in (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
               if line and line[0] != "#"]
    files = run("git", "ls-files", "--cached", "--others", "--exclude-standard").stdout.splitlines()

    def is_sent(file):
        parts = file.split("/")
        folders = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
        return not any(fnmatch.fnmatchcase(folder, pattern) for folder in folders for pattern in ignored)
    return [file for file in files if is_sent(file) and (PROJECT / file).is_file()]


def test_form():
    assert [name for name, _ in instructions() if name not in (
        "FROM", "RUN", "WORKDIR", "COPY", "USER", "ENTRYPOINT", "CMD")] == []
    (base,) = arguments_of("FROM")
    assert re.fullmatch(r"python:3\.11-slim-\w+", base)  # one release of Debian, not whatever is newest
    for step in arguments_of("RUN"):
        assert "sudo" not in step and not re.search(r"(&&|^) cd ", step)
        if "apt-get" in step:
            assert step.startswith("apt-get update && apt-get install -y --no-install-recommends ")
            assert step.endswith(" && rm -rf /var/lib/apt/lists/*")
        assert "pip install" not in step or "pip install --no-cache-dir " in step
    assert all(folder.startswith("/") for folder in arguments_of("WORKDIR"))
    user = arguments_of("USER")[-1]
    assert user not in ("root", "0") and any(f"useradd --create-home --uid 1000 {user} " in step
                                             for step in arguments_of("RUN"))
    # After the last USER nothing needs root, and the program exists.
    assert [name for name, _ in instructions()][-4:] == ["USER", "WORKDIR", "ENTRYPOINT", "CMD"]
    (program,), _ = (json.loads(arguments_of(name)[0]) for name in ("ENTRYPOINT", "CMD"))
    assert re.search(rf'^{program} = "rtseg\.', (PROJECT / "pyproject.toml").read_text(), re.MULTILINE)


def test_packages_of_debian_are_those_that_the_tests_are_run_with():
    (step,) = [step for step in arguments_of("RUN") if "apt-get" in step]
    named = re.search(r"--no-install-recommends ([\w+. -]+) &&", step)[1].split()
    installed = re.search(r"^ *packages=\((.*)\)$", (PROJECT / ".ci" / "run").read_text(), re.MULTILINE)[1].split()
    assert sorted(named) == sorted([*installed, "make"])


def test_context_has_what_is_copied_and_no_more():
    files = context_files()
    for sources in arguments_of("COPY"):
        *names, _ = sources.split()
        assert [name for name in names if name != "." and name not in files] == []
    assert not {file.split("/")[0] for file in files} & {".git", ".ci", "tests", "docs", "benchmarks", "Dockerfile"}
    assert {"setup.py", "README.md", "LICENSE", "configs/fast_scnn.yaml", "ascend310_infer/build.sh"} <= set(files)


def test_steps_as_a_script(tmp_path):
    skip_unless_installed("requirements.txt", "requirements-test.txt")
    if shutil.which("cmake") is None:
        pytest.skip("CMake is not here; scripts/run_tests.sh says how to install it")
    root, tools = tmp_path / "root", tmp_path / "tools"
    clone = root / "opt" / "rtseg"
    for folder in (clone, tools, root / "usr" / "local" / "bin"):
        folder.mkdir(parents=True)
    for file in context_files():
        (clone / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / file, clone / file)
    for name, text in STAND_INS.items():
        (tools / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/log\n{text}\n')
        (tools / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "ROOT": str(root),
                   "CMAKE": shutil.which("cmake"), "PYTHON": sys.executable}
    del environment["PYTHONPATH"]
    for step in arguments_of("RUN"):
        here = re.sub(r"(?<=[ =])/(?=\w)", f"{root}/", step)  # nothing outside of the folder is touched
        done = subprocess.run(["sh", "-ec", here], cwd=clone, env=environment, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{step}\n{done.stdout}{done.stderr}"

    calls = (tmp_path / "log").read_text().splitlines()
    assert [call.split()[0] for call in calls] == [
        "apt-get", "apt-get", "pip", "pip", "cmake", "cmake", "useradd", "install"]
    binaries = root / "usr" / "local" / "bin"
    assert (binaries / "rtseg-infer").resolve() == clone / "ascend310_infer" / "build" / "main"
    (packages,) = root.glob("usr/local/lib/python*/site-packages")
    done = subprocess.run([binaries / "rtseg", "--help"], cwd=tmp_path, capture_output=True, text=True,
                          env={**environment, "PYTHONPATH": str(packages)})
    assert done.stdout.startswith("usage: rtseg COMMAND "), done.stderr
    assert sorted(path.name for path in Path(clone).iterdir() if path.name in ("build", "tests", "docs")) == []
