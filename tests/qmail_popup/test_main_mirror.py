"""The popup with its mirror on: one session leaves one event, here in a spool of its own."""

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL

import pytest

from tests.support.descriptors import CHECKOUT
from tests.support.popup import ACCEPTS, LOGIN, Popup, shell
from tests.support.sidecar import KILLED, SESSION, RunningSidecar
from tests.support.waiting import until

POPUP = [sys.executable, "-S", "-m", "qmail_popup"]


def event(
    spool: Path, said: bytes, subprogram: tuple[str, ...] = ACCEPTS, **env: str
) -> tuple[dict[str, str], int, list[bytes]]:
    """Return what the event of a session says, the popup's pid, and its records."""
    environ = {"PATH": "/usr/bin:/bin", "QMAIL_POPUP_SPOOL": str(spool), **env}
    with Popup(POPUP, subprogram, env=environ) as popup:
        popup.talk(said)
        popup.status()
        assert popup.errors() in (b"", b"qmail-popup: cannot run /nonexistent: No such file or directory\n")
        records, pid = popup.records(), popup.process.pid
    entries = (spool / "spool").read_bytes().strip(b"\0").decode().split("\0")
    assert "END=1" == entries[-1]
    assert not (spool / "pusher.lock").exists()  # nobody asked for a pusher
    return dict(entry.split("=", 1) for entry in entries), pid, records


NAMED = {
    "TCPREMOTEIP": "192.0.2.1",
    "TCPREMOTEHOST": "a.example",
    "TCPREMOTEPORT": "4000",
    "TCPLOCALIP": "192.0.2.2",
    "TCPLOCALPORT": "110",
}
REJECTED = {"ENDED": "rejected"}
TIMES = ("T_START", "T_GREETED", "T_CREDENTIALS", "T_SPAWNED", "T_EXITED", "T_ENDED")


@pytest.mark.parametrize(
    ("said", "subprogram", "env", "story", "times"),
    [
        (b"QUIT\r\n", ACCEPTS, {}, {"ENDED": "quit"}, "SG E"),
        (b"", ACCEPTS, {}, {"ENDED": "disconnected"}, "SG E"),
        (LOGIN, ACCEPTS, {}, {"ENDED": "accepted", "STATUS": "0"}, "SGCXYE"),
        (LOGIN, shell("exit 3"), {}, REJECTED | {"STATUS": "3", "REASON": "credentials"}, "SGCXYE"),
        (LOGIN, shell("kill -9 $$"), {}, {"ENDED": "crashed", "SIGNAL": "9", "REASON": "crashed"}, "SGCXYE"),
        (
            LOGIN,
            shell("kill -13 $$"),
            {},
            REJECTED | {"SIGNAL": "13", "REASON": "session"},
            "SGCXYE",
        ),
        (
            LOGIN,
            ("/nonexistent",),
            {},
            REJECTED | {"STATUS": "111", "REASON": "temporary"},
            "SGCXYE",
        ),
        (LOGIN, ACCEPTS, {"UCSPITLS": "!"}, {"ENDED": "tls_required"}, "SG E"),
        (
            b"QUIT\r\n",
            ACCEPTS,
            {"SSL_PROTOCOL": "TLSv1.2", "SSL_CIPHER": "C"},
            {"ENDED": "quit", "PROTOCOL": "POP3S", "TLS": "TLSv1.2", "CIPHER": "C"},
            "SG E",
        ),
    ],
)
def test_an_event(  # noqa: PLR0913, PLR0917 - pytest's parameters
    tmp_path: Path,
    said: bytes,
    subprogram: tuple[str, ...],
    env: dict[str, str],
    story: dict[str, str],
    times: str,
) -> None:
    """It tells who the client was, how the session went, and when, as far as it went."""
    told, pid, records = event(tmp_path, said, subprogram, **NAMED, **env)
    known = {"V": "1", "END": "1", "PID": str(pid), "PROTOCOL": "POP3", "CLIENT_HOST": "a.example"}
    known |= {"CLIENT_IP": "192.0.2.1", "CLIENT_PORT": "4000", "LOCAL_IP": "192.0.2.2", "LOCAL_PORT": "110"}
    known |= dict(zip(["RECORD"], (record.decode().rstrip("\n") for record in records), strict=False))
    made_up = {"TRACE", "SPAN"}
    reached = [name for name, letter in zip(TIMES, "SGCXYE", strict=True) if letter in times]
    assert known | story == {name: value for name, value in told.items() if name not in made_up | {*TIMES}}
    assert {*reached} | made_up == told.keys() & (made_up | {*TIMES})
    readings = [int(told[name]) for name in reached]
    assert sorted(readings) == readings
    assert abs(readings[0] - time.time_ns()) < 600_000_000_000


def test_an_event_of_a_client_that_nobody_knows(tmp_path: Path) -> None:
    """What the server did not name is left out."""
    told, _, _ = event(tmp_path, b"QUIT\r\n")
    assert not [
        name for name in told if name.startswith(("CLIENT", "LOCAL", "TLS", "CIPHER", "RECORD", "STATUS"))
    ]


