"""deploy/daemontools/listener under a real supervise and a real runsv: reloads, restarts, and real mail."""

import poplib
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import authority, big_mail, load
from tests.support.maildir import MESSAGES
from tests.support.programs import need, need_root
from tests.support.runit import Runit
from tests.support.secure import Client
from tests.support.server import HOST
from tests.support.services import Host
from tests.support.svscan import Svscan
from tests.support.waiting import TIMEOUT, until

_LISTENER = "listener"
_LOGIN = b"USER bob\r\nPASS secret\r\nQUIT\r\n"
_RECORD = "Accept::AUTH::User P:POP3 S:127.0.0.1:unknown ?~ 'bob'"


class Kind(NamedTuple):
    """Who supervises, and by which words."""

    scanner: type[Svscan]
    reload: str
    restart: str


KINDS = {"supervise": Kind(Svscan, "-h", "-t"), "runsv": Kind(Runit, "hup", "restart")}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Return one of both."""
    found = KINDS[request.param]
    need(found.scanner.scanner)
    return found


@pytest.fixture
def host(shared_prefix: Path, kind: Kind) -> Iterator[Host]:
    """Return a host with a listener, which has not started yet."""
    need_root()  # for setuidgid, and workers of another account
    with tempfile.TemporaryDirectory(prefix="listener-") as name:
        place = Path(name)
        place.chmod(0o755)
        host = Host(place, shared_prefix, kind.scanner)
        host.place_listener(f"--pop3 {HOST}:0 --workers 2 --rules tcp.cdb")
        with host.svscan:
            yield host


def reload(host: Host, kind: Kind) -> None:
    """Have it reload, and wait until that is done."""
    count = host.svscan.log(_LISTENER).count("qmail-popup-listener: reloaded")
    host.svscan.control(kind.reload, _LISTENER)
    until(lambda: host.svscan.log(_LISTENER).count("qmail-popup-listener: reloaded") > count)


def restart(host: Host, kind: Kind) -> None:
    """Have it restart, and wait until the next one serves."""
    pid = host.svscan.pid(_LISTENER)
    host.svscan.control(kind.restart, _LISTENER)
    until(lambda: host.svscan.pid(_LISTENER) not in (0, pid))
    host.svscan.port(_LISTENER)


def connect(host: Host) -> socket.socket:
    """Connect to it."""
    return socket.create_connection((HOST, host.svscan.port(_LISTENER)), TIMEOUT)


def test_reloads_under_load(host: Host, kind: Kind) -> None:
    """No client is refused, each has its mail, and all are recorded and counted, while it is one process."""
    host.place_sidecar()
    host.start()
    port, pid = host.svscan.port(_LISTENER), host.svscan.pid(_LISTENER)
    with load.Load(port, _LOGIN, clients=4) as clients:
        for _ in range(3):
            clients.wait_for_more(10)
            reload(host, kind)
        clients.stop()
    answers = clients.answers
    assert {True} == {answer.startswith(b"+OK\r\n+OK \r\n+OK ") for answer in answers}, answers
    assert [_RECORD] * len(answers) == host.records(_LISTENER, len(answers))
    assert host.counts_to(*["accepted"] * len(answers))
    assert (pid, port) == (host.svscan.pid(_LISTENER), host.svscan.port(_LISTENER))


def test_a_long_mail(host: Host, kind: Kind) -> None:
    """100 MB come whole over reloads and restarts, byte by byte, and the login has its record."""
    sent = big_mail.deliver(host.bob)
    host.start()
    with connect(host) as peer:
        assert sent == read_while_it_changes(peer, host, kind)
    assert [_RECORD] == host.records(_LISTENER, 1)


@pytest.mark.parametrize("kind", ["supervise"], indirect=True)  # what a worker does is the same under both
def test_a_long_mail_over_tls(host: Host, kind: Kind, tmp_path: Path) -> None:
    """The same, although it is a worker of before that carries it."""
    sent = big_mail.deliver(host.bob)
    certificates = authority.make(tmp_path)
    pem = certificates.both(host.spool.with_name("both.pem"))
    options = host.svscan.place_of(_LISTENER) / "env/OPTIONS"
    options.write_text(f"--pop3s {HOST}:0 --workers 2 --tls-certificate {pem} --tls-key {pem}\n")
    host.start()
    with Client(connect(host), certificates.trusted()) as peer:
        assert sent == read_while_it_changes(peer, host, kind)
    assert [_RECORD.replace("POP3", "POP3S")] == host.records(_LISTENER, 1)


def read_while_it_changes(peer: load.Client, host: Host, kind: Kind) -> str:
    """Read the mail while the service reloads and restarts; the hash of what came."""
    reader = big_mail.Reader(peer)
    for happen in (reload, restart, reload, restart):
        reader.read(big_mail.SIZE // 10)
        happen(host, kind)
    return reader.rest()


def test_rules(host: Host, kind: Kind) -> None:
    """New ones count at once, without a reload; a client that is denied hears nothing."""
    assert kind
    host.start()
    place, port = host.svscan.place_of(_LISTENER), host.svscan.port(_LISTENER)
    for rules, greeting in ((":deny\n", b""), (":allow\n", b"+OK\r\n")):
        (place / "tcp").write_text(rules)
        subprocess.run(["/bin/sh", "-c", "tcprules tcp.cdb tcp.tmp <tcp"], cwd=place, check=True)
        with socket.create_connection((HOST, port), TIMEOUT) as client:
            assert greeting == client.recv(100)


def test_a_stop(host: Host, kind: Kind) -> None:
    """The service is down at once, and a client that has logged in before reads on."""
    host.start()
    with closing(poplib.POP3(HOST, host.svscan.port(_LISTENER), TIMEOUT)) as client:
        client.user("bob")
        client.pass_("secret")
        host.svscan.control("down" if kind.scanner is Runit else "-d", _LISTENER)
        until(lambda: not host.svscan.pid(_LISTENER))
        assert len(MESSAGES) == client.stat()[0]
        client.quit()
    assert [_RECORD] == host.records(_LISTENER, 1)
