"""Exports a checkpoint for deployment as MINDIR, ONNX or AIR, or converts a MINDIR to ONNX."""
from rtseg.config.config import parse_arguments
from rtseg.launch.modelarts import modelarts_job
from rtseg.models.registry import check_model


def main(argv=None) -> int:
    config = parse_arguments("export", __doc__, argv)
    with modelarts_job(config, "export") as (config, _):
        return export(config)


def export(config) -> int:
    if config.from_mindir:
        from rtseg.runtime.device import prepare_environment
        prepare_environment()

        from rtseg.export.onnx_converter import convert_with_metadata
        print(f"exported {convert_with_metadata(config.from_mindir, config.file_name)}")
        return 0
    check_model(config.model, config.variant, config.aux, config.backbone)

    from rtseg.runtime.device import setup_device
    setup_device(config.device_target, config.device_id)

    from rtseg.export.export import export_checkpoint
    print(f"exported {export_checkpoint(config)}")
    return 0
