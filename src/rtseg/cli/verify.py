"""Compares the results of another engine, such as of an .om on a device, with an ONNX or MINDIR model on equal inputs.

The inputs are the <name>_img.bin files that preprocess.py wrote, the results <name>_img_0.bin. For each image it prints
the share of the pixels whose classes agree and, if both have logits of one shape, their largest difference. The exit
code is 1 where fewer pixels agree than --least_agreement. An export compares itself with its checkpoint: export.py
--verify.
"""
from pathlib import Path
from typing import Optional, Sequence

from rtseg.config.arguments import parse_options
from rtseg.config.fields import Section, option


class VerifyOptions(Section):
    """Flags of rtseg verify."""

    model_path: str = option("exported .onnx or .mindir", metavar="FILE")
    metadata: Optional[str] = option("its metadata; empty: the same name with .json", None, metavar="FILE")
    inputs: str = option("folder of the inputs", "preprocess_Result/img_data", metavar="DIR")
    results: str = option("folder of the other engine's results", "result_Files", metavar="DIR")
    image_height: Optional[int] = option("height of the inputs, where the model leaves it open; empty: the metadata's",
                                         None, ge=1)
    image_width: Optional[int] = option("width, likewise", None, ge=1)
    least_agreement: float = option("share of the pixels that must agree in each image", 0.999, ge=0, le=1)


def main(argv: Optional[Sequence[str]] = None) -> int:
    options = parse_options(VerifyOptions, "rtseg verify", description=__doc__, argv=argv)

    from rtseg.export.verify import compare_results, report
    from rtseg.inference.backends import open_exported
    from rtseg.inference.metadata import metadata_path, read_metadata

    path = Path(options.model_path)
    metadata = read_metadata(options.metadata or metadata_path(path)).resized(height=options.image_height,
                                                                             width=options.image_width)
    results = compare_results(Path(options.inputs), Path(options.results),
                              run=open_exported(path, metadata).run_input, metadata=metadata)
    report(results, least_agreement=options.least_agreement)
    return 0
