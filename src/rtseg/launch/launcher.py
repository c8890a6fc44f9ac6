"""What scripts/run_distribute_train.sh starts on one server: one process per device, with its environment and flags.

The ranks find each other by a rank table (Ascend), or by MindSpore's scheduler with the environment that msrun gives.
See supervisor.py for why msrun itself is not used. No MindSpore.

The environment gives RANK_SIZE, the number of ranks on all servers (default 8 on each).
"""
import argparse
import dataclasses
import math
import os
import socket
import sys
from pathlib import Path
from typing import Callable, Dict, List, NoReturn, Optional, Sequence, Tuple, Union

if __name__ == "__main__":  # from any working folder, which stays that of the ranks
    sys.path[0] = str(Path(__file__).resolve().parents[2])

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


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def _integer(minimum: int, maximum: float = math.inf) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if text.isdecimal() and minimum <= int(text) <= maximum:
            return int(text)
        limits = f">= {minimum}" if maximum == math.inf else f"in {minimum}..{maximum}"
        raise argparse.ArgumentTypeError(f"expected an integer {limits}, found '{text}'")
    return parse


def _parse_arguments(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = _Parser(prog="launcher.py", description=__doc__, allow_abbrev=False)
    parser.add_argument("--script", required=True, help="the train.py to run")
    parser.add_argument("--rank_table", required=True, help="file, folder with jobstart_hccl.json, or - for none")
    parser.add_argument("--output_path", required=True, help="folder for the logs")
    parser.add_argument("--device_target", required=True, help="Ascend, CPU or GPU")
    parser.add_argument("--node_num", type=_integer(1), help="number of servers")
    parser.add_argument("--node_rank", type=_integer(0), help="this server")
    parser.add_argument("--master_addr", help="address of server 0; not with a rank table")
    parser.add_argument("--master_port", type=_integer(1024, 65535), help="port of server 0; not with a rank table")
    parser.add_argument("--bind_cores", default=os.environ.get("BIND_CORES") or "auto",
                        help="cores of the ranks: auto, on, off, or a list for each, such as 0-3:4-7")
    parser.add_argument("--stop_seconds", type=_integer(0), default=60)
    parser.add_argument("--rank_table_seconds", type=_integer(0), default=300)
    parser.add_argument("--dry_run", action="store_true")
    parser.add_argument("train_arguments", nargs="*", help="after --: what every rank's train.py gets")
    options = parser.parse_args(argv)
    has_table = options.rank_table != "-"
    if has_table and options.device_target != "Ascend":
        raise ConfigError("rank_table_file: a rank table lists Ascend devices; with DEVICE_TARGET="
                          f"{options.device_target} expected -, found '{options.rank_table}'")
    if has_table and (options.master_addr or options.master_port):
        raise ConfigError("--master_addr, --master_port: with a rank table the ranks find each other by the table; "
                          "leave them out, or give - as rank_table_file")
    return options


def main(argv: Optional[Sequence[str]] = None) -> int:
    options = _parse_arguments(argv)
    rank_size = _rank_size()
    table = None if options.rank_table == "-" else _read_table(options, rank_size)
    options.node_num = options.node_num or 1
    folder = Path(os.path.abspath(options.output_path))
    if options.node_rank is not None:  # servers may share the output path
        folder = folder / f"node{options.node_rank}"
    _check_node_rank(options)
    group_size = table.group_size if table else rank_size or DEVICES_PER_SERVER * options.node_num
    options.settings = environment_of_ranks(options, group_size)
    if table is not None:
        ranks, scheduler = _plan_with_rank_table(options, table, folder=folder), None
    else:
        ranks, scheduler = _plan_with_scheduler(options, group_size, folder=folder)
    cores = cores_of_ranks(options.bind_cores, options.device_target, count=len(ranks))
    ranks = [dataclasses.replace(rank, cores=own) for rank, own in zip(ranks, cores)]
    if options.dry_run:
        print(f"working folder: {os.getcwd()}")
        for process in filter(None, (scheduler, *ranks)):
            print(f"{process.name}: {process.shell_line()}")
        return 0
    if table is not None and table.converted:
        table.write(_table_file(table, folder))
    return Supervisor(ranks, scheduler, stop_seconds=options.stop_seconds,
                      wait_for_scheduler=options.node_num > 1).run()


def _rank_size() -> Optional[int]:
    text = os.environ.get("RANK_SIZE", "")
    try:
        return _integer(1)(text) if text else None
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"RANK_SIZE: {error}") from None


