"""Makes the rank table of this server, or one table of those of several servers. Needs no MindSpore.

    python3 scripts/make_rank_table.py --output rank_table.json
    python3 scripts/make_rank_table.py --merge server_0.json server_1.json --output rank_table.json

The addresses of the devices are read from /etc/hccn.conf, or asked from hccn_tool. --merge takes ModelArts' form too,
so with one table it converts that. The order of the tables is that of the servers (--node_rank).
"""
import json
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Dict, Iterable, List, Optional, Sequence, Tuple

from rtseg.config.arguments import parse_options
from rtseg.config.fields import Section, option
from rtseg.launch.rank_settings import numbers_of
from rtseg.runtime.rank_table import Device, RankTable, Server, merge_rank_tables, parse_rank_table, read_rank_table
from rtseg.utils.errors import ConfigError, UserError

_CONF_LINE = re.compile(r"\s*address_(\d+)\s*=\s*(\S+)\s*$")
_TOOL_LINE = re.compile(r"ipaddr\s*:\s*(\S+)")
_TOOL_FOLDER = Path("/usr/local/Ascend/driver/tools")
_MOST_DEVICES = 16  # that a server has


def addresses_of_conf(text: str) -> Dict[int, str]:
    """Device number -> address, from the lines `address_0=192.168.100.101` of hccn.conf."""
    matches = filter(None, map(_CONF_LINE.match, text.splitlines()))
    return {int(match[1]): match[2] for match in matches}


def addresses_of_tool(tool: str, devices: Iterable[int]) -> Dict[int, str]:
    """Device number -> address, from what `hccn_tool -i <device> -ip -g` prints; devices that it does not know are
    absent."""
    addresses = {}
    for device in devices:
        done = subprocess.run([tool, "-i", str(device), "-ip", "-g"], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, universal_newlines=True)
        match = _TOOL_LINE.search(done.stdout)
        if done.returncode == 0 and match:
            addresses[device] = match[1]
    return addresses


def own_address() -> str:
    """The address with which this server talks to others."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("10.255.255.255", 1))  # of a datagram socket: nothing is sent
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"


def _read_addresses(options: "RankTableOptions", wanted: Optional[List[int]]) -> Tuple[Dict[int, str], str]:
    """(device number -> address, where they come from)."""
    conf = Path(options.hccn_conf)
    tool = shutil.which(options.hccn_tool) or shutil.which(options.hccn_tool, path=str(_TOOL_FOLDER))
    if conf.is_file():
        addresses = addresses_of_conf(conf.read_text(encoding="utf-8", errors="replace"))
        if addresses:
            return addresses, str(conf)
    if tool:
        return addresses_of_tool(tool, range(_MOST_DEVICES) if wanted is None else wanted), tool
    raise UserError(f"expected the addresses of the devices in {conf} (lines such as address_0=192.168.100.101) or "
                    f"from {options.hccn_tool}; found neither. Run this on the server with the Ascend devices, as a "
                    "user who may read that file, or name the places with --hccn_conf, --hccn_tool")


def _server_table(options: "RankTableOptions") -> RankTable:
    wanted = None if options.devices is None else _device_numbers(options.devices)
    addresses, source = _read_addresses(options, wanted)
    numbers = sorted(addresses) if wanted is None else wanted
    missing = [str(number) for number in numbers if number not in addresses]
    if missing or not numbers:
        raise ConfigError(f"{source}: expected the address of device {', '.join(missing) or 'any'}, found those of "
                          f"{', '.join(map(str, sorted(addresses))) or 'none'}")
    devices = tuple(Device(rank, number, addresses[number]) for rank, number in enumerate(numbers))
    table = RankTable((Server(options.server_id or own_address(), devices),))
    return parse_rank_table(json.loads(table.dump()), source)


def _device_numbers(text: str) -> List[int]:
    numbers = numbers_of(text)
    if numbers is None:
        raise ConfigError(f"--devices: expected device numbers such as 0-7 or 0,1,4,5, found '{text}'")
    return list(numbers)


class RankTableOptions(Section):
    """Flags of `rtseg rank-table`."""

    output: str = option("file to write", "rank_table.json", metavar="FILE")
    devices: Optional[str] = option("devices, such as 0-7 or 0,1,4,5, in the order of their ranks; empty: all", None,
                                    metavar="N-N,...")
    server_id: Optional[str] = option("name of this server in the table; empty: its address", None, metavar="NAME")
    merge: Tuple[str, ...] = option("tables to make one of, instead of this server's", (), metavar="TABLE")
    hccn_conf: str = option("file with the addresses of the devices", "/etc/hccn.conf", metavar="FILE")
    hccn_tool: str = option("program that knows the addresses of the devices", "hccn_tool", metavar="FILE")


def main(argv: Optional[Sequence[str]] = None) -> int:
    options = parse_options(RankTableOptions, "rtseg rank-table", description=__doc__, argv=argv)
    if options.merge and (options.devices or options.server_id):
        raise ConfigError("--devices, --server_id: the tables of --merge have them already; leave them out")
    if options.merge:
        table = merge_rank_tables(read_rank_table(path) for path in options.merge)
    else:
        table = _server_table(options)
    table.write(options.output)
    for server in table.servers:
        print(f"server {server.server_id}: " + ", ".join(
            f"rank {device.rank_id} device {device.device_id} {device.device_ip}" for device in server.devices))
    print(f"rank table of {table.group_size} devices: {options.output}")
    return 0
