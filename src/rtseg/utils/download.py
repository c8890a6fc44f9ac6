"""Downloads a file over HTTP: with progress, and going on where an earlier attempt was cut."""
import http.client
import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Callable, Iterable, Iterator, Optional

from rtseg.utils.errors import DataError, UserError

Report = Callable[[str], None]

TIMEOUT_SECONDS = 30.0
PAUSE_SECONDS = (1.0, 4.0, 16.0)  # between the attempts, of which there is one more
_CHUNK = 1 << 20
_MIB = 1 << 20
# Answers of a server that may be other ones a moment later.
_TRY_AGAIN = (408, 429, 500, 502, 503, 504)
_NOTHING_AFTER = 416  # to a request for the rest: there is none


def download(address: str, target: Path, *, report: Report) -> None:
    """Downloads `address` to `target`, which appears only when it is complete.

    What has arrived is kept as `<target>.part`, with the server's mark of that version of the file in
    `<target>.part.version`, and the next attempt asks for the rest. A server that has another version by then sends all
    of it.

    Args:
        address: begins with https:// or http://.
        target: file to write; its folder exists.
        report: takes lines of progress, one for about each tenth.

    Raises:
        DataError: the server says that there is no such file.
        UserError: no answer, or no complete one, after several attempts; or the disk does not take it.
    """
    if not address.startswith(("https://", "http://")):
        raise UserError(f"expected an address that begins with https:// or http://, found {address}")
    part = _Part(target)
    for pause in (*PAUSE_SECONDS, None):
        try:
            part.fetch_rest(address, report)
            part.complete(target)
            return
        except urllib.error.HTTPError as error:
            if error.code == _NOTHING_AFTER:
                part.start_again()
            elif error.code not in _TRY_AGAIN:
                raise DataError(f"{address}: expected a file, found '{error.code} {error.reason}'") from None
            problem = f"the server answered '{error.code} {error.reason}'"
        except (OSError, http.client.HTTPException) as error:  # urllib's own errors are OSErrors
            problem = str(getattr(error, "reason", error)) or type(error).__name__
        if pause is not None:
            report(f"{target.name}: {problem}; trying again in {pause:g} s")
            time.sleep(pause)
    raise UserError(f"{address}: expected the whole file, but {problem}. Without a network, download it on another "
                    f"machine, copy it to {target} and try again.")


class _Part:
    """What has arrived of a file so far."""

    def __init__(self, target: Path):
        self.name = target.name
        self.path = target.with_name(target.name + ".part")
        self.version_path = target.with_name(target.name + ".part.version")

    def start_again(self) -> None:
        self.path.unlink(missing_ok=True)
        self.version_path.unlink(missing_ok=True)

    def complete(self, target: Path) -> None:
        os.replace(self.path, target)
        self.version_path.unlink(missing_ok=True)

    def fetch_rest(self, address: str, report: Report) -> None:
        """One request. Raises OSError or HTTPException when it ends before the file does."""
        there = self.path.stat().st_size if self.path.exists() else 0
        version = self.version_path.read_text(encoding="latin-1") if self.version_path.exists() else ""
        request = urllib.request.Request(address, headers={"User-Agent": "rtseg", "Accept-Encoding": "identity"})
        if there and version:
            request.add_header("Range", f"bytes={there}-")
            request.add_header("If-Range", version)
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            if answer.status != 206:
                there = 0
                self._write(self.version_path, "wb", chunks=[_version_of(answer).encode("latin-1", "replace")])
            length = answer.headers.get("Content-Length")
            total = there + int(length) if length else None
            chunks = iter(lambda: answer.read(_CHUNK), b"")
            self._write(self.path, "ab" if there else "wb",
                        chunks=_with_progress(chunks, report, name=self.name, done=there, total=total))
        done = self.path.stat().st_size
        if total not in (None, done):
            raise http.client.HTTPException(f"the connection ended after {done} of {total} bytes")

    @staticmethod
    def _write(path: Path, mode: str, *, chunks: Iterable[bytes]) -> None:
        """Raises UserError, not OSError, for what is wrong with this machine: another attempt will not help."""
        try:
            file = open(path, mode, buffering=0)
        except OSError as error:
            raise UserError(f"{path}: expected to be able to write it; {error.strerror}") from None
        with file:
            for chunk in chunks:
                try:
                    written = file.write(chunk)
                except OSError as error:
                    raise UserError(f"{path}: expected to be able to write it; {error.strerror}") from None
                if written != len(chunk):
                    raise UserError(f"{path}: expected room for it on the disk, found too little")


def _version_of(answer: http.client.HTTPResponse) -> str:
    """The mark of this version of the file, which a request for the rest must repeat; "" if the server gives none."""
    tag = answer.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")


def _with_progress(chunks: Iterable[bytes], report: Report, *, name: str, done: int,
                   total: Optional[int]) -> Iterator[bytes]:
    """The same chunks; reports about each tenth of the file, or each 10 MiB where its size is unknown."""
    if done:
        report(f"{name}: going on after {done / _MIB:.1f} MiB")
    before, start = done, time.monotonic()
    step = max(1, total // 10) if total else 10 * _MIB
    next_report = done + step
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        if done >= next_report or done == total:
            next_report = done + step
            rate = (done - before) / _MIB / max(time.monotonic() - start, 1e-3)
            of = f" of {total / _MIB:.1f}" if total else ""
            report(f"{name}: {done / _MIB:.1f}{of} MiB, {rate:.1f} MiB/s")
