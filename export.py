"""Exports a checkpoint for deployment as MINDIR, ONNX or AIR, or converts a MINDIR to ONNX."""
from src.config import parse_arguments
from src.models import check_model
from src.runtime.modelarts import modelarts_job
from src.utils.errors import run_door


def main(argv=None) -> int:
    config = parse_arguments("export", __doc__, argv)
    with modelarts_job(config, "export") as (config, _):
        return export(config)


def export(config) -> int:
    if config.from_mindir:
        from src.runtime.device import prepare_environment
        prepare_environment()

        from src.deploy.onnx_export import convert_with_card
        print(f"exported {convert_with_card(config.from_mindir, config.file_name)}")
        return 0
    check_model(config.model, config.variant, config.aux, config.backbone)

    from src.runtime.device import setup_device
    setup_device(config.device_target, config.device_id)

    from src.deploy.export_model import export_checkpoint
    print(f"exported {export_checkpoint(config)}")
    return 0


if __name__ == "__main__":
    run_door(main)
