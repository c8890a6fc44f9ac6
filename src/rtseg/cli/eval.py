"""Scores a checkpoint on a labelled split: mIoU, pixel accuracy, the IoU of each class, coloured masks."""
import sys
from pathlib import Path

from rtseg.config.config import parse_arguments
from rtseg.launch.modelarts import modelarts_job
from rtseg.models.registry import check_model
from rtseg.utils.errors import report_errors


def main(argv=None) -> int:
    config = parse_arguments("eval", __doc__, argv)
    check_model(config.model, config.variant, config.aux, config.backbone)
    with modelarts_job(config, "eval") as (config, _):
        return evaluate(config)


def evaluate(config) -> int:
    from rtseg.runtime.distributed import start
    config, group = start(config)

    from tqdm import tqdm

    from rtseg.data.cache import with_cache
    from rtseg.data.dataset import SegmentationDataset
    from rtseg.inference.evaluator import Evaluator
    from rtseg.inference.reporting import EvaluationReport
    from rtseg.models.registry import create_model
    from rtseg.training.checkpoint import checkpoint_path, load_weights

    checkpoint = checkpoint_path(config, "best_map.ckpt")
    num_classes = config.dataset_config.num_classes
    dataset = with_cache(SegmentationDataset(config.dataset, config.eval_split, config.dataset_config),
                         config.prepared_cache)
    network = create_model(config.model, config.variant, num_classes, backbone=config.backbone)
    load_weights(checkpoint, network)
    evaluator = Evaluator(network, dataset, config.mean, config.std, config.eval_mode, config.crop_size,
                          config.num_workers, config.eval_batch_size, group, num_classes)
    report = EvaluationReport(Path(config.output_path), dataset, config.save_mask)
    evaluation = evaluator.run(report.add, progress=lambda items: tqdm(
        items, total=len(evaluator.indices), unit="image", disable=not sys.stderr.isatty()))
    if group.is_master:
        print(report.finish(evaluation, f"{config.model} ({config.variant}), {checkpoint}, split {config.eval_split}, "
                                        f"mode {config.eval_mode}"), end="", flush=True)
    group.barrier()  # a rank that ends with an error takes the others down
    if evaluation.errors:
        return report_errors(f"{len(evaluation.errors)} of {len(dataset)} images are not in this score:",
                             evaluation.errors)
    return 0
