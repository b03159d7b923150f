"""The file of rules while a listener runs: a new one, a broken one, none, and who reads it."""

import os
import shutil
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import pytest

from qmail_popup.listener.addresses import read
from qmail_popup.listener.rules import rules_file
from qmail_popup.listener.rules.rules import Rules
from qmail_popup.listener.rules.rules_file import RulesFile
from tests.qmail_popup.listener.test_balancers import _SERVED, variables
from tests.qmail_popup.listener.test_rules_served import complaints, ruled
from tests.support import rules
from tests.support.descriptors import CHECKOUT
from tests.support.mounts import hanging, mounted
from tests.support.resident import (
    HOST,
    LOGIN,
    Listener,
    name_of,
    read_all,
    read_line,
    refused,
)
from tests.support.waiting import until

_ENV = ("/bin/sh", "-c", "env | sort")
_OTHER = "127.0.0.2"


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
    "huge": (lambda path: os.truncate(path, (64 << 20) + 1), "it is larger than 64 MiB"),
    "empty": (lambda path: path.write_bytes(b""), "it is shorter than a header"),
}


@pytest.mark.parametrize(("spoil", "why"), _BREAK.values(), ids=_BREAK)
def test_a_broken_file(tmp_path: Path, spoil: Callable[[Path], object], why: str) -> None:
    """Nobody is let in, with one line; once it is good again, all are."""
    with ruled(tmp_path, f"{_OTHER}:deny\n") as (listener, path):
        spoil(path)
        for source in (HOST, _OTHER, HOST):
            assert b"" == listener.talk(LOGIN, source)
        assert [f"all clients are refused: {why}"] == complaints(listener, path)
        if path.is_dir():
            path.rmdir()
        rules.compiled(path, "\n")
        assert _SERVED == listener.talk(LOGIN)


def test_rules_for_names(tmp_path: Path) -> None:
    """They are one line at the start, and are not followed."""
    text = f"=localhost:deny\n=:deny\njoe@{HOST}:deny\n"
    with ruled(tmp_path, text) as (listener, path):
        assert ["3 rules for host or user names are ignored"] == complaints(listener, path)
        assert _SERVED == listener.talk(LOGIN)


def test_no_file_at_the_start(tmp_path: Path) -> None:
    """The listener starts, says so, and lets nobody in before there is one."""
    path = tmp_path / "cdb"
    with Listener(tmp_path, "--rules", str(path)) as listener:
        assert ["all clients are refused: No such file or directory"] == complaints(listener, path)
        assert b"" == listener.talk(LOGIN)
        rules.compiled(path, "\n")
        assert _SERVED == listener.talk(LOGIN)


def test_a_check(tmp_path: Path) -> None:
    """A file that lets nobody in is found before the start."""
    path = tmp_path / "cdb"
    arguments = ("--check", "--rules", str(path), "pop.example.org", "/bin/true")
    ended = refused(*arguments)
    assert 111 == ended.returncode
    assert f"{path}: all clients are refused: No such file or directory" in ended.stderr
    rules.compiled(path, "\n")
    assert 0 == refused(*arguments).returncode


def test_a_file_without_a_name(tmp_path: Path) -> None:
    """An empty name, as from a variable that is not set, lets nobody in."""
    with Listener(tmp_path, "--rules", "") as listener:
        assert b"" == listener.talk(LOGIN)


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


def test_two_changes_in_an_instant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that has just changed is read again though nothing shows it: a kernel's times have ticks."""
    monkeypatch.setattr(rules_file, "_seen", lambda _status: (1, 1, 1, 1, 1))
    path = tmp_path / "cdb"
    file = RulesFile(os.fsencode(path), print)
    for text in (":deny\n", "\n", ":deny\n"):
        rules.compiled(path, text)
        file.refresh()
        assert (text == ":deny\n") == file.of(read((HOST, 0)).ip, file.edition).is_denied


def test_a_file_from_the_future(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read once, not for each connection: the host's clock was set back, or another host's is ahead."""
    path = tmp_path / "cdb"
    rules.compiled(path, "\n")
    reads = mock.Mock(return_value=path.read_bytes())
    monkeypatch.setattr(rules_file, "_FRESH_SECONDS", 0.0)
    monkeypatch.setattr(rules_file, "_contents", reads)
    os.utime(path, (2**32, 2**32))
    file = RulesFile(os.fsencode(path), print)
    for _ in range(3):
        file.refresh()
    assert 1 == reads.call_count


def test_a_directory_that_was_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same file at the same place counts again, though nothing about it has changed."""
    monkeypatch.setattr(rules_file, "_FRESH_SECONDS", 0.0)
    place, away = tmp_path / "rules", tmp_path / "away"
    place.mkdir()
    rules.compiled(place / "cdb", "\n")
    file, lets_in = RulesFile(os.fsencode(place / "cdb"), print), []
    for move in (lambda: None, lambda: place.rename(away), lambda: away.rename(place)):
        move()
        file.refresh()
        lets_in.append(file.lets_in)
    assert [True, False, True] == lets_in


def test_what_takes_long(tmp_path: Path) -> None:
    """All of it is done by look(), which a thread runs: meanwhile the reader answers for logins."""
    rules.compiled(tmp_path / "cdb", "\n")
    file = RulesFile(os.fsencode(tmp_path / "cdb"), print)
    assert isinstance(file.look(), Rules)
    (tmp_path / "cdb").write_bytes(bytes(4096))
    assert "its hash tables are not where they belong" == file.look()


def test_the_editions_of_two_readers(tmp_path: Path) -> None:
    """Those of a reader that was started later are higher: none of them is taken for one of before."""
    path, numbers = tmp_path / "cdb", []
    for texts in (("\n", ":deny\n"), ("\n",)):
        file = RulesFile(os.fsencode(path), print)
        for text in texts:
            rules.compiled(path, text)
            file.refresh()
            numbers.append(file.edition)
    assert sorted(set(numbers)) == numbers


def test_a_crowd(tmp_path: Path) -> None:
    """However many come at once, and while the file is being looked at, each is answered."""
    options = ("--workers", "1", "--connections-per-client", "1000")
    with ruled(tmp_path, "\n", *options) as (listener, _path), ExitStack() as stack:
        reader = _reader(listener)
        for _ in range(4):
            os.kill(reader, signal.SIGSTOP)
            clients = [stack.enter_context(listener.connect()) for _ in range(100)]
            os.kill(reader, signal.SIGCONT)
            assert [b"+OK\r\n"] * 100 == [read_line(client) for client in clients]


def test_a_crowd_that_waits(tmp_path: Path) -> None:
    """Who waits for the rules counts as connected: at the limit the first to come has to go."""
    options = ("--workers", "1", "--connections", "2")
    with ruled(tmp_path, "\n", *options) as (listener, _path), ExitStack() as stack:
        reader = _reader(listener)
        os.kill(reader, signal.SIGSTOP)
        first, *others = [stack.enter_context(listener.connect()) for _ in range(3)]
        assert b"" == read_all(first)
        os.kill(reader, signal.SIGCONT)
        assert [b"+OK\r\n"] * 2 == [read_line(client) for client in others]


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
        why = f"{path}: all clients are refused: it is shorter than a header"
        until(lambda: f"not reloaded, nothing has changed: {why}\n" in listener.errors())
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
