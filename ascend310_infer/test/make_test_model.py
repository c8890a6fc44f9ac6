"""Writes tiny ONNX models whose answers NumPy computes exactly, for the end-to-end test of the C++ program.

The network: the three colours of a pixel, as float, times a 4x3 matrix of small integers, plus a bias: four class
scores. All values are integers, or half of one in the bias, that float32 holds exactly, and no two scores are equal.
"""
import argparse
import json
from typing import Union

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WEIGHT = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1]], np.float32)
BIAS = np.array([0, 0.25, 0.5, 300.75], np.float32)
STRIDE = 8
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
PALETTE = [[220, 20, 60], [107, 142, 35], [0, 0, 142], [30, 30, 30]]


def logits(image: np.ndarray) -> np.ndarray:
    """Scores of images (N, H, W, 3) of any type: float32 (N, 4, H, W)."""
    return np.moveaxis(image.astype(np.float32) @ WEIGHT.T + BIAS, -1, 1).copy()


def class_map(image: np.ndarray) -> np.ndarray:
    """Class of each pixel of images (N, H, W, 3): uint8 (N, H, W)."""
    return logits(image).argmax(1).astype(np.uint8)


def make_model(form: str, batch: Union[int, str], height: int, width: int) -> onnx.ModelProto:
    """A tiny model.

    Args:
        batch: or a name, which leaves it open.
        height: 0 leaves height and width open.
        form: "deploy" (uint8 NHWC -> uint8 class map), "float" (float32 NCHW -> logits), "head" (uint8 NHWC -> logits
            of every STRIDE-th row and column) or "head_float" (float32 NCHW -> the same).
    """
    size = [height, width] if height else ["height", "width"]
    constants = [numpy_helper.from_array(WEIGHT[:, :, None, None], "weight"), numpy_helper.from_array(BIAS, "bias")]
    strides = {"strides": [STRIDE, STRIDE]} if form.startswith("head") else {}
    logits_size = size
    if strides:
        logits_size = [height // STRIDE, width // STRIDE] if height else ["output_height", "output_width"]
    if form in ("float", "head_float"):
        nodes = [helper.make_node("Conv", ["x", "weight", "bias"], ["y"], **strides)]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, *size])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4, *logits_size])
    elif form == "head":
        nodes = [helper.make_node("Cast", ["x"], ["x_float"], to=TensorProto.FLOAT),
                 helper.make_node("Transpose", ["x_float"], ["x_nchw"], perm=[0, 3, 1, 2]),
                 helper.make_node("Conv", ["x_nchw", "weight", "bias"], ["y"], **strides)]
        x = helper.make_tensor_value_info("x", TensorProto.UINT8, [batch, *size, 3])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4, *logits_size])
    else:
        nodes = [helper.make_node("Cast", ["x"], ["x_float"], to=TensorProto.FLOAT),
                 helper.make_node("Transpose", ["x_float"], ["x_nchw"], perm=[0, 3, 1, 2]),
                 helper.make_node("Conv", ["x_nchw", "weight", "bias"], ["scores"]),
                 helper.make_node("ArgMax", ["scores"], ["classes"], axis=1, keepdims=0),
                 helper.make_node("Cast", ["classes"], ["y"], to=TensorProto.UINT8)]
        x = helper.make_tensor_value_info("x", TensorProto.UINT8, [batch, *size, 3])
        y = helper.make_tensor_value_info("y", TensorProto.UINT8, [batch, *size])
    graph = helper.make_graph(nodes, "test", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def make_metadata(form: str, batch: int, height: int, width: int, align_corners: bool = False) -> str:
    """The text of the JSON file that export.py would write next to such a model."""
    is_float = form in ("float", "head_float")
    output = {"name": "y", "kind": "class_map", "shape": [batch, height, width], "dtype": "uint8"}
    if form == "float":
        output = {"name": "y", "kind": "logits", "shape": [batch, 4, height, width], "dtype": "float32"}
    elif form.startswith("head"):
        output = {"name": "y", "kind": "head_logits", "shape": [batch, 4, height // STRIDE, width // STRIDE],
                  "dtype": "float32", "stride": STRIDE, "align_corners": align_corners}
    return json.dumps({
        "format_version": 1, "model": "test", "variant": "test",
        "input": {"name": "x", "shape": [batch, 3, height, width] if is_float else [batch, height, width, 3],
                  "dtype": "float32" if is_float else "uint8", "layout": "NCHW" if is_float else "NHWC"},
        "normalization": {"mean": MEAN, "std": STD, "in_graph": not is_float}, "color_order": "RGB",
        "output": output, "dataset": "test", "classes": ["red", "green", "blue", "dark"], "palette": PALETTE,
        "ignore_label": 255, "checkpoint_sha256": "", "source": "test.ckpt"}, indent=2)


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes a tiny segmentation model.")
    parser.add_argument("file")
    parser.add_argument("--form", choices=["deploy", "float", "head", "head_float"], default="deploy")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--height", type=int, default=32)
    parser.add_argument("--width", type=int, default=64)
    args = parser.parse_args()
    onnx.save(make_model(args.form, args.batch, args.height, args.width), args.file)


if __name__ == "__main__":
    main()
