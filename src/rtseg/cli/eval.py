"""Scores a checkpoint on a labelled split: mIoU, pixel accuracy, mean accuracy, frequency-weighted IoU, the IoU of each
class, coloured masks."""
import json
from pathlib import Path
from typing import Optional, Sequence

from rtseg.cli.configuration import make_output_folder, read_configuration
from rtseg.config.config import Config
from rtseg.utils.errors import report_errors


def main(argv: Optional[Sequence[str]] = None) -> int:
    config = read_configuration("eval", __doc__, argv=argv)

    from rtseg.launch.modelarts import modelarts_job
    with modelarts_job(config, "eval") as (config, _):
        return evaluate(config)


def evaluate(config: Config) -> int:
    from rtseg.runtime.distributed import start
    config, group = start(config)

    from tqdm import tqdm

    from rtseg.data.cache import with_cache
    from rtseg.data.dataset import SegmentationDataset
    from rtseg.inference.evaluator import Evaluator
    from rtseg.inference.predictor import averaging_options, network_predictor
    from rtseg.inference.reporting import EvaluationReport
    from rtseg.models.weights import trained_network
    from rtseg.training import run_folder
    from rtseg.training.checkpoint import checkpoint_path

    checkpoint = checkpoint_path(config, run_folder.BEST)
    dataset = with_cache(SegmentationDataset(config.data.dataset, config.data.eval_split,
                                             spec=config.data.dataset_config),
                         config.data.prepared_cache)
    predictor = network_predictor(trained_network(config, checkpoint), mean=config.data.mean, std=config.data.std,
                                  mode=config.evaluation.eval_mode, **averaging_options(config.prediction))
    evaluator = Evaluator(predictor, dataset, num_classes=config.data.dataset_config.num_classes,
                          num_workers=config.num_workers,
                          crop_size=config.data.crop_size if config.evaluation.eval_mode == "crop" else None,
                          batch_size=config.evaluation.eval_batch_size,
                          boundary_iou=config.evaluation.boundary_iou, group=group)
    output = Path(config.run.output_path)
    make_output_folder(output)  # that it cannot be made is better found before the evaluation
    report = EvaluationReport(output, dataset, save_mask=config.evaluation.save_mask)
    evaluation = evaluator.run(report.add, progress=lambda items: tqdm(
        items, total=len(evaluator.indices), unit="image", disable=None))
    if evaluation is None:  # stopped
        return 1
    scores = [tuple(score) for text in group.gather(json.dumps(report.image_scores)) for score in json.loads(text)]
    if group.is_master:
        print(report.finish(evaluation, f"{config.network.model} ({config.network.variant}), {checkpoint}, split "
                                        f"{config.data.eval_split}, mode {config.evaluation.eval_mode}",
                            image_scores=scores), end="", flush=True)
    group.barrier()  # a rank that ends with an error takes the others down
    return report_errors(f"{len(evaluation.errors)} of {len(dataset)} images are not in this score:", evaluation.errors)
