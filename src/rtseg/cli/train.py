"""Trains a segmentation network on Cityscapes."""
from rtseg.config.arguments import parse_arguments
from rtseg.launch.modelarts import modelarts_job
from rtseg.models.registry import check_model
from rtseg.tools.fetch_weights import check_pretrained, resolve_pretrained


def main(argv=None) -> int:
    config = parse_arguments("train", __doc__, argv)
    graph = config.network
    check_model(graph.model, graph.variant, graph.aux, graph.backbone)
    check_pretrained(config.run.pretrained, model=graph.model, variant=graph.variant, backbone=graph.backbone)

    with modelarts_job(config, "train") as (config, upload):
        from rtseg.runtime.distributed import start
        config, group = start(config, config.run.seed)
        config = config.replace(pretrained=resolve_pretrained(config.run.pretrained, print))

        from rtseg.training.trainer import train
        train(config, upload, group)
    return 0
