"""New networks: the moments of the weights against the rule of each published graph, per kind of layer."""
import mindspore as ms
import pytest
from mindspore import nn

from rtseg.models.registry import create_model

UNIFORM, NORMAL = "uniform", "normal"


@pytest.fixture(autouse=True)
def seed():
    before = ms.get_seed()
    ms.set_seed(1)
    yield
    if before is not None:
        ms.set_seed(before)


def build(model, variant, backbone=None):
    return create_model(model, variant, num_classes=11, aux=2, backbone=backbone)


def weights_of(network, layer):
    return network.parameters_dict()[f"{layer}.weight"].asnumpy()


# Standard deviations by hand: a uniform draw within b has b / sqrt(3), PyTorch's default b is 1 / sqrt(fan-in).
@pytest.mark.parametrize("graph, layer, shape, distribution, deviation", [
    # PyTorch's defaults
    (("fast_scnn", "tramac"), "learning_to_downsample.conv.conv", (32, 3, 3, 3), UNIFORM, 0.11111),
    (("fast_scnn", "tramac"), "global_feature_extractor.bottleneck2.1.depthwise.conv", (576, 1, 3, 3), UNIFORM, 0.1925),
    (("fast_scnn", "tramac"), "global_feature_extractor.bottleneck2.1.expand.conv", (576, 96, 1, 1), UNIFORM, 0.058926),
    (("fast_scnn", "tramac"), "feature_fusion.conv_lower_res.conv", (128, 128, 1, 1), UNIFORM, 0.051031),
    (("fast_scnn", "tramac"), "classifier.classifier", (11, 128, 1, 1), UNIFORM, 0.051031),
    (("fast_scnn", "tramac"), "aux_heads.0.conv.conv", (32, 64, 3, 3), UNIFORM, 0.024056),
    (("fast_scnn", "segmentron"), "feature_fusion.dwconv.conv", (128, 128, 1, 1), UNIFORM, 0.051031),
    (("icnet", "liminn", "resnet18"), "conv_sub1.1.conv", (32, 32, 3, 3), UNIFORM, 0.034021),
    (("icnet", "liminn", "resnet18"), "cff_12.conv_low.conv", (128, 128, 3, 3), UNIFORM, 0.017010),
    (("icnet", "liminn", "resnet18"), "head", (11, 128, 1, 1), UNIFORM, 0.051031),
    (("icnet", "liminn", "resnet18"), "aux_heads.1", (11, 128, 1, 1), UNIFORM, 0.051031),
    (("bisenetv1", "coincheung"), "context_path.backbone.layer4.1.conv2.conv", (512, 512, 3, 3), UNIFORM, 0.0085052),
    (("bisenetv1", "coincheung"), "context_path.backbone.stem.0.conv", (64, 3, 7, 7), UNIFORM, 0.047619),
    # Kaiming normal: sqrt(2 / fan-out)
    (("icnet", "liminn", "resnet18"), "encoder.backbone.stem.0.conv", (64, 3, 3, 3), NORMAL, 0.058926),
    (("icnet", "liminn", "resnet18"), "encoder.backbone.layer3.0.conv1.conv", (256, 128, 3, 3), NORMAL, 0.029463),
    (("icnet", "liminn", "resnet18"), "encoder.backbone.layer3.0.downsample.conv", (256, 128, 1, 1), NORMAL, 0.0883884),
    (("fast_scnn", "mmseg"), "learning_to_downsample.conv.conv", (32, 3, 3, 3), NORMAL, 0.083333),
    (("fast_scnn", "mmseg"), "global_feature_extractor.bottleneck2.1.depthwise.conv", (576, 1, 3, 3), NORMAL, 0.019642),
    (("fast_scnn", "mmseg"), "aux_heads.0.conv.conv", (32, 128, 3, 3), NORMAL, 0.083333),
    (("icnet", "mmseg", "resnet18"), "encoder.ppm.branches.2.conv", (512, 512, 1, 1), NORMAL, 0.0625),
    (("icnet", "mmseg", "resnet18"), "encoder.backbone.stem.1.conv", (32, 32, 3, 3), NORMAL, 0.083333),
    (("bisenetv1", "mmseg"), "spatial_path.conv1.conv", (64, 3, 7, 7), NORMAL, 0.025254),
    (("bisenetv1", "mmseg"), "context_path.backbone.layer1.0.conv1.conv", (64, 64, 3, 3), NORMAL, 0.058926),
    # Kaiming normal with a=1: sqrt(1 / fan-in)
    (("bisenetv1", "coincheung"), "spatial_path.conv1.conv", (64, 3, 7, 7), NORMAL, 0.082479),
    (("bisenetv1", "coincheung"), "context_path.arm32.conv.conv", (128, 512, 3, 3), NORMAL, 0.014731),
    (("bisenetv1", "coincheung"), "ffm.attention.conv", (256, 256, 1, 1), NORMAL, 0.0625),
    (("bisenetv1", "coincheung"), "head.classifier", (11, 256, 1, 1), NORMAL, 0.0625),
    # MindSpore 1's default
    (("fast_scnn", "modelzoo"), "learning_to_downsample.conv.conv", (32, 3, 3, 3), NORMAL, 0.01),
    (("fast_scnn", "modelzoo"), "classifier.classifier", (11, 128, 1, 1), NORMAL, 0.01),
    # mmsegmentation's classifiers
    (("fast_scnn", "mmseg"), "classifier.classifier", (11, 128, 1, 1), NORMAL, 0.01),
    (("icnet", "mmseg", "resnet18"), "head.classifier", (11, 128, 1, 1), NORMAL, 0.01),
    (("bisenetv1", "mmseg"), "aux_heads.1.classifier", (11, 64, 1, 1), NORMAL, 0.01),
], ids=lambda value: "-".join(value) if isinstance(value, tuple) and isinstance(value[0], str) else None)
def test_weights(graph, layer, shape, distribution, deviation):
    weights = weights_of(build(*graph), layer)
    assert weights.shape == shape
    # Four standard errors of the sample's mean and of its deviation.
    assert abs(weights.mean()) < 4 * deviation / weights.size ** 0.5
    assert weights.std() == pytest.approx(deviation, rel=4 / (2 * weights.size) ** 0.5)
    bound = 3 ** 0.5 * deviation
    if distribution == UNIFORM:
        assert 0.99 * bound < abs(weights).max() <= 1.0001 * bound
    else:
        assert (abs(weights) > bound).mean() == pytest.approx(0.0833, abs=0.03)  # of a normal distribution beyond 1.73


