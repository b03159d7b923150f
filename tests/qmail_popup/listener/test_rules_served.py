"""Rules in a listener that runs: who is let in, with which variables, and whichever file there is by then."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.qmail_popup.listener.test_balancers import _SERVED, talk, text, variables
from tests.qmail_popup.listener.test_counted import environment, sessions
from tests.support import rules
from tests.support.descriptors import CHECKOUT
from tests.support.listener import Listener as SidecarSocket
from tests.support.mounts import hanging, mounted
from tests.support.resident import (
    CHECKOUT_COMMAND,
    HOST,
    LOGIN,
    Listener,
    name_of,
    read_all,
    read_line,
    refused,
)
from tests.support.sidecar import RunningSidecar
from tests.support.waiting import until

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


def test_deny_all_but(tmp_path: Path) -> None:
    """The default may be to deny."""
    with ruled(tmp_path, f"{HOST}:allow\n:deny\n") as (listener, _path):
        assert (_SERVED, b"") == (listener.talk(LOGIN), listener.talk(LOGIN, _OTHER))


def test_the_environment(tmp_path: Path) -> None:
    """A subprogram has the variables of its client's rule, but for those that are ours."""
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
        assert ["variables that no rule sets are ignored: SSL_PROTOCOL, TCPREMOTEIP"] == complaints(
            listener, path
        )


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


def test_a_new_file(tmp_path: Path) -> None:
    """It counts from the next connection on, however quickly one follows another."""
    with ruled(tmp_path, "\n", "--workers", "3") as (listener, path):
        for number in range(20):
            rules.compiled(path, f"{HOST}:{('deny', 'allow')[number % 2]}\n")
            assert (b"", _SERVED)[number % 2] == listener.talk(LOGIN)


def test_a_file_that_is_copied_over(tmp_path: Path) -> None:
    """It counts, too, though it is the same file, of the same size."""
    with ruled(tmp_path, "\n") as (listener, path):
        for number in range(20):
            rules.compiled(tmp_path / "other", f"127.0.0.{number % 2 + 1}:deny\n")
            shutil.copyfile(tmp_path / "other", path)
            assert (b"", _SERVED)[number % 2] == listener.talk(LOGIN)


def test_who_is_in_already(tmp_path: Path) -> None:
    """Who has connected goes by the rules of then: those that came later neither deny nor change it."""
    with (
        ruled(tmp_path, ':allow,MARK="then"\n', subprogram=_ENV) as (listener, path),
        listener.connect() as early,
    ):
        assert b"+OK\r\n" == read_line(early)
        rules.compiled(path, ":deny\n")
        assert b"" == listener.talk(LOGIN)
        rules.compiled(path, ':allow,MARK="now"\n')
        assert "now" == variables(listener.talk(LOGIN))["MARK"]
        early.sendall(LOGIN)
        assert "then" == variables(b"+OK\r\n" + read_all(early))["MARK"]


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def _zeros(path: Path) -> None:
    path.write_bytes(bytes(4096))


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


_BREAK = {
    "gone": (Path.unlink, "No such file or directory"),
    "cut short": (_truncate, "it does not end where its hash tables do"),
    "zeros": (_zeros, "its hash tables are not where they belong"),
    "a directory": (_directory, "it is not a regular file"),
    "a FIFO": (_fifo, "it is not a regular file"),
    "empty": (lambda path: path.write_bytes(b""), "it is shorter than a header"),
}


@pytest.mark.parametrize(("spoil", "why"), _BREAK.values(), ids=_BREAK)
def test_a_broken_file(tmp_path: Path, spoil: Callable[[Path], object], why: str) -> None:
    """Nobody is let in, with one line; once it is good again, all are."""
    with ruled(tmp_path, f"{_OTHER}:deny\n") as (listener, path):
        spoil(path)
        for source in (HOST, _OTHER, HOST):
            assert b"" == listener.talk(LOGIN, source)
        assert [f"nobody is let in: {why}"] == complaints(listener, path)
        if path.is_dir():
            path.rmdir()
        rules.compiled(path, "\n")
        assert _SERVED == listener.talk(LOGIN)


def test_rules_for_names(tmp_path: Path) -> None:
    """They are one line at the start, and are not followed."""
    text = f"=localhost:deny\n=:deny\njoe@{HOST}:deny\n"
    with ruled(tmp_path, text) as (listener, path):
        assert ["3 rules for names of hosts or users are never followed"] == complaints(listener, path)
        assert _SERVED == listener.talk(LOGIN)


