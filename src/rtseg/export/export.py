"""Exports a checkpoint as MINDIR, ONNX or AIR, each with its metadata."""
import shutil
import sys
import tempfile
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor

from rtseg.config.config import Config
from rtseg.export.onnx_converter import convert_file
from rtseg.export.verify import compare_backends, report
from rtseg.inference.backends import ExportedBackend, open_mindir, open_onnx
from rtseg.inference.graph import InferenceGraph
from rtseg.inference.input_files import find_inputs, read_upright
from rtseg.inference.metadata import ModelMetadata, check_metadata_is_free, exported_path, sha256_of, write_metadata
from rtseg.models.registry import create_model
from rtseg.models.weights import load_weights
from rtseg.utils.atomic import atomic_write
from rtseg.utils.errors import DataError, UserError


def export_checkpoint(config: Config) -> Path:
    """Writes the exported model and its metadata as `config` says; returns the model's path.

    Raises:
        DataError: the checkpoint is missing, damaged or of another network.
        ConfigError: the package onnx is missing, or the name belongs to a model of another input or output.
        UserError: the device cannot export this.
    """
    path = exported_path(config.export.file_name or config.network.model, config.export.file_format)
    dataset = config.data.dataset_config
    network = create_model(config.network.model, config.network.variant, num_classes=dataset.num_classes,
                           backbone=config.network.backbone)
    load_weights(config.run.ckpt_file, network)
    size = (config.export.batch_size, config.export.image_height, config.export.image_width)
    metadata = ModelMetadata.describe(
        model=config.network.model, variant=config.network.variant, input_type=config.export.input_type,
        output_type=config.export.output_type,
        size=size, mean=config.data.mean, std=config.data.std, dataset=dataset.name, classes=dataset.class_names,
        palette=dataset.palette, checkpoint_sha256=sha256_of(config.run.ckpt_file),
        source=Path(config.run.ckpt_file).name,
        stride=network.head_stride, align_corners=network.align_corners, dynamic=config.export.dynamic_axes)
    check_metadata_is_free(path, metadata)

    graph = InferenceGraph(network, config.data.mean, std=config.data.std, input_type=config.export.input_type,
                           output_type=config.export.output_type).set_train(False)
    x = Tensor(np.zeros(metadata.input_shape, config.export.input_type))
    # MindSpore refuses path names with spaces or letters beyond ASCII, so it writes to a folder whose name we choose.
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / ("network.mindir" if config.export.file_format == "ONNX" else f"network{path.suffix}")
        _export(graph, x, path=exported, file_format=exported.suffix[1:].upper())
        if config.export.file_format == "ONNX":
            convert_file(exported, path, opset=config.export.opset, dynamic=config.export.dynamic_axes)
        else:
            with atomic_write(path) as temporary:
                shutil.copyfile(exported, temporary)
    write_metadata(path, metadata)
    if config.export.verify:
        print(f"{path} and {config.run.ckpt_file}:")
        _verify(config, path, graph=graph, metadata=metadata)
    return path


def _verify(config: Config, path: Path, *, graph: InferenceGraph, metadata: ModelMetadata) -> None:
    """Raises UserError where the exported model and the graph that it was made of differ in the images of --verify."""
    files, problems = find_inputs([config.export.verify])
    if problems:
        raise DataError(f"--verify {problems[0]}")
    runner = open_onnx(path) if path.suffix == ".onnx" else open_mindir(
        path, device_target=config.run.device_target, device_id=config.run.device_id)
    exported = ExportedBackend(path, metadata, runner=runner)
    source = ExportedBackend(Path(config.run.ckpt_file), metadata, runner=lambda x: graph(Tensor(x)).asnumpy())
    images = ((file.name, read_upright(file.path)) for file in files if not file.is_video)
    report(compare_backends(images, (exported, source), metadata=metadata))


def _export(graph: InferenceGraph, x: Tensor, *, path: Path, file_format: str) -> None:
    try:
        ms.export(graph, x, file_name=str(path), file_format=file_format)
    except (RuntimeError, ValueError, TypeError) as error:
        print(error, file=sys.stderr)
        raise UserError(f"MindSpore cannot export this network as {file_format}; its message is above") from None
