"""Parses a line of a log strictly: its time, its origin and its message. Pure: bytes in, a value out.

Knows the line formats of multilog, svlogd, s6-log, tai64nlocal and syslog, and the messages of tcpserver,
sslserver and qmail-popup. The client chooses the user name in a record, so a line must match as a whole: what
looks like a second record inside a name is part of that name.
"""

import re
import time
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from observability.arrivals.records import RESULTS

MAX_LINE = 65536  # bytes; the C program does not limit the name in a record
_TAI_OFFSET = (1 << 62) + 10  # added by daemontools to the seconds since 1970
_YEAR_AHEAD = 86400.0  # seconds; a date further in the future is last year's


_STAMP = rb"""
    (?: @(?P<tai>[0-9a-f]{24})\ +
      | (?P<date>\d{4}-\d\d-\d\d)(?P<between>[ _T])(?P<clock>\d\d:\d\d:\d\d)(?P<fraction>\.\d{1,9})?
            (?: (?P<zone>Z|[+-]\d\d:?\d\d)\ (?P<host>[!-~]+)\ (?P<program>[!-~]+?)(?:\[\d+\])?:\ + | \ + )
      | (?P<day>[A-Z][a-z]{2}\ [ \d]\d\ \d\d:\d\d:\d\d)
            \ (?P<old_host>[!-~]+)\ (?P<old_program>[!-~]+?)(?:\[\d+\])?:\ +
    )?
    (?: \d{9,11}\.\d{6}\ )?  # splogger's own
"""
_SAID = rb"""
    (?: qmail-popup:\ pid\ (?P<pid>\d{1,10})
            \ (?: (?P<result>Accept|Reject)::AUTH::(?P<method>User|Apop)\ P:(?P<protocol>POP3S?)
                | Reject::STLS::Any\ P:POP3 )
            \ S:(?P<ip>[!-~]*):(?P<remote>[!-9;-~]*)\ \?~\ '(?P<name>.*)'
      | (?P<server>tcpserver|sslserver):\ (?:
            status:\ (?P<running>\d{1,10})/\d{1,10}
          | pid\ (?P<begun>\d{1,10})\ from\ [!-~]+
          | (?:ok|deny)\ (?P<let_in>\d{1,10})\ [^ ]*:(?P<port>\d{1,5})\ .*
          | end\ (?P<ended>\d{1,10})\ status\ \d{1,10} )
    )
"""
_LINE = re.compile(_STAMP + _SAID, re.VERBOSE | re.DOTALL).fullmatch


class Record(NamedTuple):
    """The line of descriptor 5, from qmail-popup or the C program."""

    pid: int
    result: str  # accepted, rejected
    method: str  # User, Apop, Any
    protocol: str  # POP3, POP3S
    ip: bytes
    host: bytes
    name: bytes

    @property
    def kind(self) -> tuple[str, str, str]:
        """Result, method and protocol."""
        return self[1:4]


class Begun(NamedTuple):
    """A server accepted a connection, served by this pid."""

    server: bytes
    pid: int


class LetIn(NamedTuple):
    """A server logged a connection's local port."""

    pid: int
    port: bytes


class Ended(NamedTuple):
    """A server's process ended."""

    server: bytes
    pid: int


class Running(NamedTuple):
    """A server logged how many processes it has."""

    server: bytes
    number: int


class Line(NamedTuple):
    """A parsed line."""

    time: float | None  # seconds since 1970
    origin: str  # host and program, if from syslog
    says: Record | Begun | LetIn | Ended | Running


def read(line: bytes, now: Callable[[], float] = time.time) -> Line | None:
    """Parse a line without its newline; None if irrelevant. now: for dates without a year."""
    # Most lines of some logs are irrelevant: skip them quickly.
    if b"qmail-popup: pid " not in line and b"server: " not in line:
        return None
    found = _LINE(line)
    if not found:
        return None
    return Line(_time(found, now), _origin(found), _says(found))


def _says(found: re.Match[bytes]) -> Record | Begun | LetIn | Ended | Running:
    if found["pid"]:
        return _record(found)
    server = found["server"]
    if pid := found["begun"]:
        return Begun(server, int(pid))
    if pid := found["let_in"]:
        return LetIn(int(pid), found["port"])
    if pid := found["ended"]:
        return Ended(server, int(pid))
    return Running(server, int(found["running"]))


def _record(found: re.Match[bytes]) -> Record:
    pid, result, method, protocol, *client = found.group(
        "pid", "result", "method", "protocol", "ip", "remote", "name"
    )
    if not result:  # login refused without TLS
        return Record(int(pid), "rejected", "Any", "POP3", *client)
    return Record(int(pid), RESULTS[result], method.decode(), protocol.decode(), *client)


def _origin(found: re.Match[bytes]) -> str:
    """Return host and program from syslog: pids are unique only within them."""
    host, program = found["host"] or found["old_host"], found["program"] or found["old_program"]
    return f"{host.decode()} {program.decode()}" if host else ""


def _time(found: re.Match[bytes], now: Callable[[], float]) -> float | None:
    """Return the line's time; None if it has none or an invalid one."""
    try:
        if tai := found["tai"]:
            return int(tai[:16], 16) - _TAI_OFFSET + int(tai[16:], 16) / 1e9
        if found["date"]:
            return _calendar(found)
        if day := found["day"]:
            return _of_this_year(day.decode(), now())
    except (ValueError, OverflowError):
        pass
    return None


def _calendar(found: re.Match[bytes]) -> float:
    """Parse a date with its year. Without a zone, tai64nlocal's is local time and svlogd's is UTC."""
    zone = found["zone"] or (b"" if found["between"] == b" " else b"Z")
    moment = datetime.fromisoformat(f"{found['date'].decode()}T{found['clock'].decode()}{zone.decode()}")
    return moment.timestamp() + float(found["fraction"] or 0)


def _of_this_year(day: str, now: float) -> float:
    """Parse a date without a year: the latest that is not in the future."""
    year = time.localtime(now).tm_year
    moment = _local(f"{year} {day}")
    return moment if moment <= now + _YEAR_AHEAD else _local(f"{year - 1} {day}")


def _local(moment: str) -> float:
    return datetime.strptime(moment, "%Y %b %d %H:%M:%S").timestamp()  # noqa: DTZ007  syslog uses local time
