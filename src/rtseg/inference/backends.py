"""What runs a network: MindSpore on a checkpoint's network or a MINDIR, OpenVINO or ONNX Runtime on an ONNX file.

Every back end takes uint8 RGB images of one size and gives the network's output, whatever the file's input type is.
"""
import sys
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Callable, Iterator, Optional, Sequence, Tuple

import numpy as np

from rtseg.inference.metadata import ModelMetadata
from rtseg.inference.preprocessing import normalize
from rtseg.utils.errors import ConfigError, DataError

if TYPE_CHECKING:
    from mindspore import nn

# ONNX Runtime first: head logits in float32 at 512x1024 on a busy 2-core CPU, fastest of 9 alternating runs, took 0.45
# (Fast-SCNN), 0.81 (BiSeNetV1) and 0.99 (ICNet) of OpenVINO's time.
ONNX_RUNTIMES = ("onnxruntime", "openvino")
# OpenVINO first: see "int8" in docs/deployment.md.
INT8_RUNTIMES = ("openvino", "onnxruntime")
Runner = Callable[[np.ndarray], np.ndarray]

# MindSpore compiles, computes and frees graphs in one thread at a time: in two the process crashes or hangs. Reentrant,
# because Python may free an old graph while the same thread is in a new one.
_MINDSPORE_LOCK = RLock()


class Backend:
    """A network that runs.

    Attributes:
        size: (H, W) that images must have; None for any multiples of the networks' size multiple.
        batch_size: images that `run` takes at once; None for any number.
        num_classes: that logits must have, or `run` raises ConfigError; None for any number.
        mean: of the normalisation, RGB; also the colour of padding.
        output_type: "logits", "head_logits" or "class_map", see rtseg.inference.metadata.
        align_corners: how head logits are upsampled.
        description: one line for people.
    """

    size: Optional[Tuple[int, int]] = None
    batch_size: Optional[int] = None
    num_classes: Optional[int] = None
    mean: Sequence[float]
    output_type: str
    align_corners: bool = False
    description: str = ""

    def run(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, H, W, 3) RGB -> float32 (N, C, h, w) logits or uint8 (N, H, W) train ids, as `output_type` says.

        Raises:
            DataError: the network cannot be computed for these.
        """
        raise NotImplementedError

    @contextmanager
    def inference_mode(self) -> Iterator[None]:
        """Around calls of `run`, for networks that are trained in between."""
        yield


class NetworkBackend(Backend):
    """A network as a MindSpore Cell, at any size.

    Args:
        network: logits (N, C, H, W) of (N, 3, H, W).
        mean, std: of the normalisation.
        needs_logits: class maps are not enough, as for averages over several scales.
        description: one line for people.
    """

    def __init__(self, network: "nn.Cell", *, mean: Sequence[float], std: Sequence[float], needs_logits: bool = False,
                 description: str = ""):
        import mindspore as ms

        from rtseg.inference.graph import InferenceGraph

        # On a CPU the classes of head logits are found faster here than by MindSpore's resize and argmax. A device has
        # them done before it copies anything.
        if needs_logits or ms.get_context("device_target") == "CPU":
            self.output_type = "head_logits" if hasattr(network, "head_logits") else "logits"
        else:
            self.output_type = "class_map"
        self.align_corners = bool(getattr(network, "align_corners", False))
        self.mean = mean
        self.description = description
        self.network = network
        self.graph = InferenceGraph(network, mean, std=std, output_type=self.output_type)

    def __del__(self) -> None:
        if not sys.is_finalizing():  # when a thread that was stopped may hold the lock
            with _MINDSPORE_LOCK:
                self.__dict__.clear()

    def run(self, images: np.ndarray) -> np.ndarray:
        """See Backend.run.

        Raises:
            ConfigError: the network has another number of classes than `num_classes`.
            DataError: the network cannot be computed for these.
        """
        from mindspore import Tensor

        try:
            with _MINDSPORE_LOCK:
                output = self.graph(Tensor.from_numpy(np.ascontiguousarray(images))).asnumpy()
        except RuntimeError as error:
            height, width = images.shape[1:3]
            raise DataError(f"the network cannot be computed for {width}x{height} pixels ({first_line(error)}); a "
                            "smaller image takes less memory") from None
        if self.num_classes is not None and output.ndim == 4 and output.shape[1] != self.num_classes:
            raise ConfigError(f"model: expected a network of {self.num_classes} classes, found one of "
                              f"{output.shape[1]}; make it with num_classes={self.num_classes}")
        return output

    @contextmanager
    def inference_mode(self) -> Iterator[None]:
        flags = [(cell, cell.training) for _, cell in self.network.cells_and_names()]
        self.network.set_train(False)
        try:
            yield
        finally:
            self.network.set_train(flags[0][1])  # of the whole network, and of all cells in it
            for cell, was_training in flags:  # some may differ: frozen BatchNorms
                cell.add_flags(training=was_training)


class ExportedBackend(Backend):
    """An exported model.

    Args:
        path: of the model, for messages.
        metadata: of the model.
        runner: input array -> output array, of the shapes and types that the metadata says.

    Raises:
        DataError: the model does not do what its metadata says.
    """

    def __init__(self, path: Path, metadata: ModelMetadata, *, runner: Runner):
        self.path, self.metadata, self.runner = path, metadata, runner
        dynamic = metadata.input.dynamic or ()
        batch, height, width = metadata.size
        self.size = None if {"height", "width"} <= set(dynamic) else (height, width)
        self.batch_size = None if "batch" in dynamic else batch
        self.mean = metadata.mean
        self.output_type = metadata.output_type
        self.align_corners = bool(metadata.output.align_corners)
        sizes = "any size" if self.size is None else f"{width}x{height}"
        variant = f" ({metadata.variant})" if metadata.variant else ""  # a model of others has none
        self.description = f"{metadata.model}{variant}, {path}, input {sizes}"
        self.run_input(np.zeros(metadata.input_shape, metadata.input_type))

    def run(self, images: np.ndarray) -> np.ndarray:
        if self.metadata.input_type == "float32":
            images = np.stack([normalize(image, self.metadata.mean, std=self.metadata.std) for image in images])
        missing = (self.batch_size or len(images)) - len(images)
        if missing:
            images = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
        return self.run_input(images)[:len(images) - missing]

    def run_input(self, x: np.ndarray) -> np.ndarray:
        """What the file itself takes -> what it gives. Raises DataError where that is not what its metadata says."""
        try:
            results = self.runner(x)
        except (RuntimeError, ValueError, TypeError) as error:
            raise DataError(f"{self.path}: expected a model that takes {x.dtype} {list(x.shape)}, as its metadata "
                            f"says; export it again ({first_line(error)})") from None
        wanted, shape = self.metadata.output.dtype, self.metadata.output_shape_for(x.shape)
        if list(results.shape) != shape or results.dtype != wanted:
            # A model of others has no checkpoint of ours: flags described it.
            advice = "export it again" if self.metadata.checkpoint_sha256 else (
                "are --dataset_config and --output_type right?")
            raise DataError(f"{self.path}: expected results {wanted} {shape}, as its metadata says, found "
                            f"{results.dtype} {list(results.shape)}; {advice}")
        return results


def open_exported(path: Path, metadata: ModelMetadata, *, device_target: str = "auto",
                  device_id: int = 0) -> ExportedBackend:
    """An exported model, ready to run: an .onnx on the CPU, a .mindir on the device.

    Raises:
        ConfigError: what runs it is not installed, or MindSpore has no such device.
        DataError: the file is damaged, of another kind, or does not do what its metadata says.
    """
    if path.suffix.lower() == ".mindir":
        runner = open_mindir(path, device_target=device_target, device_id=device_id)
    else:
        runner = open_onnx(path, precision=metadata.precision)
    return ExportedBackend(path, metadata, runner=adapted(runner, metadata))


def adapted(runner: Runner, metadata: ModelMetadata) -> Runner:
    """`runner` with class maps as uint8 (N, H, W) and logits as float32: other people's models also give larger
    integers, (N, 1, H, W), and float16.
    """
    def run(x: np.ndarray) -> np.ndarray:
        output = runner(x)
        if output.dtype == np.float16:
            return output.astype(np.float32)
        if metadata.output_type == "class_map" and output.dtype.kind in "iu":
            output = output.astype(np.uint8)
            return output[:, 0] if output.ndim == 4 and output.shape[1] == 1 else output
        return output
    return run


def open_onnx(path: Path, *, precision: Optional[str] = None) -> Runner:
    """A function that runs an ONNX file on the CPU, in the runtime that is faster for its precision if both are there.

    Args:
        precision: as in the metadata: "int8", or None for float32.

    Raises:
        ConfigError: neither ONNX Runtime nor OpenVINO is installed.
        DataError: no ONNX model.
    """
    for name in INT8_RUNTIMES if precision == "int8" else ONNX_RUNTIMES:
        try:
            return {"onnxruntime": _onnxruntime, "openvino": _openvino}[name](path)
        except ImportError:
            continue
    raise ConfigError(f"an .onnx model needs the package {' or '.join(ONNX_RUNTIMES)}, neither of which is installed; "
                      "install one with: pip install -r requirements.txt")


def onnx_session(path: Path) -> Any:
    """An onnxruntime.InferenceSession on the CPU.

    Raises:
        ImportError: ONNX Runtime is not installed.
        DataError: no ONNX model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors come as exceptions
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions derive from Exception alone
        raise DataError(_no_onnx(path, "ONNX Runtime", error=error)) from None


