"""What a training reads: the ranks' order and augmentation, and the dataset cache in place of the image files."""
import os
import sys

import pytest
from data_helpers import Cityscapes, write_sample
from script_helpers import PROJECT, TINY_TRAINING, run

from rtseg.config.recipe import load_config
from rtseg.data.cache import prepare
from rtseg.data.loader import BatchLoader
from rtseg.training.build import build_loader


@pytest.mark.parametrize("diff_seed, seeds", [(0, [5, 5]), (1, [5, 6])])
def test_diff_seed_changes_the_augmentation_and_never_the_order(diff_seed, seeds):
    loaders = [build_loader(load_config(PROJECT / "configs" / "fast_scnn.yaml", {
        "is_distributed": 1, "rank": rank, "group_size": 2, "seed": 5, "diff_seed": diff_seed}), range(20))
        for rank in (0, 1)]
    assert all(isinstance(loader, BatchLoader) for loader in loaders)
    assert [loader.seed for loader in loaders] == seeds and [loader.sampler.seed for loader in loaders] == [5, 5]
    assert len(loaders[0]) == 20 // 8


def test_training_reads_the_cache_and_refuses_one_that_is_not_ready(tmp_path):
    """The images' files may even be empty after the preparation, as long as they keep size and date."""
    for split, name in (("train", "a_0_0"), ("train", "a_1_0"), ("val", "b_0_0")):
        write_sample(tmp_path, split, name, label_ids=7, size=(64, 128))
    folder = tmp_path / "cache"
    flags = (f"--dataset={tmp_path}", f"--prepared_cache={folder}", f"--output_path={tmp_path}/out", *TINY_TRAINING,
             "--max_steps=1")
    refused = run(sys.executable, "train.py", *flags)
    assert refused.returncode == 3
    assert refused.stderr.endswith(
        f"error: 2 of 2 images are not ready in the dataset cache; the first: {folder}/leftImg8bit/train/a/"
        "a_0_0_leftImg8bit.png.raw: is not prepared yet; build or rebuild the cache with rtseg build-cache "
        f"--dataset={tmp_path} --prepared_cache={folder} --dataset_config=cityscapes (--split for others than train "
        "and val)\n")

    assert prepare(Cityscapes(tmp_path, "trainval"), folder) == []
    for path in tmp_path.rglob("*_0_leftImg8bit.png"):
        stat = path.stat()
        path.write_bytes(bytes(stat.st_size))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    done = run(sys.executable, "train.py", *flags)
    assert done.returncode == 0, done.stderr
    assert "performance: " in done.stdout + done.stderr
