"""Trains a segmentation network on Cityscapes."""
from rtseg.config.config import parse_arguments
from rtseg.launch.modelarts import modelarts_job
from rtseg.models.registry import check_model


def main(argv=None) -> int:
    config = parse_arguments("train", __doc__, argv)
    check_model(config.model, config.variant, config.aux, config.backbone)

    with modelarts_job(config, "train") as (config, upload):
        from rtseg.runtime.distributed import start
        config, group = start(config, config.seed)

        from rtseg.training.trainer import train
        train(config, upload, group)
    return 0
