"""The parts of a training, as the configuration says."""
from typing import Any, Dict, List, Union

from mindspore import nn

from rtseg.config.config import Config
from rtseg.data.cache import with_cache
from rtseg.data.dataset import SegmentationDataset
from rtseg.data.loader import BatchLoader
from rtseg.data.sampler import DistributedSampler
from rtseg.data.transforms import TrainTransform
from rtseg.inference.evaluator import Evaluator
from rtseg.inference.predictor import network_predictor
from rtseg.inference.preprocessing import pad_color
from rtseg.losses.mix_softmax_cross_entropy import MixSoftmaxCrossEntropy
from rtseg.losses.ohem_cross_entropy import OhemCrossEntropy
from rtseg.models.mixed_precision import set_amp_level
from rtseg.models.registry import create_model
from rtseg.runtime.distributed import ProcessGroup
from rtseg.training.optimizer import build_optimizer
from rtseg.training.train_step import AccumulatingTrainStep, DistributedTrainStep, TrainStep


def open_dataset(config: Config, split: str) -> Any:
    """A split of the data set, or its cache.

    Raises:
        DataError: an image or a label is missing or cannot be read.
    """
    dataset = with_cache(SegmentationDataset(config.data.dataset, split, spec=config.data.dataset_config),
                         config.data.prepared_cache)
    dataset.check()
    return dataset


def build_loader(config: Config, dataset: Any) -> BatchLoader:
    """Shuffled, augmented batches of this rank."""
    data, run = config.data, config.run
    rank, group_size = run.rank or 0, run.group_size or 1
    transform = TrainTransform(
        crop_size=data.crop_size, base_size=data.base_size, pad_color=pad_color(data.mean),
        scale_range=data.scale_range, blur_probability=data.blur_probability, color_jitter=data.color_jitter,
        max_class_ratio=data.max_class_ratio)
    sampler = DistributedSampler(len(dataset), rank=rank, group_size=group_size, seed=run.seed, drop_last=True)
    return BatchLoader(dataset, transform, sampler=sampler, batch_size=data.batch_size * config.optimizer.accumulate,
                       num_workers=config.num_workers, seed=run.seed + (rank if run.diff_seed else 0))


def build_network(config: Config, group: ProcessGroup) -> nn.Cell:
    """The network in training mode, with fresh weights."""
    graph = config.network
    network = create_model(graph.model, graph.variant, num_classes=config.data.dataset_config.num_classes,
                           aux=graph.aux, dropout=graph.dropout, bn_momentum=graph.bn_momentum,
                           seed=config.run.seed + group.rank, backbone=graph.backbone)
    network.set_train(True)
    set_amp_level(network, config.optimizer.amp_level)
    return network


def build_loss(config: Config, network: nn.Cell) -> nn.Cell:
    """The loss that `config.loss.name` names, for the outputs of `network`."""
    loss = config.loss
    options: Dict[str, Any] = {
        "aux_weight": loss.aux_weight, "align_corners": network.align_corners,
        "labels_to_logits": network.labels_to_logits, "class_weights": loss.class_weights,
        "group_size": config.run.group_size}
    if loss.name == "ohem":
        return OhemCrossEntropy(loss.ohem_threshold, loss.ohem_min_kept, **options)
    return MixSoftmaxCrossEntropy(**options)


def build_train_step(config: Config, network: nn.Cell, *,
                     lr_per_step: List[float]) -> Union[TrainStep, AccumulatingTrainStep]:
    """The step of this rank."""
    group_size = config.run.group_size or 1
    kind = TrainStep if group_size == 1 else DistributedTrainStep
    step = kind(network, build_loss(config, network),
                optimizer=build_optimizer(config, network, lr_per_step=lr_per_step),
                mean=config.data.mean, std=config.data.std, loss_scale=config.optimizer.loss_scale,
                clip_norm=config.optimizer.clip_norm, group_size=group_size)
    return step if config.optimizer.accumulate == 1 else AccumulatingTrainStep(step, config.optimizer.accumulate)


def build_evaluator(config: Config, network: nn.Cell, *, dataset: Any, group: ProcessGroup) -> Evaluator:
    """What scores the network in training."""
    predictor = network_predictor(network, mean=config.data.mean, std=config.data.std)
    return Evaluator(predictor, dataset, num_classes=config.data.dataset_config.num_classes,
                     num_workers=config.num_workers, batch_size=config.evaluation.eval_batch_size, group=group)
