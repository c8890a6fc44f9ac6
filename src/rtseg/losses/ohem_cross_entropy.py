"""Online hard example mining: only the pixels that the network finds difficult have a loss."""
import math
from typing import Any

from mindspore import Tensor, dtype, ops

from rtseg.losses.mix_softmax_cross_entropy import MixSoftmaxCrossEntropy, downsample_labels
from rtseg.models.interpolation import upsample_bilinear

# Halvings of the interval in which the k-th largest loss lies: its width ends below a float32's precision.
_BISECTIONS = 30


class OhemCrossEntropy(MixSoftmaxCrossEntropy):
    """MixSoftmaxCrossEntropy whose means run over the hard pixels of each output.

    Hard pixels are those whose true class has a probability below `threshold`; where these are fewer than
    `min_kept` of the valid pixels, the pixels with the largest losses up to that number.
    Source: Shrivastava et al., arXiv 1604.03540, in the form of CoinCheung/BiSeNet. It runs inside the graph.

    The largest losses are found by bisection of their threshold, not by TopK, which does not run on the AI cores of an
    Ascend at such sizes; on a CPU it would take 0.74 of the time (benchmarks/loss.py --loss ohem). Equal losses at the
    threshold share what is left of the number.

    Args:
        threshold: probability in (0, 1).
        min_kept: share of the valid pixels that is always kept, in (0, 1].
        aux_weight: factor of every auxiliary output.
        options: see MixSoftmaxCrossEntropy. class_weights scale each class's losses before the hard ones are chosen;
            the mean is over their number. Over several ranks hard pixels are counted together; where they are too few,
            though, each rank takes its own largest losses up to its own number, and those need not be the largest of
            the whole batch.
    """

    def __init__(self, threshold: float = 0.7, min_kept: float = 1 / 16, *, aux_weight: float = 1.0, **options: Any):
        super().__init__(aux_weight, **options)
        self.loss_threshold = -math.log(threshold)
        self.min_kept = min_kept
        self.cross_entropy = ops.SoftmaxCrossEntropyWithLogits()

    def output_loss(self, logits: Tensor, labels: Tensor, *, batch_labels: Tensor) -> Tensor:
        """See MixSoftmaxCrossEntropy. A part of a batch has hard pixels of its own, and counts as much as any other."""
        share = labels.shape[0] / batch_labels.shape[0]
        if self.labels_to_logits:
            labels = downsample_labels(labels, logits.shape[2:])
        losses = self.pixel_losses(logits.astype(dtype.float32), labels) * self.pixel_weights(labels)
        return share * self.mean_of_hard(losses, (labels != self.ignore_label).astype(dtype.int32).sum())

    def pixel_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy of each pixel, 0 where it is ignored: float32 logits (N, C, h, w), int32 labels (N, H, W) ->
        float32 (N, H, W)."""
        if not self.by_products:
            return super().pixel_losses(logits, labels)
        logits = upsample_bilinear(logits, labels.shape[1:], align_corners=self.align_corners)
        classes = logits.shape[1]
        # Pixels in rows: on CPU this takes a third of the time of a softmax over the second axis of NCHW.
        rows = ops.transpose(logits, (0, 2, 3, 1)).reshape(-1, classes)
        # An ignored label is outside the classes, so its row is all zeros and its loss 0.
        losses, _ = self.cross_entropy(rows, ops.one_hot(labels.reshape(-1), classes, 1.0, 0.0))
        return losses.reshape(labels.shape)

    def mean_of_hard(self, losses: Tensor, valid_count: Tensor) -> Tensor:
        """Mean of the hard pixels' losses: float32 losses of any shape, 0 where ignored; int32 count of the valid."""
        # Counts stay integers: float32 cannot tell them apart beyond 2^24 pixels.
        required = (valid_count * self.min_kept).astype(dtype.int32)
        hard = ops.stop_gradient(losses > self.loss_threshold)
        hard_count = self.over_ranks(hard.astype(dtype.int32).sum())
        mean_hard = self.mean((losses * hard.astype(dtype.float32)).sum(), hard_count)
        required_count = self.over_ranks(required)
        mean_largest = self.mean(self.sum_of_largest(losses, required), required_count)
        return ops.where(hard_count >= required_count, mean_hard, mean_largest)

    def sum_of_largest(self, losses: Tensor, number: Tensor) -> Tensor:
        """Sum of the `number` (int32 scalar) largest of `losses`, differentiable in them."""
        values = ops.stop_gradient(losses)
        low, high = values.min() - 1.0, values.max()
        for _ in range(_BISECTIONS):  # count(> high) <= number < count(> low) or all: the threshold is in (low, high]
            middle = (low + high) / 2
            is_few = (values > middle).astype(dtype.int32).sum() <= number
            low, high = ops.where(is_few, low, middle), ops.where(is_few, middle, high)
        above = (values > high).astype(dtype.float32)
        equal = (values > low).astype(dtype.float32) - above
        missing = (number - above.astype(dtype.int32).sum()).astype(dtype.float32)
        share = missing / ops.maximum(equal.sum(), 1.0)
        return (losses * (above + ops.minimum(share, 1.0) * equal)).sum()
