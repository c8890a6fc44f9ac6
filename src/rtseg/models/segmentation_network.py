"""What the networks share: how the outputs of their heads become what a caller asks for."""
from typing import Optional, Tuple, Union

from mindspore import Tensor, nn

from rtseg.models.interpolation import resize_bilinear
from rtseg.models.layers import BatchNorm


class SegmentationNetwork(nn.Cell):
    """Base of all networks, which write `head_outputs` and set the attributes where they differ.

    Attributes:
        head_stride: of the main logits before they are upsampled.
        align_corners: how they are upsampled, here and in the loss.
        labels_to_logits: whether the loss brings the labels to the size of the logits, instead of the reverse.

    Inputs:
        x: (N, 3, H, W) float32, normalised RGB, H and W multiples of 32.

    Outputs:
        float32 logits: in inference (N, num_classes, H, W), in training `head_outputs`, float16 at O2 and O3.
    """

    head_stride = 8
    align_corners = False
    labels_to_logits = False

    def set_bn_momentum(self, momentum: Optional[float]) -> None:
        """Sets that of all BatchNorms, in MindSpore's meaning, 1 - PyTorch's; None leaves the 0.9 that they begin with.
        """
        for _, cell in self.cells_and_names():
            if momentum is not None and isinstance(cell, BatchNorm):
                cell.set_momentum(momentum)

    def construct(self, x: Tensor) -> Union[Tensor, Tuple[Tensor, ...]]:
        outputs = self.head_outputs(x)
        if self.training:
            return outputs
        return resize_bilinear(outputs[0], x.shape[2:], align_corners=self.align_corners)

    def head_logits(self, x: Tensor) -> Tensor:
        """Logits of inference before the last upsampling: (N, num_classes, H / head_stride, W / head_stride)."""
        return self.head_outputs(x)[0]

    def head_outputs(self, x: Tensor) -> Tuple[Tensor, ...]:
        """(main, auxiliary...) at the heads' strides; in inference (main,)."""
        raise NotImplementedError
