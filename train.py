"""Trains a segmentation network on Cityscapes."""
from src.config import parse_arguments
from src.models import check_model
from src.utils.errors import run_door


def main(argv=None) -> int:
    config = parse_arguments("train", __doc__, argv)
    check_model(config.model, config.variant, config.aux, config.backbone)

    from src.runtime.device import setup_device
    setup_device(config.device_target, config.device_id, config.seed + (config.rank if config.diff_seed else 0))

    from src.engine.trainer import train
    train(config)
    return 0


if __name__ == "__main__":
    run_door(main)
