"""Models without metadata: what they are follows from their shapes and the flags; what is missing is named."""
from pathlib import Path

import numpy as np
import pytest

from rtseg.data.dataset_spec import load_dataset_spec
from rtseg.inference.backends import adapted
from rtseg.inference.foreign import TensorDescription, describe_model
from rtseg.utils.errors import ConfigError

SPEC = load_dataset_spec("cityscapes")
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
FLOATS = TensorDescription("input", (1, 3, 64, 96), "float32")
BYTES = TensorDescription("images", ("n", "h", "w", 3), "uint8")


@pytest.mark.parametrize("entry, shape, dtype, expected", [
    (FLOATS, (1, 19, 64, 96), "float32", ("logits", (1, 64, 96), None, None)),
    (FLOATS, (1, 19, 8, 12), "float32", ("head_logits", (1, 64, 96), 8, None)),
    (FLOATS, (1, 19, 64, 96), "float16", ("logits", (1, 64, 96), None, None)),
    (FLOATS, (1, 1, 64, 96), "int64", ("class_map", (1, 64, 96), None, None)),
    (BYTES, ("n", "h", "w"), "int32", ("class_map", (1, 256, 512), None, ("batch", "height", "width"))),
])
def test_shapes_say_what_a_model_is(entry, shape, dtype, expected):
    found = describe_model(Path("net.onnx"), (entry, TensorDescription("out", shape, dtype)), spec=SPEC, mean=MEAN,
                           std=STD)
    assert (found.output_type, found.size, found.output.stride, found.input.dynamic) == expected
    assert (found.input.name, found.output.name, found.model, found.classes) == (
        entry.name, "out", "net", SPEC.class_names)


@pytest.mark.parametrize("changes, message", [
    (dict(mean=None, std=None), r"expected its metadata at net.json, or flags .* missing: --mean, --std$"),
    (dict(spec=None), "missing: --dataset_config$"),
])
def test_what_is_missing_is_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        describe_model(Path("net.onnx"), (FLOATS, TensorDescription("out", (1, 19, 64, 96), "float32")),
                       **{**dict(spec=SPEC, mean=MEAN, std=STD), **changes})


def test_models_that_do_not_fit():
    path = Path("net.onnx")
    open_size = TensorDescription("x", ("n", 3, "h", "w"), "float32")
    result = TensorDescription("out", ("n", 19, "h", "w"), "float32")
    with pytest.raises(ConfigError, match="missing: --output_type$"):
        describe_model(path, (open_size, result), spec=SPEC, mean=MEAN, std=STD)
    assert describe_model(path, (open_size, result), spec=SPEC, mean=MEAN, std=STD,
                          output_type="logits").input.dynamic == ("batch", "height", "width")
    with pytest.raises(ConfigError, match=r"expected an input of float32 .* found float16 \[1, 3, 64, 96\]"):
        describe_model(path, (FLOATS._replace(dtype="float16"), result._replace(shape=(1, 19, 64, 96))), spec=SPEC,
                       mean=MEAN, std=STD)


def test_a_size_that_the_stride_does_not_divide():
    """In one line, without the names of classes and fields of this software."""
    tensors = TensorDescription("x", (1, 3, 36, 68), "float32"), TensorDescription("out", (1, 19, 5, 9), "float32")
    with pytest.raises(ConfigError) as error:
        describe_model(Path("net.onnx"), tensors, spec=SPEC, mean=MEAN, std=STD)
    assert str(error.value) == ("net.onnx: its input [1, 3, 36, 68] and output [1, 19, 5, 9] do not fit head_logits of "
                                "19 classes: expected height and width that are multiples of the stride 8, found 36 "
                                "and 68")


@pytest.mark.parametrize("shape", [(1, 4, 64, 96), (1, 4, 8, 12), ("n", 4, "h", "w")])
def test_a_model_of_another_number_of_classes(shape):
    tensors = FLOATS, TensorDescription("out", shape, "float32")
    output_type = "logits" if "h" in shape else None
    with pytest.raises(ConfigError, match="net.onnx: expected a model of the 19 classes of --dataset_config cityscapes,"
                                          r" found one of 4, with the output \[.*\]; give the data set that"):
        describe_model(Path("net.onnx"), tensors, spec=SPEC, mean=MEAN, std=STD, output_type=output_type)


def test_class_maps_of_other_types_are_adapted():
    metadata = describe_model(Path("net.onnx"), (FLOATS, TensorDescription("out", (1, 1, 64, 96), "int64")), spec=SPEC,
                              mean=MEAN, std=STD)
    output = adapted(lambda x: np.full((1, 1, 64, 96), 7, np.int64), metadata)(np.zeros((1, 3, 64, 96), np.float32))
    assert (output.dtype, output.shape, output.max()) == (np.uint8, (1, 64, 96), 7)


def test_logits_in_float16_are_adapted():
    metadata = describe_model(Path("net.onnx"), (FLOATS, TensorDescription("out", (1, 19, 64, 96), "float16")),
                              spec=SPEC, mean=MEAN, std=STD)
    output = adapted(lambda x: np.full((1, 19, 64, 96), 7, np.float16), metadata)(np.zeros((1, 3, 64, 96), np.float32))
    assert (output.dtype, output.shape, output.max()) == (np.float32, (1, 19, 64, 96), 7)
