"""Rank tables: which device of which server has which rank. Reads, checks, converts and writes them; no MindSpore.

Two forms are read. v1.0 is what MindSpore wants:

    {"version": "1.0", "server_count": "1", "server_list": [{"server_id": "10.0.0.1", "device": [
        {"device_id": "0", "device_ip": "192.168.100.101", "rank_id": "0"}]}], "status": "completed"}

ModelArts may give its "template 2" instead, in which ranks follow from the order of the instances:

    {"status": "completed", "group_count": "1", "group_list": [{"device_count": "1", "instance_count": "1",
        "instance_list": [{"pod_name": "job-0", "server_id": "10.0.0.1", "devices": [
            {"device_id": "0", "device_ip": "192.168.100.101"}]}]}]}
"""
import dataclasses
import ipaddress
import json
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple, Union

from rtseg.utils.atomic import write_text
from rtseg.utils.errors import ConfigError
from rtseg.utils.files import read_regular_file

TABLE_NAME = "jobstart_hccl.json"  # in a folder that ModelArts names instead of a file
_COMPLETED = "completed"
_POLL_SECONDS = 0.5
_MOST_BYTES = 1 << 24
_MOST_DIGITS = 9


@dataclasses.dataclass(frozen=True)
class Device:
    """One device: its rank in the whole job, its number on its server, and the address of its network port."""

    rank_id: int
    device_id: int
    device_ip: str


@dataclasses.dataclass(frozen=True)
class Server:
    """One server and its devices in the order of their ranks."""

    server_id: str
    devices: Tuple[Device, ...]


@dataclasses.dataclass(frozen=True)
class RankTable:
    """A complete and consistent table: the ranks are 0 to group_size - 1.

    Args:
        servers: in the order of the file; the position is the node rank.
        source: where it was read.
        converted: whether that file has a form that MindSpore does not read, so that `write` has to make one.
    """

    servers: Tuple[Server, ...]
    source: Optional[Path] = None
    converted: bool = False

    @property
    def devices(self) -> Tuple[Device, ...]:
        """All devices in the order of their ranks."""
        return tuple(sorted((device for server in self.servers for device in server.devices),
                            key=lambda device: device.rank_id))

    @property
    def group_size(self) -> int:
        """Number of ranks on all servers."""
        return len(self.devices)

    def dump(self) -> str:
        """The table as JSON in the form v1.0."""
        servers = [{"server_id": server.server_id,
                    "device": [{"device_id": str(device.device_id), "device_ip": device.device_ip,
                                "rank_id": str(device.rank_id)} for device in server.devices],
                    "host_nic_ip": "reserve"} for server in self.servers]
        table = {"version": "1.0", "server_count": str(len(servers)), "server_list": servers, "status": _COMPLETED}
        return json.dumps(table, indent=2) + "\n"

    def write(self, path: Union[str, Path]) -> None:
        """Writes the form v1.0 to `path`, atomically."""
        write_text(path, self.dump())


def read_rank_table(path: Union[str, Path], group_size: Optional[int] = None, *, timeout: float = 0) -> RankTable:
    """Reads and checks a rank table in either form.

    Args:
        path: the file, or the folder with `jobstart_hccl.json` that ModelArts gives.
        group_size: number of ranks that the job was started with (RANK_SIZE); None: not checked.
        timeout: seconds to wait until the table's status is "completed"; in a folder also until the file is there and
            whole, because the platform writes it while the job starts.

    Raises:
        ConfigError: no such file, no JSON, not completed in time, or a wrong table; one message lists everything that
            is wrong with it.
    """
    file, content = _read_completed(Path(path), timeout)
    return parse_rank_table(content, file, group_size=group_size)


def parse_rank_table(content: Dict[str, Any], source: Union[str, Path], *,
                     group_size: Optional[int] = None) -> RankTable:
    """The table in the JSON object `content`, which came from `source`; checks as `read_rank_table` does.

    Raises:
        ConfigError: a wrong table; one message lists everything that is wrong with it.
    """
    reader = _Reader(content)
    reader.check_together(group_size)
    if reader.problems:
        raise _wrong_table(source, reader.problems)
    return RankTable(tuple(Server(str(server_id), tuple(sorted(devices, key=lambda device: device.rank_id)))
                           for server_id, devices in reader.servers), Path(source), "group_list" in content)


