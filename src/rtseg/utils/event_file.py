"""Scalars in an event file, which TensorBoard draws as curves. Written without TensorFlow and without protobuf.

The file is a sequence of records: length (uint64), checksum of the length, an `Event` message, checksum of the message,
all little endian; see record_writer.cc and event.proto of TensorFlow. Differs from tensorboardX: no queue and no
thread, with which a full disk makes the training wait for ever.
"""
import socket
import struct
import time
from pathlib import Path
from typing import Dict

_CRC32C_POLYNOMIAL = 0x82F63B78  # reflected
_MASK_DELTA = 0xA282EAD8


class EventFile:
    """An event file in `folder`, which is made; each `add` is on disk, or with the system, when it returns.

    Raises:
        OSError: it cannot be written; so does `add`.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}"
        self.file = open(folder / name, "ab", buffering=0)
        self._write(b"\x1a" + _delimited(b"brain.Event:2"))  # 3: file_version

    def add(self, step: int, scalars: Dict[str, float]) -> None:
        """Adds a point at `step`, not negative, to the curve of each name, such as "train/loss"."""
        values = b"".join(b"\x0a" + _delimited(  # 1: value, of 1: tag and 2: simple_value
            b"\x0a" + _delimited(name.encode("utf-8")) + b"\x15" + struct.pack("<f", value))
            for name, value in scalars.items())
        self._write(b"\x10" + _varint(step) + b"\x2a" + _delimited(values))  # 2: step, 5: summary

    def close(self) -> None:
        """Ends the file."""
        self.file.close()

    def _write(self, fields: bytes) -> None:
        event = b"\x09" + struct.pack("<d", time.time()) + fields  # 1: wall_time
        length = struct.pack("<Q", len(event))
        self.file.write(length + masked_checksum(length) + event + masked_checksum(event))


def masked_checksum(content: bytes) -> bytes:
    """CRC-32C, rotated and shifted, so that the checksum of something that has checksums in it is no trivial one."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _TABLE[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF)


def _crc_of(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (_CRC32C_POLYNOMIAL if byte & 1 else 0)
    return byte


_TABLE = [_crc_of(byte) for byte in range(256)]


def _varint(number: int) -> bytes:
    groups = []
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes(groups + [number])


def _delimited(content: bytes) -> bytes:
    return _varint(len(content)) + content
