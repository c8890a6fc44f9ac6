"""Exports a checkpoint as MINDIR, ONNX or AIR, each with its metadata."""
import shutil
import sys
import tempfile
from pathlib import Path
from typing import List, Sequence

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from rtseg.config.config import Config
from rtseg.export.onnx_converter import convert_file
from rtseg.export.quantization import calibration_files, check_quantizer, quantize_file
from rtseg.export.verify import LEAST_AGREEMENT, LEAST_INT8_AGREEMENT, compare_backends, report
from rtseg.inference.backends import ExportedBackend, open_exported
from rtseg.inference.graph import InferenceGraph
from rtseg.inference.input_files import InputFile, find_inputs, read_upright
from rtseg.inference.metadata import ModelMetadata, check_metadata_is_free, exported_path, sha256_of, write_metadata
from rtseg.models.weights import trained_network
from rtseg.utils.atomic import atomic_write
from rtseg.utils.errors import DataError, UserError


def export_checkpoint(config: Config) -> Path:
    """Writes the exported model and its metadata as `config` says; returns the model's path.

    Raises:
        DataError: the checkpoint is missing, damaged or of another network, or there are no images for --calibration
            or --verify.
        ConfigError: the package onnx is missing, or onnxruntime for int8, or the name belongs to a model of another
            input, output or precision.
        UserError: the device cannot export this.
    """
    path = exported_path(config.export.file_name or config.network.model, config.export.file_format)
    calibration = []
    if config.export.precision == "int8":
        check_quantizer()
        calibration = calibration_files(config.export.calibration)
    compared = _images_to_compare(config.export.verify)
    network = trained_network(config, config.run.ckpt_file)
    metadata = _describe(config, network)
    check_metadata_is_free(path, metadata)

    graph = InferenceGraph(network, config.data.mean, std=config.data.std, input_type=config.export.input_type,
                           output_type=config.export.output_type).set_train(False)
    x = Tensor(np.zeros(metadata.input_shape, config.export.input_type))
    # MindSpore refuses path names with spaces or letters beyond ASCII, so it writes to a folder whose name we choose.
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / ("network.mindir" if config.export.file_format == "ONNX" else f"network{path.suffix}")
        _export(graph, x, path=exported, file_format=exported.suffix[1:].upper())
        if config.export.file_format == "ONNX":
            onnx_path = exported.with_suffix(".onnx") if calibration else path
            convert_file(exported, onnx_path, opset=config.export.opset, dynamic=config.export.dynamic_axes)
            if calibration:
                print(f"quantizing with {len(calibration)} images", flush=True)
                quantize_file(onnx_path, path, images=calibration, metadata=metadata)
        else:
            with atomic_write(path) as temporary:
                shutil.copyfile(exported, temporary)
    write_metadata(path, metadata)
    if config.export.verify:
        print(f"{path} and {config.run.ckpt_file}:")
        _verify(config, path, graph=graph, metadata=metadata, files=compared)
    return path


def _images_to_compare(verify: str) -> List[InputFile]:
    files, problems = find_inputs([verify]) if verify else ([], [])
    if problems:
        raise DataError(f"--verify {problems[0]}")
    return [file for file in files if not file.is_video]


def _describe(config: Config, network: nn.Cell) -> ModelMetadata:
    dataset, export, ckpt_file = config.data.dataset_config, config.export, config.run.ckpt_file
    return ModelMetadata.describe(
        model=config.network.model, variant=config.network.variant, input_type=export.input_type,
        output_type=export.output_type, size=(export.batch_size, export.image_height, export.image_width),
        mean=config.data.mean, std=config.data.std, dataset=dataset.name, classes=dataset.class_names,
        palette=dataset.palette, checkpoint_sha256=sha256_of(ckpt_file), source=Path(ckpt_file).name,
        stride=network.head_stride, align_corners=network.align_corners, dynamic=export.dynamic_axes,
        precision="int8" if export.precision == "int8" else None)


def _verify(config: Config, path: Path, *, graph: InferenceGraph, metadata: ModelMetadata,
            files: Sequence[InputFile]) -> None:
    """Raises UserError where the exported model and the graph that it was made of differ in these images."""
    exported = open_exported(path, metadata, device_target=config.run.device_target, device_id=config.run.device_id)
    source = ExportedBackend(Path(config.run.ckpt_file), metadata, runner=lambda x: graph(Tensor(x)).asnumpy())
    images = ((file.name, read_upright(file.path)) for file in files)
    report(compare_backends(images, (exported, source), metadata=metadata),
           least_agreement=LEAST_INT8_AGREEMENT if metadata.precision == "int8" else LEAST_AGREEMENT)


def _export(graph: InferenceGraph, x: Tensor, *, path: Path, file_format: str) -> None:
    try:
        ms.export(graph, x, file_name=str(path), file_format=file_format)
    except (RuntimeError, ValueError, TypeError) as error:
        print(error, file=sys.stderr)
        raise UserError(f"MindSpore cannot export this network as {file_format}; its message is above") from None
