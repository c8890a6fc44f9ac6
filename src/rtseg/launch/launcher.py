"""What scripts/run_distribute_train.sh starts on one server: one process per device, with its environment and flags.

The ranks find each other by a rank table (Ascend), or by MindSpore's scheduler with the environment that msrun gives.
See supervisor.py for why msrun itself is not used. No MindSpore.

The environment gives RANK_SIZE, the number of ranks on all servers (default 8 on each).
"""
import dataclasses
import os
import socket
import sys
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

if __name__ == "__main__":  # from any working folder, which stays that of the ranks
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from rtseg.config.arguments import parse_options
from rtseg.config.fields import Section, option
from rtseg.launch.rank_settings import cores_of_ranks, environment_of_ranks
from rtseg.launch.supervisor import Process, Supervisor
from rtseg.runtime.rank_table import RankTable, read_rank_table
from rtseg.utils.errors import ConfigError, run_command

DEVICES_PER_SERVER = 8
_PORT = 8118
_TOPOLOGY_SECONDS = 600  # in which all ranks must have started, as with msrun
# What an earlier start may have left in the environment, and what must not be there with the other kind of start.
_SCHEDULER_VARIABLES = ("MS_ROLE", "MS_SCHED_HOST", "MS_SCHED_PORT", "MS_WORKER_NUM", "MS_NODE_ID", "MS_NODE_RANK")
_RANK_TABLE_VARIABLES = ("RANK_TABLE_FILE",)


class LaunchOptions(Section):
    """Flags of launcher.py."""

    script: Path = option("the train.py to run")
    rank_table: str = option("file, folder with jobstart_hccl.json, or - for none")
    output_path: Path = option("folder for the logs")
    device_target: str = option("Ascend, CPU or GPU")
    node_num: Optional[int] = option("number of servers", None, ge=1)
    node_rank: Optional[int] = option("this server", None, ge=0)
    master_addr: str = option("address of server 0; not with a rank table", "")
    master_port: Optional[int] = option("port of server 0; not with a rank table", None, ge=1024, le=65535)
    bind_cores: str = option("cores of the ranks: auto, on, off, or a list for each, such as 0-3:4-7; empty: the "
                             "environment's BIND_CORES, or auto", "")
    stop_seconds: int = option("that the ranks have to finish their step and save", 60, ge=0)
    rank_table_seconds: int = option("that the platform has to write the rank table", 300, ge=0)
    dry_run: bool = option("print what would be started", False)
    train_arguments: Tuple[str, ...] = option("after --: what every rank's train.py gets", (), nargs="*",
                                              metavar="ARGUMENT")


def main(argv: Optional[Sequence[str]] = None) -> int:
    options = parse_options(LaunchOptions, "launcher.py", description=str(__doc__), argv=argv)
    _check_start(options)
    rank_size = _rank_size()
    table = None if options.rank_table == "-" else _read_table(options, rank_size)
    folder = Path(os.path.abspath(options.output_path))
    if options.node_rank is not None:  # servers may share the output path
        folder = folder / f"node{options.node_rank}"
    node = _node(options, len(table.servers) if table else 1)
    group_size = table.group_size if table else rank_size or DEVICES_PER_SERVER * node.total
    settings = environment_of_ranks(options, group_size)
    scheduler: Optional[Process] = None
    if table is not None:
        ranks = _plan_with_rank_table(options, table, node=node, settings=settings, folder=folder)
    else:
        ranks, scheduler = _plan_with_scheduler(options, group_size, node=node, settings=settings, folder=folder)
    bind_cores = options.bind_cores or os.environ.get("BIND_CORES") or "auto"
    cores = cores_of_ranks(bind_cores, options.device_target, count=len(ranks))
    ranks = [dataclasses.replace(rank, cores=own) for rank, own in zip(ranks, cores)]
    if options.dry_run:
        print(f"working folder: {os.getcwd()}")
        for process in filter(None, (scheduler, *ranks)):
            print(f"{process.name}: {process.shell_line()}")
        return 0
    if table is not None and table.converted:
        table.write(_table_file(table, folder))
    return Supervisor(ranks, scheduler, stop_seconds=options.stop_seconds, wait_for_scheduler=node.total > 1).run()


class _Node(NamedTuple):
    """Server `rank` of `total` servers, from 0."""

    rank: int
    total: int


def _check_start(options: LaunchOptions) -> None:
    if options.rank_table == "-":
        return
    if options.device_target != "Ascend":
        raise ConfigError("rank_table_file: a rank table lists Ascend devices; with DEVICE_TARGET="
                          f"{options.device_target} expected -, found '{options.rank_table}'")
    if options.master_addr or options.master_port:
        raise ConfigError("--master_addr, --master_port: with a rank table the ranks find each other by the table; "
                          "leave them out, or give - as rank_table_file")


def _rank_size() -> Optional[int]:
    text = os.environ.get("RANK_SIZE", "")
    if text and not (text.isdecimal() and int(text) > 0):
        raise ConfigError(f"RANK_SIZE: expected an integer >= 1, found '{text}'")
    return int(text) if text else None


