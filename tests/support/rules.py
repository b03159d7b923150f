"""Rules files: compiled by the real tcprules, or built record by record."""

import os
import struct
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.support import programs

_HEADER, _TABLES, _PAIR = 2048, 256, struct.Struct("<II")


def compiled(path: Path, text: str) -> None:
    """Compile a rules file with tcprules(1), or replace one."""
    (tcprules,) = programs.need("tcprules")
    subprocess.run([tcprules, path, f"{path}.tmp"], input=text.encode("latin-1"), check=True)


def checked(path: Path, ip: str) -> list[str]:
    """Return tcprulescheck(1)'s output for an address, without the rule's name."""
    (check,) = programs.need("tcprulescheck")
    environ = {**os.environ, "TCPREMOTEIP": ip}
    said = subprocess.run([check, path], env=environ, capture_output=True, encoding="latin-1", check=True)
    return said.stdout.splitlines()[1:]


def cdb(records: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a constant database with these records (cdbmake(1))."""
    body, tables = bytearray(), [list[tuple[int, int]]() for _ in range(_TABLES)]
    for key, value in records:
        number = _hash(key)
        tables[number % _TABLES].append((number, _HEADER + len(body)))
        body += _PAIR.pack(len(key), len(value)) + key + value
    header = bytearray()
    for table in tables:
        slots = _slots(table)
        header += _PAIR.pack(_HEADER + len(body), len(slots))
        body += b"".join(_PAIR.pack(*slots[place]) for place in range(len(slots)))
    return bytes(header + body)


def _slots(entries: list[tuple[int, int]]) -> Mapping[int, tuple[int, int]]:
    size = 2 * len(entries)
    slots = dict.fromkeys(range(size), (0, 0))
    for entry in entries:
        place = entry[0] // _TABLES % size
        while slots[place][1]:
            place = (place + 1) % size
        slots[place] = entry
    return slots


def _hash(key: bytes) -> int:
    number = 5381
    for byte in key:
        number = (number * 33 & 0xFFFFFFFF) ^ byte
    return number
