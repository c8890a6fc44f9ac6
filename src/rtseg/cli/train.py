"""Trains a segmentation network on Cityscapes."""
import dataclasses

from rtseg.config.config import parse_arguments
from rtseg.launch.modelarts import modelarts_job
from rtseg.models.registry import check_model
from rtseg.tools.fetch_weights import check_pretrained, resolve_pretrained


def main(argv=None) -> int:
    config = parse_arguments("train", __doc__, argv)
    check_model(config.model, config.variant, config.aux, config.backbone)
    check_pretrained(config.pretrained, model=config.model, variant=config.variant, backbone=config.backbone)

    with modelarts_job(config, "train") as (config, upload):
        from rtseg.runtime.distributed import start
        config, group = start(config, config.seed)
        config = dataclasses.replace(config, pretrained=resolve_pretrained(config.pretrained, print))

        from rtseg.training.trainer import train
        train(config, upload, group)
    return 0
