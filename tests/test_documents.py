"""What the documents say is true: their commands work, the files, flags and headings that they name exist.

An HTML comment directly above each ```bash or ```python block says what is done with it here:

    <!-- test: run -->          run as it stands, in seconds: see `prepare` and TINY_FLAGS
    <!-- test: help -->         not run; every program in it must exist and know the flags that it is given
    <!-- test: skip REASON -->  not run and not read

README_CN.md has the blocks of README.md, so those are run once.
"""
import functools
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import List, NamedTuple, Optional, Set

import pytest
from script_helpers import PROJECT, TINY_TRAINING, run

PAGES = ["README.md", "README_CN.md", "CONTRIBUTING.md",
         *sorted(f"docs/{page.name}" for page in (PROJECT / "docs").glob("*.md"))]
TEXTS = {page: (PROJECT / page).read_text(encoding="utf-8") for page in PAGES}
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)

# What makes a command small enough for a test; the first key that is part of the command counts.
TINY_FLAGS = {
    "run_train.sh": (*TINY_TRAINING, "--epochs=3"),
    "train": (*TINY_TRAINING, "--epochs=3", "--output_path={folder}/train"),
    "--from_mindir": (),  # has its size
    "export": ("--image_height=64", "--image_width=128"),
    "complexity": ("--model=fast_scnn", "--image_height=64", "--image_width=128"),
    "synthetic": ("--train=2", "--val=1", "--test=0", "--height=64", "--width=128"),
}
# Programs of others, whose flags are not ours to check.
FOREIGN = {"pip", "git", "cd", "source", ".", "cmake", "ctest", "isort", "clang-format"}
# A script hands the flags that it does not know to this subcommand.
SUBCOMMAND_OF_SCRIPT = {"run_train.sh": "train", "sweep.sh": "train", "run_distribute_train.sh": "train",
                        "run_eval.sh": "eval", "benchmark_batches.sh": "export"}
# Files and folders that are named in the text but made by the programs, or by the reader and the platform.
MADE_BY_PROGRAMS = {
    "config.yaml", "train.log", "log.txt", "metrics.csv", "curves.png", "best_map.ckpt", "last.ckpt", "ckpt_0/",
    "tensorboard/", "profile/operators.csv", "trace_view.json", "op_statistic.csv", "result.json", "eval_results.txt",
    "eval_results.json", "class_iou.png", "contact_sheet.png", "scores.csv", "confusion_matrix.png", "mask/",
    "overlay/", "class_map/", "confidence/", "submit/", "legend.png", "seen/overlay/", "preprocess.log", "infer.log",
    "acc.log", "img_data/", "label/", "result_Files/", "time_Result/"}
MADE_BY_READER = {"src/rtseg/models/my_net.py", "configs/my_net.yaml", "jobstart_hccl.json", "hccl_tools.py",
                  "icnet.yaml", "src/model_utils/icnet.yaml"}  # the last two: in the code of others


class Block(NamedTuple):
    page: str
    line: int
    action: str    # run, help, skip; empty if there is no marker
    reason: str
    language: str
    text: str

    def __str__(self):
        return f"{self.page}:{self.line}"


def blocks_of(page: str) -> List[Block]:
    text = TEXTS[page]
    found = re.finditer(r"^(?:<!-- test: (\w+)(?: ([^\n]*))? -->\n)?```(bash|python)\n(.*?)^```$", text,
                        re.MULTILINE | re.DOTALL)
    return [Block(page, text.count("\n", 0, match.start(3)) + 1, match[1] or "", match[2] or "", match[3], match[4])
            for match in found]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
OWN_BLOCKS = [block for block in BLOCKS if block.page != "README_CN.md"]


def with_action(action: str):
    return pytest.mark.parametrize("block", [block for block in OWN_BLOCKS if block.action == action], ids=str)


def commands(block: Block) -> List[str]:
    lines = block.text.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def test_every_block_says_what_is_tested():
    assert [str(block) for block in BLOCKS if block.action not in ("run", "help", "skip")] == []
    assert [str(block) for block in BLOCKS if (block.action == "skip") != bool(block.reason)] == []


# Running

@pytest.fixture
def prepare(quick_demo, tmp_path):
    """Text -> the same with small sizes, and with paths of the quick demo or of the test's folder for /path/to/..."""
    _, demo = quick_demo
    (run_folder,) = (demo / "train").iterdir()
    shutil.copy(next((demo / "data_64x128").rglob("*_leftImg8bit.png")), tmp_path / "street.png")

    def replace(text, quote=str):
        for placeholder, path in (("/path/to/cityscapes", demo / "data_64x128"), ("/path/to/run", run_folder),
                                  ("/path/to", tmp_path)):
            text = text.replace(placeholder, quote(str(path)))
        return text.replace(" 1024 2048", " 64 128")
    return replace


@pytest.mark.slow
@with_action("run")
def test_block_runs(block, prepare, tmp_path, quick_demo):
    clone = tmp_path / "clone"  # what a command leaves in the working folder must not be left in this clone
    clone.mkdir()
    for path in PROJECT.iterdir():
        (clone / path.name).symlink_to(path)
    if "--file_name /path/to/model" not in block.text:
        for suffix in (".mindir", ".onnx", ".json"):
            shutil.copy(quick_demo[1] / f"model{suffix}", tmp_path)
    if block.language == "python":
        done = run(sys.executable, "-c", prepare(block.text), cwd=clone, MPLBACKEND="Agg")
    else:
        lines = []
        for command in commands(block):
            tiny = next((flags for name, flags in TINY_FLAGS.items() if name in command), ())
            command = prepare(command, shlex.quote) + " " + shlex.join(flag.format(folder=tmp_path) for flag in tiny)
            command = re.sub(r"^rtseg ", "python3 -m rtseg ", command)
            lines.append(re.sub(r"^python3 ", f"{shlex.quote(sys.executable)} ", command))
        done = run("bash", "-ec", "\n".join(lines), cwd=clone, FOREGROUND="1", LITE_HOME="",
                   BUILD_DIR=str(quick_demo[1] / "infer" / "build"))
    assert done.returncode == 0, f"{block}\n{block.text}\n{done.stdout}\n{done.stderr}"