def _onnxruntime(path: Path) -> Runner:
    session = onnx_session(path)
    name = session.get_inputs()[0].name

    def run(x: np.ndarray) -> np.ndarray:
        try:
            return session.run(None, {name: x})[0]
        except Exception as error:
            raise RuntimeError(first_line(error)) from None
    return run


def _openvino(path: Path) -> Runner:
    import openvino

    # OpenVINO would compute in bfloat16 where the processor has it, and find other classes than training did.
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    try:
        model = openvino.Core().compile_model(str(path), "CPU", options)
    except RuntimeError as error:
        raise DataError(_no_onnx(path, "OpenVINO", error=error)) from None
    return lambda x: model(x)[0]


def _no_onnx(path: Path, runtime: str, *, error: Exception) -> str:
    return (f"{path}: expected an ONNX model, found a file that {runtime} cannot load ({first_line(error)}); export it "
            "again")


def open_mindir(path: Path, *, device_target: str = "auto", device_id: int = 0) -> Runner:
    """A function that runs a MINDIR in MindSpore.

    Raises:
        ConfigError: MindSpore is not installed, or has no such device.
        DataError: no MINDIR.
    """
    from rtseg.runtime.device import setup_device
    setup_device(device_target, device_id, seed=None)

    import mindspore as ms
    try:
        graph: Any = ms.nn.GraphCell(ms.load(str(path)))
    except (RuntimeError, ValueError, TypeError) as error:
        raise DataError(f"{path}: expected a MINDIR file, found one that MindSpore cannot load ({first_line(error)}); "
                        "export it again") from None

    def run(x: np.ndarray) -> np.ndarray:
        with _MINDSPORE_LOCK:
            return graph(ms.Tensor(x)).asnumpy()
    return run


def first_line(error: BaseException) -> str:
    """What an exception says, without the pages that some libraries add."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
