"""Rules in a listener that runs: who is let in, and with which variables."""

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.qmail_popup.listener.test_balancers import _SERVED, talk, text, variables
from tests.qmail_popup.listener.test_counted import environment, sessions
from tests.support import programs, rules
from tests.support.listener import Listener as SidecarSocket
from tests.support.resident import (
    CHECKOUT_COMMAND,
    HOST,
    LOGIN,
    Listener,
    read_all,
    read_line,
)
from tests.support.server import serving
from tests.support.sidecar import RunningSidecar
from tests.support.waiting import TIMEOUT, until

_ENV = ("/bin/sh", "-c", "env | sort")
_OTHER = "127.0.0.2"


@contextmanager
def ruled(
    directory: Path,
    text: str,
    *options: str,
    subprogram: Sequence[str] = ("/bin/true",),
    env: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> Iterator[tuple[Listener, Path]]:
    """Give a listener with rules, and their file. prefix: a command that runs another."""
    path = directory / "rules" / "cdb"
    path.parent.mkdir()
    rules.compiled(path, text)
    told, command = ("--rules", str(path), *options), (*prefix, *CHECKOUT_COMMAND)
    with Listener(directory, *told, subprogram=subprogram, env=env, command=command) as listener:
        yield listener, path


def complaints(listener: Listener, path: Path) -> list[str]:
    """Return what was said of a file of rules."""
    start = f"qmail-popup-listener: {path}: "
    return [line.removeprefix(start) for line in listener.errors().splitlines() if line.startswith(start)]


def test_who_is_let_in(tmp_path: Path) -> None:
    """Who is denied is closed without a word, and has no record."""
    with ruled(tmp_path, f"{_OTHER}:deny\n127.0.1.:deny\n") as (listener, path):
        for source in (_OTHER, "127.0.1.1", "127.0.1.255"):
            assert b"" == listener.talk(LOGIN, source)
        for source in (HOST, "127.0.0.3", "127.0.10.1"):
            assert _SERVED == listener.talk(LOGIN, source)
        assert 3 == len(listener.wait_for_records(3))
        assert [] == complaints(listener, path)


_AS_TCPSERVER = """\
127.0.0.2:deny
127.0.0.3:allow,A="x",B=/y=z/,A="last",EMPTY=""
127.0.0.:allow,A="net",TERM="changed"
127.0.1.5-9:deny
127.0.2-3.:allow,A="range, with a comma"
127.0.3.4:allow
=localhost:deny
joe@127.0.0.1:deny
127.:deny
:allow,A="default"
"""
_SOURCES = [
    f"127.0.{net}" for net in ("0.1", "0.2", "0.3", "0.4", "1.4", "1.5", "1.9", "1.10", "2.1", "3.3", "3.4")
]


def test_as_tcpserver_has_it(tmp_path: Path) -> None:
    """Who is denied, and which variables the others have, is what a real `tcpserver -H -R -x` makes of it."""
    with ruled(tmp_path, _AS_TCPSERVER, subprogram=_ENV) as (listener, path):
        (tcpserver,) = programs.need("tcpserver")
        command = [tcpserver, "-1", "-H", "-R", "-l", "pop.example.org", "-x", str(path), HOST, "0", *_ENV]
        with serving(command, {}) as server:
            theirs = {source: _told(_ask(server.port, source)) for source in _SOURCES}
        ours = {source: _told(listener.talk(LOGIN, source).removeprefix(_SERVED)) for source in _SOURCES}
    assert theirs == ours
    assert {"127.0.0.2", "127.0.1.4", "127.0.1.5", "127.0.1.9", "127.0.1.10"} == {
        source for source, told in ours.items() if not told
    }


def _ask(port: int, source: str) -> bytes:
    with socket.create_connection((HOST, port), TIMEOUT, (source, 0)) as peer:
        return read_all(peer)


def _told(said: bytes) -> list[str]:
    """Return the variables that a rule may have set, and who the client is."""
    lines = said.decode().splitlines()
    return [
        line for line in lines if line.startswith(("A=", "B=", "EMPTY=", "TERM=", "PROTO=", "TCPREMOTEIP="))
    ]


def test_deny_all_but(tmp_path: Path) -> None:
    """The default may be to deny."""
    with ruled(tmp_path, f"{HOST}:allow\n:deny\n") as (listener, _path):
        assert (_SERVED, b"") == (listener.talk(LOGIN), listener.talk(LOGIN, _OTHER))


def test_the_environment(tmp_path: Path) -> None:
    """A subprogram has the variables of its client's rule, except for those that are ours."""
    told = (
        'MARK="a=b",PATH="/usr/bin:/bin:/x",TCPREMOTEIP="9.9.9.9",SSL_PROTOCOL="x",QMAIL_POPUP_STDERR="keep"'
    )
    text = f'{HOST}:allow,{told},POP3AUTH="none",LD_PRELOAD=""\n:allow,MARK="other"\n'
    with ruled(tmp_path, text, subprogram=_ENV) as (listener, path):
        found = variables(listener.talk(LOGIN))
        assert {"MARK": "a=b", "PATH": "/usr/bin:/bin:/x", "POP3AUTH": "none", "TCPREMOTEIP": HOST} == {
            name: found.get(name) for name in ("MARK", "PATH", "POP3AUTH", "TCPREMOTEIP")
        }
        assert not [name for name in found if name.startswith(("QMAIL_POPUP_", "SSL"))]
        assert "other" == variables(listener.talk(LOGIN, _OTHER))["MARK"]
        assert ["ignored variables, which rules cannot set: SSL_PROTOCOL, TCPREMOTEIP"] == complaints(
            listener, path
        )


def test_the_path(tmp_path: Path) -> None:
    """A subprogram is searched in the PATH of its client's rule, as under tcpserver."""
    checker = tmp_path / "checker"
    checker.write_text("#!/bin/sh\necho found\n")
    checker.chmod(0o755)
    text = f'{HOST}:allow,PATH="/nowhere:{tmp_path}"\n{_OTHER}:allow,PATH="/nowhere"\n'
    with ruled(tmp_path, text, subprogram=("checker",)) as (listener, _):
        assert _SERVED + b"found\n" == listener.talk(LOGIN)
        assert _SERVED + b"-ERR authorization failed\r\n" == listener.talk(LOGIN, _OTHER)
        until(lambda: "cannot run checker: No such file or directory\n" in listener.errors())


def test_apop_for_some(tmp_path: Path) -> None:
    """POP3AUTH of a rule changes greeting and capabilities, and only its clients'."""
    with ruled(tmp_path, f'{_OTHER}:allow,POP3AUTH="apop"\n') as (listener, _path):
        with_apop = listener.talk(b"CAPA\r\nQUIT\r\n", _OTHER)
        assert with_apop.startswith(b"+OK <")
        assert b"\r\nAPOP\r\n" in with_apop
        assert b"APOP" not in listener.talk(b"CAPA\r\nQUIT\r\n")


def test_response_codes_for_some(tmp_path: Path) -> None:
    """RESP_CODES and EXITS of a rule count for worker and spawner."""
    rule = f'{_OTHER}:allow,QMAIL_POPUP_RESP_CODES="1",QMAIL_POPUP_EXITS="temporary=1"\n'
    with ruled(tmp_path, rule, subprogram=("/bin/false",)) as (listener, _path):
        assert b"AUTH-RESP-CODE" in listener.talk(b"CAPA\r\nQUIT\r\n", _OTHER)
        assert listener.talk(LOGIN, _OTHER).endswith(b"-ERR [SYS/TEMP] authorization failed\r\n")
        assert listener.talk(LOGIN).endswith(b"-ERR authorization failed\r\n")


def test_tls_required_for_some(tmp_path: Path) -> None:
    """UCSPITLS of a rule does what it does anywhere."""
    with ruled(tmp_path, f'{_OTHER}:allow,UCSPITLS="!"\n') as (listener, _path):
        assert listener.talk(LOGIN, _OTHER).endswith(b"-ERR TLS required but not negotiated\r\n")
        assert _SERVED == listener.talk(LOGIN)
        assert " Reject::STLS::Any " in listener.wait_for_records(2)[0]


@pytest.mark.parametrize("name", ["TIMEOUT", "LOGIN_TIMEOUT"])
def test_times_for_some(tmp_path: Path, name: str) -> None:
    """A client has the times of its rule."""
    with (
        ruled(tmp_path, f'{_OTHER}:allow,QMAIL_POPUP_{name}="1"\n') as (listener, _path),
        listener.connect() as patient,
    ):
        assert b"+OK\r\n" == read_line(patient)
        with listener.connect(_OTHER) as hurried:
            assert b"+OK\r\n" == read_all(hurried)
        patient.sendall(b"NOOP\r\n")
        assert b"+OK \r\n" == read_line(patient)


def test_the_client_of_a_balancer(tmp_path: Path) -> None:
    """Rules go by the address of the header."""
    said = '127.:allow,MARK="balancer"\n192.0.2.1:deny\n192.0.2.:allow,MARK="net"\n'
    options = ("--proxy-protocol", "127.0.0.8/31")
    with ruled(tmp_path, said, *options, subprogram=_ENV) as (listener, _):
        assert b"" == talk(listener, text("192.0.2.1") + LOGIN)
        assert "net" == variables(talk(listener, text("192.0.2.2") + LOGIN))["MARK"]
        assert "balancer" == variables(talk(listener, b"PROXY UNKNOWN\r\n" + LOGIN))["MARK"]


def test_a_denial_counts(tmp_path: Path) -> None:
    """It is a session that was refused, and no attempt."""
    with (
        RunningSidecar(tmp_path) as sidecar,
        ruled(tmp_path, f"{_OTHER}:deny\n", env=environment(tmp_path)) as (listener, _path),
    ):
        for source in (_OTHER, HOST, _OTHER):
            listener.talk(LOGIN, source)
        until(lambda: {"refused": 2, "accepted": 1} == sessions(sidecar))
        assert 1 == len(listener.records())


def test_the_event_of_a_denial(tmp_path: Path) -> None:
    """It tells who was denied: behind a balancer, the address of the header."""
    (tmp_path / "run").mkdir()
    options = ("--proxy-protocol", "127.0.0.8/31", "--verbose")
    with (
        SidecarSocket(tmp_path / "run/sidecar.sock") as sidecar,
        ruled(tmp_path, "192.0.2.1:deny\n", *options, env=environment(tmp_path)) as (listener, _path),
    ):
        assert b"" == talk(listener, text("192.0.2.1", 77))
        caller = sidecar.accept()
        event = caller.block()
        assert event
        assert (b"refused", b"192.0.2.1", b"77") == tuple(
            event[name] for name in (b"ENDED", b"CLIENT_IP", b"CLIENT_PORT")
        )
        caller.acknowledge()
        caller.close()
        until(lambda: " deny " in listener.errors() and ":192.0.2.1::77" in listener.errors())
