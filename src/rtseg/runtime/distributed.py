"""Several processes that train or evaluate together: how they start, and what they tell each other.

All of it is built on one collective, the sum of float32 values over all ranks (AllReduce), because every back end has
it: HCCL on Ascend and MindSpore's own collectives on the CPU. Whatever must be exact is cut into integers that float32
holds exactly.
"""
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Iterator, List, Sequence, Tuple

import numpy as np

from rtseg.config.config import Config
from rtseg.runtime.device import resolve_device_target, setup_device
from rtseg.runtime.rank_table import read_rank_table
from rtseg.utils.errors import ConfigError, UserError

if TYPE_CHECKING:
    from mindspore import Parameter

# Integers travel in pieces of so many bits. A sum of pieces stays exact in float32 while it is below 2^24.
_PIECE_BITS = 12
_PIECES = 5
MAX_GROUP_SIZE = 2 ** (24 - _PIECE_BITS)
_TABLE_TIMEOUT = 600.0  # seconds in which a platform must complete its rank table
_PATIENCE = 300         # seconds that a rank waits for another on CPU


class ProcessGroup:
    """The processes that work together, this one included.

    Every method that exchanges something must be called by all ranks, in the same order, with values of the same shape;
    none must be called while a graph with collectives of its own may still be running. With one process nothing is
    exchanged.

    Args:
        rank: number of this process, 0..size-1. Rank 0 writes the files.
        size: number of processes.
    """

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank = rank
        self.size = size

    @property
    def is_master(self) -> bool:
        """Whether this process is rank 0."""
        return self.rank == 0

    def _sum(self, values: np.ndarray) -> np.ndarray:
        from mindspore import Tensor, ops
        with self.collective_errors():
            return ops.AllReduce()(Tensor(np.ascontiguousarray(values, np.float32))).asnumpy()

    @contextmanager
    def collective_errors(self) -> Iterator[None]:
        """Around collectives: says in one message that one failed because another rank has gone.

        Raises:
            UserError: instead of MindSpore's RuntimeError about AllReduce.
        """
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or "AllReduce" not in str(error):
                raise
            raise UserError(f"rank {self.rank}: an exchange with the other {self.size - 1} failed, because one of them "
                            "has ended or cannot be reached; the first error in their logs says why "
                            f"({str(error).strip().splitlines()[0]})") from None

    def all_reduce_int(self, counts: np.ndarray) -> np.ndarray:
        """The sum over all ranks, exactly: integers in 0..2^53, any shape -> int64 of that shape."""
        counts = np.asarray(counts, np.int64)
        if self.size == 1:
            return counts
        shifts = _PIECE_BITS * np.arange(_PIECES).reshape(-1, 1)
        pieces = counts.reshape(1, -1) >> shifts & (1 << _PIECE_BITS) - 1
        return (self._sum(pieces).astype(np.int64) << shifts).sum(0).reshape(counts.shape)

    def any_rank(self, flag: bool) -> bool:
        """Whether `flag` is true on any rank; the same answer everywhere."""
        return bool(self.all_reduce_int(np.array([flag]))[0])

    def barrier(self) -> None:
        """Returns when every rank has come here."""
        self.any_rank(False)

    def gather(self, text: str) -> List[str]:
        """The texts of all ranks, in the order of the ranks, on every rank."""
        content = np.frombuffer(text.encode("utf-8"), np.uint8)
        lengths = np.zeros(self.size, np.int64)
        lengths[self.rank] = content.size
        lengths = self.all_reduce_int(lengths)
        table = np.zeros((self.size, max(1, lengths.max())), np.int64)
        table[self.rank, :content.size] = content
        rows = self.all_reduce_int(table).astype(np.uint8)
        return [row[:length].tobytes().decode("utf-8") for row, length in zip(rows, lengths)]

    def broadcast(self, text: str) -> str:
        """The text of rank 0, on every rank."""
        return self.gather(text if self.is_master else "")[0]

    def average(self, parameters: Sequence["Parameter"]) -> None:
        """Replaces float32 parameters by their means over all ranks."""
        if self.size == 1 or not parameters:
            return
        from mindspore import Tensor
        values = [parameter.asnumpy() for parameter in parameters]
        means = self._sum(np.concatenate([value.ravel() for value in values])) / np.float32(self.size)
        ends = np.cumsum([value.size for value in values])[:-1]
        for parameter, value, mean in zip(parameters, values, np.split(means, ends)):
            parameter.set_data(Tensor(mean.reshape(value.shape)))

    def assert_replicas_equal(self, facts: Dict[str, str]) -> None:
        """Checks that every rank has the same facts (name -> value, each on one line).

        Raises:
            UserError: on every rank, naming the first rank that differs from rank 0, and the fact.
        """
        found = [dict(line.split("\t") for line in text.split("\n"))
                 for text in self.gather("\n".join(f"{name}\t{value}" for name, value in facts.items()))]
        for rank, other in enumerate(found):
            for name in {**found[0], **other}:
                if other.get(name) != found[0].get(name):
                    raise UserError(f"rank {rank} differs from rank 0 in {name}: expected {found[0].get(name)}, found "
                                    f"{other.get(name)}. Start every rank with the same program, flags and files.")


