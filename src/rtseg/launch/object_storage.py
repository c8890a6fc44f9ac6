"""Copies between this machine and object storage (obs://, s3://) with Huawei's moxing, which ModelArts images bring.

moxing is imported when the first remote address is used. Its `moxing.file` has to have `copy_parallel`, `copy`,
`exists`, `list_directory`, `is_directory` and `make_dirs`; sizes are compared where it has `get_size` too.

A file that a later job reads is kept twice while a job runs, so that a connection lost half-way never leaves a broken
file as the only one: as itself, and with its SHA-256 appended as `<name>.spare`. The spare is written first, unless a
failed attempt may have broken the file itself, which then comes first. A reader takes the spare if it is complete, else
the file itself.
"""
import concurrent.futures
import hashlib
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple, TypeVar

from rtseg.utils.errors import ConfigError, DataError, UserError

_SPARE_SUFFIX = ".spare"
_DIGEST_BYTES = 32
_PAUSES = (1, 5, 20)  # seconds before the second, third and last attempt
_Result = TypeVar("_Result")


class TransferError(UserError):
    """A copy from or to object storage failed or took too long. Exit code 1."""


class _Incomplete(Exception):
    """A copy that moxing calls done lacks something."""


def _moxing_file() -> Any:
    """`moxing.file`.

    Raises:
        ConfigError: moxing is absent, or is the unrelated package of that name.
    """
    advice = ("Run this in a ModelArts image, which brings Huawei's moxing (do not install it with pip: the public "
              "package of that name is an unrelated language-model wrapper), or use local paths.")
    try:
        import moxing
    except ImportError as error:
        raise ConfigError("--use_modelarts 1: addresses beginning with obs:// or s3:// need the Python module moxing, "
                          f"which cannot be imported here ({error}). {advice}") from None
    if not callable(getattr(getattr(moxing, "file", None), "copy_parallel", None)):
        raise ConfigError(f"--use_modelarts 1: the moxing in {getattr(moxing, '__file__', 'this environment')} has no "
                          f"file.copy_parallel, so it is not Huawei's. {advice}")
    return moxing.file