def merge_rank_tables(tables: Iterable[RankTable]) -> RankTable:
    """One table of the servers of several tables, ranks counted anew in the order given.

    Raises:
        ConfigError: a server or the address of a device comes twice.
    """
    servers: List[Server] = []
    rank = 0
    for server in (server for table in tables for server in table.servers):
        servers.append(dataclasses.replace(server, devices=tuple(
            dataclasses.replace(device, rank_id=rank + i) for i, device in enumerate(server.devices))))
        rank += len(server.devices)
    return parse_rank_table(json.loads(RankTable(tuple(servers)).dump()), "the merged table")


class _NotReady(Exception):
    """The table is not usable yet, but may become so."""


def _read_completed(path: Path, timeout: float) -> Tuple[Path, Dict[str, Any]]:
    deadline, announced = time.monotonic() + timeout, False
    while True:
        try:
            return _read_json(path)
        except _NotReady as reason:
            left = deadline - time.monotonic()
            if left <= 0:
                waited = f" after waiting {timeout:g} s" if timeout > 0 else ""
                raise ConfigError(f"{reason}{waited}") from None
            if not announced:
                print(f"waiting up to {timeout:g} s: {reason}", file=sys.stderr, flush=True)
                announced = True
            time.sleep(min(_POLL_SECONDS, left))


