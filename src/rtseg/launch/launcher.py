"""What scripts/run_distribute_train.sh starts on one server: which process gets which card, environment, log and flags.

Two starts: with a rank table (Ascend), one process per card of this server is started here; without one, msrun starts
them. Either way they are watched by `Supervisor`. No MindSpore.

The environment gives RANK_SIZE, the number of ranks on all servers (default 8 on each).
"""
import argparse
import math
import os
import socket
import sys
from pathlib import Path
from typing import List, Optional, Tuple

if __name__ == "__main__":  # from any working folder, which stays that of the ranks
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from rtseg.launch.process_supervisor import Process, Supervisor
from rtseg.launch.start_rank import log_path, rank_arguments, scheduler_log_path
from rtseg.runtime.rank_table import RankTable, read_rank_table
from rtseg.utils.errors import ConfigError, run_command

CARDS_PER_SERVER = 8
_MSRUN_PORT = 8118
_LOCALHOST = "127.0.0.1"
_SCHEDULER_SECONDS = 60
# What an earlier start may have left in the environment, and what must not be there with the other kind of start.
_MSRUN_VARIABLES = ("MS_ROLE", "MS_SCHED_HOST", "MS_SCHED_PORT", "MS_WORKER_NUM", "MS_NODE_ID", "MS_NODE_RANK")
_RANK_TABLE_VARIABLES = ("RANK_TABLE_FILE", "RANK_ID", "DEVICE_ID")


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise ConfigError(message)


def _whole_number(minimum: int, maximum: float = math.inf):
    def parse(text):
        if text.isdecimal() and minimum <= int(text) <= maximum:
            return int(text)
        limits = f">= {minimum}" if maximum == math.inf else f"in {minimum}..{maximum}"
        raise argparse.ArgumentTypeError(f"expected an integer {limits}, found '{text}'")
    return parse


def _parse_arguments(argv) -> argparse.Namespace:
    parser = _Parser(prog="launcher.py", description=__doc__, allow_abbrev=False)
    parser.add_argument("--script", required=True, help="the train.py to run")
    parser.add_argument("--rank_table", required=True, help="file, folder with jobstart_hccl.json, or - for msrun")
    parser.add_argument("--output_path", required=True, help="folder for the logs")
    parser.add_argument("--device_target", required=True, help="Ascend, CPU or GPU")
    parser.add_argument("--node_num", type=_whole_number(1), help="number of servers")
    parser.add_argument("--node_rank", type=_whole_number(0), help="this server")
    parser.add_argument("--master_addr", help="address of server 0, for msrun")
    parser.add_argument("--master_port", type=_whole_number(1024, 65535), help="port of server 0, for msrun")
    parser.add_argument("--stop_seconds", type=_whole_number(0), default=60)
    parser.add_argument("--rank_table_seconds", type=_whole_number(0), default=300)
    parser.add_argument("--dry_run", action="store_true")
    parser.add_argument("train_arguments", nargs="*", help="after --: what every rank's train.py gets")
    options = parser.parse_args(argv)
    options.is_msrun = options.rank_table == "-"
    if options.device_target != "Ascend" and not options.is_msrun:
        raise ConfigError("rank_table_file: a rank table lists Ascend cards; with DEVICE_TARGET="
                          f"{options.device_target} expected -, found '{options.rank_table}'")
    if not options.is_msrun and (options.master_addr or options.master_port):
        raise ConfigError("--master_addr, --master_port: with a rank table the ranks find each other by the table; "
                          "leave them out, or give - as rank_table_file")
    return options


def main(argv=None) -> int:
    options = _parse_arguments(argv)
    rank_size = _rank_size()
    table = None
    if options.is_msrun:
        options.node_num = options.node_num or 1
    else:
        table = _read_table(options, rank_size)
    folder = Path(os.path.abspath(options.output_path))
    if options.node_rank is not None:  # servers may share the output path
        folder = folder / f"node{options.node_rank}"
    _check_nodes(options)
    if table is not None:
        supervisor = _plan_rank_table(options, table, folder)
    else:
        supervisor = _plan_msrun(options, rank_size or CARDS_PER_SERVER * options.node_num, folder)
    if options.dry_run:
        _print_plan(supervisor)
        return 0
    if table is not None and table.converted:
        table.write(_table_file(table, folder))
    return supervisor.run()


def _rank_size() -> Optional[int]:
    text = os.environ.get("RANK_SIZE", "")
    try:
        return _whole_number(1)(text) if text else None
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"RANK_SIZE: {error}") from None


def _check_nodes(options) -> None:
    if options.node_rank is None:
        if options.node_num > 1:
            raise ConfigError(f"--node_rank: expected the number of this server, 0 to {options.node_num - 1}, found "
                              "nothing")
        options.node_rank = 0
    if options.node_rank >= options.node_num:
        raise ConfigError(f"--node_rank: expected 0 to {options.node_num - 1} (--node_num={options.node_num}), found "
                          f"{options.node_rank}")


# --- with a rank table ---

