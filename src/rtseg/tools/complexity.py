"""Counts the parameters and multiply-accumulates of the networks in inference.

    rtseg complexity
    rtseg complexity --model icnet --variant liminn --image_height 768 --image_width 768
"""
import math
from typing import TYPE_CHECKING, Any, List, NamedTuple, Optional, Sequence

from rtseg.config.arguments import parse_options
from rtseg.config.fields import Section, option
from rtseg.models.registry import (MODEL_BACKBONES, MODEL_VARIANTS, PUBLISHED_CLASSES, SIZE_MULTIPLE, check_model,
                                   create_model)
from rtseg.runtime.device import setup_device
from rtseg.utils.errors import run_command

if TYPE_CHECKING:
    from mindspore import nn


class Complexity(NamedTuple):
    """What one image takes: learned parameters, and multiply-accumulates of all convolutions."""

    parameters: int
    macs: int


def measure(model: str, variant: str, *, backbone: Optional[str], height: int, width: int) -> Complexity:
    """Counts for a network without auxiliary heads; MindSpore must be in PyNative mode.

    The heights of all feature maps are linear in the image's height, the widths in its width, but for fixed pooling
    windows (0.01 % of `modelzoo`). So four small images tell the count of any size, without the minute that a full-size
    pass may take.
    """
    network = create_model(model, variant, num_classes=PUBLISHED_CLASSES, backbone=backbone).set_train(False)
    small, step = 2 * SIZE_MULTIPLE, SIZE_MULTIPLE
    base, taller, wider, both = (_count_macs(network, small + down, width=small + right)
                                 for down, right in ((0, 0), (step, 0), (0, step), (step, step)))
    rows, columns = (height - small) // step, (width - small) // step
    macs = base + rows * (taller - base) + columns * (wider - base) + rows * columns * (both - taller - wider + base)
    return Complexity(sum(math.prod(parameter.shape) for parameter in network.trainable_params()), macs)


def _count_macs(network: "nn.Cell", height: int, *, width: int) -> int:
    """Multiply-accumulates of all convolutions in one forward pass."""
    import mindspore as ms
    from mindspore import nn

    macs: List[int] = []

    def count(cell: nn.Cell, _inputs: Any, output: ms.Tensor) -> None:
        macs.append(math.prod(output.shape) * math.prod(cell.weight.shape[1:]))

    hooks = [cell.register_forward_hook(count) for _, cell in network.cells_and_names() if isinstance(cell, nn.Conv2d)]
    network(ms.ops.zeros((1, 3, height, width)))
    for hook in hooks:
        hook.remove()
    return sum(macs)


class ComplexityOptions(Section):
    """Flags of `rtseg complexity`."""

    model: Optional[str] = option(f"one of {', '.join(MODEL_VARIANTS)}; empty: all", None, metavar="NAME")
    variant: Optional[str] = option("published graph; empty: all of the model", None, metavar="NAME")
    backbone: Optional[str] = option("backbone; empty: all of the model", None, metavar="NAME")
    image_height: int = option("input height, pixels", 1024, ge=SIZE_MULTIPLE, multiple_of=SIZE_MULTIPLE,
                               expected=f"a positive multiple of {SIZE_MULTIPLE}")
    image_width: int = option("input width, pixels", 2048, ge=SIZE_MULTIPLE, multiple_of=SIZE_MULTIPLE,
                              expected=f"a positive multiple of {SIZE_MULTIPLE}")


def main(argv: Optional[Sequence[str]] = None) -> int:
    arguments = parse_options(ComplexityOptions, "rtseg complexity", description=__doc__, argv=argv)
    height, width = arguments.image_height, arguments.image_width
    wanted = (arguments.model, arguments.variant, arguments.backbone)
    networks = [(model, variant, backbone) for model, variants in MODEL_VARIANTS.items() for variant in variants
                for backbone in MODEL_BACKBONES[model] or (None,)
                if all(asked in (None, found) for asked, found in zip(wanted, (model, variant, backbone)))]
    if not networks:  # says why
        model = arguments.model or next(iter(MODEL_VARIANTS))
        check_model(model, arguments.variant or MODEL_VARIANTS.get(model, ("",))[0], backbone=arguments.backbone)
    setup_device("CPU")
    import mindspore as ms
    ms.set_context(mode=ms.PYNATIVE_MODE)  # forward hooks do not run in graph mode
    print(f"{'model':10s} {'variant':11s} {'backbone':9s} {'parameters':>12s} {f'GMACs at {height}x{width}':>22s}")
    for model, variant, backbone in networks:
        found = measure(model, variant, backbone=backbone, height=height, width=width)
        print(f"{model:10s} {variant:11s} {backbone or '-':9s} {found.parameters:12,d} {found.macs / 1e9:22.2f}",
              flush=True)
    return 0


if __name__ == "__main__":
    run_command(main)
