"""Softmax cross entropy over the main output and the auxiliary ones."""
from typing import Optional, Sequence, Tuple

import numpy as np
from mindspore import Tensor, dtype, nn, ops

from rtseg.models.interpolation import (products_are_faster, resize_bilinear, upsample_bilinear,
                                        upsample_bilinear_transposed)

# A sum of shifted exponentials below this has lost bits, or all of them, to underflow.
_SMALLEST_EXACT_SUM = 1e-30


@ops.constexpr
def _source_lines(length: int, reduced_length: int) -> Tensor:
    """The lines that a nearest reduction takes, int32 (reduced_length,): floor(i * length / reduced_length)."""
    return Tensor(np.arange(reduced_length) * length // reduced_length, dtype.int32)


def downsample_labels(labels: Tensor, size: Tuple[int, int]) -> Tensor:
    """Nearest reduction of int32 labels (N, H, W) to `size` = (height, width): bilinear would invent classes."""
    if labels.shape[1:] == size:
        return labels
    labels = ops.gather(labels, _source_lines(labels.shape[1], size[0]), 1)
    return ops.gather(labels, _source_lines(labels.shape[2], size[1]), 2)


class MixSoftmaxCrossEntropy(nn.Cell):
    """CE(main) + aux_weight * sum of CE(auxiliary), each the mean over the valid pixels of the batch of all ranks.

    A batch without a valid pixel gives 0, and ignored pixels have neither loss nor gradient. Outputs and labels may
    differ in size: logits are upsampled to the labels' size, or the labels downsampled to the logits'. All of it is
    float32, whatever the logits are.
    Source: the loss of SegmenTron and of the MindSpore model zoo; upsampling inside the loss as mmsegmentation does.

    Args:
        aux_weight: factor of every auxiliary output.
        ignore_label: label of the pixels to leave out.
        align_corners: of the bilinear upsampling of the logits.
        labels_to_logits: True downsamples the labels (nearest) to each output's size, and upsamples nothing.
        class_weights: factor of each class's pixels in the mean, as many as there are classes; empty: all equal.
        group_size: number of processes that share the batch. The mean of their losses, and of the gradients, is then
            that of one process with the whole batch, however the ignored pixels are spread.
        by_products: True computes the same by matrix products, three to ten times as fast on a CPU; False by the
            operators `interpolate` and `cross_entropy`, which suit every other device; None: as the device asks for.

    Inputs:
        outputs: tuple of logits (N, C, h, w), float32 or float16, main first; sizes may differ.
        labels: (N, H, W) integer train ids.
        batch_labels: (M, H, W), of the whole batch that `labels` is a part of, if it is one. The losses of the parts
            then add up to that of the batch.

    Outputs:
        scalar float32.
    """

    def __init__(self, aux_weight: float = 0.4, *, ignore_label: int = 255, align_corners: bool = False,
                 labels_to_logits: bool = False, class_weights: Sequence[float] = (), group_size: int = 1,
                 by_products: Optional[bool] = None):
        super().__init__()
        self.aux_weight = aux_weight
        self.ignore_label = ignore_label
        self.align_corners = align_corners
        self.labels_to_logits = labels_to_logits
        self.class_weights = Tensor(class_weights, dtype.float32) if class_weights else None
        self.group_size = group_size
        self.all_reduce = ops.AllReduce() if group_size > 1 else None
        self.by_products = products_are_faster() if by_products is None else by_products

    def construct(self, outputs: Tuple[Tensor, ...], labels: Tensor, batch_labels: Optional[Tensor] = None) -> Tensor:
        labels = labels.astype(dtype.int32)
        batch_labels = labels if batch_labels is None else batch_labels.astype(dtype.int32)
        loss = self.output_loss(outputs[0], labels, batch_labels=batch_labels)
        for aux in outputs[1:]:
            loss = loss + self.aux_weight * self.output_loss(aux, labels, batch_labels=batch_labels)
        return loss

    def output_loss(self, logits: Tensor, labels: Tensor, *, batch_labels: Tensor) -> Tensor:
        """Loss of one output: logits (N, C, h, w), labels int32 (N, H, W), batch_labels int32 (M, H, W) -> scalar
        float32."""
        if self.labels_to_logits:
            labels = downsample_labels(labels, logits.shape[2:])
            batch_labels = downsample_labels(batch_labels, logits.shape[2:])
        logits = logits.astype(dtype.float32)
        weights = self.pixel_weights(labels)
        if self.by_products:
            total = self.sum_by_products(logits, labels, weights=weights)
        else:
            total = (self.pixel_losses(logits, labels) * weights).sum()
        return self.mean(total, self.over_ranks(self.pixel_weights(batch_labels).sum()))

    def pixel_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy of each pixel, 0 where it is ignored: float32 logits (N, C, h, w), int32 labels (N, H, W) ->
        float32 (N, H, W)."""
        logits = resize_bilinear(logits, labels.shape[1:], align_corners=self.align_corners)
        return ops.cross_entropy(logits, labels, ignore_index=self.ignore_label, reduction="none")

    def pixel_weights(self, labels: Tensor) -> Tensor:
        """How much each pixel counts, 0 where it is ignored: int32 labels -> float32 of the same shape."""
        valid = (labels != self.ignore_label).astype(dtype.float32)
        if self.class_weights is None:
            return valid
        return valid * ops.gather(self.class_weights, labels * (labels != self.ignore_label).astype(dtype.int32), 0)

    def mean(self, total: Tensor, count: Tensor) -> Tensor:
        """`total` of this rank by `count` of all ranks, times the number of ranks: the mean of this over the ranks is
        the mean over all their pixels. 0 where the count is 0."""
        # A sum of class weights may be far below 1.
        return total * self.group_size / ops.maximum(count.astype(dtype.float32), 1e-6)

    def over_ranks(self, count: Tensor) -> Tensor:
        """A scalar added up over all ranks: float32, or with one rank the count as it is."""
        if self.all_reduce is None:
            return count
        return self.all_reduce(ops.stop_gradient(count).astype(dtype.float32).reshape(1)).reshape(())

    def sum_by_products(self, logits: Tensor, labels: Tensor, *, weights: Tensor) -> Tensor:
        """Sum of the weighted pixel losses: float32 logits (N, C, h, w), labels and weights (N, H, W) -> scalar.

        A pixel's loss is log(sum(exp(logits))) - logit of the true class. Upsampling is linear, so the true classes'
        logits are added up at the logits' own size, with weights that depend on the labels alone: whatever runs over
        all pixels and classes costs most of a step on a CPU, and this leaves one product, `exp` and a sum of it.
        """
        # Softmax does not mind a shift per pixel. This one, upsampled, is at least every upsampled logit: no overflow.
        logits = logits - ops.stop_gradient(logits.max(axis=1, keepdims=True))
        log_sums = self.log_sum_exp(logits, labels.shape[1:])
        true_logits = (logits * self.label_weights(labels, logits.shape)).sum()
        return (log_sums * weights.reshape(-1)).sum() - true_logits

    def log_sum_exp(self, logits: Tensor, size: Tuple[int, int]) -> Tensor:
        """Over the classes of each pixel: shifted logits (N, C, h, w), upsampled to `size` -> float32 (N*H*W,)."""
        batch, classes = logits.shape[:2]
        upsampled = upsample_bilinear(logits, size, align_corners=self.align_corners)
        exponentials = ops.exp(upsampled).reshape(batch, classes, -1)
        # A product with ones: on CPU the fastest sum over classes.
        sums = ops.matmul(ops.ones((1, classes), dtype.float32), exponentials).reshape(-1)
        # Between source pixels of different classes whose logits lie more than 87 apart, every exponential may vanish.
        # That is rare, and only then each pixel is shifted by a largest logit of its own.
        if ops.stop_gradient(sums).min() < _SMALLEST_EXACT_SUM:
            result = ops.logsumexp(upsample_bilinear(logits, size, align_corners=self.align_corners), 1).reshape(-1)
        else:
            result = ops.log(sums)
        return result

    def label_weights(self, labels: Tensor, shape: Tuple[int, ...]) -> Tensor:
        """float32 (N, C, h, w) = `shape`: how much each logit counts towards the true classes' upsampled logits."""
        # An ignored label is outside the classes, so its row is all zeros.
        true_classes = ops.one_hot(labels, shape[1], 1.0, 0.0)
        counts = upsample_bilinear_transposed(true_classes, (shape[2], shape[3]), align_corners=self.align_corners)
        return counts if self.class_weights is None else counts * self.class_weights.reshape(1, -1, 1, 1)
