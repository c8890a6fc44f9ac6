"""README.md and README_CN.md say the same, name only what exists, and every command in them is run.

A ```bash block is run as it stands, in front, except that
- python3 is this interpreter, and /path/to/... are folders of the quick demo (cityscapes, run) or places in the
  test's own folder;
- commands that train, draw, export or measure get the flags of TINY_FLAGS on top, so that they take seconds.
The blocks in RUN_ELSEWHERE are run by what stands next to them.
"""
import re
import shlex
import shutil
import sys

import pytest
from script_helpers import PROJECT, TINY_TRAINING, run

READMES = {name: (PROJECT / name).read_text(encoding="utf-8") for name in ("README.md", "README_CN.md")}
BLOCKS = re.findall(r"^```bash\n(.*?)^```$", READMES["README.md"], re.MULTILINE | re.DOTALL)

RUN_ELSEWHERE = {
    "scripts/run_demo.sh\n": "tests/cli/test_scripts.py",  # in its quick form
    ".venv/bin/python predict.py /path/to/image.jpg --model_path demo_output/model.mindir --output_path seen\n":
        "tests/cli/test_scripts.py",  # with the quick demo's network
    "scripts/run_tests.sh\n": ".ci/run",
    "python3 -m venv .venv\n. .venv/bin/activate\npip install -r requirements.txt -c constraints.txt\n": ".ci/run",
    "pip install -e . -c constraints.txt\n": "tests/test_lint.py",  # which reads its settings; installing is not tested
    # its comparison takes minutes on a CPU
    "python3 -m rtseg.tools.parity --golden tests/goldens/fast_scnn_mmseg.npz\n": "tests/tools/test_parity.py",
    # with files that the test makes: published weights are not ours to bring
    "python3 -m rtseg.tools.convert_torch_weights --model bisenetv1 --input /path/to/published.pth "
    "--output /path/to/bisenetv1.ckpt\n": "tests/tools/test_convert_torch_weights.py",
    "python3 -m rtseg.tools.convert_torch_weights --model bisenetv1 --backbone_only --input /path/to/resnet18.pth \\\n"
    "    --output /path/to/resnet18.ckpt\n"
    "python3 train.py --model bisenetv1 --dataset /path/to/cityscapes --output_path /path/to/output "
    "--pretrained /path/to/resnet18.ckpt\n": "tests/tools/test_convert_torch_weights.py",
    # with a fake for atc
    "scripts/convert_om.sh /path/to/model.onnx Ascend310P3\n": "tests/export/test_export.py",
    # writes to the working folder, which is the project here
    "scripts/run_infer_310.sh /path/to/model.mindir /path/to/cityscapes /path/to/masks 1024 2048\n":
        "tests/test_run_infer_310.py",
    # two-class data that the test draws
    "python3 -m rtseg.tools.check_dataset --dataset /path/to/balls --dataset_config /path/to/balls.yaml\n"
    "python3 train.py --dataset /path/to/balls --dataset_config /path/to/balls.yaml --output_path /path/to/output\n":
        "tests/cli/test_own_data.py",
    # the demo's data set has no test split
    "python3 predict.py /path/to/cityscapes/leftImg8bit/test --config /path/to/run/config.yaml --ckpt_file "
    "/path/to/run/best_map.ckpt --submit 1 --output_path /path/to/test\n": "tests/cli/test_predict.py",
    # processes start and end as users start them
    "scripts/run_distribute_train.sh . /path/to/cityscapes 1000 12 0.045 /path/to/output - --dry_run\n"
    "DEVICE_TARGET=CPU RANK_SIZE=2 scripts/run_distribute_train.sh . /path/to/cityscapes 10 2 0.01 /path/to/output -\n":
        "tests/launch/test_run_distribute_train.py",
    "scripts/run_distribute_train.sh . /path/to/cityscapes 1000 12 0.045 /path/to/output - --node_num=4 --node_rank=0 "
    "--master_addr=10.0.0.1\n": "tests/launch/test_run_distribute_train.py",
    # with fakes for hccn.conf and other servers' tables
    "python3 scripts/make_rank_table.py --output rank_table_8.json\n"
    "python3 scripts/make_rank_table.py --merge server_0.json server_1.json --output rank_table_16.json\n":
        "tests/runtime/test_rank_table.py",
}
TINY_FLAGS = {
    "train.py": (*TINY_TRAINING, "--epochs=3", "--output_path={output}/train"),
    "run_train.sh": (*TINY_TRAINING, "--epochs=3"),
    "export.py --config": ("--image_height=64", "--image_width=128"),
    "rtseg.tools.complexity": ("--model=fast_scnn", "--image_height=64", "--image_width=128"),
    "benchmarks/cpp_inference.py": ("--image_height=64", "--image_width=128", "--images=2", "--rounds=1"),
    "benchmarks/forward.py": ("--models=fast_scnn/tramac", "--image_height=64", "--image_width=128", "--rounds=1"),
    "rtseg.synthetic.generator": ("--train=2", "--val=1", "--test=0", "--height=64", "--width=128"),
}
# Named in the text, but made by the programs.
GENERATED = {"config.yaml", "train.log", "metrics.csv", "curves.png", "best_map.ckpt", "last.ckpt", "ckpt_0/",
             "log.txt", "eval_results.txt", "contact_sheet.png", "class_iou.png", "mask/", "overlay/", "legend.png",
             "class_map/", "submit/", "tensorboard/", "seen/overlay/",
             "preprocess.log", "infer.log", "acc.log"}
