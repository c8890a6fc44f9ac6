"""The one Cell that is evaluated, predicted with and exported: normalisation, network, and the output asked for."""
from typing import Sequence

from mindspore import Tensor, dtype, nn, ops

from rtseg.inference.metadata import INPUT_TYPES, OUTPUT_TYPES
from rtseg.inference.preprocessing import normalization_factors


class InputNormalization(nn.Cell):
    """uint8 RGB (N, H, W, 3), as images are stored, -> float32 (N, 3, H, W), (x / 255 - mean) / std.

    It is part of the graph so that a batch travels to the device as bytes, a quarter of its float32 size.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__(auto_prefix=False)
        scale, shift = normalization_factors(mean, std)
        self.scale = Tensor(scale.reshape(1, 3, 1, 1))
        self.shift = Tensor(shift.reshape(1, 3, 1, 1))

    def construct(self, x: Tensor) -> Tensor:
        return ops.transpose(x, (0, 3, 1, 2)).astype(dtype.float32) * self.scale + self.shift


class InferenceGraph(nn.Cell):
    """A network from the image that it takes to the output that is asked for.

    Args:
        network: logits (N, C, H, W) of (N, 3, H, W), and `head_logits` if those are asked for.
        mean, std: of the normalisation, for input_type "uint8".
        input_type, output_type: see Inputs and Outputs.

    Inputs:
        x: "float32": normalised RGB (N, 3, H, W); "uint8": RGB bytes (N, H, W, 3). H and W are multiples of 32.

    Outputs:
        "logits": float32 (N, C, H, W); "head_logits": float32 (N, C, H / stride, W / stride), before the network's last
        upsampling; "class_map": uint8 train ids (N, H, W), the first class among equal ones.
    """

    def __init__(self, network: nn.Cell, mean: Sequence[float], *, std: Sequence[float], input_type: str = "uint8",
                 output_type: str = "class_map"):
        super().__init__(auto_prefix=False)  # the parameters keep the network's names
        if input_type not in INPUT_TYPES or output_type not in OUTPUT_TYPES:
            raise ValueError(f"expected an input of {', '.join(INPUT_TYPES)} and an output of "
                             f"{', '.join(OUTPUT_TYPES)}, found {input_type} and {output_type}")
        self.normalize = InputNormalization(mean, std) if input_type == "uint8" else nn.Identity()
        self.network = network
        self.output_type = output_type
        self.argmax = ops.Argmax(axis=1, output_type=dtype.int32)

    def construct(self, x: Tensor) -> Tensor:
        x = self.normalize(x)
        if self.output_type == "head_logits":
            return self.network.head_logits(x).astype(dtype.float32)
        logits = self.network(x)
        if self.output_type == "logits":
            return logits
        return self.argmax(logits).astype(dtype.uint8)
