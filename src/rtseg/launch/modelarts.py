"""A ModelArts job: what remote addresses name is copied in, once per machine, and the results are copied out.

Only addresses that begin with obs:// or s3:// are copied; local paths are used as they are, which is what ModelArts'
newer jobs pass.
"""
import contextlib
import glob
import hashlib
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Optional, Tuple

from rtseg.config.checks import AUTO_RESUME, REMOTE_PREFIXES
from rtseg.config.config import Config
from rtseg.launch.object_storage import Mirror, ObjectStorage, TransferError
from rtseg.launch.once_per_node import once_per_node
from rtseg.training import run_folder
from rtseg.utils.errors import DataError, UserError
from rtseg.utils.files import writing_to

# What tells the jobs on a machine apart that have several processes each.
_JOB_VARIABLES = ("MA_VJ_NAME", "RANK_TABLE_FILE", "MS_SCHED_HOST", "MS_SCHED_PORT")

Upload = Callable[[], None]


@contextlib.contextmanager
def modelarts_job(config: Config, command: str) -> Iterator[Tuple[Config, Optional[Upload]]]:
    """Copies in before the block, and copies the results to `outer_path` (or `train_url`) after it, however it ends.

    Without use_modelarts nothing happens. Nothing else may have touched the device or the group yet.

    Args:
        config: of the command.
        command: "train", "eval" or "export".

    Yields:
        the configuration with local paths in place of the addresses, and without use_modelarts, so that a run that is
        brought home can be used there as it is;
        a function that copies what results there are so far and raises UserError if it cannot; None if this process
        copies none.

    Raises:
        ConfigError: moxing is absent or is the unrelated package.
        DataError: nothing at an address.
        UserError: a copy failed or took too long; at the end only if the block itself has succeeded.
    """
    if not config.modelarts.use_modelarts:
        yield config, None
        return
    with _sigterm(_leave), _inputs(config, command) as local:
        mirror = _mirror(local, command)
        if mirror is None:
            yield local, None
            return
        try:
            yield local, lambda: mirror.sync(ObjectStorage(config.modelarts.copy_timeout, pauses=()))
        except BaseException:
            try:
                _finish(mirror, config.modelarts.copy_timeout)
            except UserError as error:  # what happened first is what the user has to know
                print(f"warning: {error}", file=sys.stderr)
            raise
        _finish(mirror, config.modelarts.copy_timeout)


def _finish(mirror: Mirror, timeout: float) -> None:
    try:
        with _sigterm(signal.SIG_IGN):  # a platform that takes the machine away asks once and then waits a while
            copied = mirror.finish(ObjectStorage(timeout))
    except UserError as error:
        raise TransferError(f"the results are not all at {mirror.url}: {error} They are kept in "
                            f"{mirror.root.resolve()} on this machine.") from None
    if copied:
        _print(f"copied the results to {mirror.url}")


def _leave(number: int, _frame: object) -> None:
    """Ends the process by an exception, so that the results get copied. A training handles SIGTERM itself."""
    raise SystemExit(128 + number)


@contextlib.contextmanager
def _sigterm(handler: Any) -> Iterator[None]:
    previous = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


# --- in ---

@contextlib.contextmanager
def _inputs(config: Config, command: str) -> Iterator[Config]:
    """The configuration with everything it needs on this machine."""
    cache = _cache_folder(config)
    if config.run.is_distributed:
        identity = "\n".join(os.environ.get(name, "") for name in _JOB_VARIABLES)
        changes = once_per_node(cache / f"job-{hashlib.sha256(identity.encode()).hexdigest()[:12]}",
                                lambda folder: _copy_in(config, command, folder=folder),
                                timeout=config.modelarts.copy_timeout)
        yield _with_local_paths(config, changes, command=command)
        return
    folder = Path(tempfile.mkdtemp(prefix="single-", dir=cache))
    try:
        yield _with_local_paths(config, _copy_in(config, command, folder=folder), command=command)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _cache_folder(config: Config) -> Path:
    """A folder of this user's; /cache is ModelArts' large local disk."""
    root = config.modelarts.copy_path or ("/cache" if os.access("/cache", os.W_OK) else tempfile.gettempdir())
    folder = Path(root) / f"segmentation-{os.getuid()}"
    with writing_to(root, flag="--copy_path"):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _copy_in(config: Config, command: str, *, folder: Path) -> Dict[str, str]:
    """Copies what `config` names remotely into `folder` and returns the fields of `config` that change with it."""
    storage = ObjectStorage(config.modelarts.copy_timeout)
    changes = {}
    if command != "export":
        changes["dataset"] = dataset = config.data.dataset or config.modelarts.data_url
        if _is_remote(dataset):
            _print(f"copying {dataset}")
            storage.fetch_tree(dataset.rstrip("/"), folder / "dataset")
            changes["dataset"] = str(folder / "dataset")
    for name in ("pretrained", "ckpt_file", "from_mindir"):
        url = config.value(name)
        if _is_remote(url):
            _print(f"copying {url}")
            changes[name] = str(storage.fetch_file(url, folder / name))
    if _is_remote(config.export.from_mindir):
        metadata = config.export.from_mindir.rpartition(".")[0] + ".json"
        if storage.has_file(metadata):
            storage.fetch_file(metadata, folder / "from_mindir")
        if not config.export.file_name:  # the default is the name next to the .mindir, which is a copy here
            changes["file_name"] = Path(config.export.from_mindir).stem
    if config.run.resume_path == AUTO_RESUME:
        if command == "train" and _is_remote(_outer(config)):
            changes["resume_path"] = _fetch_newest_run(storage, _outer(config), folder=folder / "checkpoint")
    elif _is_remote(config.run.resume_path):
        changes.update(_fetch_checkpoint(storage, config, command=command, folder=folder / "checkpoint"))
    return changes


