"""Online hard example mining: only the pixels that the network finds difficult have a loss."""
import math

from mindspore import dtype, ops

from src.losses.mix_softmax_cross_entropy import MixSoftmaxCrossEntropy


class OhemCrossEntropy(MixSoftmaxCrossEntropy):
    """MixSoftmaxCrossEntropy whose means run over the hard pixels of each output.

    Hard pixels are those whose true class has a probability below `threshold`; where these are fewer than
    `min_kept` of the valid pixels, the pixels with the largest losses up to that number.
    Source: Shrivastava et al., arXiv 1604.03540, in the form of CoinCheung/BiSeNet. It runs inside the graph.

    Args:
        threshold: probability in (0, 1).
        min_kept: share of the valid pixels that is always kept, in (0, 1].
        aux_weight, ignore_label: see MixSoftmaxCrossEntropy.
    """

    def __init__(self, threshold=0.7, min_kept=1 / 16, aux_weight=1.0, ignore_label=255):
        super().__init__(aux_weight, ignore_label)
        self.loss_threshold = -math.log(threshold)
        self.min_kept = min_kept
        self.topk = ops.TopK(sorted=True)

    def reduce(self, losses, valid):
        """Mean of the hard pixels' losses. `losses` and `valid` (1.0 or 0.0) are float32 (P,)."""
        # Counts stay integers: float32 cannot tell them apart beyond 2^24 pixels.
        required = (valid.astype(dtype.int32).sum() * self.min_kept).astype(dtype.int32)
        losses = losses * valid
        hard = ops.stop_gradient(losses > self.loss_threshold)
        hard_count = hard.astype(dtype.int32).sum()
        mean_hard = (losses * hard.astype(dtype.float32)).sum() / ops.maximum(hard_count, 1)

        # The shape must not depend on the data, so take as many as could be required, then mask.
        largest = self.topk(losses, max(1, math.ceil(losses.shape[0] * self.min_kept)))[0]
        taken = (ops.arange(largest.shape[0]) < required).astype(dtype.float32)
        mean_largest = (largest * taken).sum() / ops.maximum(required, 1)
        return ops.where(hard_count >= required, mean_hard, mean_largest)
