"""One training step as one graph: normalisation, forward, loss, gradients, update."""
import mindspore as ms
from mindspore import amp, nn, ops

from rtseg.inference.graph import InputNormalization


class TrainStep(nn.Cell):
    """Updates the network once.

    Args:
        network: in training a tuple of logits (main, aux...).
        loss: takes that tuple and labels.
        optimizer: of the network's parameters.
        mean, std: of the normalisation.
        loss_scale: number, or "dynamic".
        group_size: number of processes, whose gradients are averaged.

    Inputs:
        images: uint8 (N, H, W, 3) RGB.
        labels: uint8 (N, H, W) train ids.

    Outputs:
        loss, float32 scalar, not scaled. With a loss scale the update is left out when a gradient is not finite, and a
        dynamic scale shrinks.
    """

    def __init__(self, network, loss, optimizer, mean, std, loss_scale=1.0, group_size=1):
        super().__init__(auto_prefix=False)  # the parameters keep the network's names
        self.normalize = InputNormalization(mean, std)
        self.network = network
        self.loss = loss
        self.optimizer = optimizer
        if loss_scale == "dynamic":
            self.scaler = amp.DynamicLossScaler(2.0 ** 16, 2, 1000)
        else:
            self.scaler = None if loss_scale == 1 else amp.StaticLossScaler(loss_scale)
        self.gradient = ms.value_and_grad(self.scaled_loss, None, optimizer.parameters, has_aux=True)
        self.average = nn.DistributedGradReducer(optimizer.parameters, True, group_size) if group_size > 1 else None

    def state(self):
        """Name -> parameter of all that a resumed run needs next to the network's own parameters."""
        parameters = list(self.optimizer.moments) + [self.optimizer.global_step]
        if isinstance(self.scaler, amp.DynamicLossScaler):
            parameters += [self.scaler.scale_value, self.scaler.counter]
        return {parameter.name: parameter for parameter in parameters}

    def scaled_loss(self, images, labels):
        """(loss to differentiate, loss to report)"""
        loss = self.loss(self.network(self.normalize(images)), labels)
        return (loss if self.scaler is None else self.scaler.scale(loss)), loss

    def construct(self, images, labels):
        (_, loss), gradients = self.gradient(images, labels)
        if self.scaler is not None:
            gradients = self.scaler.unscale(gradients)
        if self.average is not None:
            gradients = self.average(gradients)
        if self.scaler is None:
            self.optimizer(gradients)
            return loss
        # Averaged already, so that one rank's infinity makes all of them leave the update out.
        finite = amp.all_finite(gradients)
        if finite:
            self.optimizer(gradients)
        self.scaler.adjust(finite)
        return loss


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

    def __init__(self, network, loss, optimizer, mean, std, loss_scale=1.0, group_size=1):
        super().__init__(network, loss, optimizer, mean, std, loss_scale, group_size)
        self.group_size = group_size
        self.all_reduce = ops.AllReduce()

    def construct(self, images, labels, request):
        loss = super().construct(images, labels)
        sums = self.all_reduce(ops.concat((loss.reshape(1), request)))
        return sums[0] / self.group_size, sums[1:]