@pytest.mark.parametrize("graph, layer, bound", [
    (("fast_scnn", "tramac"), "feature_fusion.conv_higher_res.conv", 0.125),
    (("fast_scnn", "tramac"), "aux_heads.0.classifier", 0.17678),
    (("fast_scnn", "segmentron"), "classifier.classifier", 0.088388),
    (("fast_scnn", "modelzoo"), "aux_heads.1.classifier", 0),
    (("fast_scnn", "mmseg"), "classifier.classifier", 0),
    (("icnet", "mmseg", "resnet18"), "head.classifier", 0),
    (("bisenetv1", "coincheung"), "head.classifier", 0),
    (("bisenetv1", "mmseg"), "head.classifier", 0),
])
def test_biases(graph, layer, bound):
    bias = build(*graph).parameters_dict()[f"{layer}.bias"].asnumpy()
    assert 0.6 * bound <= abs(bias).max() <= bound


def batch_norms_at_zero(network):
    return sum(isinstance(cell, nn.BatchNorm2d) and not cell.gamma.asnumpy().any()
               for _, cell in network.cells_and_names())


@pytest.mark.parametrize("graph, count", [
    (("bisenetv1", "mmseg", "resnet18"), 8),
    (("bisenetv1", "mmseg", "resnet50"), 16),
    (("bisenetv1", "coincheung", "resnet18"), 0),
    (("icnet", "liminn", "resnet18"), 0),
    (("fast_scnn", "mmseg"), 0),
])
def test_residual_blocks_of_mmsegmentation_start_as_the_identity(graph, count):
    assert batch_norms_at_zero(build(*graph)) == count


def test_the_last_batch_norm_of_a_residual_block_is_the_one_at_zero():
    network = build("bisenetv1", "mmseg", "resnet50").parameters_dict()
    block = "context_path.backbone.layer2.0"
    gammas = {name: network[f"{block}.{name}.bn.gamma"].asnumpy() for name in ("conv1", "conv3", "downsample")}
    assert not gammas["conv3"].any() and (gammas["conv1"] == 1).all() and (gammas["downsample"] == 1).all()


def test_weights_follow_the_global_seed():
    layer = "learning_to_downsample.conv.conv"
    first, second = (weights_of(build("fast_scnn", "tramac"), layer) for _ in range(2))
    ms.set_seed(2)
    other = weights_of(build("fast_scnn", "tramac"), layer)
    assert (first == second).all() and (first != other).any()


def test_equal_layers_start_differently():
    network = build("fast_scnn", "tramac")
    first, second = (weights_of(network, f"global_feature_extractor.bottleneck1.{i}.expand.conv") for i in (1, 2))
    assert (first != second).any()
