"""deploy/fail2ban, read by fail2ban itself: who did it is banned, and nobody can make it look like another.

INNOCENT stands in every hostile name: fail2ban must never find it. Each of the others has one session.
"""

import configparser
import ipaddress
import tempfile
import time
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.arrivals.parsing import Event, parse
from observability.event import build
from observability.log.messages import Stream
from observability.log.sessions import SessionLog
from observability.privacy import Privacy
from qmail_popup import record
from tests.support import rules
from tests.support.banning import DEPLOY, JSON, RECORD, Found, Session, fail2ban, finder, held
from tests.support.chance import examples
from tests.support.popup import ACCEPTS, REFUSES, shell
from tests.support.resident import LOGIN, Listener, read_all, read_line
from tests.support.sidecar import REJECTED, START, RunningSidecar, deliver, fields
from tests.support.waiting import TIMEOUT, until

INNOCENT = b"203.0.113.9"
TIME = b"@4000000065a1b2c3d4e5f607 "
FORGED_RECORD = b"qmail-popup: pid 1 Reject::AUTH::User P:POP3 S:%b:x ?~ '" % INNOCENT
FORGED_JSON = (
    b'{"timestamp": "2024-01-12T21:43:31.000+00:00", "result": "rejected", "method": "User", '
    b'"protocol": "POP3", "ended": "rejected", "status": 1, "duration": 0.1, "auth_duration": 0.1, '
    b'"client.address": "%b", "trace_id": "0"}' % INNOCENT
)
HOSTILE_NAMES = (
    b" P:POP3 S:%b:x ?~ '" % INNOCENT,
    b"' P:POP3 S:%b:x ?~ 'bob" % INNOCENT,
    FORGED_RECORD,
    TIME + FORGED_RECORD,
    b"\r\x0b\x0c\x1c\x1d\x1e" + FORGED_RECORD,
    b"\xc2\x85" + FORGED_RECORD,
    b"\x85" + FORGED_RECORD,
    b"\xe2\x80\xa8" + TIME + FORGED_RECORD,
    b"host pop3[1]: " + FORGED_RECORD,
    FORGED_JSON,
    b'"}\r' + FORGED_JSON,
    b'", "client.address": "%b", "trace_id": "0' % INNOCENT,
    b'\\", "client.address": "%b", "x": "' % INNOCENT,
    b"\xe2\x80\xa8" + FORGED_JSON,
    b"<HOST> <ADDR> <F-ID>%b</F-ID> %%(host)s" % INNOCENT,
    b"[%b] from %b rhost=%b" % (INNOCENT, INNOCENT, INNOCENT),
    b"2001:db8:bad::1:x ?~ '",
    b"@" * 4000,
)
HOSTILE_HOSTS = (
    INNOCENT,
    INNOCENT + b":",
    b":%b:x" % INNOCENT,
    b" ?~ '' S:%b:x ?~ '" % INNOCENT,
    b"x\nqmail-popup: pid 1 Reject::AUTH::User P:POP3 S:%b:x ?~ 'bob'" % INNOCENT,
    b'","client.address":"%b' % INNOCENT,
    b"::",
    b"cafe",
    b"",
    b"\xff\xc2\x85",
)


def exits(status: str) -> Sequence[str]:
    """Return a checker that ends so."""
    return shell(f"cat <&3 >/dev/null; {status}")


BOTH = (JSON, RECORD)
SESSIONS = (
    Session("192.0.2.1", BOTH),
    Session("2001:db8::1", BOTH),
    Session("::ffff:192.0.2.2", BOTH),
    Session("2001:db8:1:2:3:4:5:6", BOTH, env=((b"TCPLOCALPORT", b"995"),)),
    Session("192.0.2.3", BOTH, subprogram=exits("exit 100")),
    Session("192.0.2.4", BOTH, subprogram=exits("exit 3")),
    *(
        Session(f"192.0.2.{number}", (RECORD,), subprogram=exits(status))
        for number, status in enumerate(("exit 111", "exit 2", "exit 126", "exit 127", "kill -9 $$"), 10)
    ),
    Session("192.0.2.20", (), subprogram=ACCEPTS),
    Session("192.0.2.21", (), env=((b"UCSPITLS", b"!"),)),
    Session("unknown", ()),
    Session("", ()),
    Session("pop.example.org", ()),
    Session("fe80::1%eth0", ()),
    *(Session(f"198.51.100.{number}", BOTH, name) for number, name in enumerate(HOSTILE_NAMES)),
    *(
        Session(f"198.51.100.{number}", (), name, subprogram=ACCEPTS)
        for number, name in enumerate(HOSTILE_NAMES, 100)
    ),
    *(Session(f"2001:db8::{number}:0", BOTH, host=host) for number, host in enumerate(HOSTILE_HOSTS, 1)),
)


