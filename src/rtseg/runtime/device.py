"""The one place that sets up MindSpore for a device. It must run before anything else imports MindSpore."""
import glob
import os
import sys
from typing import Callable, Optional

from rtseg.utils.errors import ConfigError
from rtseg.utils.packages import installed_version

_DEVICE_FILES = "/dev/davinci[0-9]*"


def prepare_environment() -> None:
    """Sets the environment variables that MindSpore's libraries read while they are loaded.

    From 2.9 on the bundled oneDNN falls back to a reference convolution (150 times slower) for every kernel but 1x1 on
    AVX-512 processors; limiting it to AVX2 restores the fast ones. A value that the user has set is left alone.

    Raises:
        ConfigError: MindSpore is not installed.
    """
    version = installed_version("mindspore")
    if version is None:
        raise ConfigError("MindSpore is not installed here; expected mindspore >= 2.7, < 2.11. "
                          "Install it with: pip install -r requirements.txt -c constraints.txt")
    if tuple(int(part) for part in version.split(".")[:2]) >= (2, 9):
        os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")


def resolve_device_target(device_target: str, say: Callable[[str], None] = lambda line: None) -> str:
    """What "auto" means here: Ascend if MindSpore reports one, else CPU; other names as they are.

    `say` gets a line about the choice. Where MindSpore cannot use the Ascend devices that there are, stderr gets the
    reason.
    """
    if device_target != "auto":
        return device_target
    problem, devices = why_no_ascend(), sorted(glob.glob(_DEVICE_FILES))
    target = "CPU" if problem else "Ascend"
    if problem and devices:
        print(f"WARNING: this machine has Ascend devices ({', '.join(devices)}), but the CPU is used,\n"
              f"WARNING: because MindSpore cannot use them: {problem}.\n"
              "WARNING: Install CANN and the MindSpore build that fits it, and source CANN's set_env.sh; or say "
              "--device_target CPU.", file=sys.stderr, flush=True)
    say(f"device: {target} (--device_target auto)")
    return target


def why_no_ascend() -> str:
    """Why this process has no Ascend; "" if it has one."""
    prepare_environment()
    import mindspore  # noqa: F401  loads the plugins
    from mindspore._c_expression import MSContext  # device_context.ascend.is_available() asks it, and logs warnings

    context = MSContext.get_instance()
    if context.is_pkg_support_device("Ascend"):
        return ""
    lines = context.load_plugin_error().strip().splitlines()
    return lines[0].rpartition("failed. ")[2].rstrip(".") if lines else "it is built without them"


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


def setup_device(device_target: str, device_id: int = 0, *, seed: Optional[int] = 1,
                 precision_mode: str = "auto") -> None:
    """Chooses graph mode, the device, its precision and MindSpore's global seed.

    Args:
        device_target: auto, Ascend, CPU or GPU.
        device_id: index of the device; ignored on CPU.
        seed: of the weights, and of NumPy's global generator; the order of the data does not depend on it. None seeds
            nothing, for who only runs a network.
        precision_mode: see config.run.precision_mode; Ascend only.

    Raises:
        ConfigError: this MindSpore or this machine does not have the device.
    """
    prepare_environment()
    import mindspore as ms

    device_target = resolve_device_target(device_target)
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        ms.set_device(device_target, 0 if device_target == "CPU" else device_id)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"--device_target {device_target} --device_id {device_id} is not usable here: {reason} "
                          "Use --device_target CPU, or install the MindSpore build that matches the device.") from None
    if seed is not None:
        ms.set_seed(seed)
    if device_target == "Ascend":
        ms.device_context.ascend.op_precision.precision_mode(ascend_precision_mode(precision_mode))