def test_an_event_of_a_failure_of_our_own(tmp_path: Path) -> None:
    """It says what failed."""
    ours, theirs = socket.socketpair()
    ours.close()
    names = dict.fromkeys(("SSLCTLFD", "SSLREADFD", "SSLWRITEFD"), "7")
    environ = {"QMAIL_POPUP_SPOOL": str(tmp_path), "UCSPITLS": "", **names}
    with theirs, Popup(POPUP, env=environ, fds={7: theirs.fileno()}) as popup:
        assert popup.talk(b"STLS\r\n").endswith(b"-ERR TLS startup failed\r\n")
        assert 1 == popup.status()
    assert b"\0ENDED=error\0ERROR=control\0" in (tmp_path / "spool").read_bytes()


def test_an_event_of_a_client_gone_before_the_greeting(tmp_path: Path) -> None:
    """That is a session too."""
    with Popup(POPUP, env={"QMAIL_POPUP_SPOOL": str(tmp_path)}, fds={0: None, 1: None}) as popup:
        assert 1 == popup.status()
    spooled = (tmp_path / "spool").read_bytes()
    assert b"\0ENDED=disconnected\0" in spooled
    assert b"T_GREETED" not in spooled


@pytest.mark.parametrize("argument", [[], ["--help"], ["--version"]], ids=str)
def test_no_event_of_what_is_no_session(tmp_path: Path, argument: list[str]) -> None:
    """A usage error and a person's questions are none."""
    environ = {"QMAIL_POPUP_SPOOL": str(tmp_path)}
    subprocess.run([*POPUP, *argument], cwd=CHECKOUT, env=environ, stdout=subprocess.DEVNULL, check=False)
    assert [] == list(tmp_path.iterdir())


TRACED = {"TRACEPARENT": "00-0-0-01", "TRACESTATE": "a=1", "BAGGAGE": "b=2"}


def test_the_subprogram_s_span(tmp_path: Path) -> None:
    """The subprogram sees the identity that the event names, and no trace that the popup inherited."""
    out = tmp_path / "env"
    told, _, _ = event(tmp_path, LOGIN, shell(f"env >{out}"), **TRACED)
    given = dict(line.split("=", 1) for line in out.read_text().splitlines())
    assert f"00-{told['TRACE']}-{told['SPAN']}-01" == given["TRACEPARENT"]
    assert set() == given.keys() & {"TRACESTATE", "BAGGAGE", "QMAIL_POPUP_SPOOL"}
    assert (32, 16) == (len(told["TRACE"]), len(told["SPAN"]))


def test_without_a_mirror_a_trace_is_inherited(tmp_path: Path) -> None:
    """Off, the environment is left alone."""
    out = tmp_path / "env"
    with Popup(POPUP, shell(f"env >{out}"), env={"PATH": "/bin", "QMAIL_POPUP_SPOOL": "", **TRACED}) as popup:
        popup.talk(LOGIN)
    assert TRACED.items() <= dict(line.split("=", 1) for line in out.read_text().splitlines()).items()


def test_a_mirror_that_is_not_there(tmp_path: Path) -> None:
    """A fault of the mirror fails no login, not even where its module is missing."""
    package = tmp_path / "qmail_popup"
    shutil.copytree(CHECKOUT / "qmail_popup", package, ignore=shutil.ignore_patterns("__pycache__"))
    environ = {"PATH": "/bin", "QMAIL_POPUP_SPOOL": str(tmp_path)}
    with Popup(["/usr/bin/python3", "-B", "-S", "-m", "qmail_popup"], env=environ, cwd=tmp_path) as popup:
        assert b"+OK\r\n+OK \r\n" == popup.talk(LOGIN)
        assert (0, b"", [popup.record("Accept")]) == (popup.status(), popup.errors(), popup.records())
    assert [package] == list(tmp_path.iterdir())


def test_a_pusher_is_started_by_where_the_popup_stands(tmp_path: Path) -> None:
    """On a host with a gateway and no sidecar, the session's own program tells which pusher belongs to it."""
    spool, state = tmp_path / "spool", tmp_path / "state.sqlite"
    spool.mkdir(mode=0o770)
    told = {"PUSHGATEWAY": "http://127.0.0.1:1", "SPOOL": spool, "STATE": state}
    environ = {"PATH": "/usr/bin:/bin", **{f"QMAIL_POPUP_{name}": str(value) for name, value in told.items()}}
    with Popup(POPUP, ACCEPTS, env=environ) as popup:
        popup.talk(LOGIN)
        assert 0 == popup.status()
    try:
        until(state.exists)
    finally:
        for pid in _holding(spool / "pusher.lock"):
            os.kill(pid, SIGKILL)


def _holding(file: Path) -> list[int]:
    """Return the processes that have a file open as descriptor 0."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "fd/0").readlink() == file:
                found.append(int(process.name))
    return found


def test_stale_numbers_do_not_close_the_mirror(tmp_path: Path) -> None:
    """The mirror's connection may get a number that UCSPI-TLS names and that was not open."""
    stale = {"UCSPITLS": "", "SSLCTLFD": "10", "SSLREADFD": "11", "SSLWRITEFD": "12"}
    with RunningSidecar(tmp_path) as sidecar:
        told = {"QMAIL_POPUP_SIDECAR": str(sidecar.socket), "QMAIL_POPUP_SPOOL": str(sidecar.spool)}
        with Popup(POPUP, env={"PATH": "/usr/bin:/bin", **stale, **told}) as popup:
            popup.talk(LOGIN)
            assert 0 == popup.status()
        assert sidecar.reaches(1, "sessions_total", **SESSION)
        assert 0 == sidecar.value("sessions_total", **KILLED)