def _read_json(path: Path) -> Tuple[Path, Dict[str, Any]]:
    in_folder = path.is_dir()
    file = path / TABLE_NAME if in_folder else path
    try:
        content = json.loads(read_regular_file(file, _MOST_BYTES).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        found = error.strerror if isinstance(error, OSError) else f"not JSON, or cut off: {error}"
        kind = _NotReady if in_folder else ConfigError
        raise kind(f"{file}: expected a rank table in JSON; {found}") from None
    if not isinstance(content, dict) or not {"server_list", "group_list", "status"} & set(content):
        raise _wrong_table(file, ['expected an object with "status" and "server_list" (v1.0) or "group_list" '
                                  "(ModelArts)"])
    status = content.get("status", _COMPLETED)  # a missing one is reported with everything else
    if status != _COMPLETED:
        raise _NotReady(f'{file}: expected a rank table with "status": "{_COMPLETED}", found {json.dumps(status)}')
    return file, content


def _wrong_table(file: Union[str, Path], problems: List[str]) -> ConfigError:
    return ConfigError(f"{file}: not a usable rank table:\n" + "".join(f"  - {problem}\n" for problem in problems)
                       + "Correct it, or make a new one with scripts/make_rank_table.py")


class _Reader:
    """Reads a table in either form into `servers`, and says in `problems` everything that is wrong with it.

    What is wrong is None in `servers`; such a table is refused.
    """

    def __init__(self, content: Dict[str, Any]):
        self.problems: List[str] = []
        self._text(content, "status")
        read = self._servers_of_template_2 if "group_list" in content else self._servers_of_v1
        self.servers: List[Tuple[Optional[str], List[Device]]] = read(content)

    def _servers_of_v1(self, content: Dict[str, Any]) -> List[Tuple[Optional[str], List[Device]]]:
        version = self._text(content, "version")
        if version not in (None, "1.0"):
            self._report(f'"version": expected "1.0", found "{version}"')
        servers = []
        for where, item in self._items(content, "server_list", count="server_count"):
            server_id = self._text(item, "server_id", where=where)
            servers.append((server_id, [self._device(device, self._number(device, "rank_id", where=place), where=place)
                                        for place, device in self._items(item, "device", where=where)]))
        return servers

    def _servers_of_template_2(self, content: Dict[str, Any]) -> List[Tuple[Optional[str], List[Device]]]:
        servers: Dict[Optional[str], List[Device]] = {}  # two instances can share a server
        rank = 0
        for where, group in self._items(content, "group_list", count="group_count"):
            if group.get("device_count") == "0":
                continue  # helpers of the platform without devices
            instances = self._items(group, "instance_list", where=where, count="instance_count")
            first_rank = rank
            for place, instance in sorted(instances, key=lambda item: _instance_number(item[1])):
                server_id = self._text(instance, "server_id", where=place)
                for device_place, device in self._items(instance, "devices", where=place):
                    servers.setdefault(server_id, []).append(self._device(device, rank, where=device_place))
                    rank += 1
            self._check_count(group, "device_count", items=range(first_rank, rank), list_name="devices", where=where)
        return list(servers.items())

    def _device(self, item: Dict[str, Any], rank: Optional[int], *, where: str) -> Device:
        device_id = self._number(item, "device_id", where=where)
        device_ip = self._text(item, "device_ip", where=where)
        try:
            if device_ip is not None:
                ipaddress.ip_address(device_ip)
        except ValueError:
            self._report(f'expected an IP address as "device_ip", found "{device_ip}"', where)
            device_ip = None
        return Device(rank, device_id, device_ip)  # type: ignore[arg-type]

    def _items(self, parent: Dict[str, Any], key: str, *, where: str = "", count: str = "") -> List[Tuple[str, dict]]:
        """The objects in the list parent[key], each with where it stands; parent[count] has to be their number."""
        values = parent.get(key)
        if not isinstance(values, list) or not values or not all(isinstance(value, dict) for value in values):
            self._report(f'expected a list of objects "{key}", found {_found(parent, key)}', where)
            values = []
        if count:
            self._check_count(parent, count, items=values, list_name=key, where=where)
        return [(f"{where}{'.' if where else ''}{key}[{i}]", value) for i, value in enumerate(values)]

    def _text(self, item: Dict[str, Any], key: str, *, where: str = "") -> Optional[str]:
        value = item.get(key)
        if isinstance(value, str) and value:
            return value
        self._report(f'expected text in quotes as "{key}", found {_found(item, key)}', where)
        return None

    def _number(self, item: Dict[str, Any], key: str, *, where: str) -> Optional[int]:
        text = self._text(item, key, where=where)
        if text is not None and text.isdecimal() and len(text) <= _MOST_DIGITS:
            return int(text)
        if text is not None:
            self._report(f'expected a number in quotes as "{key}", found "{text}"', where)
        return None

    def _check_count(self, parent: Dict[str, Any], key: str, *, items: Sequence[Any], list_name: str,
                     where: str = "") -> None:
        text = self._text(parent, key, where=where)
        if items and text is not None and text != str(len(items)):
            self._report(f'"{key}" is "{text}", but there are {len(items)} in "{list_name}"', where)

    def check_together(self, group_size: Optional[int]) -> None:
        """What can only be seen over all servers."""
        devices = [device for _, listed in self.servers for device in listed]
        self._check_unique("server", [server_id for server_id, _ in self.servers])
        self._check_unique("rank", [device.rank_id for device in devices])
        self._check_unique("device_ip", [device.device_ip for device in devices])
        for server_id, listed in self.servers:
            self._check_unique(f"server {server_id}: device", [device.device_id for device in listed])
        ranks = {device.rank_id for device in devices}
        if None not in ranks:
            self.problems += [f"rank {rank} is missing" for rank in sorted(set(range(len(devices))) - ranks)]
            self.problems += [f"rank {rank}: expected less than the number of devices, {len(devices)}"
                              for rank in sorted(ranks) if rank >= len(devices)]
        if group_size is not None and len(devices) != group_size:
            self._report(f"expected {group_size} devices (RANK_SIZE), found {len(devices)}")

    def _check_unique(self, name: str, values: Sequence[Any]) -> None:
        twice = sorted({value for value in values if value is not None and values.count(value) > 1})
        self.problems += [f"{name} {value} comes {values.count(value)} times" for value in twice]

    def _report(self, problem: str, where: str = "") -> None:
        self.problems.append(f"{where}: {problem}" if where else problem)


def _found(item: Dict[str, Any], key: str) -> str:
    return json.dumps(item[key])[:60] if key in item else "nothing"


def _instance_number(instance: Dict[str, Any]) -> int:
    """ModelArts lists instances in any order; the number at the end of the pod's name is that of the node."""
    number = str(instance.get("pod_name", "")).rpartition("-")[2]
    return int(number) if number.isdecimal() and len(number) <= _MOST_DIGITS else 0
