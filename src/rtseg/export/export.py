"""Exports a checkpoint as MINDIR, ONNX or AIR, each with its metadata."""
import shutil
import sys
import tempfile
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, dtype, nn, ops

from rtseg.config.config import Config
from rtseg.export.onnx_converter import convert_file
from rtseg.inference.metadata import ModelMetadata, check_metadata_is_free, exported_path, sha256_of, write_metadata
from rtseg.models.registry import create_model
from rtseg.training.checkpoint import load_weights
from rtseg.training.train_step import InputNormalization
from rtseg.utils.atomic import atomic_write
from rtseg.utils.errors import UserError


class InferenceForm(nn.Cell):
    """A network in the form in which it is deployed.

    Args:
        network: logits (N, C, H, W) of (N, 3, H, W).
        mean, std: of the normalisation.
        input_type, output_type: see Inputs and Outputs.

    Inputs:
        x: "float32": normalised RGB (N, 3, H, W); "uint8": RGB bytes (N, H, W, 3).

    Outputs:
        "logits": float32 (N, C, H, W); "class_map": uint8 train ids (N, H, W), the first class among equal ones.
    """

    def __init__(self, network, mean, std, input_type, output_type):
        super().__init__(auto_prefix=False)  # the parameters keep the network's names
        self.normalize = InputNormalization(mean, std) if input_type == "uint8" else nn.Identity()
        self.network = network
        self.to_class_map = output_type == "class_map"
        self.argmax = ops.Argmax(axis=1, output_type=dtype.int32)

    def construct(self, x):
        logits = self.network(self.normalize(x))
        return self.argmax(logits).astype(dtype.uint8) if self.to_class_map else logits


def export_checkpoint(config: Config) -> Path:
    """Writes the exported model and its card as `config` says; returns the model's path.

    Raises:
        DataError: the checkpoint is missing, damaged or of another network.
        ConfigError: the package onnx is missing, or the name belongs to a model of another form.
        UserError: the device cannot export this.
    """
    path = exported_path(config.file_name or config.model, config.file_format)
    dataset = config.dataset_config
    network = create_model(config.model, config.variant, dataset.num_classes, backbone=config.backbone)
    load_weights(config.ckpt_file, network)
    size = (config.export_batch_size, config.image_height, config.image_width)
    card = ModelMetadata(config.model, config.variant, config.input_type, config.output_type, size, config.mean,
                         config.std, sha256_of(config.ckpt_file), Path(config.ckpt_file).name, dataset=dataset.name,
                         classes=dataset.class_names, palette=dataset.palette)
    check_metadata_is_free(path, card)

    form = InferenceForm(network, config.mean, config.std, config.input_type, config.output_type)
    form.set_train(False)
    x = Tensor(np.zeros(card.input_shape, config.input_type))
    # MindSpore refuses path names with spaces or letters beyond ASCII, so it writes to a folder whose name we choose.
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / ("network.mindir" if config.file_format == "ONNX" else f"network{path.suffix}")
        _export(form, x, exported, exported.suffix[1:].upper())
        if config.file_format == "ONNX":
            convert_file(exported, path)
        else:
            with atomic_write(path) as temporary:
                shutil.copyfile(exported, temporary)
    write_metadata(path, card)
    return path


def _export(form: InferenceForm, x: Tensor, path: Path, file_format: str) -> None:
    try:
        ms.export(form, x, file_name=str(path), file_format=file_format)
    except (RuntimeError, ValueError, TypeError) as error:
        print(error, file=sys.stderr)
        raise UserError(f"MindSpore cannot export this network as {file_format}; its message is above") from None
