"""Trains a segmentation network."""
from typing import Optional, Sequence

from rtseg.cli.configuration import read_configuration


def main(argv: Optional[Sequence[str]] = None) -> int:
    config = read_configuration("train", __doc__, argv=argv)

    from rtseg.launch.modelarts import modelarts_job
    from rtseg.tools.fetch_weights import check_pretrained, resolve_pretrained

    network = config.network
    check_pretrained(config.run.pretrained, model=network.model, variant=network.variant, backbone=network.backbone)
    with modelarts_job(config, "train") as (config, upload):
        from rtseg.runtime.distributed import start
        config, group = start(config, config.run.seed)
        config = config.replace(pretrained=resolve_pretrained(config.run.pretrained, print))

        from rtseg.training.trainer import train
        train(config, upload, group=group)
    return 0
