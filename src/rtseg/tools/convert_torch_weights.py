"""Imports the PyTorch weights of the reference implementations, and ImageNet weights of their backbones.

    rtseg convert-weights --model bisenetv1 --input model_final_v1_city.pth --output bisenetv1.ckpt
    rtseg convert-weights --model bisenetv1 --input resnet18.pth --output resnet18.ckpt --backbone_only

The first checkpoint is for eval.py and export.py; both are for `train.py --pretrained`. PyTorch is not needed.
"""
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from rtseg.config.arguments import parse_options
from rtseg.config.fields import Section, option
from rtseg.models.parameter_names import is_auxiliary, is_backbone, is_classifier, is_weight
from rtseg.models.reference_names import BACKBONE_KEYS, graph_name, is_modelzoo, parameter_name
from rtseg.models.registry import MAX_AUX, MODEL_BACKBONES, MODEL_VARIANTS, PUBLISHED_CLASSES, check_model, create_model
from rtseg.runtime.device import setup_device
from rtseg.tools.torch_file import read_state_dict
from rtseg.utils.errors import ConfigError, DataError, run_command


class ImportReport(NamedTuple):
    """What became of a file; `ignored` are its own names, each with the reason, the others are our names."""

    mapped: List[str]
    other_classes: List[str]  # those of them that are classifiers of another number of classes
    ignored: Dict[str, str]
    missing: List[str]

    def lines(self) -> List[str]:
        """The report as text."""
        groups = [(f"ignored ({reason})", [key for key, given in self.ignored.items() if given == reason])
                  for reason in dict.fromkeys(self.ignored.values())]
        groups = [("of other classes, for which eval, export and predict need --dataset_config,",
                   self.other_classes)] + groups
        return [f"mapped {len(self.mapped)} parameters"] + [
            f"{title} {len(names)}: {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"
            for title, names in groups + [("missing", self.missing)] if names]


def match(graph: str, state: Dict[str, np.ndarray], *, shapes: Dict[str, tuple],
          backbone_only: bool = False) -> Tuple[Dict[str, np.ndarray], ImportReport]:
    """The part of `state` that fits a network, by our names, and the report about all of it.

    Args:
        graph: one of GRAPHS.
        state: a reference's state dict, or with `backbone_only` possibly that of the backbone alone.
        shapes: our parameter name -> shape. Auxiliary heads may be missing in `state`, and classifiers may be of
            another number of classes.
        backbone_only: take the backbone's parameters and ignore all others.

    Raises:
        DataError: a parameter is missing or of another shape.
    """
    prefix = BACKBONE_KEYS.get(graph, "") if backbone_only else ""
    if backbone_only:
        shapes = {name: shape for name, shape in shapes.items() if is_backbone(name)}
    weights, other_classes, ignored, wrong = {}, [], {}, []
    for key, value in state.items():
        name = parameter_name(graph, key if key.startswith(prefix) else prefix + key)
        if name not in shapes:
            ignored[key] = "not part of this network" if name else "has no counterpart"
        elif value.shape == shapes[name]:
            weights[name] = value.astype(np.float32)
        elif is_classifier(name) and value.shape[1:] == shapes[name][1:]:
            weights[name] = value.astype(np.float32)
            other_classes.append(name)
        else:
            wrong.append(f"{key}: expected shape {shapes[name]}, found {value.shape}")
    missing = [name for name in shapes if name not in weights]
    wrong += [f"missing: {name}" for name in missing if not is_auxiliary(name)]
    if wrong:
        raise DataError(f"expected weights of {graph}{' (its backbone)' if backbone_only else ''}, found others; "
                        f"{len(wrong)} problems, first:\n  " + "\n  ".join(wrong[:10])
                        + "\nIs it of another --model, --variant or --backbone?")
    return weights, ImportReport(list(weights), other_classes, ignored, missing)


def _read_modelzoo(path: Union[str, Path]) -> Dict[str, np.ndarray]:
    """The arrays in a checkpoint of the model zoo, by the names that they have there."""
    from rtseg.models.weights import read_checkpoint

    state = {name: value.asnumpy() for name, value in read_checkpoint(path).items() if hasattr(value, "asnumpy")}
    if not is_modelzoo(state):
        raise DataError(f"{path}: expected a checkpoint of the MindSpore model zoo's Fast-SCNN, found other names, "
                        f"such as {', '.join(list(state)[:3])}. One of this package needs no conversion.")
    return state


def import_weights(model: str, variant: str, *, backbone: Optional[str], source: Union[str, Path],
                   target: Union[str, Path], backbone_only: bool = False) -> ImportReport:
    """Converts `source` to the checkpoint `target`, written atomically.

    `source` is a PyTorch or safetensors file, or a checkpoint (.ckpt) of the MindSpore model zoo's Fast-SCNN.

    Raises:
        ConfigError: no such network, or one without a backbone.
        DataError: `source` cannot be read or is not of this network.
        UserError: it has a weight that is not finite.
    """
    import mindspore as ms

    from rtseg.models.weights import write_checkpoint

    check_model(model, variant, aux=MAX_AUX, backbone=backbone)
    if backbone_only and not MODEL_BACKBONES[model]:
        raise ConfigError(f"--backbone_only: {model} has no backbone; expected a network of "
                          f"{', '.join(name for name, known in MODEL_BACKBONES.items() if known)}")
    if Path(target).suffix != ".ckpt":
        raise ConfigError(f"--output {target}: expected a name that ends in .ckpt")
    state = _read_modelzoo(source) if Path(source).suffix == ".ckpt" else read_state_dict(source)
    network = create_model(model, variant, num_classes=PUBLISHED_CLASSES, aux=MAX_AUX, backbone=backbone)
    shapes = {name: tuple(parameter.shape) for name, parameter in network.parameters_dict().items() if is_weight(name)}
    try:
        weights, report = match(graph_name(model, variant, backbone=backbone), state, shapes=shapes,
                                backbone_only=backbone_only)
    except DataError as error:
        raise DataError(f"{source}: {error}") from None
    write_checkpoint(target, {name: ms.Tensor(np.ascontiguousarray(value)) for name, value in weights.items()})
    return report


class ConvertOptions(Section):
    """Flags of `rtseg convert-weights`."""

    model: str = option(f"one of {', '.join(MODEL_VARIANTS)}", metavar="NAME")
    variant: Optional[str] = option("published graph; empty: the model's first", None, metavar="NAME")
    backbone: Optional[str] = option("backbone; empty: the model's first", None, metavar="NAME")
    input: Path = option(".pth, .safetensors or the model zoo's .ckpt file", metavar="FILE")
    output: Path = option("checkpoint to write (.ckpt)", metavar="FILE")
    backbone_only: bool = option("only the backbone, for train.py --pretrained", False)


def main(argv: Optional[Sequence[str]] = None) -> int:
    arguments = parse_options(ConvertOptions, "rtseg convert-weights", description=__doc__, argv=argv)
    variant = arguments.variant or MODEL_VARIANTS.get(arguments.model, ("",))[0]
    setup_device("CPU")
    report = import_weights(arguments.model, variant, backbone=arguments.backbone, source=arguments.input,
                            target=arguments.output, backbone_only=arguments.backbone_only)
    print("\n".join(report.lines()))
    print(f"wrote {arguments.output}")
    return 0


if __name__ == "__main__":
    run_command(main)