def _node(options: LaunchOptions, servers: int) -> _Node:
    count = options.node_num or servers
    if options.node_rank is None and count > 1:
        raise ConfigError(f"--node_rank: expected the number of this server, 0 to {count - 1}, found nothing")
    rank = options.node_rank or 0
    if rank >= count:
        raise ConfigError(f"--node_rank: expected 0 to {count - 1} (--node_num={count}), found {rank}")
    return _Node(rank, count)


def _train_process(options: LaunchOptions, name: str, *, environment: Mapping[str, Union[int, str]],
                   unset: Tuple[str, ...], log: Path) -> Process:
    variables = {variable: str(value) for variable, value in environment.items()}
    command = [sys.executable, os.path.abspath(options.script), *options.train_arguments, "--is_distributed=1",
               f"--rank={variables['RANK_ID']}", f"--group_size={variables['RANK_SIZE']}",
               f"--device_id={variables['DEVICE_ID']}"]
    return Process(name, variables, unset, command, log)


def _device_log(folder: Path, device_id: int) -> Path:
    return folder / f"device{device_id}" / "log.txt"


# --- with a rank table ---

def _read_table(options: LaunchOptions, rank_size: Optional[int]) -> RankTable:
    table = read_rank_table(options.rank_table, rank_size, timeout=options.rank_table_seconds)
    servers = len(table.servers)
    if rank_size is None and table.group_size != DEVICES_PER_SERVER * servers:
        raise ConfigError(f"{table.source}: expected {DEVICES_PER_SERVER} devices per server, found {table.group_size} "
                          f"on {servers}; if that is right, set RANK_SIZE={table.group_size}")
    if options.node_num not in (None, servers):
        raise ConfigError(f"--node_num: expected {servers}, the number of servers in {table.source}, found "
                          f"{options.node_num}")
    return table


def _table_file(table: RankTable, folder: Path) -> Path:
    """The file that the ranks read: the one given, or where the converted one goes."""
    return folder / "rank_table.json" if table.converted else Path(os.path.abspath(str(table.source)))


def _plan_with_rank_table(options: LaunchOptions, table: RankTable, *, node: _Node, settings: Mapping[str, str],
                          folder: Path) -> List[Process]:
    return [_train_process(options, f"rank {device.rank_id}",
                           environment={**settings, "RANK_TABLE_FILE": str(_table_file(table, folder)),
                                        "RANK_SIZE": table.group_size, "RANK_ID": device.rank_id,
                                        "DEVICE_ID": device.device_id},
                           unset=_SCHEDULER_VARIABLES, log=_device_log(folder, device.device_id))
            for device in table.servers[node.rank].devices]


# --- with MindSpore's scheduler, as msrun does ---

def _plan_with_scheduler(options: LaunchOptions, rank_size: int, *, node: _Node, settings: Mapping[str, str],
                         folder: Path) -> Tuple[List[Process], Optional[Process]]:
    local_size, rest = divmod(rank_size, node.total)
    if rest:
        raise ConfigError(f"RANK_SIZE: expected the same number of ranks on each of {node.total} servers, found "
                          f"{rank_size} in all")
    address, port = _scheduler_address(options, node)
    common: Dict[str, Union[int, str]] = {
        **settings, "MS_SCHED_HOST": address, "MS_SCHED_PORT": port, "MS_WORKER_NUM": rank_size,
        "MS_TOPO_TIMEOUT": _TOPOLOGY_SECONDS, "RANK_SIZE": rank_size}
    first = node.rank * local_size
    ranks = [_train_process(options, f"rank {first + i}",
                            environment={**common, "MS_ROLE": "MS_WORKER", "MS_NODE_ID": first + i,
                                         "RANK_ID": first + i, "DEVICE_ID": i},
                            unset=_RANK_TABLE_VARIABLES, log=_device_log(folder, i))
             for i in range(local_size)]
    if node.rank:
        return ranks, None
    # The scheduler runs the same program, which never gets beyond joining the others.
    return ranks, _train_process(options, "scheduler",
                                 environment={**common, "MS_ROLE": "MS_SCHED", "RANK_ID": 0, "DEVICE_ID": 0},
                                 unset=_RANK_TABLE_VARIABLES, log=folder / "scheduler.log")


def _scheduler_address(options: LaunchOptions, node: _Node) -> Tuple[str, int]:
    """Address and port where the ranks meet: given, or, for one server, this one and a port that is free."""
    if node.total > 1 and not options.master_addr:
        raise ConfigError("--master_addr: expected the address of server 0, the same on every server, found nothing")
    try:
        address = socket.gethostbyname(options.master_addr or "127.0.0.1")
    except OSError as error:
        raise ConfigError(f"--master_addr: expected the address of server 0, found '{options.master_addr}': "
                          f"{error.strerror}") from None
    port = options.master_port or (_PORT if node.total > 1 else 0)
    if node.rank != 0:
        return address, port
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise ConfigError(f"--master_port: expected a port that is free, found {port}: {error.strerror}") from None
        return address, probe.getsockname()[1]


if __name__ == "__main__":
    run_command(main)
