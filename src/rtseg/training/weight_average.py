"""An exponential moving average of the weights, which is evaluated, saved and exported in their place."""
from contextlib import contextmanager
from typing import Dict, Iterator, List

from mindspore import Parameter, ParameterTuple, Tensor, dtype, nn, ops

from rtseg.models.parameter_names import is_weight
from rtseg.models.weights import AVERAGE_PREFIX


def _move(rate: Tensor, average: Parameter, weight: Parameter) -> Tensor:
    return ops.assign_add(average, rate * (weight - average))


class WeightAverage(nn.Cell):
    """average += (1 - d) * (weight - average) for all weights of `network`, BatchNorm's running statistics included.

    With d = min(decay, (1 + step) / (10 + step)): a fixed decay would remember the random start for long.
    Source: Polyak and Juditsky 1992; the growing decay is TensorFlow's ExponentialMovingAverage.

    Args:
        network: averages start with its weights, so load them before.
        decay: in (0, 1), such as 0.999.
    """

    def __init__(self, network: nn.Cell, decay: float):
        super().__init__(auto_prefix=False)
        self.decay = decay
        self.weights = ParameterTuple([parameter for parameter in network.get_parameters()
                                       if is_weight(parameter.name)])
        self.averages = ParameterTuple([
            Parameter(Tensor(weight.asnumpy().copy()), name=AVERAGE_PREFIX + weight.name, requires_grad=False)
            for weight in self.weights])
        self.hyper_map = ops.HyperMap()

    def construct(self, rate: Tensor) -> Tensor:
        return ops.depend(rate, self.hyper_map(ops.partial(_move, rate), self.averages, self.weights))

    def update(self, step: int) -> None:
        """After the `step`-th step of the training, counted from 1."""
        self(Tensor(1 - min(self.decay, (1 + step) / (10 + step)), dtype.float32))

    def restart(self) -> None:
        """Begins again with the present weights."""
        for average, weight in zip(self.averages, self.weights):
            average.set_data(Tensor(weight.asnumpy().copy()))

    def state(self) -> Dict[str, Parameter]:
        """Name -> parameter of what a resumed run needs."""
        return {average.name: average for average in self.averages}

    def statistics(self) -> List[Parameter]:
        """The averages of BatchNorm's running statistics."""
        return [average for average in self.averages if average.name.endswith((".moving_mean", ".moving_variance"))]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The network has the averages for weights inside the block, and exactly its own again after it."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for average, weight in zip(self.averages, self.weights):
            own = weight.asnumpy().copy()
            weight.set_data(Tensor(average.asnumpy().copy()))
            average.set_data(Tensor(own))
