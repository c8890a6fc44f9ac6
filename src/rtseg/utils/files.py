"""Where recipes and trained models are, folders that a flag names, and whole files, which may be pipes or devices."""
import errno
import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Iterator, List, Optional, Union

from rtseg.utils.errors import ConfigError


def configs_folder() -> Path:
    """The folder of the recipes and data-set specifications."""
    return _packaged_folder("configs")


def pretrained_names() -> List[str]:
    """Names of the trained models that come with this package."""
    return sorted(path.stem for path in _packaged_folder("pretrained").glob("*.ckpt"))


def pretrained_file(name: Union[str, Path], suffix: str) -> Optional[Path]:
    """The file of a trained model that comes with this package, or None if `name` is not the name of one.

    Args:
        name: one of `pretrained_names`; a path is no name.
        suffix: ".onnx" (exported, its metadata next to it), ".ckpt" (weights) or ".yaml" (configuration of its run).
    """
    return _packaged_folder("pretrained") / f"{name}{suffix}" if str(name) in pretrained_names() else None


def _packaged_folder(name: str) -> Path:
    """A folder of files that are no Python: in the installed package, or at the top of a clone."""
    package = Path(__file__).resolve().parents[1]
    installed = package / name
    return installed if installed.is_dir() else package.parents[1] / name


@contextmanager
def writing_to(folder: Union[str, Path], *, flag: str) -> Iterator[None]:
    """Around what makes files or folders in `folder`, which the user chose with `flag`.

    Raises:
        ConfigError: the system refuses it; with the flag, the folder and the system's reason.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{flag} {folder}: expected a folder that can be written; {error.strerror}") from None


def read_regular_file(path: Union[str, Path], most_bytes: int) -> bytes:
    """The content of `path`.

    Raises:
        OSError: it cannot be read, is a folder, pipe or device, or has more than `most_bytes`.
    """
    with open_regular_file(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it has more than {most_bytes} bytes", str(path))
    return content


def open_regular_file(path: Union[str, Path]) -> BinaryIO:
    """`path` opened for reading bytes; a pipe without a writer does not block.

    Raises:
        OSError: it cannot be read, or is a folder, pipe or device.
    """
    try:
        file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
    except ValueError as error:  # a null character, or letters that no name can have
        raise OSError(errno.EINVAL, str(error), str(path)) from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return file
