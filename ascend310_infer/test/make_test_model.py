"""Writes tiny ONNX models whose answers NumPy computes exactly, for the end-to-end test of the C++ program.

The network: the three colours of a pixel, as float, times a 4x3 matrix of small integers, plus a bias: four class
scores. All values are integers, or half of one in the bias, that float32 holds exactly, and no two scores are equal.
"""
import argparse

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WEIGHT = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1]], np.float32)
BIAS = np.array([0, 0.25, 0.5, 300.75], np.float32)


def logits(image: np.ndarray) -> np.ndarray:
    """Scores of images (N, H, W, 3) of any type: float32 (N, 4, H, W)."""
    return np.moveaxis(image.astype(np.float32) @ WEIGHT.T + BIAS, -1, 1).copy()


def class_map(image: np.ndarray) -> np.ndarray:
    """Class of each pixel of images (N, H, W, 3): uint8 (N, H, W)."""
    return logits(image).argmax(1).astype(np.uint8)


def make_model(form: str, batch: int, height: int, width: int) -> onnx.ModelProto:
    """A model in the "deploy" form (uint8 NHWC -> uint8 class map) or the "float" form (float32 NCHW -> logits).

    A height of 0 leaves height and width open.
    """
    size = [height, width] if height else ["height", "width"]
    constants = [numpy_helper.from_array(WEIGHT[:, :, None, None], "weight"), numpy_helper.from_array(BIAS, "bias")]
    if form == "float":
        nodes = [helper.make_node("Conv", ["x", "weight", "bias"], ["y"])]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, *size])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4, *size])
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


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes a tiny segmentation model.")
    parser.add_argument("file")
    parser.add_argument("--form", choices=["deploy", "float"], default="deploy")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--height", type=int, default=32)
    parser.add_argument("--width", type=int, default=64)
    args = parser.parse_args()
    onnx.save(make_model(args.form, args.batch, args.height, args.width), args.file)


if __name__ == "__main__":
    main()
