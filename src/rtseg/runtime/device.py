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


def resolve_precision_mode(precision_mode: str, soc: str) -> str:
    """What "auto" means on an Ascend, so that float32 stays float32 wherever the hardware can compute it.

    Left alone, MindSpore casts every float32 operator of an Atlas 910 to float16 ("force_fp16"), the loss and BatchNorm
    included. Its matrix units take float16 only, so there convolutions and products get float16 and all else keeps
    float32. Later processors (A2, A3) have float32 convolutions and keep what they are given; --amp_level decides.
    Source: docstring of mindspore/device_context/ascend/op_precision.py. Not yet run on hardware.

    Args:
        precision_mode: see config.run.precision_mode.
        soc: MindSpore's name of the processor, such as "ascend910" or "ascend910b".
    """
    if precision_mode != "auto":
        return precision_mode
    return "allow_fp32_to_fp16" if soc == "ascend910" else "must_keep_origin_dtype"


def ascend_precision_mode(precision_mode: str) -> str:
    """`resolve_precision_mode` for the Ascend of this process."""
    from mindspore._c_expression import MSContext  # as mindspore.amp does: there is no public name for it
    return resolve_precision_mode(precision_mode, MSContext.get_instance().get_ascend_soc_version())


def setup_device(device_target: str, device_id: int = 0, *, seed: int = 1, precision_mode: str = "auto") -> None:
    """Chooses graph mode, the device, its precision and MindSpore's global seed.

    Args:
        device_target: one of DEVICE_TARGETS.
        device_id: index of the device; ignored on CPU.
        seed: of the weights; the order of the data does not depend on it.
        precision_mode: see config.run.precision_mode; Ascend only.

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
    if device_target == "Ascend":
        ms.device_context.ascend.op_precision.precision_mode(ascend_precision_mode(precision_mode))
