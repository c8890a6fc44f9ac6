"""The functions of `import rtseg`; rtseg.inference.segmenter has the class that most programs need."""
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Mapping, Optional, Sequence, Tuple, Union

from rtseg.data.dataset import SegmentationDataset
from rtseg.data.dataset_spec import DatasetSpec, dataset_spec_of, load_dataset_spec
from rtseg.models.registry import MODEL_VARIANTS, check_model
from rtseg.utils.errors import ConfigError

if TYPE_CHECKING:
    from mindspore import nn

    from rtseg.inference.evaluator import Evaluation, LabelledImages
    from rtseg.inference.segmenter import Segmenter


class Dataset(SegmentationDataset):
    """Labelled images on disk.

    Args:
        root: folder that the specification's folders and list files are in.
        spec: name of a specification that comes with rtseg ("cityscapes"), a YAML file, its keys, or a DatasetSpec.
        split: train, val, trainval or test.
        require_labels: False if images may lack their label.

    `len(dataset)`, `dataset.load(i)`, `dataset.samples[i].name` and `dataset.spec` are what it has.

    Raises:
        ConfigError: unknown or wrong specification, unknown split, or one without labels.
        DataError: `root` is not laid out as specified or holds no image.
    """

    def __init__(self, root: Union[str, Path], spec: Union[str, Path, Mapping[str, Any], DatasetSpec], *,
                 split: str = "val", require_labels: bool = True):
        if isinstance(spec, Mapping):
            spec = dataset_spec_of(dict(spec), "spec")
        elif not isinstance(spec, DatasetSpec):
            spec = load_dataset_spec(spec)
        super().__init__(root, split, spec=spec, require_labels=require_labels)


def list_models() -> List[str]:
    """Names of the networks, for `create_model`."""
    return sorted(MODEL_VARIANTS)


def list_variants(name: str) -> List[str]:
    """The published graphs of a network, its default first.

    Raises:
        ConfigError: unknown network.
    """
    return list(MODEL_VARIANTS[_known(name)])


def create_model(name: str, *, num_classes: int, variant: Optional[str] = None, backbone: Optional[str] = None,
                 aux: int = 0, dropout: float = 0.1, bn_momentum: Optional[float] = None, seed: int = 0) -> "nn.Cell":
    """A network with fresh weights, as a MindSpore Cell.

    If MindSpore is not imported yet, it is set up for graph mode on the CPU.

    Args:
        name: one of `list_models()`.
        num_classes: classes to tell apart.
        variant: one of `list_variants(name)`; None for the first.
        backbone: None for the network's first.
        aux: number of auxiliary heads in training, 0 to 2.
        dropout: probability before each classifier, in [0, 1).
        bn_momentum: of all BatchNorms in MindSpore's meaning; None for the variant's own.
        seed: of the dropout masks.

    Returns:
        Cell: (N, 3, H, W) float32, H and W multiples of 32 -> in inference logits (N, num_classes, H, W), in training a
        tuple (main, aux...).

    Raises:
        ConfigError: unknown name, variant or backbone, or too many heads.
    """
    variant = MODEL_VARIANTS[_known(name)][0] if variant is None else variant
    check_model(name, variant, aux=aux, backbone=backbone)
    if "mindspore" not in sys.modules:
        from rtseg.runtime.device import setup_device
        setup_device("CPU")

    from rtseg.models import registry
    return registry.create_model(name, variant, num_classes=num_classes, aux=aux, dropout=dropout,
                                 bn_momentum=bn_momentum, seed=seed, backbone=backbone)


def load_weights(network: "nn.Cell", path: Union[str, Path]) -> None:
    """Loads a checkpoint's weights; auxiliary heads that the network does not have are left out.

    Raises:
        DataError: no checkpoint, or parameters that are missing, extra or of another shape, all of them named; the
            network stays as it was.
    """
    from rtseg.models import weights
    weights.load_weights(path, network)


