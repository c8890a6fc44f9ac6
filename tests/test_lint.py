"""Linters, installed packages, and what the pages for contributors say. The rules: pyproject.toml, .clang-format."""
import os
import re
import sys
import sysconfig
from pathlib import Path

import pytest
from script_helpers import PROJECT, run, skip_unless_installed

import rtseg

PYTHON = [*sorted(PROJECT.glob("*.py")), "ascend310_infer", "benchmarks", "scripts", "src", "tests"]
SHELL = [*sorted(PROJECT.glob("scripts/*.sh")), *sorted(PROJECT.glob("test/*.sh")),
         PROJECT / "ascend310_infer" / "build.sh", PROJECT / ".ci" / "run"]
CPP = [path for folder in ("inc", "src", "test") for path in sorted((PROJECT / "ascend310_infer" / folder).rglob("*"))
       if path.suffix in (".cc", ".h")]
LINTERS = {"ruff": ("check", "--no-cache", "--quiet", "--output-format=concise", *PYTHON),
           "mypy": ("--no-error-summary", "--cache-dir", os.devnull),
           "isort": ("--check", "--diff", "--quiet", *PYTHON),
           "shellcheck": ("--external-sources", *SHELL),
           "clang-format": ("--dry-run", "-Werror", *CPP)}


@pytest.mark.parametrize("linter", LINTERS)
def test_linter_finds_nothing(linter):
    skip_unless_installed("requirements-test.txt")
    done = run(Path(sysconfig.get_path("scripts")) / linter, *LINTERS[linter])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("script", SHELL, ids=lambda script: script.name)
def test_flags_may_be_none_also_in_the_bash_of_centos_7(script):
    text = script.read_text(encoding="utf-8")
    unguarded = re.findall(r'(?<!\+)"\$\{(?!script_flags|train_flags)\w*flags\[@\]\}"', text)
    assert not unguarded, "expected ${flags[@]+\"${flags[@]}\"}: bash 4.2 calls an empty array unbound"


def test_installed_packages_fit_one_another():
    done = run(sys.executable, "-m", "pip", "check")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "CHANGELOG.md"])
def test_pages_name_what_exists(page):
    text = (PROJECT / page).read_text(encoding="utf-8")
    paths = {name for name in re.findall(r"`([\w./-]+)`|\]\(([\w./-]+)", text) for name in name if "/" in name}
    roots = (PROJECT, PROJECT / "src" / "rtseg")  # rooms of the library are named without the way to it
    assert paths and {path for path in paths if not any((root / path).exists() for root in roots)} == set()


def test_newest_entry_of_the_changelog_is_this_version():
    newest = re.search(r"^## \[?(\d[^\] ]*)", (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert newest == rtseg.__version__