class Logs(NamedTuple):
    """What all SESSIONS left: on descriptor 5, and in the sidecar's session log."""

    record: bytes
    json: bytes

    def of(self, name: str) -> bytes:
        """Return what the filter of that name reads."""
        logs: dict[str, bytes] = {RECORD: self.record, JSON: self.json}
        return logs[name]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Logs:
    """Have all sessions, one after the other, with real popups and a real sidecar that names users."""
    directory = tmp_path_factory.mktemp("sidecar")
    with RunningSidecar(directory, "--json-log", "--user-names=plain") as sidecar:
        records = b"".join(held(session, sidecar) for session in SESSIONS)
        until(lambda: len(SESSIONS) == sidecar.log.read_bytes().count(b"\n"))
        return Logs(records, sidecar.log.read_bytes())


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Found]:
    """Return the function that has fail2ban read a log."""
    with finder(tmp_path_factory.mktemp("found")) as found:
        yield found


def guilty(name: str) -> list[str]:
    """Return who is to be found."""
    return [session.ip.removeprefix("::ffff:") for session in SESSIONS if name in session.found_by]


IDENTIFIERS = {RECORD: b"qmail-popup", JSON: b"qmail-popup-sidecar"}
WRITERS = {
    "plain": (b"", ()),
    "multilog, and s6-log t": (TIME, ()),
    "tai64nlocal": (b"2024-01-12 21:43:31.123456789 ", ()),
    "svlogd -tt": (b"2024-01-12_21:43:31.12345 ", ()),
    "svlogd -ttt": (b"2024-01-12T21:43:31.12345 ", ()),
    "s6-log T": (b"2024-01-12 21:43:31.123456789  ", ()),
    "rsyslog, its traditional form": (b"Jan  2 21:43:31 mx %b[77]: ", ()),
    "rsyslog, with the full time": (b"2024-01-12T21:43:31.123456+01:00 mx.example.org %b: ", ()),
    "splogger": (b"Jan 12 21:43:31 mx pop3d: 1705095811.123456 ", ()),
    # fail2ban takes the time from the journal and makes a line of host, program and message.
    "journal": (b"mx.example.org %b[77]: ", ("-d", "{NONE}")),
}


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("writer", WRITERS)
def test_those_who_did_it_are_found_and_no_others(logs: Logs, found: Found, name: str, writer: str) -> None:
    """Whatever users and name servers are called, and whoever wrote the line down."""
    before, options = WRITERS[writer]
    before = before.replace(b"%b", IDENTIFIERS[name])
    lines = b"".join(before + line + b"\n" for line in logs.of(name).split(b"\n")[:-1])
    assert guilty(name) == found(name, lines, *options)


def test_a_client_that_drops_out_of_its_mail_is_no_failed_login(tmp_path: Path, found: Found) -> None:
    """A refusal within ten seconds counts, as in the histogram's bucket; what came later was a session."""
    seconds = {"192.0.2.1": 0.00001, "192.0.2.2": 9.999999, "192.0.2.3": 10, "192.0.2.4": 10.000001}
    seconds |= {"192.0.2.5": 99.9, "192.0.2.6": 1e5}
    with RunningSidecar(tmp_path, "--json-log") as sidecar:
        for ip, took in seconds.items():
            exited = b"%d" % (START + 50_000_000 + round(took * 1e9))
            times = {"T_SPAWNED": None, "T_EXITED": exited, "T_ENDED": exited}
            deliver(sidecar.socket, build(fields({**REJECTED, **times, "CLIENT_IP": ip.encode()})))
        until(lambda: len(seconds) == sidecar.log.read_bytes().count(b"\n"))
        assert list(seconds)[:3] == found(JSON, sidecar.log.read_bytes())


def test_the_time_of_a_line_is_the_session_s(found: Found) -> None:
    """And where it has none, or has one only in a name, it is the time of reading."""

    def times(name: str, lines: bytes) -> list[int]:
        """Return the seconds since 1970 at which fail2ban takes lines to have been written."""
        return [int(float(text)) for text in found(name, lines, "-o", "<time>")]

    event = parse(build(fields(REJECTED))[:-2])
    assert isinstance(event, Event)
    line = record.compose(
        pid=7, verdict=b"Reject::AUTH::User", protocol=b"POP3", ip=b"192.0.2.7", host=b"x", name=TIME
    )
    assert [1_700_000_000] == times(JSON, logged(event))
    assert [int(TIME[2:17], 16)] == times(RECORD, TIME + line)
    unknown, known = times(RECORD, line + TIME + line)
    assert abs(time.time() - unknown) < TIMEOUT
    assert known in {unknown, int(TIME[2:17], 16)}  # fail2ban may go on as it began


def logged(*events: Event) -> bytes:
    """Return the session log's lines for events, with the names of users."""
    with tempfile.TemporaryFile() as file:
        stream = Stream(file.fileno(), TIMEOUT)
        privacy = Privacy("plain", "plain", b"k" * 32)
        SessionLog(stream, privacy, lambda: 5.0, lambda _lost: None, lambda *_: None)(events)
        stream.close()
        file.seek(0)
        return file.read()


