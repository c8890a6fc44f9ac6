"""What tests/runtime/test_distributed.py runs under msrun: commands on a tiny network, checks that need several ranks.

    distributed_program.py train|eval FOLDER FLAG...    the command, with the network below as --model tiny
    distributed_program.py both FOLDER FLAG...          train, then eval of its best checkpoint into FOLDER/two
    distributed_program.py checks FOLDER DATASET LOSS...    writes FOLDER/checks_<rank>.json

The training loader's samples go to FOLDER/samples_<rank>.txt, one "epoch index" a line, both from 0. With STOP_AFTER=n
and STOP_RANK, that rank sends itself a SIGTERM when it has loaded n samples. DAMAGED=i makes sample i unreadable.
"""
import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from script_helpers import PROJECT

from rtseg.config.recipe import load_config
from rtseg.data.loader import BatchLoader
from rtseg.models import registry as models
from rtseg.utils.errors import DataError, UserError, run_command

RECIPE = PROJECT / "configs" / "fast_scnn.yaml"
STEPS = 10
SIZE, CLASSES = 32, 5


def tiny_network(num_classes, variant, aux, dropout, bn_momentum, seed):
    """A convolution with BatchNorm and a head, and as many auxiliary heads."""
    from mindspore import nn

    from rtseg.models.interpolation import resize_bilinear
    from rtseg.models.layers import ClassifierHead, ConvBN

    class Tiny(nn.Cell):
        align_corners = False
        labels_to_logits = False

        def __init__(self):
            super().__init__()
            self.encoder = ConvBN(3, 8, kernel_size=3, stride=2, padding=1)
            self.head = ClassifierHead(8, 8, num_classes=num_classes, dropout=dropout, seed=seed)
            self.aux_heads = nn.CellList([ClassifierHead(8, 4, num_classes=num_classes, dropout=dropout,
                                                         seed=seed + 1 + i)
                                          for i in range(aux)])

        def construct(self, x):
            feature = self.encoder(x)
            main = resize_bilinear(self.head(feature), x.shape[2:], align_corners=False)
            if not self.training:
                return main
            outputs = (main,)
            for head in self.aux_heads:
                outputs = outputs + (resize_bilinear(head(feature), x.shape[2:], align_corners=False),)
            return outputs

    return Tiny()


def register() -> None:
    """Makes --model tiny known, and notes the samples of the training loader."""
    models.NETWORKS["tiny"] = models.Network(f"{__name__}.tiny_network", ("plain",))
    models.MODEL_VARIANTS["tiny"], models.MODEL_BACKBONES["tiny"] = ("plain",), ()


def note_samples(folder: Path) -> None:
    rank = os.environ.get("RANK_ID", "0")
    stop_after = int(os.environ.get("STOP_AFTER", "0")) if os.environ.get("STOP_RANK") == rank else 0
    samples, fill = [], BatchLoader._fill

    def noting(self, slot):
        samples.append(f"{slot.epoch} {slot.sample}\n")
        (folder / f"samples_{rank}.txt").write_text("".join(samples))
        if str(slot.sample) == os.environ.get("DAMAGED"):
            raise DataError(f"image {slot.sample} is damaged")
        if len(samples) == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)
        return fill(self, slot)

    BatchLoader._fill = noting


def batches():
    """Images uint8 (4, S, S, 3) and labels uint8 (4, S, S) of each step, the whole batch of all ranks.

    Each image has another number of ignored pixels, and in some steps the last one has no other.
    """
    import numpy as np
    rng = np.random.default_rng(3)
    for step in range(STEPS):
        images = rng.integers(0, 256, (4, SIZE, SIZE, 3), dtype=np.uint8)
        labels = rng.integers(0, CLASSES, (4, SIZE, SIZE), dtype=np.uint8)
        for i, rows in enumerate((0, 20, 31, SIZE if step % 3 == 0 else 5)):
            labels[i, :rows] = 255
        yield images, labels


def ten_steps(loss_name, rank, group_size):
    """Losses of ten steps, and all weights after the first and after the last, as flat arrays.

    `loss_name` is that of a loss, followed by " accumulated" to take each rank's share of the batch in two parts.
    """
    import numpy as np
    from mindspore import Tensor, dtype, set_seed

    from rtseg.training.batch_norm import batch_norms
    from rtseg.training.build import build_train_step

    set_seed(2)
    # About half of the pixels have a probability below 0.2, which is enough for OHEM to be exact too.
    loss_name, _, accumulated = loss_name.partition(" ")
    config = load_config(RECIPE, {"loss": loss_name, "ohem_threshold": "0.2", "accumulate": 2 if accumulated else 1,
                                  "is_distributed": "1", "rank": rank, "group_size": group_size})
    network = tiny_network(CLASSES, "plain", 1, 0.0, None, 0).set_train(True)
    for cell in batch_norms(network):  # the statistics of a share differ from those of the whole
        cell.use_batch_statistics = False
    step = build_train_step(config, network, lr_per_step=[0.5] * STEPS)
    losses, weights = [], []
    for number, (images, labels) in enumerate(batches()):
        inputs = [Tensor(images[rank::group_size]), Tensor(labels[rank::group_size])]
        if group_size == 1:
            loss = step(*inputs)
        else:
            loss, requests = step(*inputs, Tensor([number == 4 and rank == 1], dtype.float32))
            assert float(requests.asnumpy()[0]) == (number == 4)
        losses.append(float(loss.asnumpy()))
        if number in (0, STEPS - 1):
            weights.append(np.concatenate([p.asnumpy().ravel() for p in network.trainable_params()]).tolist())
    return {"losses": losses, "weights": weights}


