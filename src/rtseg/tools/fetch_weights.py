"""Downloads weights that others have published, checks them and converts them to a checkpoint.

    rtseg fetch-weights                              the table of what there is
    rtseg fetch-weights icnet_mmseg_resnet50_cityscapes
    rtseg train --model bisenetv1 --pretrained bisenetv1_resnet18_imagenet ...

The table is published_weights.yaml, next to this file. Downloads and checkpoints stay in the cache folder: $RTSEG_CACHE
or rtseg in the user's cache folder. On a machine without a network, put the published file there under its own name.

Scores are those that the publishers measured on the validation images of Cityscapes. Mind the terms of the data that
the weights were trained on.
"""
import difflib
import hashlib
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any, Dict, Iterator, NamedTuple, Optional, Sequence

from filelock import FileLock

from rtseg.config.arguments import parse_options
from rtseg.config.fields import Section, option
from rtseg.utils.atomic import atomic_write
from rtseg.utils.download import Report, download
from rtseg.utils.errors import ConfigError, DataError, run_command
from rtseg.utils.files import pretrained_file
from rtseg.utils.yaml_file import load_yaml

TABLE = Path(__file__).with_name("published_weights.yaml")
_MIB = 1 << 20


class PublishedFile(NamedTuple):
    """One entry of the table, which explains the keys."""

    name: str
    address: str
    model: str
    variant: str
    source: str
    license: str
    backbone: Optional[str] = None
    backbone_only: bool = False
    other_variants: Sequence[str] = ()
    config: str = ""
    miou: Optional[float] = None
    recipe: str = ""
    sha256: str = ""
    sha1: str = ""
    git_blob: str = ""
    size_mib: Optional[float] = None
    member: str = ""

    @property
    def file_name(self) -> str:
        return self.address.rsplit("/", 1)[1]


def published_files() -> Dict[str, PublishedFile]:
    """The table, by name."""
    return {name: PublishedFile(name, **entry) for name, entry in load_yaml(TABLE, "the table").items()}


def find(name: str) -> PublishedFile:
    """The entry called `name`.

    Raises:
        ConfigError: there is none; the message names the nearest, or all.
    """
    files = published_files()
    if name not in files:
        near = difflib.get_close_matches(name, files, n=3) or files
        raise ConfigError(f"no published weights are called '{name}'; expected {' or '.join(near)}")
    return files[name]


