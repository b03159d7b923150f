"""The JSON log: a line a session, what it may tell, and a reader who does not read."""

import json
import os
import sqlite3
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from observability.arrivals.parsing import Event, parse
from observability.arrivals.patterns import PLACES
from observability.errors import UnusableError
from observability.event import T_ENDED, build
from observability.log.messages import Stream
from observability.log.sessions import SessionLog
from observability.privacy import Privacy, load_key
from tests.support.sidecar import RECORD, REJECTED, fields, hello_of
from tests.support.waiting import TIMEOUT, eventually

TRACE = b"0123456789abcdeffedcba9876543210"
KEY = b"k" * 32
PLAIN = Privacy("plain", "plain", KEY)


def event(changes: Mapping[str, bytes | None] | None = None) -> Event:
    """Return a session with a known trace, as it is parsed."""
    what = parse(build(fields({"TRACE": TRACE, **(changes or {})}))[:-2])
    assert isinstance(what, Event)
    return what


class Pipe:
    """A stream and what comes out of it."""

    def __init__(self, most: int = 1_000_000) -> None:
        self.reading, self.writing = os.pipe()
        self.stream = Stream(self.writing, TIMEOUT, most)

    def lines(self) -> list[str]:
        """Close the stream; return all that it wrote."""
        self.stream.close()
        os.close(self.writing)
        with open(self.reading, encoding="utf-8") as reader:
            return reader.read().splitlines()


def logged(*events: Event, privacy: Privacy = PLAIN) -> list[dict[str, Any]]:
    """Return what is logged of events."""
    pipe = Pipe()
    SessionLog(pipe.stream, privacy, lambda: 5.0, lambda _: None, lambda *_: None)(events)
    return [json.loads(line) for line in pipe.lines()]


def test_an_accepted_session_is_one_line() -> None:
    """With the words of the record, what it took, and where its trace is."""
    (line,) = logged(event())
    expected = {
        "timestamp": "2023-11-14T22:13:20.400+00:00",
        "result": "accepted",
        "method": "User",
        "protocol": "POP3",
        "ended": "accepted",
        "status": 0,
        "duration": 0.4,
        "auth_duration": None,
        "client.address": "192.0.2.7",
        "trace_id": TRACE.decode(),
        "span_id": "fedcba9876543210",
        "user.name": "bob",
        "server.address": "192.0.2.1",
        "server.port": 110,
        "client.port": 40000,
    }
    assert list(expected.items()) == list(line.items())


def test_a_refusal_tells_how_long_it_took() -> None:
    """From the credentials to the answer."""
    (line,) = logged(event(REJECTED))
    assert ("rejected", 1, 0.3) == (line["result"], line["status"], line["auth_duration"])


def test_what_is_known_of_refusal_and_tls_is_told() -> None:
    """And nothing where it is not known."""
    known = {"REASON": b"temporary", "TLS": b"TLSv1.3", "CIPHER": b"TLS_AES_256_GCM_SHA384"}
    (line,) = logged(event({**REJECTED, **known}))
    expected = ("temporary", "1.3", "TLS_AES_256_GCM_SHA384")
    assert expected == (line["reason"], line["tls.protocol.version"], line["tls.cipher"])
    (line,) = logged(event({"LOCAL_PORT": None, "CLIENT_PORT": None, "LOCAL_IP": None}))
    names = {"reason", "tls.protocol.version", "tls.cipher", "server.address", "server.port", "client.port"}
    assert set() == names & line.keys()


def test_a_refusal_in_the_clear_tells_why() -> None:
    """As the metrics do, and the record's own words."""
    clear = RECORD.replace(b"Accept::AUTH::User", b"Reject::STLS::Any")
    (line,) = logged(event({"RECORD": clear, "ENDED": b"tls_required", "STATUS": None}))
    assert ("tls_required", "Any") == (line["reason"], line["method"])


def test_a_session_without_a_record_tells_what_it_knows() -> None:
    """No result, no user, and no number that was not measured."""
    (line,) = logged(event({"RECORD": None, "ENDED": b"quit", "STATUS": None, "T_START": None}))
    unknown = ("result", "method", "status", "duration", "auth_duration")
    assert [None] * 5 == [line[name] for name in unknown]
    assert ("quit", "POP3") == (line["ended"], line["protocol"])
    assert not any(name.startswith("user.") for name in line)


def test_a_killed_session_is_logged_by_its_hello() -> None:
    """When that was is when it was noticed."""
    what = parse(hello_of(fields({"TRACE": TRACE}))[:-2])
    assert isinstance(what, Event)
    (line,) = logged(what)
    assert ("killed", "1970-01-01T00:00:05.000+00:00", None) == (
        line["ended"],
        line["timestamp"],
        line["duration"],
    )
    assert "192.0.2.7" == line["client.address"]


def test_a_batch_is_a_line_each() -> None:
    """In the order in which they were counted."""
    lines = logged(event(), event(REJECTED), event())
    assert ["accepted", "rejected", "accepted"] == [line["result"] for line in lines]


def test_control_bytes_break_no_line() -> None:
    """What a forger sends as an address is one value of one line."""
    (line,) = logged(event({"CLIENT_IP": b'1"\n{"x":\xff\x1b'}))
    assert '1"\n{"x":\\xff\x1b' == line["client.address"]


