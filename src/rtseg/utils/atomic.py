"""Writes a file atomically: temporary name in the same folder, fsync, rename."""
import csv
import io
import os
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Iterable, Iterator, Sequence, Union


@contextmanager
def atomic_write(path: Union[str, Path]) -> Iterator[Path]:
    """Yields a temporary path next to `path`; when the block ends well, the file found there takes the final name.

    The temporary name keeps the suffix of `path`, for writers that look at it. If the block raises, the temporary file
    is removed, with what a writer has made next to it by adding to its name or changing its suffix, and a file that
    already stood under the final name is untouched. A process killed half-way leaves at most files whose names start
    with ".tmp-".

    Raises:
        OSError: the folder cannot be written or the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not the process id: containers that share a folder may share it too, and so do the threads of a process.
    prefix = f".tmp-{uuid.uuid4().hex[:12]}-"
    # Only the end of a long name, because a file system limits the whole to 255 bytes.
    temporary = path.with_name(prefix + path.name[-50:])
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        for left_over in path.parent.glob(f"{prefix}*"):
            left_over.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = str(path)  # that of a full disk names no file
        raise
    _sync_folder(path.parent)


def write_text(path: Union[str, Path], text: str) -> None:
    """Writes `text` as UTF-8 to `path`, atomically; bytes of a file name that are not UTF-8 become \\udcb5 or alike."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_csv(path: Union[str, Path], columns: Sequence[str], *, rows: Iterable[Sequence[Any]]) -> None:
    """Writes a table with the names of its columns in the first line to `path`, atomically."""
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([columns, *rows])
    write_text(path, table.getvalue())


def _sync_folder(folder: Path) -> None:
    """Makes the rename itself survive a power cut; some file systems cannot sync a folder, which is no failure."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
