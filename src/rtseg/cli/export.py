"""Exports a checkpoint for deployment as MINDIR, ONNX or AIR, or converts a MINDIR to ONNX."""
from rtseg.config.arguments import parse_arguments
from rtseg.launch.modelarts import modelarts_job
from rtseg.models.registry import check_model


def main(argv=None) -> int:
    config = parse_arguments("export", __doc__, argv)
    with modelarts_job(config, "export") as (config, _):
        return export(config)


def export(config) -> int:
    if config.export.from_mindir:
        from rtseg.runtime.device import prepare_environment
        prepare_environment()

        from rtseg.export.onnx_converter import convert_with_metadata
        print(f"exported {convert_with_metadata(config.export.from_mindir, config.export.file_name)}")
        return 0
    check_model(config.network.model, config.network.variant, config.network.aux, config.network.backbone)

    from rtseg.runtime.device import setup_device
    setup_device(config.run.device_target, config.run.device_id)

    from rtseg.export.export import export_checkpoint
    print(f"exported {export_checkpoint(config)}")
    return 0
