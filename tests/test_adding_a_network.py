"""docs/adding_a_network.md, followed to the letter in a copy of the project."""
import re
import shutil
import sys

from script_helpers import PROJECT, TINY_TRAINING, run

PAGE = (PROJECT / "docs" / "adding_a_network.md").read_text(encoding="utf-8")


def only_block(language):
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return block


def apply_diff(text, diff):
    """`diff` has hunks without line numbers, separated by empty lines."""
    for hunk in diff.strip("\n").split("\n\n"):
        old, new = ("".join(line[1:] + "\n" for line in hunk.split("\n") if line[0] in kept) for kept in (" -", " +"))
        assert text.count(old) == 1, f"expected once: {old}"
        text = text.replace(old, new)
    return text


def test_added_network_trains_and_exports(quick_demo, tmp_path):
    _, demo = quick_demo
    for name in ("src", "configs"):
        shutil.copytree(PROJECT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("train.py", "export.py"):
        shutil.copy(PROJECT / name, tmp_path)
    models = tmp_path / "src" / "rtseg" / "models"
    (models / "my_net.py").write_text(only_block("python"))
    (models / "registry.py").write_text(apply_diff((models / "registry.py").read_text(), only_block("diff")))
    recipe = (tmp_path / "configs" / "fast_scnn.yaml").read_text()
    for line in only_block("yaml").splitlines():
        recipe, replaced = re.subn(rf"^{line.split(':')[0]}:.*", line, recipe, flags=re.MULTILINE)
        assert replaced == 1
    (tmp_path / "configs" / "my_net.yaml").write_text(recipe)

    variables = {"cwd": tmp_path, "PYTHONPATH": ""}
    done = run(sys.executable, "train.py", "--model=my_net", f"--dataset={demo / 'data_64x128'}", "--output_path=runs",
               "--epochs=1", *TINY_TRAINING, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    (run_folder,) = (tmp_path / "runs").iterdir()
    done = run(sys.executable, "export.py", f"--config={run_folder}/config.yaml", "--file_format=ONNX",
               f"--ckpt_file={run_folder}/best_map.ckpt", "--image_height=64", "--image_width=128", **variables)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "exported my_net.onnx"), done.stderr
