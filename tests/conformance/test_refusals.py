"""Checkers by name and status, through all that a session tells of a refusal: reply, record, event."""

import os
import socket
from pathlib import Path

import pytest

from tests.support import descriptors
from tests.support.popup import LOGIN, Popup

_CODES = {
    "session": b"",
    "credentials": b"[AUTH] ",
    "temporary": b"[SYS/TEMP] ",
    "misuse": b"[SYS/PERM] ",
    "crashed": b"[SYS/TEMP] ",
}


def _checker(directory: Path, name: str, script: str) -> str:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def _story(spool: Path) -> dict[str, str]:
    """Return what the one event in a spool says."""
    entries = (spool / "spool").read_bytes().strip(b"\0").decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries)


@pytest.mark.parametrize(
    ("name", "script", "env", "reason"),
    [
        ("checkpw", "exit 1", {}, "credentials"),
        ("checkpw", "exit 2", {}, "misuse"),
        ("checkpw", "exit 111", {}, "temporary"),
        ("checkpw", "exit 127", {}, "temporary"),
        ("checkpw", "exit 141", {}, "session"),
        ("checkpw", "kill -PIPE $$", {}, "session"),
        ("checkpw", "kill -TERM $$", {}, "session"),
        ("checkpw", "kill -SEGV $$", {}, "crashed"),
        ("cvm-checkpassword", "exit 1", {}, "session"),
        ("cvm-checkpassword", "exit 2", {}, "credentials"),
        ("cvm-checkpassword", "exit 4", {}, "temporary"),
        ("cvm-v1checkpassword", "exit 100", {}, "credentials"),
        ("vchkpw", "exit 3", {}, "credentials"),
        ("vchkpw", "exit 7", {}, "temporary"),
        ("checkpw", "exit 9", {"QMAIL_POPUP_EXITS": "temporary=4-15"}, "temporary"),
        ("checkpw", "sleep 1.2; exit 1", {"QMAIL_POPUP_REFUSAL_SECONDS": "1"}, "session"),
    ],
)
def test_one_word_for_each_refusal(  # noqa: PLR0913, PLR0917 - pytest's parameters
    popup: list[str], tmp_path: Path, name: str, script: str, env: dict[str, str], reason: str
) -> None:
    """Reply code and event go by it; without response codes reply and record are what they always were."""
    checker = _checker(tmp_path, name, script)
    env = {"PATH": "/usr/bin:/bin", "QMAIL_POPUP_SPOOL": str(tmp_path), **env}
    text = b"aack, child crashed" if script.startswith("kill") else b"authorization failed"
    with Popup(popup, (checker,), env=env | {"QMAIL_POPUP_RESP_CODES": "1"}) as running:
        assert b"-ERR %s%s" % (_CODES[reason], text) == running.talk(LOGIN).splitlines()[-1]
        assert (1, b"") == (running.status(), running.errors())
    told = _story(tmp_path)
    assert (reason, "crashed" if reason == "crashed" else "rejected") == (told["REASON"], told["ENDED"])
    with Popup(popup, (checker,), env=env) as running:
        assert b"-ERR %s" % text == running.talk(LOGIN).splitlines()[-1]
        assert (1, [running.record("Reject")]) == (running.status(), running.records())


def test_a_good_login_has_no_reason(popup: list[str], tmp_path: Path) -> None:
    """Nor is the operator told of his mistake before somebody is refused."""
    env = {"PATH": "/usr/bin:/bin", "QMAIL_POPUP_SPOOL": str(tmp_path), "QMAIL_POPUP_EXITS": "nonsense"}
    with Popup(popup, env=env) as running:
        running.talk(LOGIN)
        assert (0, b"") == (running.status(), running.errors())
    assert "REASON" not in _story(tmp_path)


def test_a_table_that_makes_no_sense(popup: list[str]) -> None:
    """It counts as unset, one line says so, and nothing in that line can move a terminal's cursor."""
    env = {"PATH": "/bin", "QMAIL_POPUP_RESP_CODES": "1", "QMAIL_POPUP_EXITS": "temporary=1 w\x1b[2J\u0085=3"}
    with Popup(popup, ("/bin/false",), env=env) as running:
        assert running.talk(LOGIN).endswith(b"-ERR [AUTH] authorization failed\r\n")
        assert 1 == running.status()
        line = b"qmail-popup: QMAIL_POPUP_EXITS is ignored: unknown reason: w?[2J??=3\n"
        assert line == running.errors()


def test_a_subprogram_s_name_that_is_hostile(popup: list[str]) -> None:
    """What cannot be run is named, without what could break the line."""
    with Popup(popup, ("/nonexistent/\x1b]0;x\x07\n",)) as running:
        running.talk(LOGIN)
        assert 1 == running.status()
        line = b"qmail-popup: cannot run /nonexistent/?]0;x??: No such file or directory\n"
        assert line == running.errors()


def test_a_reader_of_descriptor_2_that_has_stopped(popup: list[str]) -> None:
    """Nobody waits for it: the session ends without the line."""
    reader, writer = os.pipe()
    descriptors.fill(writer)
    with Popup(popup, ("/nonexistent",), fds={2: writer}) as running:
        assert running.talk(LOGIN).endswith(b"-ERR authorization failed\r\n")
        assert (1, [running.record("Reject")]) == (running.status(), running.records())
    descriptors.close({reader, writer})


def test_descriptor_2_that_is_the_tls_server_s(popup: list[str]) -> None:
    """Where it was closed at the start, the control socket may come up as 2: no line goes there."""
    (control, far_control), (clear, far_clear) = socket.socketpair(), socket.socketpair()
    env = {"PATH": "/bin", "UCSPITLS": "", "SSLCTLFD": "10", "SSLREADFD": "11", "SSLWRITEFD": "12"}
    fds = {2: None, 10: far_control.fileno(), 11: far_clear.fileno(), 12: far_clear.fileno()}
    with control, clear, Popup(popup, ("/nonexistent",), env=env, fds=fds) as running:
        far_control.close()
        far_clear.close()
        running.talk(b"STLS\r\n")
        control.sendall(b"\0")
        clear.sendall(LOGIN)
        assert (1, b"Y", b"") == (running.status(), control.recv(99), control.recv(99))
