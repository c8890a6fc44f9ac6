"""The one place that sets up MindSpore for a device. It must run before anything else imports MindSpore."""
import importlib.metadata
import os

from rtseg.utils.errors import ConfigError

DEVICE_TARGETS = ("Ascend", "CPU", "GPU")


def mindspore_version() -> tuple:
    """(major, minor) of the installed MindSpore, read without importing it.

    Raises:
        ConfigError: MindSpore is not installed.
    """
    try:
        version = importlib.metadata.version("mindspore")
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError("MindSpore is not installed here; expected mindspore >= 2.7, < 2.11. "
                          "Install it with: pip install -r requirements.txt -c constraints.txt") from None
    return tuple(int(part) for part in version.split(".")[:2])


def prepare_environment() -> None:
    """Sets the environment variables that MindSpore's libraries read while they are loaded.

    From 2.9 on the bundled oneDNN falls back to a reference convolution (150 times slower) for every kernel but 1x1 on
    AVX-512 processors; limiting it to AVX2 restores the fast ones. A value that the user has set is left alone.
    """
    if mindspore_version() >= (2, 9):
        os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")


def setup_device(device_target: str, device_id: int = 0, seed: int = 1) -> None:
    """Chooses graph mode, the device and MindSpore's global seed.

    Args:
        device_target: one of DEVICE_TARGETS.
        device_id: index of the card; ignored on CPU.
        seed: of the weights; the order of the data does not depend on it.

    Raises:
        ConfigError: this MindSpore or this machine does not have the device.
    """
    prepare_environment()
    import mindspore as ms

    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        ms.set_device(device_target, 0 if device_target == "CPU" else device_id)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"--device_target {device_target} --device_id {device_id} is not usable here: {reason} "
                          "Use --device_target CPU, or install the MindSpore build that matches the card.") from None
    ms.set_seed(seed)
