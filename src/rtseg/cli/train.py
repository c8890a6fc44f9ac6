"""Trains a segmentation network."""
from typing import Optional, Sequence

from rtseg.cli.configuration import read_configuration
from rtseg.config.checks import AUTO_RESUME


def main(argv: Optional[Sequence[str]] = None) -> int:
    config = read_configuration("train", __doc__, argv=argv)

    from rtseg.launch.modelarts import modelarts_job
    from rtseg.tools.fetch_weights import check_pretrained, resolve_pretrained

    network = config.network
    check_pretrained(config.run.pretrained, model=network.model, variant=network.variant, backbone=network.backbone)
    is_auto = config.run.resume_path == AUTO_RESUME  # a ModelArts job puts the run that it has copied in its place
    with modelarts_job(config, "train") as (config, upload):
        from rtseg.runtime.distributed import start
        config, group = start(config, config.run.seed)
        config = config.replace(pretrained=resolve_pretrained(config.run.pretrained, print))

        from rtseg.training.trainer import train
        train(config, upload, group=group, may_be_complete=is_auto)
    return 0
