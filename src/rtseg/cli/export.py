"""Exports a checkpoint for deployment as MINDIR, ONNX or AIR, or converts a MINDIR to ONNX."""
from typing import Optional, Sequence

from rtseg.cli.configuration import read_configuration
from rtseg.config.checks import check_command
from rtseg.config.config import Config


def main(argv: Optional[Sequence[str]] = None) -> int:
    config = read_configuration("export", __doc__, argv=argv)

    from rtseg.launch.modelarts import modelarts_job
    with modelarts_job(config, "export") as (config, _):
        return export(config)


def export(config: Config) -> int:
    if config.export.from_mindir:
        from rtseg.runtime.device import prepare_environment
        prepare_environment()

        from rtseg.export.onnx_converter import convert_with_metadata
        path = convert_with_metadata(config.export.from_mindir, config.export.file_name, opset=config.export.opset,
                                     dynamic=config.export.dynamic_axes)
        print(f"exported {path}")
        return 0

    from rtseg.runtime.device import resolve_device_target, setup_device
    config = config.replace(device_target=resolve_device_target(config.run.device_target, print))
    check_command("export", config)
    setup_device(config.run.device_target, config.run.device_id)

    from rtseg.export.export import export_checkpoint
    print(f"exported {export_checkpoint(config)}")
    return 0
