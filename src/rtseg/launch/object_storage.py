"""Copies between this machine and object storage (obs://, s3://) with Huawei's moxing, which ModelArts images bring.

moxing is imported when the first remote address is used. Its `moxing.file` has to have `copy_parallel`, `copy`,
`exists`, `list_directory`, `is_directory` and `make_dirs`; sizes are compared where it has `get_size` too.

A file that a later job reads is kept twice while a job runs, so that a connection lost half-way never leaves a broken
file as the only one: as itself, and with its SHA-256 appended as `<name>.spare`. The spare is written first, unless a
failed attempt may have broken the file itself, which then comes first. A reader takes the spare if it is whole, else
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
from typing import Callable, Dict, Iterator, List, Optional, Set, Tuple

from rtseg.utils.errors import ConfigError, DataError, UserError

SPARE_SUFFIX = ".spare"
_DIGEST_BYTES = 32
# Seconds before the second, third and last attempt.
_PAUSES = (1, 5, 20)


class TransferError(UserError):
    """A copy from or to object storage failed or took too long. Exit code 1."""


class _Incomplete(Exception):
    """A copy that moxing calls done lacks something."""


def _moxing_file():
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

    def __init__(self, timeout: float, pauses: Optional[Tuple[float, ...]] = None):
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._pauses = _PAUSES if pauses is None else pauses

    def fetch_tree(self, url: str, folder: Path) -> None:
        """Copies everything below `url` to `folder`, which is emptied first, and checks that it is complete.

        Raises:
            DataError: there is nothing at `url`.
        """
        def copy():
            if not self._call("exists", url) or not self._call("list_directory", url):
                raise DataError(f"{url}: expected a folder with files in it, found nothing; check the address")
            shutil.rmtree(folder, ignore_errors=True)
            self._call("copy_parallel", url, str(folder))
            missing = list(self._missing(url, folder))
            if missing:
                raise _Incomplete(f"{len(missing)} files are missing, such as {missing[0]}")
            self._check_size(url, sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()), tree=True)
        self._attempt(f"copying {url} to {folder}", copy)

    def fetch_file(self, url: str, folder: Path) -> Path:
        """Copies the file at `url` into `folder` and returns its path.

        Raises:
            DataError: there is no whole file at `url`.
        """
        path = folder / url.rstrip("/").rpartition("/")[2]
        folder.mkdir(parents=True, exist_ok=True)

        def copy():
            for suffix in (SPARE_SUFFIX, ""):
                if not self._call("exists", url + suffix):
                    continue
                self._call("copy", url + suffix, str(path))
                self._check_size(url + suffix, path.stat().st_size)
                if not suffix or _strip_digest(path):
                    return
            path.unlink(missing_ok=True)
            raise DataError(f"{url}: expected a file, found none, or none that is whole")
        self._attempt(f"copying {url} to {path}", copy)
        return path

    def fetch_files(self, url: str, folder: Path) -> None:
        """Copies the whole files of the folder at `url`, without those of its subfolders, into `folder`.

        Raises:
            DataError: there are no files at `url`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        names = [name for name in self.names(url) if not self.is_folder(f"{url}/{name}")]
        if not names:
            raise DataError(f"{url}: expected a folder with files in it, found nothing; check the address")
        for name in sorted({name[:-len(SPARE_SUFFIX)] if name.endswith(SPARE_SUFFIX) else name for name in names}):
            try:
                self.fetch_file(f"{url}/{name}", folder)
            except DataError:  # the first copy of it was broken off, so that neither of the two is whole
                continue

    def names(self, url: str) -> List[str]:
        """Names of the files and folders in the folder at `url`; none if there is no such folder."""
        return self._attempt(f"listing {url}", lambda: list(self._names(url)) if self._call("exists", url) else [])

    def is_there(self, url: str) -> bool:
        """Whether there is a file or folder at `url`."""
        return self._attempt(f"looking for {url}", lambda: self._call("exists", url))

    def is_folder(self, url: str) -> bool:
        """Whether `url` is a folder."""
        return self._attempt(f"looking at {url}", lambda: self._call("is_directory", url))

    def put(self, path: Path, url: str) -> None:
        """Copies the file `path` to `url`."""
        def copy():
            self._call("copy", str(path), url)
            self._check_size(url, path.stat().st_size)
        self._attempt(f"copying {path} to {url}", copy)

    def make_folder(self, url: str) -> None:
        """Makes the folder `url`, with those above it."""
        self._attempt(f"making {url}", lambda: self._call("make_dirs", url))

    def remove(self, url: str) -> None:
        """Removes a file, if this moxing can."""
        if hasattr(_moxing_file(), "remove"):
            self._attempt(f"removing {url}", lambda: self._call("exists", url) and self._call("remove", url))

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

    def _check_size(self, url: str, found: int, tree: bool = False) -> None:
        if not hasattr(_moxing_file(), "get_size"):
            return
        expected = self._call("get_size", url, recursive=True) if tree else self._call("get_size", url)
        if expected != found:
            raise _Incomplete(f"{url} has {expected} bytes, and {found} bytes are here")

    def _call(self, function: str, *arguments, **keywords):
        """Calls a function of moxing in a thread of its own, since it may hang for good."""
        target = getattr(_moxing_file(), function)
        outcome = concurrent.futures.Future()

        def work():
            try:
                outcome.set_result(target(*arguments, **keywords))
            except BaseException as error:  # handed on to the thread that waits
                outcome.set_exception(error)
        threading.Thread(target=work, daemon=True).start()
        if not concurrent.futures.wait([outcome], max(0, self._deadline - time.monotonic())).done:
            raise TransferError(f"moxing.file.{function}({', '.join(map(str, arguments))}) has not returned within "
                                f"--copy_timeout {self._timeout:g} seconds; the connection may hang, or more time is "
                                "needed.")
        return outcome.result()

    def _attempt(self, what: str, action: Callable):
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
        root: folder whose contents go to `url` under the same relative names. What it holds already is left out.
        pattern: of the files below `root`.
        url: remote folder.
        wanted: says of a path whether it is to be brought.
    """

    def __init__(self, root: Path, pattern: str, url: str, wanted: Callable[[Path], bool] = lambda path: True):
        self.root, self.pattern, self.url, self.wanted = root, pattern, url, wanted
        self._before = self._stamps()
        self._sent: Dict[Path, Tuple[int, int]] = {}
        self._broken: Set[Path] = set()
        self._folders: Set[Path] = set()

    def sync(self, storage: ObjectStorage) -> None:
        """Brings everything up to date. After an error the next call continues.

        Raises:
            TransferError: a file could not be copied.
        """
        stamps, known = self._stamps(), {**self._before, **self._sent}
        for path in sorted((path for path in stamps if stamps[path] != known.get(path)), key=_order):
            self._make_folder(storage, path.parent)
            if _kept_twice(path):
                self._put_twice(storage, path)
            else:
                storage.put(path, self._address(path))
            self._sent[path] = stamps[path]
        for path in set(self._sent) - set(stamps):  # deleted here, such as the oldest checkpoint
            storage.remove(self._address(path))
            del self._sent[path]

    def finish(self, storage: ObjectStorage) -> int:
        """Brings everything up to date for the last time, removes the spares, and returns the number of files brought.

        Raises:
            TransferError: a file could not be copied.
        """
        self.sync(storage)
        for path in filter(_kept_twice, self._sent):
            storage.remove(self._address(path) + SPARE_SUFFIX)
        return len(self._sent)

    def _put_twice(self, storage: ObjectStorage, path: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            spare, content = Path(folder) / path.name, path.read_bytes()
            spare.write_bytes(content + hashlib.sha256(content).digest())
            slots = [(path.with_name(path.name + SPARE_SUFFIX), spare), (path, path)]
            if path in self._broken:  # then the spare is the only whole one
                slots.reverse()
            for place, source in slots:
                if place == path:
                    self._broken.add(path)
                storage.put(source, self._address(place))
                if place == path:
                    self._broken.discard(path)

    def _make_folder(self, storage: ObjectStorage, folder: Path) -> None:
        if folder not in self._folders:
            storage.make_folder(self._address(folder))
            self._folders.add(folder)

    def _address(self, path: Path) -> str:
        return "/".join((self.url.rstrip("/"), *path.relative_to(self.root).parts))

    def _stamps(self) -> Dict[Path, Tuple[int, int]]:
        stamps = {}
        for path in self.root.glob(self.pattern):
            if path.is_file() and not path.name.startswith(".tmp-") and self.wanted(path):
                status = os.stat(path)
                stamps[path] = (status.st_mtime_ns, status.st_size)
        return stamps


def _kept_twice(path: Path) -> bool:
    """Whether a job that continues this one reads the file, and it is replaced from time to time."""
    return path.suffix in (".ckpt", ".csv") and not path.parent.name.startswith("ckpt_")


def _order(path: Path) -> tuple:
    """Checkpoints last: whoever sees one finds next to it what belongs to it."""
    return _kept_twice(path), path.suffix == ".ckpt", path


def _strip_digest(path: Path) -> bool:
    """Whether `path` is a whole spare, which it is made the file of."""
    content = path.read_bytes()
    body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        return False
    path.write_bytes(body)
    return True
