"""Scores a checkpoint on Cityscapes: mIoU, pixel accuracy, the IoU of each class, coloured masks."""
import sys
from pathlib import Path

from src.config import parse_arguments
from src.models import check_model
from src.utils.errors import run_door


def main(argv=None) -> int:
    config = parse_arguments("eval", __doc__, argv)
    check_model(config.model, config.variant, config.aux, config.backbone)

    from src.runtime.device import setup_device
    setup_device(config.device_target, config.device_id)

    from src.data.cityscapes import Cityscapes
    from src.engine.checkpoint import checkpoint_path, load_weights
    from src.engine.evaluator import Evaluator
    from src.engine.reporting import EvaluationReport
    from src.models import build_model
    from tqdm import tqdm

    checkpoint = checkpoint_path(config, "best_map.ckpt")
    dataset = Cityscapes(config.dataset, config.eval_split)
    network = build_model(config.model, config.variant, backbone=config.backbone)
    load_weights(checkpoint, network)
    evaluator = Evaluator(network, dataset, config.mean, config.std, config.eval_mode, config.crop_size,
                          config.num_workers, config.eval_batch_size)
    report = EvaluationReport(Path(config.output_path), dataset, config.save_mask)
    evaluation = evaluator.run(report.add, progress=lambda items: tqdm(
        items, total=len(dataset), unit="picture", disable=not sys.stderr.isatty()))
    print(report.finish(evaluation, f"{config.model} ({config.variant}), {checkpoint}, split {config.eval_split}, "
                                    f"mode {config.eval_mode}"), end="")
    if evaluation.errors:
        print(f"error: {len(evaluation.errors)} of {len(dataset)} pictures are not in this score:", file=sys.stderr)
        for error in evaluation.errors:
            print(f"  {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    run_door(main)
