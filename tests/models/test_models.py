"""The networks as a whole: outputs, sizes, heads, parameters, multiply-accumulates. In PyNative mode: no compiling."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from rtseg.models.layers import resize_bilinear
from rtseg.models.registry import MODEL_BACKBONES, MODEL_VARIANTS, check_model, create_model
from rtseg.tools.complexity import _count_macs, main, measure
from rtseg.utils.errors import ConfigError

GRAPHS = [(model, variant) for model, variants in MODEL_VARIANTS.items() for variant in variants]


@pytest.fixture(autouse=True, scope="module")
def pynative():
    ms.set_context(mode=ms.PYNATIVE_MODE)
    yield
    ms.set_context(mode=ms.GRAPH_MODE)


def small(model, variant, num_classes=19, **arguments):
    """The network with ResNet18 where it has a choice."""
    backbone = "resnet18" if MODEL_BACKBONES[model] else None
    return create_model(model, variant, num_classes=num_classes, backbone=backbone, **arguments)


def image(batch, height, width):
    return Tensor(np.random.default_rng(0).standard_normal((batch, 3, height, width)).astype(np.float32))


@pytest.mark.parametrize("model, variant", GRAPHS)
def test_outputs_in_training_and_inference(model, variant):
    network = small(model, variant, aux=2).set_train(True)
    factors = {("fast_scnn", "mmseg"): (8, 32, 8), ("fast_scnn", "segmentron"): (8, 8, 32),
               ("fast_scnn", "tramac"): (8, 8, 32), ("fast_scnn", "modelzoo"): (8, 8, 32),
               ("icnet", "mmseg"): (8, 16, 8), ("icnet", "liminn"): (4, 8, 16),
               ("bisenetv1", "coincheung"): (8, 8, 16), ("bisenetv1", "mmseg"): (8, 8, 16)}[model, variant]
    odd = int((model, variant) == ("icnet", "mmseg"))  # its pooling rounds up, the middle branch is one larger
    for batch, height, width in ((2, 96, 64), (1, 64, 128)):
        outputs = network(image(batch, height, width))
        assert isinstance(outputs, tuple)
        assert [output.shape for output in outputs] == [
            (batch, 19, height // factor + odd * (factor == 16), width // factor + odd * (factor == 16))
            for factor in factors]
        assert all(np.isfinite(output.asnumpy()).all() for output in outputs)
    # With one image, global pooling leaves one value per channel, whose variance must not become NaN.
    assert all(np.isfinite(parameter.asnumpy()).all() for parameter in network.get_parameters())
    network.set_train(False)
    for batch, height, width in ((2, 96, 64), (1, 32, 32)):
        output = network(image(batch, height, width))
        assert output.shape == (batch, 19, height, width) and np.isfinite(output.asnumpy()).all()
        head = network.head_logits(image(batch, height, width))
        assert network.head_stride == (4 if (model, variant) == ("icnet", "liminn") else 8)
        assert head.shape == (batch, 19, height // network.head_stride, width // network.head_stride)
        upsampled = resize_bilinear(head, (height, width), align_corners=network.align_corners)
        np.testing.assert_array_equal(upsampled.asnumpy(), output.asnumpy())


@pytest.mark.parametrize("model, variant", GRAPHS[::2])
def test_auxiliary_heads_are_extra_parameters_only(model, variant):
    names = [set(small(model, variant, aux=aux).parameters_dict()) for aux in (0, 1, 2)]
    assert not any("aux_heads" in name for name in names[0])
    assert names[0] < names[1] < names[2]
    assert all(name.startswith("aux_heads.1.") for name in names[2] - names[1])


def test_inference_does_not_depend_on_the_other_images_of_a_batch():
    network, x = small("icnet", "mmseg").set_train(False), image(2, 64, 64)
    np.testing.assert_allclose(network(x).asnumpy()[1:], network(x[1:]).asnumpy(), atol=1e-5)


def test_icnet_runs_layer4_once_on_the_smallest_image_only():
    network, sizes = small("icnet", "liminn").set_train(False), []
    network.encoder.backbone.layer4.register_forward_hook(lambda _cell, _inputs, output: sizes.append(output.shape[2:]))
    network(image(1, 128, 256))
    assert sizes == [(4, 8)]


def test_another_number_of_classes():
    assert small("bisenetv1", "mmseg", num_classes=3).set_train(False)(image(1, 32, 32)).shape == (1, 3, 32, 32)


@pytest.mark.parametrize("model, variant, backbone, parameters, giga_macs", [
    ("fast_scnn", "tramac", None, 1.138e6, 6.71),  # counted in the reference implementations
    ("icnet", "liminn", "resnet50", 26.25e6, 114),
    ("bisenetv1", "coincheung", "resnet18", 13.28e6, 118.3),
])
def test_complexity_at_full_size(model, variant, backbone, parameters, giga_macs):
    found = measure(model, variant, backbone=backbone, height=1024, width=2048)
    assert found.parameters == pytest.approx(parameters, rel=0.01)
    assert found.macs / 1e9 == pytest.approx(giga_macs, rel=0.01)


@pytest.mark.parametrize("model, variant", [("fast_scnn", "tramac"), ("icnet", "mmseg")])
def test_complexity_of_a_size_equals_a_direct_count(model, variant):
    network = small(model, variant).set_train(False)
    backbone = "resnet18" if MODEL_BACKBONES[model] else None
    found = measure(model, variant, backbone=backbone, height=128, width=160)
    assert found.macs == _count_macs(network, 128, width=160)


def test_complexity_by_hand():
    class Two(nn.Cell):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 8, 3, 2, pad_mode="pad", padding=1)
            self.depthwise = nn.Conv2d(8, 8, 3, pad_mode="pad", padding=1, group=8)

        def construct(self, x):
            return self.depthwise(self.first(x))

    assert _count_macs(Two(), 4, width=8) == 2 * 4 * (8 * 27 + 8 * 9)


def test_complexity_prints_a_table(capsys):
    assert main(["--model", "fast_scnn", "--image_height", "64", "--image_width", "96"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "GMACs at 64x96" in lines[0]
    assert [line.split()[:4] for line in lines[1:]] == [["fast_scnn", "mmseg", "-", "1,399,939"],
                                                        ["fast_scnn", "segmentron", "-", "1,153,283"],
                                                        ["fast_scnn", "tramac", "-", "1,138,051"],
                                                        ["fast_scnn", "modelzoo", "-", "1,137,776"]]


@pytest.mark.parametrize("names, options, message", [
    (("fastscnn", "mmseg"), {}, "model: expected one of fast_scnn, icnet, bisenetv1, found 'fastscnn'"),
    (("icnet", "tramac"), {}, "variant: expected one of mmseg, liminn for icnet, found 'tramac'"),
    (("icnet", "mmseg"), {"aux": 3}, "aux: expected 0 to 2 auxiliary heads, found 3"),
    (("icnet", "mmseg"), {"backbone": "resnet34"}, "backbone: expected resnet50 or resnet18 or resnet50_v1b for icnet, "
                                                   "found 'resnet34'"),
    (("fast_scnn", "mmseg"), {"backbone": "resnet18"}, "backbone: expected none for fast_scnn, found 'resnet18'"),
])
def test_unknown_networks_are_refused(names, options, message):
    with pytest.raises(ConfigError) as error:
        check_model(*names, **options)
    assert str(error.value) == message


def test_complexity_refuses_a_size():
    with pytest.raises(ConfigError, match="--image_height: expected a positive multiple of 32, found '100'"):
        main(["--image_height", "100", "--image_width", "64"])