class ObjectStorage:
    """The storage behind obs:// and s3:// addresses.

    Args:
        timeout: seconds that everything done through this object may take together.
        pauses: seconds before each further attempt at something that failed; empty for a single attempt.

    Every method raises ConfigError without Huawei's moxing, and TransferError when the last attempt fails or the time
    is up.
    """

    def __init__(self, timeout: float, pauses: Optional[Sequence[float]] = None):
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._pauses = _PAUSES if pauses is None else pauses

    def fetch_tree(self, url: str, folder: Path) -> None:
        """Copies everything below `url` to `folder`, which is emptied first, and checks that it is complete.

        Raises:
            DataError: there is nothing at `url`.
        """
        def copy() -> None:
            if not self._call("exists", url) or not self._call("list_directory", url):
                raise DataError(f"{url}: expected a folder with files in it, found nothing; check the address")
            shutil.rmtree(folder, ignore_errors=True)
            self._call("copy_parallel", url, str(folder))
            missing = list(self._missing(url, folder))
            if missing:
                raise _Incomplete(f"{len(missing)} files are missing, such as {missing[0]}")
            self._check_size(url, sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
                             recursive=True)
        self._attempt(f"copying {url} to {folder}", copy)

    def fetch_file(self, url: str, folder: Path) -> Path:
        """Copies the file at `url` into `folder` and returns its path.

        Raises:
            DataError: there is no complete file at `url`.
        """
        path = folder / url.rstrip("/").rpartition("/")[2]
        folder.mkdir(parents=True, exist_ok=True)

        def copy() -> None:
            for suffix in (_SPARE_SUFFIX, ""):
                if not self._call("exists", url + suffix):
                    continue
                self._call("copy", url + suffix, str(path))
                self._check_size(url + suffix, path.stat().st_size)
                if not suffix or _strip_digest(path):
                    return
            path.unlink(missing_ok=True)
            raise DataError(f"{url}: expected a file, found none, or none that is complete")
        self._attempt(f"copying {url} to {path}", copy)
        return path

    def fetch_files(self, url: str, folder: Path) -> None:
        """Copies the complete files of the folder at `url`, without those of its subfolders, into `folder`.

        Raises:
            DataError: there are no files at `url`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        names = {name.removesuffix(_SPARE_SUFFIX) for name in self.names(url) if not self.is_folder(f"{url}/{name}")}
        if not names:
            raise DataError(f"{url}: expected a folder with files in it, found nothing; check the address")
        for name in sorted(names):
            try:
                self.fetch_file(f"{url}/{name}", folder)
            except DataError:  # its very first copy was broken off, so that neither of the two is complete
                continue

    def names(self, url: str) -> List[str]:
        """Names of the files and folders in the folder at `url`; none if there is no such folder."""
        return self._attempt(f"listing {url}", lambda: list(self._names(url)) if self._call("exists", url) else [])

    def has_file(self, url: str) -> bool:
        """Whether the file is there, or at least its spare."""
        return any(self.call("exists", url + suffix) for suffix in ("", _SPARE_SUFFIX))

    def is_folder(self, url: str) -> bool:
        """Whether `url` is a folder."""
        return self.call("is_directory", url)

    def put(self, path: Path, url: str) -> None:
        """Copies the file `path` to `url`."""
        def copy() -> None:
            self._call("copy", str(path), url)
            self._check_size(url, path.stat().st_size)
        self._attempt(f"copying {path} to {url}", copy)

    def remove(self, url: str) -> None:
        """Removes a file that may be there, if this moxing can."""
        if hasattr(_moxing_file(), "remove") and self.call("exists", url):
            self.call("remove", url)

    def call(self, function: str, *arguments: str) -> Any:
        """moxing.file.<function>(*arguments), again if it fails."""
        return self._attempt(f"{function} {' '.join(arguments)}", lambda: self._call(function, *arguments))

    def _names(self, url: str) -> Iterator[str]:
        return (name.strip("/") for name in self._call("list_directory", url))

    def _missing(self, url: str, folder: Path) -> Iterator[str]:
        """Addresses below `url` that have no counterpart in `folder`, found with one request for each folder."""
        for name in self._names(url):
            path, address = folder / name, f"{url}/{name}"
            if path.is_dir() or not path.exists() and self._call("is_directory", address):
                yield from self._missing(address, path)
            elif not path.is_file():
                yield address

    def _check_size(self, url: str, found: int, **options: bool) -> None:
        if not hasattr(_moxing_file(), "get_size"):
            return
        expected = self._call("get_size", url, **options)
        if expected != found:
            raise _Incomplete(f"{url} has {expected} bytes, and {found} bytes are here")

    def _call(self, function: str, *arguments: str, **options: bool) -> Any:
        """Calls a function of moxing in a thread of its own, since it may hang for good."""
        target = getattr(_moxing_file(), function)
        outcome: concurrent.futures.Future = concurrent.futures.Future()

        def work() -> None:
            try:
                outcome.set_result(target(*arguments, **options))
            except BaseException as error:  # handed on to the thread that waits
                outcome.set_exception(error)
        threading.Thread(target=work, daemon=True).start()
        if not concurrent.futures.wait([outcome], max(0, self._deadline - time.monotonic())).done:
            raise TransferError(f"moxing.file.{function}({', '.join(arguments)}) has not returned within "
                                f"--copy_timeout {self._timeout:g} seconds; the connection may hang, or more time is "
                                "needed.")
        return outcome.result()

    def _attempt(self, what: str, action: Callable[[], _Result]) -> _Result:
        """Does it, again after a pause if it fails. moxing raises errors of many kinds, so all but ours count."""
        for attempt, pause in enumerate((*self._pauses, None), 1):
            try:
                return action()
            except UserError:
                raise
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
            if pause is None or time.monotonic() + pause > self._deadline:
                break
            print(f"note: {what} failed ({reason}); again in {pause:g} s", flush=True)
            time.sleep(pause)
        raise TransferError(f"{what} failed {attempt} time{'s' if attempt > 1 else ''}, at last with {reason}. Check "
                            "the address, the job's access rights and the network.")


class Mirror:
    """Brings the files of a folder to object storage, those that are new or changed since the last time.

    Args:
        files: lists the files to bring, all below `root`, in the order in which to bring them. What is there already
            when the Mirror is made is left out.
        root: folder whose contents go to `url` under the same relative names.
        url: remote folder.
        is_kept_twice: whether a later job may read the file, which is replaced from time to time.
    """

    def __init__(self, files: Callable[[], Sequence[Path]], *, root: Path, url: str,
                 is_kept_twice: Callable[[Path], bool] = lambda path: False):
        self.files, self.root, self.url, self.is_kept_twice = files, root, url, is_kept_twice
        self._known = self._stamps()           # of what is there, or need not be
        self._sent: Set[Path] = set()
        self._broken: Set[Path] = set()        # whose remote copy may be incomplete

    def sync(self, storage: ObjectStorage) -> None:
        """Brings everything up to date. After an error the next call continues.

        Raises:
            TransferError: a file could not be copied.
        """
        stamps = self._stamps()
        for path, stamp in stamps.items():
            if self._known.get(path) != stamp:
                storage.call("make_dirs", self._address(path.parent))
                self._put(storage, path)
                self._known[path] = stamp
                self._sent.add(path)
        for path in self._sent - set(stamps):  # deleted here, such as the oldest checkpoint
            storage.remove(self._address(path))
            self._sent.discard(path)

    def finish(self, storage: ObjectStorage) -> int:
        """Brings everything up to date for the last time, removes the spares, and returns the number of files brought.

        Raises:
            TransferError: a file could not be copied.
        """
        self.sync(storage)
        for path in filter(self.is_kept_twice, self._sent):
            storage.remove(self._address(path) + _SPARE_SUFFIX)
        return len(self._sent)

    def _put(self, storage: ObjectStorage, path: Path) -> None:
        address = self._address(path)
        if not self.is_kept_twice(path):
            storage.put(path, address)
            return
        try:
            self._put_twice(storage, path, address=address)
        except OSError as error:  # such as a full disk
            raise TransferError(f"copying {path} to {address} failed: {error}") from None

    def _put_twice(self, storage: ObjectStorage, path: Path, *, address: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            spare, content = Path(folder) / path.name, path.read_bytes()
            spare.write_bytes(content + hashlib.sha256(content).digest())
            if path not in self._broken:
                storage.put(spare, address + _SPARE_SUFFIX)
            was_broken = path in self._broken
            self._broken.add(path)
            storage.put(path, address)
            self._broken.discard(path)
            if was_broken:  # until now the spare was the only complete one
                storage.put(spare, address + _SPARE_SUFFIX)

    def _address(self, path: Path) -> str:
        return "/".join((self.url.rstrip("/"), *path.relative_to(self.root).parts))

    def _stamps(self) -> Dict[Path, Tuple[int, int]]:
        statuses = {path: os.stat(path) for path in self.files()}
        return {path: (status.st_mtime_ns, status.st_size) for path, status in statuses.items()}


def _strip_digest(path: Path) -> bool:
    """Whether `path` is a complete spare, which it is made the file of."""
    content = path.read_bytes()
    body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        return False
    path.write_bytes(body)
    return True