# Programs and flags

def flags_in(text: str) -> Set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text))


@functools.lru_cache(None)
def flags_of_help(*command: str) -> Set[str]:
    done = run(*command, "--help")
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return flags_in(done.stdout) | {"--help"}


def flags_of_script(name: str) -> Set[str]:
    flags = flags_in((PROJECT / "scripts" / name).read_text(encoding="utf-8")) | {"--foreground"}
    if name in SUBCOMMAND_OF_SCRIPT:
        flags |= flags_of_help(sys.executable, "-m", "rtseg", SUBCOMMAND_OF_SCRIPT[name])
    return flags


def flags_of_cpp_program() -> Set[str]:
    source = (PROJECT / "ascend310_infer" / "src" / "flags.cc").read_text(encoding="utf-8")
    return {f"--{name}" for name in re.findall(r'\{"([a-z]\w+)"', source)}


def known_flags(command: str) -> Optional[Set[str]]:
    """Flags of the program that the command starts; None if it is somebody else's."""
    words = [word for word in shlex.split(command) if not re.match(r"[A-Z_]+=", word)]
    program, *rest = words
    if program in FOREIGN or rest[:2] == ["-m", "venv"]:
        return None
    if program == "rtseg":
        return flags_of_help(sys.executable, "-m", "rtseg", *([rest[0]] if rest and rest[0][0] != "-" else []))
    if Path(program).name.startswith("python"):
        target = rest[:2] if rest[0] == "-m" else rest[:1]
        return flags_of_help(sys.executable, *target)
    if program.startswith("scripts/"):
        return flags_of_script(Path(program).name)
    if Path(program).name == "main":
        return flags_of_cpp_program()
    raise AssertionError(f"a program that this test does not know: {program}")


@with_action("help")
def test_programs_and_flags_of_block_exist(block):
    for command in commands(block):
        known = known_flags(command)
        assert known is None or flags_in(command) <= known, f"{block}: {command}"


@pytest.fixture(scope="module")
def all_flags():
    from rtseg.cli.main import COMMANDS

    flags = flags_of_cpp_program() | flags_of_help(sys.executable, "-m", "rtseg")
    for name in COMMANDS:
        flags |= flags_of_help(sys.executable, "-m", "rtseg", name)
    for script in (PROJECT / "scripts").glob("*.sh"):
        flags |= flags_of_script(script.name)
    return flags | {"--flag", "--no-deps", "--durations"}  # in "--flag=value", and of pip and pytest


@pytest.mark.parametrize("page", PAGES)
def test_flags_in_the_text_exist(page, all_flags):
    assert flags_in(" ".join(code_spans(page))) - all_flags == set()


# Files and headings

def code_spans(page: str) -> List[str]:
    text = FENCE.sub("", TEXTS[page])
    if page == "docs/coming_from.md":  # the first column has the names of others
        text = re.sub(r"^\|[^|]*", "", text, flags=re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", text)


@pytest.mark.parametrize("page", PAGES)
def test_files_in_the_text_exist(page):
    paths = {span for span in code_spans(page)
             if re.fullmatch(r"[\w./-]*(\w\.(py|sh|md|yaml|yml|txt|csv|json|png|log|ckpt|toml|cfg|h|cc)|\w/)", span)}
    folders = (PROJECT, PROJECT / "src" / "rtseg")
    assert sorted(path for path in paths - MADE_BY_PROGRAMS - MADE_BY_READER
                  if not any((folder / path).exists() for folder in folders)) == []


def anchors(page: str) -> Set[str]:
    headings = re.findall(r"^#+ (.*)", FENCE.sub("", TEXTS[page]), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    wrong = []
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", FENCE.sub("", TEXTS[page])):
        path, _, anchor = link.partition("#")
        target = (PROJECT / page).parent / path if path else PROJECT / page
        name = target.resolve().relative_to(PROJECT).as_posix() if target.exists() else None
        if name is None or anchor and anchor not in anchors(name):
            wrong.append(link)
    assert wrong == []


# Two languages

def test_chinese_readme_has_the_same_sections_blocks_and_scores():
    english, chinese = (TEXTS[page] for page in ("README.md", "README_CN.md"))
    blocks, translated = ([block[2:] for block in blocks_of(page)] for page in ("README.md", "README_CN.md"))
    assert [block for block in translated if block in blocks] == blocks
    assert {block for block in translated} <= {block[2:] for block in OWN_BLOCKS}
    for facts in (heading_levels, numbers_in_tables):
        assert facts(english) == facts(chinese)[:len(facts(english))]


def heading_levels(text: str) -> List[str]:
    return re.findall(r"^(#+) ", FENCE.sub("", text), re.MULTILINE)


def numbers_in_tables(text: str) -> List[str]:
    return re.findall(r"\d[\d.,]*\d|\d", " ".join(re.findall(r"^\|.*$", text, re.MULTILINE)))