def start(config: Config, seed: int = 1) -> Tuple[Config, ProcessGroup]:
    """Sets up the device and, with is_distributed, joins the other processes.

    Args:
        config: rank and group_size are checked if given.
        seed: of the weights; the same on every rank, so that all start with the same weights.

    Returns:
        the configuration with the engine's rank and group size, and the group.

    Raises:
        ConfigError: no such device; no launcher, or one whose rank or group size is not the one expected.
    """
    expected = []
    if config.run.is_distributed:
        _check_launcher(config)
        expected = [("--rank", config.run.rank, "rank"), ("--group_size", config.run.group_size, "group size")]
        expected += _expected_by_rank_table()
    config = config.replace(device_target=resolve_device_target(config.run.device_target, print))
    is_worker = config.run.is_distributed and os.environ.get("MS_ROLE") == "MS_WORKER"
    if is_worker and config.run.device_target == "CPU":
        # MindSpore's collectives on CPU give up when a rank is 30 s late, as one that compiles or evaluates may well
        # be. Only the scheduler keeps the 30 s, after which it takes a silent process for dead.
        os.environ.setdefault("MS_NODE_TIMEOUT", str(_PATIENCE))
    setup_device(config.run.device_target, config.run.device_id, seed=seed, precision_mode=config.run.precision_mode)
    if not config.run.is_distributed:
        return config, ProcessGroup()

    import mindspore as ms
    from mindspore import communication
    try:
        communication.init()
    except (RuntimeError, ValueError, TypeError) as error:
        if os.environ.get("MS_ROLE") == "MS_SCHED":  # msrun's scheduler spends its life in init()
            raise UserError(f"the job has lost a process: {str(error).strip().splitlines()[0]}") from None
        raise ConfigError(f"--is_distributed 1: the collectives of {config.run.device_target} cannot be set up here: "
                          f"{str(error).strip().splitlines()[0]}\n{_launch_hint(config)}") from None
    # Only now: before init() the engine knows neither, and the parallel context needs them.
    rank, size = communication.get_rank(), communication.get_group_size()
    for source, wanted, what in expected:
        found = rank if what == "rank" else size
        if wanted is not None and wanted != found:
            raise ConfigError(f"{source}: says that the {what} is {wanted}, but this process was started as rank "
                              f"{rank} of {size}; correct one of the two")
    if size > MAX_GROUP_SIZE:
        raise ConfigError(f"expected at most {MAX_GROUP_SIZE} processes, found {size}")
    ms.set_auto_parallel_context(parallel_mode=ms.ParallelMode.DATA_PARALLEL, gradients_mean=True, device_num=size)
    if rank:  # rank 0 has the training log
        print(f"rank {rank} of {size} on {config.run.device_target} {config.run.device_id}; the log is that of rank 0",
              flush=True)
    return config.replace(rank=rank, group_size=size), ProcessGroup(rank, size)


def _launch_hint(config: Config) -> str:
    count = config.run.group_size or 2
    return ("Start the processes together, with scripts/run_distribute_train.sh or as in\n  "
            f"msrun --worker_num={count} --local_worker_num={count} --master_port=8118 --join=True train.py "
            "--is_distributed 1 ...")


def _check_launcher(config: Config) -> None:
    """Looks for a launcher first, because MindSpore would answer with a C++ stack, or wait for minutes."""
    if os.environ.get("MS_ROLE") or os.environ.get("OMPI_COMM_WORLD_SIZE"):
        return
    if config.run.device_target not in ("auto", "Ascend") or not os.environ.get("RANK_TABLE_FILE"):
        raise ConfigError("--is_distributed 1: expected a process started by a launcher, found nothing of one in the "
                          f"environment. Use --is_distributed 0 for a single process.\n{_launch_hint(config)}")
    if not os.environ.get("RANK_ID", "").isdecimal():
        raise ConfigError(f"RANK_TABLE_FILE is set: expected the number of this process in RANK_ID, found "
                          f"'{os.environ.get('RANK_ID', '')}'.\n{_launch_hint(config)}")


def _expected_by_rank_table() -> List[Tuple[str, int, str]]:
    """What the rank table, if there is one, says about this process. One that MindSpore cannot read is converted."""
    path = os.environ.get("RANK_TABLE_FILE")
    if not path:
        return []
    table = read_rank_table(path, timeout=_TABLE_TIMEOUT)
    if table.converted or Path(path).is_dir():
        os.environ["RANK_TABLE_FILE"] = str(Path(tempfile.mkdtemp(prefix="rank_table_")) / "rank_table.json")
        table.write(os.environ["RANK_TABLE_FILE"])
    expected = [(f"the rank table {path}", table.group_size, "group size")]
    if os.environ.get("RANK_ID", "").isdecimal():
        expected.append(("RANK_ID", int(os.environ["RANK_ID"]), "rank"))
    return expected
