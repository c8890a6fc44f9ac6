"""What scripts/convert_om.sh must know from the metadata: atc's input description and the AIPP configuration.

    python -m rtseg.export.atc <model.onnx|.air> <model.om> <aipp: 0|1> [--input_shape's value]

writes the metadata of the .om and, with AIPP, <model>.aipp.cfg next to it, and prints `<format> <name>:<shape>`.
No MindSpore.
"""
import sys
from pathlib import Path
from typing import Optional, Sequence, Tuple

from rtseg.inference.metadata import (ModelMetadata, check_metadata_is_free, image_size, metadata_path, read_metadata,
                                      write_metadata)
from rtseg.models.registry import SIZE_MULTIPLE
from rtseg.utils.atomic import write_text
from rtseg.utils.errors import ConfigError, run_command


def main(argv: Optional[Sequence[str]] = None) -> int:
    model, om, aipp, *shape = sys.argv[1:] if argv is None else argv
    metadata = read_metadata(metadata_path(model))
    # An .om has one shape, whatever the model left open.
    metadata = metadata.changed(size=size_of(shape[0], metadata) if shape and shape[0] else metadata.size, dynamic=())
    layout = "NCHW" if metadata.input_type == "float32" else "ND"  # atc has no NHWC for ONNX
    print(f"{layout} {metadata.input.name}:{','.join(map(str, metadata.input_shape))}")
    if aipp == "1":
        config = aipp_config(metadata)
        metadata = metadata.changed(input_type="uint8")
        write_text(Path(om).with_suffix(".aipp.cfg"), config)
    check_metadata_is_free(om, metadata)
    write_metadata(om, metadata)
    return 0


def size_of(input_shape: str, metadata: ModelMetadata) -> Tuple[int, int, int]:
    """(batch, height, width) of atc's --input_shape, such as "x:8,3,1024,2048".

    Raises:
        ConfigError: another name or number of lengths, lengths that the model does not leave open, or a height or width
            that is no multiple of 32.
    """
    name, _, text = input_shape.rpartition(":")
    lengths = [int(part) for part in text.split(",") if part.strip().isdigit()]
    example = f"{metadata.input.name}:{','.join(map(str, metadata.input_shape))}"
    if name != metadata.input.name or len(lengths) != 4 or len(text.split(",")) != 4 or min(lengths) < 1:
        raise ConfigError(f"--input_shape: expected the model's input with other lengths than {example}, found "
                          f"{input_shape}")
    batch, height, width = image_size(lengths, metadata.input.layout)
    dynamic = metadata.input.dynamic or ()
    for axis, found, known in zip(("batch", "height", "width"), (batch, height, width), metadata.size):
        if found != known and axis not in dynamic:
            raise ConfigError(f"--input_shape: expected {axis} {known}, found {found}; export the model with "
                              f"--dynamic_{'batch' if axis == 'batch' else 'size'} 1 to choose it here")
    if height % SIZE_MULTIPLE or width % SIZE_MULTIPLE:
        raise ConfigError(f"--input_shape: expected height and width that are multiples of {SIZE_MULTIPLE}, found "
                          f"{height} and {width}")
    return batch, height, width


def aipp_config(metadata: ModelMetadata) -> str:
    """AIPP's configuration text; AIPP calculates (byte - min_chn) * var_reci_chn.

    Raises:
        ConfigError: the model takes bytes already.
    """
    if metadata.input_type != "float32":
        raise ConfigError("--aipp=1: expected a model with --input_type float32, found one that normalises itself")
    _, height, width = metadata.size
    lines = ["aipp_mode: static", "input_format: RGB888_U8", "csc_switch: false", "rbuv_swap_switch: false",
             f"src_image_size_w: {width}", f"src_image_size_h: {height}"]
    for channel, (mean, std) in enumerate(zip(metadata.mean, metadata.std)):
        lines += [f"min_chn_{channel}: {255 * mean:.8g}", f"var_reci_chn_{channel}: {1 / (255 * std):.8g}"]
    return "aipp_op {\n" + "".join(f"    {line}\n" for line in lines) + "}\n"


if __name__ == "__main__":
    run_command(main)
