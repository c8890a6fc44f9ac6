"""Where the recipes are, and reading a whole file that a user named, which may be anything: a pipe, a device."""
import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, Union


def configs_folder() -> Path:
    """The folder of the recipes and data-set specifications: in the installed package, or at the top of a clone."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parents[1] / "configs"


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
