"""Makes the rank table of this server, or one table of those of several servers. Needs no MindSpore.

    python3 scripts/make_rank_table.py --output rank_table.json
    python3 scripts/make_rank_table.py --merge server_0.json server_1.json --output rank_table.json

The addresses of the cards are read from /etc/hccn.conf, or asked from hccn_tool. --merge takes ModelArts' form too, so
with one table it converts that. The order of the tables is that of the servers (--node_rank).
"""
import argparse
import json
import re
import shutil
import socket
import subprocess
from pathlib import Path

from rtseg.runtime.rank_table import Device, RankTable, Server, merge_rank_tables, parse_rank_table, read_rank_table
from rtseg.utils.errors import ConfigError, UserError

_CONF_LINE = re.compile(r"\s*address_(\d+)\s*=\s*(\S+)\s*$")
_TOOL_LINE = re.compile(r"ipaddr\s*:\s*(\S+)")
_TOOL_FOLDER = Path("/usr/local/Ascend/driver/tools")
_MOST_CARDS = 16  # that a server has


def addresses_of_conf(text: str) -> dict:
    """Card number -> address, from the lines `address_0=192.168.100.101` of hccn.conf."""
    matches = filter(None, map(_CONF_LINE.match, text.splitlines()))
    return {int(match[1]): match[2] for match in matches}


def addresses_of_tool(tool: str, cards) -> dict:
    """Card number -> address, from what `hccn_tool -i <card> -ip -g` prints; cards that it does not know are absent."""
    addresses = {}
    for metadata in cards:
        done = subprocess.run([tool, "-i", str(metadata), "-ip", "-g"], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, universal_newlines=True)
        match = _TOOL_LINE.search(done.stdout)
        if done.returncode == 0 and match:
            addresses[metadata] = match[1]
    return addresses


def own_address() -> str:
    """The address with which this server talks to others."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("10.255.255.255", 1))  # of a datagram socket: nothing is sent
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"


def _read_addresses(options) -> tuple:
    """(card number -> address, where they come from)."""
    conf = Path(options.hccn_conf)
    tool = shutil.which(options.hccn_tool) or shutil.which(options.hccn_tool, path=str(_TOOL_FOLDER))
    cards = range(_MOST_CARDS) if options.devices is None else options.devices
    if conf.is_file():
        addresses = addresses_of_conf(conf.read_text(encoding="utf-8", errors="replace"))
        if addresses:
            return addresses, str(conf)
    if tool:
        return addresses_of_tool(tool, cards), tool
    raise UserError(f"expected the addresses of the cards in {conf} (lines such as address_0=192.168.100.101) or from "
                    f"{options.hccn_tool}; found neither. Run this on the server with the Ascend cards, as a user who "
                    "may read that file, or name the places with --hccn_conf, --hccn_tool")


def _server_table(options) -> RankTable:
    addresses, source = _read_addresses(options)
    cards = sorted(addresses) if options.devices is None else options.devices
    missing = [str(metadata) for metadata in cards if metadata not in addresses]
    if missing or not cards:
        raise ConfigError(f"{source}: expected the address of card {', '.join(missing) or 'any'}, found those of "
                          f"{', '.join(map(str, sorted(addresses))) or 'none'}")
    devices = tuple(Device(rank, metadata, addresses[metadata]) for rank, metadata in enumerate(cards))
    table = RankTable((Server(options.server_id or own_address(), devices),))
    return parse_rank_table(json.loads(table.dump()), source)


def _cards(text: str) -> list:
    cards = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not (first.isdecimal() and (last or first).isdecimal()):
            raise argparse.ArgumentTypeError(f"expected card numbers such as 0-7 or 0,1,4,5, found '{text}'")
        cards.extend(range(int(first), int(last or first) + 1))
    return cards


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="rank_table.json", help="file to write (%(default)s)")
    parser.add_argument("--devices", type=_cards, help="cards, such as 0-7 or 0,1,4,5, in the order of their ranks "
                        "(default: all)")
    parser.add_argument("--server_id", help="name of this server in the table (default: its address)")
    parser.add_argument("--merge", nargs="+", metavar="TABLE", help="tables to make one of, instead of this server's")
    parser.add_argument("--hccn_conf", default="/etc/hccn.conf", help="%(default)s")
    parser.add_argument("--hccn_tool", default="hccn_tool", help="%(default)s")
    options = parser.parse_args(argv)
    if options.merge and (options.devices or options.server_id):
        raise ConfigError("--devices, --server_id: the tables of --merge have them already; leave them out")
    if options.merge:
        table = merge_rank_tables(read_rank_table(path) for path in options.merge)
    else:
        table = _server_table(options)
    table.write(options.output)
    for server in table.servers:
        print(f"server {server.server_id}: " + ", ".join(
            f"rank {device.rank_id} card {device.device_id} {device.device_ip}" for device in server.devices))
    print(f"rank table of {table.group_size} cards: {options.output}")
    return 0