def evaluate(group, dataset_path):
    """The matrix, the number of images and the errors of a network with random weights; image 2 is unreadable."""
    from mindspore import set_seed

    from rtseg.data.dataset import SegmentationDataset
    from rtseg.inference.evaluator import Evaluator
    from rtseg.inference.predictor import network_predictor

    class Damaged(SegmentationDataset):
        def load(self, index):
            if index == 2:
                raise DataError("image 2 is damaged")
            return super().load(index)

    set_seed(2)
    network = tiny_network(19, "plain", 0, 0.0, None, 0)
    config = load_config(RECIPE)
    dataset = Damaged(dataset_path, "val", spec=config.data.dataset_config)
    predictor = network_predictor(network, mean=config.data.mean, std=config.data.std)
    evaluator = Evaluator(predictor, dataset, num_classes=19, num_workers=1, boundary_iou=True, group=group)
    seen = []
    found = evaluator.run(lambda index, _image, **_: seen.append(index))
    stopped = evaluator.run(should_stop=lambda: group.rank == group.size - 1)
    return {"matrix": found.matrix.matrix.tolist(), "boundary": found.boundary.counts.tolist(), "images": found.images,
            "seen": seen, "errors": [str(error) for error in found.errors], "stopped": stopped is None}


def digests_of_network(seed):
    from mindspore import set_seed

    from rtseg.training.checkpoint import digests
    set_seed(seed)
    return {f"parameter {name}": digest for name, digest in
            digests(tiny_network(CLASSES, "plain", 0, 0.0, None, 0)).items()}


def exchanges(group):
    """The group's own methods, with the results that the test knows literally."""
    import numpy as np
    from mindspore import Parameter, Tensor

    counts = np.array([[2 ** 53 - 1, 0, 2 ** 24 + 1], [1 << group.rank, 16777217 * (group.rank + 1), 7]])
    parameters = [Parameter(Tensor(np.full((2, 3), 10.0 ** group.rank, np.float32)), name="a"),
                  Parameter(Tensor(np.array([group.rank], np.float16)), name="b")]
    group.average(parameters)
    group.assert_replicas_equal(digests_of_network(seed=2))
    try:
        group.assert_replicas_equal(digests_of_network(seed=2 + (group.rank == 1)))
        mismatch = ""
    except UserError as error:
        mismatch = str(error)
    return {"counts": group.all_reduce_int(counts).tolist(), "scalar": int(group.all_reduce_int(5)),
            "any": [group.any_rank(group.rank == 1), group.any_rank(False)], "gather": group.gather("ü" * group.rank),
            "broadcast": group.broadcast(f"of rank {group.rank}"), "mismatch": mismatch,
            "averages": [parameter.asnumpy().ravel().tolist() for parameter in parameters]}


def checks(folder: Path, dataset_path, *losses) -> int:
    from rtseg.runtime.distributed import start

    config, group = start(load_config(RECIPE, {"is_distributed": "1"}))
    found = {"rank": config.run.rank, "group_size": config.run.group_size, "exchanges": exchanges(group),
             "evaluation": evaluate(group, dataset_path)}
    for loss in losses:
        found[loss] = ten_steps(loss, group.rank, group.size)
    (folder / f"checks_{group.rank}.json").write_text(json.dumps(found))
    group.barrier()
    return 0


def main(_) -> int:
    mode, folder, arguments = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    if mode == "checks":
        return checks(folder, *arguments)
    register()
    note_samples(folder)
    if "DAMAGED" in os.environ and os.environ["MS_ROLE"] == "MS_SCHED":
        os.environ["MS_NODE_TIMEOUT"] = "5"  # msrun waits for its scheduler, which waits for the process that is gone
    from rtseg.cli import eval as eval_command
    from rtseg.cli import train as train_command
    common = ["--config", str(RECIPE), "--model", "tiny", "--variant", "plain"]
    if mode != "both":
        return (train_command if mode == "train" else eval_command).main([*common, *arguments])
    train_command.main([*common, *arguments])
    run_folder, = (folder / "out").iterdir()
    return eval_command.main(["--config", str(run_folder / "config.yaml"), "--is_distributed=1", "--resume_path",
                           str(run_folder), "--output_path", str(folder / "two")])


if __name__ == "__main__":
    run_command(main)