def evaluate(model: Union["Segmenter", "nn.Cell"], dataset: "LabelledImages", *, num_classes: Optional[int] = None,
             mean: Optional[Sequence[float]] = None, std: Optional[Sequence[float]] = None, mode: str = "full",
             crop_size: Optional[Tuple[int, int]] = None, num_workers: int = 2) -> "Evaluation":
    """Scores a model on labelled images: one confusion matrix over all pixels, images at full size.

    Args:
        model: a Segmenter, or a network.
        dataset: such as `Dataset`.
        num_classes: None: as the Segmenter or the data set says; it must not contradict them.
        mean, std: of a network's normalisation, RGB, image values in 0..1; a Segmenter knows its own.
        mode: of a network: "full", or "ms_flip" for the average over several scales and mirror images.
        crop_size: (height, width): images are scaled and centre-cropped to it first, the model zoo's protocol.
        num_workers: threads that read images.

    Returns:
        `miou` and `pixel_accuracy` (0 to 1), `matrix`, `images`, `seconds`, and `errors`: what is wrong with images
        that could not be read or whose label cannot be scored; the others are scored.

    Raises:
        ConfigError: mean and std are missing, the mode is unknown, crop_size or num_workers is none, or classes differ:
            their number, or the names that a Segmenter and the data set's `spec` have.
        DataError: the network cannot be computed, or its logits are not finite.
    """
    from rtseg.inference.evaluator import Evaluator
    from rtseg.inference.predictor import is_pair, network_predictor
    from rtseg.inference.segmenter import Segmenter

    if mode not in ("full", "ms_flip"):
        raise ConfigError(f"mode: expected full or ms_flip, found '{mode}'; centre crops are asked for by crop_size")
    if mode == "ms_flip" and isinstance(model, Segmenter):
        raise ConfigError("mode: expected full for a Segmenter, found ms_flip; make it with scales and flip=True")
    if crop_size is not None and not (is_pair(crop_size) and min(crop_size) >= 1):
        raise ConfigError(f"crop_size: expected (height, width) in pixels, each at least 1, found {crop_size!r}")
    if not isinstance(num_workers, int) or num_workers < 0:
        raise ConfigError(f"num_workers: expected an integer >= 0, found {num_workers!r}")
    spec = getattr(dataset, "spec", None)
    if isinstance(model, Segmenter):
        predictor, known = model.predictor, len(model.class_names)
        if num_classes not in (None, known):
            raise ConfigError(f"num_classes: expected the {known} classes of the Segmenter, found {num_classes}")
    elif mean is None or std is None:
        raise ConfigError("mean, std: expected those that the network was trained with, found none")
    else:
        predictor = network_predictor(model, mean=mean, std=std, mode=mode)
        known = spec.num_classes if spec is not None else 0
    num_classes = num_classes or known
    if not num_classes or spec is not None and spec.num_classes != num_classes:
        raise ConfigError(f"num_classes: expected the {spec.num_classes if spec is not None else 'number of'} classes "
                          f"of the data set, found {num_classes}")
    if isinstance(model, Segmenter):
        if spec is not None:
            _check_names(model.class_names, spec.class_names)
    else:
        predictor.backend.num_classes = num_classes
    evaluation = Evaluator(predictor, dataset, num_classes=num_classes, crop_size=crop_size,
                           num_workers=num_workers).run()
    if evaluation is None:  # only where something asks it to stop
        raise RuntimeError("the evaluation was stopped")
    return evaluation


def _check_names(found: Sequence[str], expected: Sequence[str]) -> None:
    """Raises ConfigError if these are other classes, or the same in another order."""
    for i, names in enumerate(zip(expected, found)):
        if len({name.casefold().replace("_", " ") for name in names}) > 1:
            raise ConfigError(f"model: expected the data set's class {i}, {names[0]!r}, found {names[1]!r}; give the "
                              "specification that the model was trained with")


def _known(name: str) -> str:
    if name not in MODEL_VARIANTS:
        raise ConfigError(f"name: expected one of {', '.join(list_models())}, found '{name}'")
    return name
