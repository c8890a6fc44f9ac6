"""Scores a checkpoint on a labelled split: mIoU, pixel accuracy, the IoU of each class, coloured masks."""
import sys
from pathlib import Path

from src.config import parse_arguments
from src.models import check_model
from src.runtime.modelarts import modelarts_job
from src.utils.errors import report_errors, run_door


def main(argv=None) -> int:
    config = parse_arguments("eval", __doc__, argv)
    check_model(config.model, config.variant, config.aux, config.backbone)
    with modelarts_job(config, "eval") as (config, _):
        return evaluate(config)


def evaluate(config) -> int:
    from src.runtime.distributed import start
    config, group = start(config)

    from tqdm import tqdm

    from src.data.cache import with_cache
    from src.data.segmentation_dataset import SegmentationDataset
    from src.engine.checkpoint import checkpoint_path, load_weights
    from src.engine.evaluator import Evaluator
    from src.engine.reporting import EvaluationReport
    from src.models import build_model

    checkpoint = checkpoint_path(config, "best_map.ckpt")
    num_classes = config.dataset_config.num_classes
    dataset = with_cache(SegmentationDataset(config.dataset, config.eval_split, config.dataset_config),
                         config.prepared_cache)
    network = build_model(config.model, config.variant, num_classes, backbone=config.backbone)
    load_weights(checkpoint, network)
    evaluator = Evaluator(network, dataset, config.mean, config.std, config.eval_mode, config.crop_size,
                          config.num_workers, config.eval_batch_size, group, num_classes)
    report = EvaluationReport(Path(config.output_path), dataset, config.save_mask)
    evaluation = evaluator.run(report.add, progress=lambda items: tqdm(
        items, total=len(evaluator.indices), unit="picture", disable=not sys.stderr.isatty()))
    if group.is_master:
        print(report.finish(evaluation, f"{config.model} ({config.variant}), {checkpoint}, split {config.eval_split}, "
                                        f"mode {config.eval_mode}"), end="", flush=True)
    group.wait()  # a rank that ends with an error takes the others down
    if evaluation.errors:
        return report_errors(f"{len(evaluation.errors)} of {len(dataset)} pictures are not in this score:",
                             evaluation.errors)
    return 0


if __name__ == "__main__":
    run_door(main)
