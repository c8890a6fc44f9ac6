"""One training step as one graph: normalization, forward, loss, gradients, update."""
from typing import Any, Dict, Sequence, Tuple, Union

import mindspore as ms
from mindspore import Parameter, ParameterTuple, Tensor, amp, nn, ops

from rtseg.inference.graph import InputNormalization


class TrainStep(nn.Cell):
    """Updates the network once.

    Args:
        network: in training a tuple of logits (main, aux...).
        loss: takes that tuple and labels.
        optimizer: of the network's parameters.
        mean, std: of the normalization.
        loss_scale: number, or "dynamic".
        clip_norm: gradients whose norm over all parameters is larger are scaled down to it; 0 for never.
        group_size: number of processes, whose gradients are averaged.

    Inputs:
        images: uint8 (N, H, W, 3) RGB.
        labels: uint8 (N, H, W) train ids.

    Outputs:
        loss, float32 scalar, not scaled. With a loss scale the update is left out when a gradient is not finite, and a
        dynamic scale shrinks.
    """

    def __init__(self, network: nn.Cell, loss: nn.Cell, *, optimizer: nn.Optimizer, mean: Sequence[float],
                 std: Sequence[float], loss_scale: Union[float, str] = 1.0, clip_norm: float = 0.0,
                 group_size: int = 1):
        super().__init__(auto_prefix=False)  # the parameters keep the network's names
        self.normalize = InputNormalization(mean, std)
        self.network = network
        self.loss = loss
        self.optimizer = optimizer
        if loss_scale == "dynamic":
            self.scaler = amp.DynamicLossScaler(2.0 ** 16, 2, 1000)
        else:
            self.scaler = None if loss_scale == 1 else amp.StaticLossScaler(loss_scale)
        self.clip_norm = clip_norm
        self.group_size = group_size
        self.gradient = ms.value_and_grad(self.scaled_loss, None, optimizer.parameters, has_aux=True)
        self.average = nn.DistributedGradReducer(optimizer.parameters, True, group_size) if group_size > 1 else None
        self.all_reduce: Any = ops.AllReduce() if group_size > 1 else None

    def state(self) -> Dict[str, Parameter]:
        """Name -> parameter of all that a resumed run needs next to the network's own parameters."""
        parameters = list(self.optimizer.moments) + [self.optimizer.global_step]
        if isinstance(self.scaler, amp.DynamicLossScaler):
            parameters += [self.scaler.scale_value, self.scaler.counter]
        return {parameter.name: parameter for parameter in parameters}

    def scaled_loss(self, images: Tensor, labels: Tensor, *batch_labels: Tensor) -> Tuple[Tensor, Tensor]:
        """(loss to differentiate, loss to report); of a part of a batch if that has `batch_labels`."""
        loss = self.loss(self.network(self.normalize(images)), labels, *batch_labels)
        return (loss if self.scaler is None else self.scaler.scale(loss)), loss

    def update(self, loss: Tensor, gradients: Tuple[Tensor, ...]) -> Tensor:
        """Updates the weights once, with the means of `gradients` over all ranks. Returns `loss`: MindSpore warns of a
        method that returns nothing."""
        if self.scaler is not None:
            gradients = self.scaler.unscale(gradients)
        if self.average is not None:
            gradients = self.average(gradients)
        if self.scaler is None:
            self.optimizer(self.clip(gradients))
            return loss
        # Averaged already, so that one rank's infinity makes all of them leave the update out.
        finite = amp.all_finite(gradients)
        if finite:
            self.optimizer(self.clip(gradients))
        self.scaler.adjust(finite)
        return loss

    def clip(self, gradients: Tuple[Tensor, ...]) -> Tuple[Tensor, ...]:
        """Gradients whose global norm is at most `clip_norm`."""
        if self.clip_norm == 0:
            return gradients
        square = 0.0
        for gradient in gradients:
            square = square + (gradient * gradient).sum()
        factor = self.clip_norm / ops.maximum(ops.sqrt(square), self.clip_norm)
        clipped = ()
        for gradient in gradients:
            clipped = clipped + (gradient * factor,)  # type: ignore[assignment]
        return clipped

    def construct(self, images: Tensor, labels: Tensor) -> Tensor:
        (_, loss), gradients = self.gradient(images, labels)
        return self.update(loss, gradients)

    def share(self, loss: Tensor, request: Tensor) -> Tuple[Tensor, Tensor]:
        """The mean loss over all ranks, and the sum of their requests."""
        sums = self.all_reduce(ops.concat((loss.reshape(1), request)))
        return sums[0] / self.group_size, sums[1:]