def cache_folder() -> Path:
    """Where downloads and the checkpoints made from them stay."""
    own, general = os.environ.get("RTSEG_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(own) if own else (Path(general) if general else Path.home() / ".cache") / "rtseg"


def fetch(file: PublishedFile, folder: Path, *, report: Report) -> Path:
    """The checkpoint made from a published file: from `folder` if it is there, otherwise downloaded and converted.

    Processes that ask at the same time, such as the ranks of a training, wait for the first one.

    Args:
        file: entry of the table.
        folder: for the download and the checkpoint, `<name>.ckpt`.
        report: takes lines of progress.

    Raises:
        DataError: the address has no such file, or what came is not the published file.
        UserError: no network, or no room on the disk.
    """
    checkpoint = folder / f"{file.name}.ckpt"
    if checkpoint.exists():  # complete, since it is written atomically; the folder may be read-only
        return checkpoint
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if not checkpoint.exists():
            _convert(file, published(file, folder, report=report), checkpoint=checkpoint, report=report)
    return checkpoint


def _convert(file: PublishedFile, source: Path, *, checkpoint: Path, report: Report) -> None:
    from rtseg.tools.convert_torch_weights import import_weights

    try:
        done = import_weights(file.model, file.variant, backbone=file.backbone, source=source, target=checkpoint,
                              backbone_only=file.backbone_only)
    except DataError as error:  # of a file without a hash, which may be a proxy's login page
        raise DataError(f"{error}. Delete {source} and try once more.") from None
    report("\n".join(done.lines()))


def published(file: PublishedFile, folder: Path, *, report: Report) -> Path:
    """The published file itself, checked: from `folder` if it is there, otherwise downloaded.

    Raises:
        DataError, UserError: see `fetch`.
    """
    path = folder / file.file_name
    fresh = not path.exists()
    if fresh:
        report(f"{file.name}: downloading {file.address}\n  published by {file.source}, license {file.license}")
        download(file.address, path, report=report)
    try:
        weights = _extract(path, file.member) if file.member else path
        _check(file, weights)
    except DataError as error:
        if fresh:
            path.unlink()
        raise DataError(f"{error} {'It was deleted again' if fresh else 'Delete it'}; try once more. If that does not "
                        f"help, {file.source} may have changed its file.") from None
    return weights


def _extract(archive: Path, member: str) -> Path:
    """Writes the one member next to the archive."""
    path = archive.with_name(member)
    try:
        with zipfile.ZipFile(archive) as zipped, atomic_write(path) as temporary:
            temporary.write_bytes(zipped.read(member))
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
        raise DataError(f"{archive}: expected a zip archive with {member} in it, found another ({error}).") from None
    return path


def _check(file: PublishedFile, path: Path) -> None:
    """Raises DataError where size or hash are not those of the table."""
    content = path.read_bytes()
    size = len(content) / _MIB
    if file.size_mib is not None and abs(size - file.size_mib) > 0.001:  # the sources give three decimals
        raise DataError(f"{path}: expected {file.size_mib} MiB, found {size:.3f}.")
    for kind, expected, found in (("SHA-256", file.sha256, hashlib.sha256), ("SHA-1", file.sha1, _sha1),
                                  ("git blob", file.git_blob, _git_blob)):
        digest = found(content).hexdigest() if expected else ""
        if not digest.startswith(expected):
            raise DataError(f"{path}: expected a file whose {kind} begins with {expected}, found {digest}.")


def _git_blob(content: bytes) -> Any:
    """SHA-1 as git names the content of a file."""
    return _sha1(b"blob %d\0" % len(content) + content)


def _sha1(content: bytes) -> Any:
    return hashlib.sha1(content, usedforsecurity=False)


def check_pretrained(name: str, *, model: str, variant: str, backbone: Optional[str]) -> None:
    """Raises ConfigError where `--pretrained NAME` names neither a file nor published weights that fit the network.

    Args:
        name: what the user gave; "" for none.
        model, variant, backbone: of the network to be trained; backbone None for the model's first.
    """
    if _local(name) is not None:
        return  # what does not fit is found when it is loaded
    from rtseg.models.registry import MODEL_BACKBONES

    file = find(name)
    first = (MODEL_BACKBONES[model] or [None])[0]
    if (file.model, file.backbone) != (model, backbone or first) or variant not in (file.variant, *file.other_variants):
        raise ConfigError(f"--pretrained {name}: expected weights for {_network(model, variant, backbone or first)}, "
                          f"found those for {_network(file.model, file.variant, file.backbone)}")


def resolve_pretrained(name: str, report: Report) -> str:
    """The path that `--pretrained NAME` means: published weights by name are fetched, a path stays what it is."""
    local = _local(name)
    return str(fetch(find(name), cache_folder(), report=report)) if local is None else local


def _local(name: str) -> Optional[str]:
    """What `--pretrained NAME` means if nothing has to be fetched: a path as it is, or a model of this package."""
    if not name or Path(name).exists() or "/" in name or "." in name:
        return name
    own = pretrained_file(name, ".ckpt")
    return str(own) if own else None


def _network(*parts: Optional[str]) -> str:
    return " ".join(part for part in parts if part)


def table_lines() -> Iterator[str]:
    """The table for people, a line for each file."""
    for file in published_files().values():
        network = _network(file.model, "/".join((file.variant, *file.other_variants)), file.backbone)
        result = f"mIoU {file.miou:.2f}" if file.miou else "backbone only, ImageNet"
        yield f"{file.name:36s} {network:36s} {result:24s} {file.license:13s} {file.source}"


class FetchOptions(Section):
    """Arguments of `rtseg fetch-weights`."""

    name: Optional[str] = option("what to fetch; empty: nothing, print the table", None, nargs="?", metavar="NAME")
    output: Optional[Path] = option("checkpoint to write; empty: <name>.ckpt in the cache folder", None,
                                    metavar="FILE")


def main(argv: Optional[Sequence[str]] = None) -> int:
    arguments = parse_options(FetchOptions, "rtseg fetch-weights", description=__doc__, argv=argv)
    if arguments.name is None:
        print("\n".join(table_lines()))
        return 0
    file = find(arguments.name)
    if arguments.output and arguments.output.suffix != ".ckpt":
        raise ConfigError(f"--output {arguments.output}: expected a name that ends in .ckpt")

    from rtseg.runtime.device import setup_device
    setup_device("CPU")
    checkpoint = fetch(file, cache_folder(), report=lambda line: print(line, flush=True))
    if arguments.output:
        with atomic_write(arguments.output) as temporary:
            temporary.write_bytes(checkpoint.read_bytes())
        checkpoint = arguments.output
    print(f"{checkpoint}: for {file.model}, variant {' or '.join((file.variant, *file.other_variants))}"
          + (f", backbone {file.backbone}" if file.backbone else ""))
    if file.backbone_only:
        print("It is the backbone alone, for --pretrained.")
    else:
        backbone = f" --backbone {file.backbone}" if file.backbone else ""
        print(f"Published mIoU {file.miou} ({file.recipe}). To score it here:")
        print(f"  rtseg eval --config configs/{file.config}{backbone} --resume_path {checkpoint} --dataset CITYSCAPES")
    return 0


if __name__ == "__main__":
    run_command(main)