FRAGMENTS = st.sampled_from([
    *HOSTILE_NAMES[:-1], *HOSTILE_HOSTS, b"'", b'"', b" ?~ '", b":", b"\n", b"\r", b"\\", b"}", TIME,
])  # fmt: skip
HOSTILE = st.lists(FRAGMENTS | st.binary(max_size=12), max_size=4).map(b"".join)
ADDRESSES = st.ip_addresses(network="192.0.2.0/24") | st.ip_addresses(network="2001:db8::/32")
CLIENTS = st.lists(
    st.tuples(ADDRESSES.map(str), HOSTILE, HOSTILE, st.booleans()),
    unique_by=lambda client: client[0],
    min_size=30,
    max_size=60,
)


@examples(6)
@given(clients=CLIENTS)
def test_no_name_ever_makes_another_look_guilty(
    found: Found, clients: list[tuple[str, bytes, bytes, bool]]
) -> None:
    """Users and hosts have names of any bytes: exactly the refused are found, and as themselves."""
    records, events = [], []
    for ip, host, name, refused in clients:
        verdict = b"Reject" if refused else b"Accept"
        line = record.compose(
            pid=7, verdict=verdict + b"::AUTH::User", protocol=b"POP3", ip=ip.encode(), host=host, name=name
        )
        outcome = {} if not refused else REJECTED
        told = fields({**outcome, "RECORD": line[:-1], "CLIENT_IP": ip.encode(), "CLIENT_HOST": None})
        event = parse(build(told)[:-2])
        assert isinstance(event, Event)
        records.append(line)
        events.append(event)
    expected = [ip for ip, _, _, refused in clients if refused]
    logs = Logs(b"".join(records), logged(*events))
    for which in BOTH:
        assert expected == [str(ipaddress.ip_address(ip)) for ip in found(which, logs.of(which))]


def test_the_jails_read_where_daemontools_writes() -> None:
    """The two parts of deploy/ name the same directories."""
    jails = configparser.ConfigParser()
    jails.read(DEPLOY / "jail.d/qmail-popup.conf")
    services = DEPLOY.parent / "daemontools"
    written = {service: services / service / "log/env/DIRECTORY" for service in ("sidecar", "pop3", "pop3s")}
    logs = {service: f"{file.read_text().strip()}/current" for service, file in written.items()}
    assert jails[JSON]["logpath"] == logs["sidecar"]
    assert all(fnmatch(logs[service], jails[RECORD]["logpath"]) for service in ("pop3", "pop3s"))


def test_the_jails_ban_who_guesses(tmp_path: Path) -> None:
    """A running fail2ban takes filters and jails as they are; each bans who guesses, and nobody else."""
    guesses = [Session("192.0.2.1", (), name) for name in HOSTILE_NAMES * 2]
    with RunningSidecar(tmp_path, "--json-log") as sidecar, fail2ban(tmp_path) as banned:
        with (tmp_path / "record").open("ab") as log:
            log.writelines(held(session, sidecar) for session in guesses)
        until(lambda: 2 == len(banned.read_text().split()))
        assert ["192.0.2.1"] * 2 == banned.read_text().split()


def test_the_listener(tmp_path: Path, found: Found) -> None:
    """Who guesses is found by both filters, behind a balancer too; who is turned away is not."""
    balancer, denied, limited = "127.0.0.9", "192.0.2.66", "192.0.2.77"
    guessing = {"127.0.0.2": None, "192.0.2.1": "TCP4", "2001:db8::1": "TCP6"}
    rules.compiled(tmp_path / "cdb", f"{denied}:deny\n")
    options = (
        "--proxy-protocol",
        balancer,
        "--rules",
        str(tmp_path / "cdb"),
        "--connections-per-client",
        "1",
    )
    environ = {
        "QMAIL_POPUP_SIDECAR": str(tmp_path / "run/sidecar.sock"),
        "QMAIL_POPUP_SPOOL": str(tmp_path / "spool"),
    }
    with (
        RunningSidecar(tmp_path, "--json-log") as sidecar,
        Listener(tmp_path, *options, subprogram=REFUSES, env=environ) as listener,
        listener.connect(balancer) as waits,
    ):
        waits.sendall(b"PROXY TCP4 %s 192.0.2.9 1 110\r\n" % limited.encode())
        assert read_line(waits).startswith(b"+OK")
        for ip in (denied, limited):
            assert b"" == _guess(listener, balancer, f"PROXY TCP4 {ip} 192.0.2.9 2 110\r\n")
        for ip, family in guessing.items():
            header = f"PROXY {family} {ip} {ip} 3 110\r\n" if family else ""
            assert _guess(listener, balancer if family else ip, header).endswith(
                b"-ERR authorization failed\r\n"
            )
        until(lambda: len(guessing) == sidecar.log.read_bytes().count(b'"result": "rejected"'))
        until(lambda: 2 == sidecar.log.read_bytes().count(b'"ended": "refused"'))
        for filters, log in ((RECORD, listener.log), (JSON, sidecar.log)):  # events come in any order
            assert sorted(guessing) == sorted(found(filters, log.read_bytes()))


def _guess(listener: Listener, source: str, header: str) -> bytes:
    with listener.connect(source) as peer:
        peer.sendall(header.encode() + LOGIN)
        return read_all(peer)
