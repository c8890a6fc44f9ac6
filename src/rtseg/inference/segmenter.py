"""Class maps of single images, from a checkpoint or an exported model: the same call, whatever runs the network."""
from pathlib import Path
from typing import Callable, List, Sequence

import cv2
import numpy as np

from rtseg.config.config import Config
from rtseg.inference.metadata import ModelMetadata, metadata_path, read_metadata
from rtseg.inference.postprocessing import argmax, argmax_upsampled, check_finite
from rtseg.inference.preprocessing import normalize
from rtseg.models.registry import SIZE_MULTIPLE
from rtseg.utils.errors import ConfigError, DataError


class CheckpointPredictor:
    """A network of a checkpoint. It takes images as they are: `eval.py --eval_mode full` finds the same classes.

    Raises:
        ConfigError, DataError: unknown network, or a checkpoint that is missing, damaged or of another one.
    """

    batch_size = 1

    def __init__(self, config: Config):
        from rtseg.runtime.device import setup_device
        setup_device(config.run.device_target, config.run.device_id)

        from rtseg.inference.graph import InferenceGraph
        from rtseg.models.registry import create_model
        from rtseg.training.checkpoint import load_weights

        dataset = config.data.dataset_config
        self.class_names, self.palette = dataset.class_names, dataset.palette
        network = create_model(config.network.model, config.network.variant, dataset.num_classes,
                               backbone=config.network.backbone)
        load_weights(config.run.ckpt_file, network)
        self.graph = InferenceGraph(network, config.data.mean, config.data.std).set_train(False)
        self.pad_color = [round(255 * mean) for mean in config.data.mean]
        self.description = f"{config.network.model} ({config.network.variant}), {config.run.ckpt_file}"

    def __call__(self, images: Sequence[np.ndarray]) -> List[np.ndarray]:
        """uint8 (H, W, 3) RGB, any sizes -> uint8 (H, W) train ids.

        Raises:
            DataError: the network cannot be computed for an image of that size.
        """
        return [self._predict(image) for image in images]

    def _predict(self, image: np.ndarray) -> np.ndarray:
        from mindspore import Tensor
        height, width = image.shape[:2]
        padded = cv2.copyMakeBorder(image, 0, -height % SIZE_MULTIPLE, 0, -width % SIZE_MULTIPLE, cv2.BORDER_CONSTANT,
                                    value=self.pad_color)
        try:
            return self.graph(Tensor(padded[None])).asnumpy()[0, :height, :width].astype(np.uint8)
        except RuntimeError as error:
            raise DataError(f"the network cannot be computed for {width}x{height} pixels ({_first_line(error)}); a "
                            "smaller image takes less memory") from None


class ExportedPredictor:
    """An exported model. It has one size: images of others are scaled to it, and their class maps back.

    Args:
        path: of the model.
        card: of the model.
        run: input array -> output array, of the shapes and types that the card says.

    Raises:
        DataError: the model does not do what its card says.
    """

    def __init__(self, path: Path, card: ModelMetadata, run: Callable[[np.ndarray], np.ndarray]):
        self.card, self.path, self.run = card, path, run
        self.batch_size = card.size[0]
        self.class_names, self.palette = card.classes, card.palette
        self.description = (f"{card.model} ({card.variant}), {path}; images of other sizes than "
                            f"{card.size[2]}x{card.size[1]} are scaled to it and their class maps back")
        self._run(np.zeros(card.input_shape, card.input_type))

    def __call__(self, images: Sequence[np.ndarray]) -> List[np.ndarray]:
        """Up to `batch_size` images, uint8 (H, W, 3) RGB, any sizes -> uint8 (H, W) train ids.

        Raises:
            DataError: logits that are not finite.
        """
        height, width = self.card.size[1:]
        scaled = [cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR) for image in images]
        if self.card.input_type == "float32":
            scaled = [normalize(image, self.card.mean, self.card.std) for image in scaled]
        scaled += [scaled[-1]] * (self.batch_size - len(scaled))
        results = self._run(np.stack(scaled))
        if self.card.output_type == "class_map":
            maps = results
        elif self.card.output_type == "head_logits":
            maps = [argmax_upsampled(logits, (height, width), align_corners=bool(self.card.output.align_corners))
                    for logits in results]
        else:
            check_finite(results)
            maps = map(argmax, results)
        return [cv2.resize(classes, image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
                for classes, image in zip(maps, images)]

    def _run(self, x: np.ndarray) -> np.ndarray:
        try:
            results = self.run(x)
        except (RuntimeError, ValueError, TypeError) as error:
            raise DataError(f"{self.path}: expected a model that takes {x.dtype} {list(x.shape)}, as its card says; "
                            f"export it again ({_first_line(error)})") from None
        wanted = self.card.output.dtype
        if list(results.shape) != self.card.output_shape or results.dtype != wanted:
            raise DataError(f"{self.path}: expected results {wanted} {self.card.output_shape}, as its card says, found "
                            f"{results.dtype} {list(results.shape)}; export it again")
        return results


def build_predictor(config: Config):
    """What `config` names by `ckpt_file` or `model_path`.

    Raises:
        ConfigError: what runs it is not installed.
        DataError: the file or its card is missing or damaged.
    """
    if config.run.ckpt_file:
        return CheckpointPredictor(config)
    path = Path(config.prediction.model_path)
    if not path.is_file():
        raise DataError(f"expected an exported model at {path}, found none; export.py writes one")
    card = read_metadata(metadata_path(path))
    run = _openvino(path) if path.suffix.lower() == ".onnx" else _mindir(path, config)
    return ExportedPredictor(path, card, run)


def _openvino(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    try:
        import openvino
    except ImportError:
        raise ConfigError("--model_path with .onnx needs the package openvino, which is not installed; install it "
                          "with: pip install -r requirements.txt") from None
    # OpenVINO would compute in bfloat16 where the processor has it, and find other classes than training did.
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    try:
        model = openvino.Core().compile_model(str(path), "CPU", options)
    except RuntimeError as error:
        raise DataError(f"{path}: expected an ONNX model, found a file that OpenVINO cannot load "
                        f"({_first_line(error)}); export it again") from None
    return lambda x: model(x)[0]


def _mindir(path: Path, config: Config) -> Callable[[np.ndarray], np.ndarray]:
    from rtseg.runtime.device import setup_device
    setup_device(config.run.device_target, config.run.device_id)

    import mindspore as ms
    try:
        graph = ms.nn.GraphCell(ms.load(str(path)))
    except (RuntimeError, ValueError, TypeError) as error:
        raise DataError(f"{path}: expected a MINDIR file, found one that MindSpore cannot load ({_first_line(error)}); "
                        "export it again") from None
    return lambda x: graph(ms.Tensor(x)).asnumpy()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