def _check_node_rank(options: argparse.Namespace) -> None:
    if options.node_rank is None:
        if options.node_num > 1:
            raise ConfigError(f"--node_rank: expected the number of this server, 0 to {options.node_num - 1}, found "
                              "nothing")
        options.node_rank = 0
    if options.node_rank >= options.node_num:
        raise ConfigError(f"--node_rank: expected 0 to {options.node_num - 1} (--node_num={options.node_num}), found "
                          f"{options.node_rank}")


def _train_process(options: argparse.Namespace, name: str, *, environment: Dict[str, Union[int, str]],
                   unset: Tuple[str, ...], log: Path) -> Process:
    variables = {variable: str(value) for variable, value in {**options.settings, **environment}.items()}
    command = [sys.executable, os.path.abspath(options.script), *options.train_arguments, "--is_distributed=1",
               f"--rank={variables['RANK_ID']}", f"--group_size={variables['RANK_SIZE']}",
               f"--device_id={variables['DEVICE_ID']}"]
    return Process(name, variables, unset, command, log)


def _device_log(folder: Path, device_id: int) -> Path:
    return folder / f"device{device_id}" / "log.txt"


# --- with a rank table ---

def _read_table(options: argparse.Namespace, rank_size: Optional[int]) -> RankTable:
    table = read_rank_table(options.rank_table, rank_size, timeout=options.rank_table_seconds)
    servers = len(table.servers)
    if rank_size is None and table.group_size != DEVICES_PER_SERVER * servers:
        raise ConfigError(f"{table.source}: expected {DEVICES_PER_SERVER} devices per server, found {table.group_size} "
                          f"on {servers}; if that is right, set RANK_SIZE={table.group_size}")
    options.node_num = options.node_num or servers
    if options.node_num != servers:
        raise ConfigError(f"--node_num: expected {servers}, the number of servers in {table.source}, found "
                          f"{options.node_num}")
    return table


def _table_file(table: RankTable, folder: Path) -> Path:
    """The file that the ranks read: the one given, or where the converted one goes."""
    return folder / "rank_table.json" if table.converted else Path(os.path.abspath(str(table.source)))


def _plan_with_rank_table(options: argparse.Namespace, table: RankTable, *, folder: Path) -> List[Process]:
    return [_train_process(options, f"rank {device.rank_id}",
                           environment={"RANK_TABLE_FILE": str(_table_file(table, folder)),
                                        "RANK_SIZE": table.group_size, "RANK_ID": device.rank_id,
                                        "DEVICE_ID": device.device_id},
                           unset=_SCHEDULER_VARIABLES, log=_device_log(folder, device.device_id))
            for device in table.servers[options.node_rank].devices]


# --- with MindSpore's scheduler, as msrun does ---

def _plan_with_scheduler(options: argparse.Namespace, rank_size: int, *,
                         folder: Path) -> Tuple[List[Process], Optional[Process]]:
    local_size, rest = divmod(rank_size, options.node_num)
    if rest:
        raise ConfigError(f"RANK_SIZE: expected the same number of ranks on each of {options.node_num} servers, found "
                          f"{rank_size} in all")
    address, port = _scheduler_address(options)
    common: Dict[str, Union[int, str]] = {
        "MS_SCHED_HOST": address, "MS_SCHED_PORT": port, "MS_WORKER_NUM": rank_size,
        "MS_TOPO_TIMEOUT": _TOPOLOGY_SECONDS, "RANK_SIZE": rank_size}
    first = options.node_rank * local_size
    ranks = [_train_process(options, f"rank {first + i}",
                            environment={**common, "MS_ROLE": "MS_WORKER", "MS_NODE_ID": first + i,
                                         "RANK_ID": first + i, "DEVICE_ID": i},
                            unset=_RANK_TABLE_VARIABLES, log=_device_log(folder, i))
             for i in range(local_size)]
    if options.node_rank:
        return ranks, None
    # The scheduler runs the same program, which never gets beyond joining the others.
    return ranks, _train_process(options, "scheduler",
                                 environment={**common, "MS_ROLE": "MS_SCHED", "RANK_ID": 0, "DEVICE_ID": 0},
                                 unset=_RANK_TABLE_VARIABLES, log=folder / "scheduler.log")


def _scheduler_address(options: argparse.Namespace) -> Tuple[str, int]:
    """Address and port where the ranks meet: given, or, for one server, this one and a port that is free."""
    if options.node_num > 1 and not options.master_addr:
        raise ConfigError("--master_addr: expected the address of server 0, the same on every server, found nothing")
    try:
        address = socket.gethostbyname(options.master_addr or "127.0.0.1")
    except OSError as error:
        raise ConfigError(f"--master_addr: expected the address of server 0, found '{options.master_addr}': "
                          f"{error.strerror}") from None
    port = options.master_port or (_PORT if options.node_num > 1 else 0)
    if options.node_rank != 0:
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