# Named in the text as what the reader adds, or as what this version does not have.
ABSENT = {"src/models/my_net.py", "configs/my_net.yaml"}


def code_spans(text):
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))


def test_both_languages_have_the_same_commands_code_sections_and_tables():
    english, chinese = READMES.values()
    for pattern in (r"^```.*?^```$", r"^#+ ", r"^\|( |-)", r"\]\((?!README|#)[^)]*\)"):
        expected, found = ([match[0] for match in re.finditer(pattern, text, re.MULTILINE | re.DOTALL)]
                           for text in (english, chinese))
        assert found == expected != []
    assert sorted(code_spans(english)) == sorted(code_spans(chinese))


@pytest.mark.parametrize("readme", READMES)
def test_files_it_names_exist(readme):
    paths = re.findall(r"\]\((?!https?:|#)([^)]+)\)", READMES[readme])
    paths += [span for span in code_spans(READMES[readme]) if re.fullmatch(r"[\w./-]+(\.\w+|/)", span)
              and not re.fullmatch(r"[\d.]+", span)]
    assert {"train.py", "configs/fast_scnn.yaml", "docs/demo.jpg"} <= set(paths)
    missing = {path for path in paths if not (PROJECT / path).exists() and path not in GENERATED}
    assert missing == ABSENT


@pytest.mark.parametrize("readme", READMES)
def test_flags_it_names_exist(readme):
    known = {"--foreground", "--flag", "--dry_run", "--node_num", "--node_rank", "--master_addr",  # of the scripts
             "--output", "--merge", "--dataset_config"}
    for command in (["train.py"], ["eval.py"], ["export.py"], ["predict.py"], ["-m", "rtseg.synthetic.generator"],
                    ["-m", "rtseg.tools.parity"], ["-m", "rtseg.tools.convert_torch_weights"]):
        known.update(re.findall(r"--\w+", run(sys.executable, *command, "--help").stdout))
    assert set(re.findall(r"(?<![\w-])--[a-z]\w*", READMES[readme])) <= known


@pytest.mark.parametrize("block", RUN_ELSEWHERE, ids=lambda block: block.split()[0])
def test_blocks_run_elsewhere_are_in_the_readme(block):
    assert block in BLOCKS
    assert (PROJECT / RUN_ELSEWHERE[block]).is_file()


@pytest.mark.parametrize("block", [block for block in BLOCKS if block not in RUN_ELSEWHERE],
                         ids=lambda block: block[:40])
def test_command(block, quick_demo, tmp_path):
    _, demo = quick_demo
    (run_folder,) = (demo / "train").iterdir()
    commands = block.replace("\\\n", " ").splitlines()
    for i, command in enumerate(commands):
        for tool, flags in TINY_FLAGS.items():
            if tool in command and "--help" not in command:
                command += " " + shlex.join(flag.format(output=tmp_path) for flag in flags)
        for placeholder, path in (("/path/to/cityscapes", demo / "data_64x128"), ("/path/to/run", run_folder),
                                  ("/path/to", tmp_path)):
            command = command.replace(placeholder, shlex.quote(str(path)))
        commands[i] = re.sub(r"^python3 ", f"{shlex.quote(sys.executable)} ", command)
    process = run("bash", "-ec", "\n".join(commands), FOREGROUND="1")
    assert process.returncode == 0, f"{commands}\n{process.stdout}\n{process.stderr}"


def fenced(language):
    """The only block of that language."""
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", READMES["README.md"], re.MULTILINE | re.DOTALL)
    return block


def replace_once(text, old, new):
    assert text.count(old) == 1, f"expected once: {old}"
    return text.replace(old, new)


def apply_diff(text, diff):
    """`diff` has hunks without line numbers, separated by empty lines."""
    for hunk in diff.strip("\n").split("\n\n"):
        old, new = ("".join(line[1:] + "\n" for line in hunk.split("\n") if line[0] in kept) for kept in (" -", " +"))
        text = replace_once(text, old, new)
    return text


def test_added_network_trains_and_exports(quick_demo, tmp_path):
    """The section "Adding a network", in a copy of the project."""
    _, demo = quick_demo
    for name in ("src", "configs"):
        shutil.copytree(PROJECT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("train.py", "export.py"):
        shutil.copy(PROJECT / name, tmp_path)
    (tmp_path / "src" / "models" / "my_net.py").write_text(fenced("python"))
    registry = tmp_path / "src" / "models" / "__init__.py"
    registry.write_text(apply_diff(registry.read_text(), fenced("diff")))
    recipe = (tmp_path / "configs" / "fast_scnn.yaml").read_text()
    for line in fenced("yaml").splitlines():
        recipe, replaced = re.subn(rf"^{line.split(':')[0]}:.*", line, recipe, flags=re.MULTILINE)
        assert replaced == 1
    (tmp_path / "configs" / "my_net.yaml").write_text(recipe)

    done = run(sys.executable, "train.py", "--model=my_net", f"--dataset={demo / 'data_64x128'}", "--output_path=runs",
               "--epochs=1", *TINY_TRAINING, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (run_folder,) = (tmp_path / "runs").iterdir()
    done = run(sys.executable, "export.py", f"--config={run_folder}/config.yaml", "--file_format=ONNX",
               f"--ckpt_file={run_folder}/best_map.ckpt", "--image_height=64", "--image_width=128", cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "exported my_net.onnx"), done.stderr
