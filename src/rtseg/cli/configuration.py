"""What train, eval, export and predict do first: read the configuration and look whether its network exists."""
from pathlib import Path
from typing import Optional, Sequence

from rtseg.config.arguments import parse_arguments
from rtseg.config.config import Config
from rtseg.models.registry import check_model
from rtseg.utils.files import writing_to


def read_configuration(command: str, description: str, *, argv: Optional[Sequence[str]]) -> Config:
    """The configuration that the command line and its recipe describe.

    Raises:
        ConfigError: what is wrong in it, before anything slow starts.
        SystemExit: --help, or a flag that does not exist (code 2).
    """
    config = parse_arguments(command, description, argv=argv)
    if not (config.prediction.model_path or config.export.from_mindir):  # whose metadata names the network
        network = config.network
        check_model(network.model, network.variant, aux=network.aux, backbone=network.backbone)
    return config


def make_output_folder(output: Path) -> None:
    """Raises ConfigError when it cannot be made."""
    with writing_to(output, flag="--output_path"):
        output.mkdir(parents=True, exist_ok=True)