class DistributedTrainStep(TrainStep):
    """TrainStep of one of several processes.

    Inputs:
        images, labels: this rank's share of the batch.
        request: float32 (1,), 1.0 if this rank has been asked to stop.

    Outputs:
        loss, float32 scalar: the mean over all ranks.
        requests: float32 (1,), the sum over all ranks. It comes with the loss at no extra cost, and nobody need wait
            for it before the next step is on its way.
    """

    def construct(self, images: Tensor, labels: Tensor,  # type: ignore[override]
                  request: Tensor) -> Tuple[Tensor, Tensor]:
        return self.share(super().construct(images, labels), request)


class _AddGradients(nn.Cell):
    """Adds the gradients of a part of the batch to `sums`, and returns its share of the loss."""

    def __init__(self, step: TrainStep, sums: ParameterTuple):
        super().__init__(auto_prefix=False)
        self.gradient = ms.value_and_grad(step.scaled_loss, None, step.optimizer.parameters, has_aux=True)
        self.sums = sums
        self.hyper_map = ops.HyperMap()

    def construct(self, images: Tensor, labels: Tensor, batch_labels: Tensor) -> Tensor:
        (_, loss), gradients = self.gradient(images, labels, batch_labels)
        return ops.depend(loss, self.hyper_map(ops.assign_add, self.sums, gradients))


class _ApplyGradients(nn.Cell):
    """Updates the weights with the gradients in `sums`, and empties these."""

    def __init__(self, step: TrainStep, sums: ParameterTuple):
        super().__init__(auto_prefix=False)
        self.step = step
        self.sums = sums
        self.hyper_map = ops.HyperMap()

    def construct(self, loss: Tensor) -> Tensor:
        loss = self.step.update(loss, self.sums)
        return ops.depend(loss, self.hyper_map(_empty, self.sums))


class _ApplySharedGradients(_ApplyGradients):
    """_ApplyGradients of one of several processes."""

    def construct(self, loss: Tensor, request: Tensor) -> Tuple[Tensor, Tensor]:  # type: ignore[override]
        return self.step.share(super().construct(loss), request)


def _empty(total: Parameter) -> Tensor:
    return ops.assign(total, ops.zeros_like(total))


class AccumulatingTrainStep:
    """A TrainStep (or DistributedTrainStep) that takes its batch in parts, for which there is memory, and updates once.

    The update is that of the whole batch, whatever the parts have of ignored pixels; but each part has its own
    BatchNorm statistics and dropout masks, and OHEM chooses the hard pixels of each part. Nothing is left over between
    steps, so that there is nothing more to save.

    Args:
        step: for the parts.
        parts: number of parts that each batch is cut into.
    """

    def __init__(self, step: TrainStep, parts: int):
        self.step = step
        self.parts = parts
        sums = step.optimizer.parameters.clone(prefix="gradient_sum", init="zeros")
        self.add_gradients = _AddGradients(step, sums)
        self.apply_gradients = (_ApplyGradients if step.group_size == 1 else _ApplySharedGradients)(step, sums)

    def state(self) -> Dict[str, Parameter]:
        """See TrainStep."""
        return self.step.state()

    def __call__(self, images: Tensor, labels: Tensor, *request: Tensor) -> Union[Tensor, Tuple[Tensor, Tensor]]:
        size = images.shape[0] // self.parts
        loss = None
        for i in range(0, images.shape[0], size):
            part = self.add_gradients(images[i:i + size], labels[i:i + size], labels)
            loss = part if loss is None else loss + part
        return self.apply_gradients(loss, *request)