def _fetch_newest_run(storage: ObjectStorage, outer: str, *, folder: Path) -> str:
    """Where the run in `outer` with the latest name that has a complete state has been copied to; "" for none."""
    for name in sorted(storage.names(outer), reverse=True):
        url = f"{outer}/{name}"
        if storage.has_file(f"{url}/{run_folder.LAST}"):
            storage.fetch_files(url, folder)
            if (folder / run_folder.LAST).is_file():
                _print(f"continuing {url}")
                return str(folder)
            shutil.rmtree(folder)
    _print(f"nothing to continue in {outer}, so the training begins")
    return ""


def _fetch_checkpoint(storage: ObjectStorage, config: Config, *, command: str, folder: Path) -> Dict[str, str]:
    url, name = config.run.resume_path.rstrip("/"), config.run.resume_name
    _print(f"copying {url}")
    if not name and not storage.is_folder(url):
        if not storage.has_file(url):
            raise DataError(f"{url}: expected a checkpoint or the folder of one, found nothing; check the address")
        url, _, name = url.rpartition("/")
    if command == "train" or not name:  # to be continued, a run needs its scores and best weights, too
        storage.fetch_files(url, folder)
        if command == "train" and not (folder / (name or run_folder.LAST)).is_file():
            raise DataError(f"{url}: expected {name or run_folder.LAST} in it, found none that is complete")
    else:
        storage.fetch_file(f"{url}/{name}", folder)
    return {"resume_path": str(folder), "resume_name": name}


def _with_local_paths(config: Config, changes: Dict[str, str], *, command: str) -> Config:
    outer = _outer(config)
    if outer and not _is_remote(outer):
        if command == "export":
            name = changes.get("file_name") or config.export.file_name or config.network.model
            changes = {**changes, "file_name": str(Path(outer) / Path(name).name)}
        else:
            changes = {**changes, "output_path": outer}
    values: Dict[str, Any] = {**changes, "use_modelarts": False}
    return config.replace(**values)


# --- out ---

def _mirror(config: Config, command: str) -> Optional[Mirror]:
    outer = _outer(config)
    rank = int(os.environ.get("RANK_ID") or os.environ.get("OMPI_COMM_WORLD_RANK") or config.run.rank or 0)
    if os.environ.get("MS_ROLE") == "MS_SCHED" or rank and config.run.is_save_on_master:
        return None
    if not _is_remote(outer):
        _print(f"the results go to {outer}" if outer else
               "note: neither --outer_path nor --train_url is given, so the results stay on this machine")
        return None
    if command == "export":
        path = Path(config.export.file_name or config.network.model)
        return Mirror(lambda: sorted(path.parent.glob(f"{glob.escape(path.stem)}.*")), root=path.parent, url=outer)
    output = Path(config.run.output_path)
    return Mirror(lambda: run_folder.files_of_rank(output, rank), root=output, url=outer,
                  is_kept_twice=run_folder.is_resume_file)


def _outer(config: Config) -> str:
    return (config.modelarts.outer_path or config.modelarts.train_url).rstrip("/")


def _is_remote(path: str) -> bool:
    return path.startswith(REMOTE_PREFIXES)


def _print(message: str) -> None:
    print(message, flush=True)