def _read_table(options, rank_size: Optional[int]) -> RankTable:
    table = read_rank_table(options.rank_table, rank_size, options.rank_table_seconds)
    servers = len(table.servers)
    if rank_size is None and table.group_size != CARDS_PER_SERVER * servers:
        raise ConfigError(f"{table.source}: expected {CARDS_PER_SERVER} cards per server, found {table.group_size} on "
                          f"{servers}; if that is right, set RANK_SIZE={table.group_size}")
    options.node_num = options.node_num or servers
    if options.node_num != servers:
        raise ConfigError(f"--node_num: expected {servers}, the number of servers in {table.source}, found "
                          f"{options.node_num}")
    return table


def _table_file(table: RankTable, folder: Path) -> Path:
    """The file that the ranks read: the one given, or where the converted one goes."""
    return folder / "rank_table.json" if table.converted else Path(os.path.abspath(table.source))


def _plan_rank_table(options, table: RankTable, folder: Path) -> Supervisor:
    ranks = []
    for device in table.servers[options.node_rank].devices:
        environment = {"RANK_TABLE_FILE": str(_table_file(table, folder)), "RANK_SIZE": str(table.group_size),
                       "RANK_ID": str(device.rank_id), "DEVICE_ID": str(device.device_id)}
        arguments = rank_arguments(device.rank_id, table.group_size, device.device_id)
        ranks.append(Process(f"rank {device.rank_id}", environment, _MSRUN_VARIABLES,
                             _train_command(options) + arguments, log_path(folder, device.device_id)))
    return Supervisor(ranks, stop_seconds=options.stop_seconds)


def _train_command(options) -> List[str]:
    return [sys.executable, os.path.abspath(options.script), *options.train_arguments]


# --- with msrun ---

def _plan_msrun(options, rank_size: int, folder: Path) -> Supervisor:
    local_size, rest = divmod(rank_size, options.node_num)
    if rest:
        raise ConfigError(f"RANK_SIZE: expected the same number of ranks on each of {options.node_num} servers, found "
                          f"{rank_size} in all")
    address, port = _master(options)
    variables = {"MS_SCHED_HOST": address, "MS_SCHED_PORT": str(port), "MS_WORKER_NUM": str(rank_size),
                 "RANK_SIZE": str(rank_size)}
    command = _train_command(options)
    ranks = []
    for i in range(local_size):
        rank = str(options.node_rank * local_size + i)
        ranks.append(Process(f"rank {rank}", {**variables, "MS_ROLE": "MS_WORKER", "MS_NODE_ID": rank, "RANK_ID": rank,
                                              "DEVICE_ID": str(i)},
                             _RANK_TABLE_VARIABLES[:1], command + rank_arguments(rank, rank_size, i),
                             log_path(folder, i)))
    scheduler = None
    if options.node_rank == 0:
        scheduler = Process("scheduler", {**variables, "MS_ROLE": "MS_SCHED", "RANK_ID": "0"},
                            _RANK_TABLE_VARIABLES[:1], command + rank_arguments(0, rank_size, 0),
                            scheduler_log_path(folder))
    msrun = [sys.executable, "-m", "mindspore.parallel.cluster.run", f"--worker_num={rank_size}",
             f"--local_worker_num={local_size}", f"--node_rank={options.node_rank}", f"--master_addr={address}",
             f"--master_port={port}", f"--log_dir={folder / 'msrun'}", "--join=False", "python3",
             str(Path(__file__).with_name("start_rank.py")), str(os.getpid()), str(folder), *command]
    # msrun takes python3 from the PATH; what start_rank.py then turns into is this very interpreter.
    path = os.pathsep.join((os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)))
    starter = Process("msrun", {"PATH": path}, _MSRUN_VARIABLES + _RANK_TABLE_VARIABLES, msrun,
                      folder / "msrun" / "msrun.log")
    return Supervisor(ranks, scheduler, starter, options.stop_seconds,
                      _SCHEDULER_SECONDS if options.node_num > 1 else 0)


def _master(options) -> Tuple[str, int]:
    """Address and port where the ranks meet: given, or, for one server, this one and a port that is free."""
    if options.node_num > 1 and not options.master_addr:
        raise ConfigError("--master_addr: expected the address of server 0, the same on every server, found nothing")
    address = options.master_addr or _LOCALHOST
    port = options.master_port or (_MSRUN_PORT if options.node_num > 1 else 0)
    if options.node_rank != 0:
        return address, port
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise ConfigError(f"--master_port: expected a port that is free, found {port}: {error.strerror}") from None
        return address, probe.getsockname()[1]


def _print_plan(supervisor: Supervisor) -> None:
    print(f"working folder: {os.getcwd()}")
    if supervisor.starter:
        print(f"{supervisor.starter.name}: {supervisor.starter.shell_line()}")
        print("which starts:")
    for process in filter(None, (supervisor.scheduler, *supervisor.ranks)):
        print(f"{process.name}: {process.shell_line()}")


if __name__ == "__main__":
    run_command(main)
