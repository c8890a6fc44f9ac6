"""Trains a segmentation network on Cityscapes."""
from src.config import parse_arguments
from src.models import check_model
from src.runtime.modelarts import modelarts_job
from src.utils.errors import run_door


def main(argv=None) -> int:
    config = parse_arguments("train", __doc__, argv)
    check_model(config.model, config.variant, config.aux, config.backbone)

    with modelarts_job(config, "train") as (config, upload):
        from src.runtime.distributed import start
        config, group = start(config, config.seed)

        from src.engine.trainer import train
        train(config, upload, group)
    return 0


if __name__ == "__main__":
    run_door(main)
