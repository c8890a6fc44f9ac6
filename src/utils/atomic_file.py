"""Writes a file whole or not at all: temporary name in the same folder, fsync, rename."""
import os
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Union


@contextmanager
def replacing(path: Union[str, Path]) -> Iterator[Path]:
    """Yields a temporary path beside `path`; when the block ends well, the file found there takes the final name.

    The temporary name keeps the suffix of `path`, for writers that look at it. If the block raises, the temporary file
    is removed and a file that already stood under the final name is untouched. A process killed half-way leaves at most
    a file whose name starts with ".tmp-".

    Raises:
        OSError: the folder cannot be written or the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not the process id: containers that share a folder may share it too, and so do the threads of a process.
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex[:12]}-{path.name}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_text(path: Union[str, Path], text: str) -> None:
    """Writes `text` as UTF-8 to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _sync_folder(folder: Path) -> None:
    """Makes the rename itself survive a power cut; some file systems cannot sync a folder, which is no failure."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