@pytest.mark.parametrize(
    ("user_names", "addresses", "address", "expected"),
    [
        ("plain", "plain", b"192.0.2.7", ("192.0.2.7", {"user.name": "bob"})),
        ("off", "off", b"192.0.2.7", (None, {})),
        ("off", "prefix", b"192.0.2.7", ("192.0.2.0/24", {})),
        ("off", "prefix", b"2001:db8:1:2::3", ("2001:db8:1::/48", {})),
        ("off", "prefix", b"unknown", (None, {})),
        ("off", "prefix", b"\xff", (None, {})),
        ("off", "plain", b"", (None, {})),
    ],
)
def test_the_operator_decides_what_is_told(
    user_names: str, addresses: str, address: bytes, expected: tuple[str | None, dict[str, str]]
) -> None:
    """Names and addresses are told, cut short, or not at all."""
    privacy = Privacy(user_names, addresses, KEY)
    told = event({"CLIENT_IP": address})
    assert expected == (privacy.address(told), privacy.user(told))


def test_a_hashed_name_is_the_same_each_time_and_another_with_another_key() -> None:
    """So sessions of one user are found, and a list of names is no help to who has no key."""
    privacy = Privacy("hash", "off", KEY)
    (name,) = privacy.user(event()).items()
    assert ("user.hash", 64) == (name[0], len(name[1]))
    assert dict([name]) == privacy.user(event(REJECTED))
    assert dict([name]) != Privacy("hash", "off", b"other").user(event())
    assert dict([name]) != privacy.user(event({"RECORD": RECORD.replace(b"bob", b"eve")}))


def test_a_refusal_in_the_clear_names_no_user() -> None:
    """Its record says unknown, which is nobody's name."""
    clear = RECORD.replace(b"Accept::AUTH::User", b"Reject::STLS::Any").replace(b"bob", b"unknown")
    assert {} == PLAIN.user(event({"RECORD": clear, "ENDED": b"tls_required"}))


def test_the_key_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    """The next start finds the same one; what a start left that was cut short is made again."""
    path = tmp_path / "state.key"
    (tmp_path / "state.key.new").write_bytes(b"half")
    key = load_key(path)
    assert 32 == len(key)
    assert key == load_key(path)
    assert 0o600 == path.stat().st_mode & 0o777
    assert [path] == list(tmp_path.iterdir())


def test_a_key_that_is_none_is_told(tmp_path: Path) -> None:
    """An empty file would hide nothing, and a directory is no file."""
    (tmp_path / "short").write_bytes(b"k" * 31)
    for path in (tmp_path / "short", tmp_path):
        with pytest.raises(UnusableError):
            load_key(path)


def test_a_reader_who_stalls_holds_nobody_up() -> None:
    """Lines that find no room are counted; that is logged once, and their number once there is room again."""
    trial, pipe = Trial(), Pipe(most=200_000)
    fill(pipe.writing)  # or the first lines make room when they get into it
    log = trial.log(pipe.stream)
    for _ in range(20):
        log([event()] * 100)
        log.tick()
    assert (1, True) == (len(trial.logged), 100 <= trial.lost < 3000)
    reader = threading.Thread(target=drain, args=(pipe.reading,))
    reader.start()
    assert eventually(lambda: trial.is_over(log))
    pipe.stream.close()
    os.close(pipe.writing)
    reader.join(TIMEOUT)
    assert [f"{trial.lost} lines of the JSON log were lost"] == trial.logged[1:]


class Trial:
    """What a log counted as lost, and what it had to tell of itself."""

    def __init__(self) -> None:
        self.lost = 0
        self.logged: list[str] = []
        self.store_fails = False

    def log(self, stream: Stream) -> SessionLog:
        """Return a log that writes to stream."""
        return SessionLog(stream, PLAIN, lambda: 5.0, self.count, lambda _, text: self.logged.append(text))

    def count(self, lost: int) -> None:
        """Do what the store does, or fail as it does."""
        if self.store_fails:
            raise sqlite3.OperationalError
        self.lost += lost

    def is_over(self, log: SessionLog) -> bool:
        """Log one more; whether the number of lost lines was told."""
        log([event()])
        log.tick()
        return len(self.logged) > 1


def test_what_cannot_be_written_is_counted() -> None:
    """A disk that is full takes nothing: each line counts as lost, once the store takes that."""
    trial = Trial()
    with open("/dev/full", "wb", buffering=0) as full:
        log = trial.log(Stream(full.fileno(), TIMEOUT))
        trial.store_fails = True
        log([event()] * 3)
        log.tick()
        trial.store_fails = False
        log([event()])
        log.close()
    assert (4, 1) == (trial.lost, len(trial.logged))


def test_lines_that_nobody_has_read_at_the_end_are_counted() -> None:
    """They were put, and never written."""
    trial, pipe = Trial(), Pipe()
    fill(pipe.writing)
    log = trial.log(Stream(pipe.writing, 0.05))
    log([event()] * 7)
    log.close()
    assert 7 == trial.lost
    os.close(pipe.reading)


def test_a_line_that_cannot_be_made_costs_no_other() -> None:
    """A fault of ours is told once, and counted."""
    trial, pipe = Trial(), Pipe()
    log = trial.log(pipe.stream)
    whole, at = event(), PLACES[T_ENDED]
    odd = Event((*whole[:at], "9" * 30, *whole[at + 1 :]))  # no date
    log([odd, event(), odd])
    log.tick()
    assert 1 == len(pipe.lines())
    assert 2 == trial.lost
    assert ["cannot format a line of the JSON log", "losing lines of the JSON log"] == [
        text.partition(":")[0] for text in trial.logged
    ]


def fill(fd: int) -> None:
    """Write empty lines until there is no room for one more."""
    os.set_blocking(fd, False)
    with suppress(BlockingIOError):
        while os.write(fd, b"\n"):
            pass
    os.set_blocking(fd, True)


def drain(fd: int) -> None:
    """Read to the end; each line is whole."""
    with open(fd, encoding="utf-8") as reader:
        assert {"accepted"} == {json.loads(line)["ended"] for line in reader if line.strip()}
