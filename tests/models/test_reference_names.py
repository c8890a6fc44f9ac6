"""Names of the references' parameters: each has a place here, and no two have the same."""
import json

import pytest
from script_helpers import PROJECT

from rtseg.models.reference_names import GRAPHS, convert_modelzoo, graph_name, is_modelzoo, parameter_name

SHAPES = {graph: json.loads((PROJECT / "tests" / "goldens" / f"{graph}.keys.json").read_text()) for graph in GRAPHS}


@pytest.mark.parametrize("graph, key, name", [
    ("fast_scnn_tramac", "auxlayer.4.bias", "aux_heads.0.classifier.bias"),
    ("fast_scnn_tramac", "auxlayer.1.bias", "aux_heads.0.conv.bn.beta"),
    ("fast_scnn_segmentron", "auxlayer2.1.running_mean", "aux_heads.1.conv.bn.moving_mean"),
    ("fast_scnn_segmentron", "learning_to_downsample.dsconv1.block.bn_point.weight",
     "learning_to_downsample.dsconv1.pointwise.bn.gamma"),
    ("fast_scnn_segmentron", "global_feature_extractor.bottleneck1.0.conv.2.weight",
     "global_feature_extractor.bottleneck1.0.project.conv.weight"),
    ("fast_scnn_segmentron", "feature_fusion.conv_lower_res.0.bias", "feature_fusion.conv_lower_res.conv.bias"),
    ("fast_scnn_modelzoo", "network.global_feature_extractor.ppm.conv4.conv.1.moving_variance",
     "global_feature_extractor.ppm.branches.3.bn.moving_variance"),
    ("fast_scnn_modelzoo", "auxlayer1.4.bias", "aux_heads.0.classifier.bias"),
    ("icnet_liminn_v1b", "pretrained.bn1.weight", "encoder.backbone.stem.0.bn.gamma"),
    ("icnet_mmseg", "backbone.backbone.conv1.weight", "encoder.backbone.stem.0.conv.weight"),
    ("fast_scnn_mmseg", "decode_head.convs.1.depthwise_conv.bn.weight", "classifier.dsconv2.depthwise.bn.gamma"),
    ("icnet_liminn", "pretrained.conv1.4.running_mean", "encoder.backbone.stem.1.bn.moving_mean"),
    ("icnet_liminn", "pretrained.layer3.5.bn2.running_var", "encoder.backbone.layer3.5.conv2.bn.moving_variance"),
    ("icnet_liminn", "head.cff_12.conv_low_cls.weight", "aux_heads.0.weight"),
    ("icnet_liminn", "pretrained.fc.bias", ""),
    ("icnet_mmseg", "backbone.backbone.stem.7.bias", "encoder.backbone.stem.2.bn.beta"),
    ("icnet_mmseg", "backbone.psp_modules.2.1.conv.weight", "encoder.ppm.branches.2.conv.weight"),
    ("icnet_mmseg", "neck.cff_24.conv_high.bn.weight", "cff_24.conv_high.bn.gamma"),
    ("bisenetv1_coincheung", "cp.resnet.layer2.0.downsample.1.weight",
     "context_path.backbone.layer2.0.downsample.bn.gamma"),
    ("bisenetv1_coincheung", "ffm.bn.weight", "ffm.attention.bn.gamma"),
    ("bisenetv1_coincheung", "conv_out32.conv_out.bias", "aux_heads.1.classifier.bias"),
    ("bisenetv1_mmseg", "backbone.spatial_path.layer4.conv.weight", "spatial_path.out.conv.weight"),
    ("bisenetv1_mmseg", "backbone.context_path.backbone.bn1.num_batches_tracked", ""),
])
def test_parameter_name(graph, key, name):
    assert parameter_name(graph, key) == name


@pytest.mark.parametrize("graph", GRAPHS)
def test_no_two_keys_share_a_name(graph):
    names = [name for name in (parameter_name(graph, key) for key in SHAPES[graph]) if name]
    assert len(names) == len(set(names)) > 100


@pytest.mark.parametrize("network, graph", [
    (("fast_scnn", "segmentron", None), "fast_scnn_segmentron"), (("icnet", "liminn", "resnet50"), "icnet_liminn"),
    (("icnet", "liminn", "resnet50_v1b"), "icnet_liminn_v1b"), (("icnet", "mmseg", "resnet50_v1b"), "icnet_mmseg"),
])
def test_graph_name(network, graph):
    model, variant, backbone = network
    assert graph_name(model, variant, backbone=backbone) == graph


def test_a_checkpoint_of_the_model_zoo_loses_the_state_of_its_optimizer():
    layer = "learning_to_downsample.conv.conv.0.weight"
    ours = "learning_to_downsample.conv.conv.weight"
    assert convert_modelzoo({layer: 1, "auxlayer1.1.gamma": 2}) == {ours: 1, "aux_heads.0.conv.bn.gamma": 2}
    assert convert_modelzoo({f"network.{layer}": 1, f"accum.network.{layer}": 2, "global_step": 3}) == {ours: 1}


@pytest.mark.parametrize("key, expected", [
    ("learning_to_downsample.conv.conv.0.weight", True), ("network.learning_to_downsample.conv.conv.0.weight", True),
    ("learning_to_downsample.conv.conv.weight", False), ("state.learning_to_downsample.conv.conv.0.weight", False),
])
def test_is_modelzoo(key, expected):
    assert is_modelzoo(["another", key]) is expected