def test_no_file_at_the_start(tmp_path: Path) -> None:
    """The listener starts, says so, and lets nobody in before there is one."""
    path = tmp_path / "cdb"
    with Listener(tmp_path, "--rules", str(path)) as listener:
        assert ["nobody is let in: No such file or directory"] == complaints(listener, path)
        assert b"" == listener.talk(LOGIN)
        rules.compiled(path, "\n")
        assert _SERVED == listener.talk(LOGIN)


def test_a_check(tmp_path: Path) -> None:
    """A file that lets nobody in is found before the start."""
    path = tmp_path / "cdb"
    arguments = ("--check", "--rules", str(path), "pop.example.org", "/bin/true")
    ended = refused(*arguments)
    assert 111 == ended.returncode
    assert f"{path}: nobody is let in: No such file or directory" in ended.stderr
    rules.compiled(path, "\n")
    assert 0 == refused(*arguments).returncode


def _reader(listener: Listener) -> int:
    (pid,) = [pid for pid in listener.children() if name_of(pid) == "popup-rules"]
    return pid


def test_a_reader_that_is_killed(tmp_path: Path) -> None:
    """Who connects meanwhile waits for the next, and so does who logs in."""
    with (
        ruled(tmp_path, f'{HOST}:allow,MARK="x"\n:deny\n', subprogram=_ENV) as (listener, _path),
        listener.connect() as early,
    ):
        assert b"+OK\r\n" == read_line(early)
        os.kill(_reader(listener), signal.SIGKILL)
        early.sendall(LOGIN)
        assert "x" == variables(b"+OK\r\n" + read_all(early))["MARK"]
        assert "x" == variables(listener.talk(LOGIN))["MARK"]
        assert b"" == listener.talk(LOGIN, _OTHER)


def test_once_the_supervisor_has_ended(tmp_path: Path) -> None:
    """Who is in can still log in by its rule, and then the reader ends, too."""
    with (
        ruled(tmp_path, ':allow,MARK="x"\n', subprogram=_ENV) as (listener, _path),
        listener.connect() as early,
    ):
        assert b"+OK\r\n" == read_line(early)
        family = listener.children()
        listener.process.terminate()
        listener.process.wait()
        early.sendall(LOGIN)
        assert "x" == variables(b"+OK\r\n" + read_all(early))["MARK"]
        until(lambda: not [pid for pid in family if name_of(pid)])


def test_a_reload(tmp_path: Path) -> None:
    """Who has connected before it logs in by the rule of then; who comes later by that of now."""
    with (
        ruled(tmp_path, ':allow,MARK="then"\n', subprogram=_ENV) as (listener, path),
        listener.connect() as early,
    ):
        assert b"+OK\r\n" == read_line(early)
        before = _reader(listener)
        rules.compiled(path, ':allow,MARK="now"\n')
        listener.process.send_signal(signal.SIGHUP)
        until(lambda: "reloaded" in listener.errors())
        assert "now" == variables(listener.talk(LOGIN))["MARK"]
        early.sendall(LOGIN)
        assert "then" == variables(b"+OK\r\n" + read_all(early))["MARK"]
        until(lambda: "" == name_of(before))


def test_a_reload_with_a_broken_file(tmp_path: Path) -> None:
    """It is refused with the reason, and nobody is let in until the file is good again."""
    with ruled(tmp_path, "\n") as (listener, path):
        path.write_bytes(b"")
        listener.process.send_signal(signal.SIGHUP)
        why = f"{path}: nobody is let in: it is shorter than a header"
        until(
            lambda: (
                f"not reloaded, everything stays as it was: qmail-popup-listener: {why}" in listener.errors()
            )
        )
        assert b"" == listener.talk(LOGIN)
        rules.compiled(path, "\n")
        assert _SERVED == listener.talk(LOGIN)


def test_a_file_system_that_hangs(tmp_path: Path) -> None:
    """Whoever is in is served on and logs in; who comes waits, no longer than a login may take."""
    env = {"QMAIL_POPUP_LOGIN_TIMEOUT": "3", "PYTHONPATH": str(CHECKOUT)}  # who enters is in / then
    with (
        mounted("true") as (enter, _),
        ruled(tmp_path, "\n", env=env, prefix=enter) as (listener, path),
        listener.connect() as early,
    ):
        assert b"+OK\r\n" == read_line(early)
        with hanging(path.parent, enter), listener.connect() as late, listener.connect() as later:
            early.sendall(b"NOOP\r\n")
            assert b"+OK \r\n" == read_line(early)
            early.sendall(LOGIN)
            assert b"+OK \r\n" == read_all(early)
            assert b"" == read_all(late)
            assert b"" == read_all(later)
        until(lambda: _SERVED == listener.talk(LOGIN))


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
