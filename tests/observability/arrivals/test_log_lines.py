"""Lines of logs, in all the forms that loggers give them, and what must not be taken for one."""

import re
import subprocess
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.arrivals.log_lines import Begun, Ended, LetIn, Line, Record, Running, read
from tests.support.programs import need

RECORD = b"qmail-popup: pid 71 Accept::AUTH::User P:POP3S S:192.0.2.7:host.example ?~ 'bob'"
READ = Record(71, "accepted", "User", "POP3S", b"192.0.2.7", b"host.example", b"bob")
MOMENT = datetime(2026, 3, 4, 5, 6, 7, 125000)  # noqa: DTZ001  local time, as most loggers write it
LOCAL, GREENWICH = MOMENT.timestamp(), MOMENT.replace(tzinfo=UTC).timestamp()

FORMS: dict[bytes, tuple[float | None, str]] = {
    b"": (None, ""),
    b"@40000000%08x%08x " % (int(LOCAL) + 10, 125_000_000): (LOCAL, ""),
    b"2026-03-04 05:06:07.125000000 ": (LOCAL, ""),
    b"2026-03-04_05:06:07.12500 ": (GREENWICH, ""),
    b"2026-03-04T05:06:07.12500 ": (GREENWICH, ""),
    b"Mar  4 05:06:07 mail qmail-popup: ": (int(LOCAL), "mail qmail-popup"),
    b"Mar  4 05:06:07 mail pop3[12]: ": (int(LOCAL), "mail pop3"),
    b"Mar  4 05:06:07 mail pop3: 1772600767.125000 ": (int(LOCAL), "mail pop3"),
    b"2026-03-04T05:06:07.125000+00:00 mail pop3[12]: ": (GREENWICH, "mail pop3"),
    b"2026-03-04T07:36:07.125+02:30 mail pop3: 1772600767.125000 ": (GREENWICH, "mail pop3"),
}


def now() -> float:
    """Return a time shortly after MOMENT, for dates without a year."""
    return LOCAL + 3600


@pytest.mark.parametrize("prefix", FORMS)
def test_what_stands_before_a_record(prefix: bytes) -> None:
    """Each logger's form of the time is known, and the origin where a syslog tells it."""
    moment, origin = FORMS[prefix]
    assert Line(moment, origin, READ) == read(prefix + RECORD, now)


def test_tai64nlocal_says_the_same() -> None:
    """The real program's local time is the time that it was given."""
    line = b"@40000000%08x1dcd6500 " % (int(LOCAL) + 10) + RECORD
    shown = subprocess.run(need("tai64nlocal"), input=line + b"\n", capture_output=True, check=True).stdout
    assert read(line) == read(shown.rstrip(b"\n"))


@pytest.mark.parametrize(("day", "year"), [("Dec 31 23:00:00", 2025), ("Jan  1 00:30:00", 2026)])
def test_a_date_without_a_year(day: str, year: int) -> None:
    """It is the latest that is not in the future."""
    midnight = time.mktime((2026, 1, 1, 0, 0, 0, 0, 0, -1))
    line = read(day.encode() + b" mail pop3: " + RECORD, lambda: midnight + 1800)
    assert line
    assert year == time.localtime(line.time).tm_year


def test_a_day_that_no_calendar_has() -> None:
    """The record counts, without a time."""
    assert Line(None, "mail pop3", READ) == read(b"Feb 31 05:06:07 mail pop3: " + RECORD, now)


SAID = {
    b"tcpserver: status: 0/40": Running(b"tcpserver", 0),
    b"tcpserver: pid 71 from 192.0.2.7": Begun(b"tcpserver", 71),
    b"tcpserver: ok 71 localhost:127.0.0.1:995 :127.0.0.1::40000": LetIn(71, b"995"),
    b"tcpserver: deny 71 localhost:127.0.0.1:110 :127.0.0.1::40000": LetIn(71, b"110"),
    b"tcpserver: end 71 status 256": Ended(b"tcpserver", 71),
    b"sslserver: pid 71 from ::1": Begun(b"sslserver", 71),
    b"qmail-popup: pid 71 Reject::STLS::Any P:POP3 S:::1:unknown ?~ 'unknown'": Record(
        71, "rejected", "Any", "POP3", b"::1", b"unknown", b"unknown"
    ),
}


@pytest.mark.parametrize("line", SAID)
def test_what_a_line_says(line: bytes) -> None:
    """The lines of the servers and of the popup."""
    found = read(line)
    assert found
    assert (None, "", SAID[line]) == found


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"x " + RECORD,
        RECORD + b" ",
        RECORD + b"\n" + RECORD,
        RECORD.replace(b"71", b""),
        RECORD.replace(b"Accept", b"Maybe"),
        RECORD.replace(b"User", b"Any"),
        RECORD.replace(b" ?~ ", b" "),
        RECORD.replace(b"192.0.2.7", b"192.0.2.7 "),
        b"Mar  4 05:06:07 mail " + RECORD,
        b"sh: " + RECORD,
        b"tcpserver: end 71",
        b"tcpserver: end 71 status 256 ",
        b"otherserver: pid 71 from 192.0.2.7",
    ],
)
def test_what_is_no_line_of_these(line: bytes) -> None:
    """A line counts only where all of it has its form."""
    found = read(line)
    assert found is None or found.says == READ._replace(name=b"bob'\n" + RECORD.removesuffix(b"'"))


@given(st.binary(max_size=300).filter(lambda name: b"\n" not in name))
def test_a_name_forges_nothing(name: bytes) -> None:
    """Whatever a client calls itself, the line is one record, of its own result and address."""
    line = read(RECORD.replace(b"bob", name))
    assert line == Line(None, "", READ._replace(name=name))


@given(st.lists(st.sampled_from([RECORD, *SAID, *FORMS, b"'", b" ?~ '", b"x", b"\r", b"\x00"]), max_size=4))
def test_a_second_line_inside_a_name(parts: list[bytes]) -> None:
    """What looks like a line inside a name is part of the name."""
    name = b"".join(parts)
    line = read(RECORD.replace(b"'bob'", b"'" + name + b"'"))
    assert line == Line(None, "", READ._replace(name=name))


@given(st.binary(max_size=200))
def test_any_bytes_are_read(line: bytes) -> None:
    """Nothing that can be written raises."""
    read(b"qmail-popup: pid " + line)
    read(b"tcpserver: " + line)


def test_all_times_are_found() -> None:
    """A year of days, in each form that has one, is read back as it was."""
    for day in range(0, 366, 7):
        moment = LOCAL + 86400 * day
        shown = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
        line = read(f"{shown}.125000000 ".encode() + RECORD)
        assert line
        assert line.time is not None
        assert re.fullmatch(rf"{shown}", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line.time)))
