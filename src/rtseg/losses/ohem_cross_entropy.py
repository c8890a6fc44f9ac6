"""Online hard example mining: only the pixels that the network finds difficult have a loss."""
import math

from mindspore import dtype, ops

from rtseg.losses.mix_softmax_cross_entropy import MixSoftmaxCrossEntropy, downsample_labels
from rtseg.models.interpolation import upsample_bilinear


class OhemCrossEntropy(MixSoftmaxCrossEntropy):
    """MixSoftmaxCrossEntropy whose means run over the hard pixels of each output.

    Hard pixels are those whose true class has a probability below `threshold`; where these are fewer than
    `min_kept` of the valid pixels, the pixels with the largest losses up to that number.
    Source: Shrivastava et al., arXiv 1604.03540, in the form of CoinCheung/BiSeNet. It runs inside the graph.

    Args:
        threshold: probability in (0, 1).
        min_kept: share of the valid pixels that is always kept, in (0, 1].
        aux_weight, ignore_label, align_corners, labels_to_logits: see MixSoftmaxCrossEntropy.
        class_weights: factor of each class's losses, before the hard ones are chosen; the mean is over their number.
        group_size: see MixSoftmaxCrossEntropy. Hard pixels are counted over all ranks, too. Where they are too few,
            though, each rank takes its own largest losses up to its own number, and those need not be the largest of
            the whole batch.
    """

    def __init__(self, threshold=0.7, min_kept=1 / 16, aux_weight=1.0, ignore_label=255, align_corners=False,
                 labels_to_logits=False, class_weights=(), group_size=1):
        super().__init__(aux_weight, ignore_label, align_corners, labels_to_logits, class_weights, group_size)
        self.loss_threshold = -math.log(threshold)
        self.min_kept = min_kept
        self.cross_entropy = ops.SoftmaxCrossEntropyWithLogits()
        self.topk = ops.TopK(sorted=True)

    def output_loss(self, logits, labels):
        """Loss of one output: logits (N, C, h, w), labels int32 (N, H, W) -> scalar float32."""
        if self.labels_to_logits:
            labels = downsample_labels(labels, logits.shape[2:])
        logits = upsample_bilinear(logits.astype(dtype.float32), labels.shape[1:], self.align_corners)
        labels = labels.reshape(-1)
        valid = (labels != self.ignore_label).astype(dtype.float32)
        return self.reduce(self.pixel_losses(logits, labels) * self.pixel_weights(labels), valid)

    def pixel_losses(self, logits, labels):
        """Loss of each pixel: logits float32 (N, C, H, W), labels int32 (N*H*W,) -> float32 (N*H*W,).

        Pixels in rows: on CPU this takes a third of the time of nn.CrossEntropyLoss on NCHW.
        """
        classes = logits.shape[1]
        rows = ops.transpose(logits, (0, 2, 3, 1)).reshape(-1, classes)
        # An ignored label is outside the classes, so its row is all zeros and its loss 0.
        target = ops.one_hot(labels, classes, 1.0, 0.0)
        losses, _ = self.cross_entropy(rows, target)
        return losses

    def reduce(self, losses, valid):
        """Mean of the hard pixels' losses. `losses`, 0 where ignored, and `valid` (1.0 or 0.0) are float32 (P,)."""
        # Counts stay integers: float32 cannot tell them apart beyond 2^24 pixels.
        required = (valid.astype(dtype.int32).sum() * self.min_kept).astype(dtype.int32)
        hard = ops.stop_gradient(losses > self.loss_threshold)
        hard_count = self.over_ranks(hard.astype(dtype.int32).sum())
        mean_hard = self.mean((losses * hard.astype(dtype.float32)).sum(), hard_count)

        # The shape must not depend on the data, so take as many as could be required, then mask.
        largest = self.topk(losses, max(1, math.ceil(losses.shape[0] * self.min_kept)))[0]
        taken = (ops.arange(largest.shape[0]) < required).astype(dtype.float32)
        required = self.over_ranks(required)
        mean_largest = self.mean((largest * taken).sum(), required)
        return ops.where(hard_count >= required, mean_hard, mean_largest)
