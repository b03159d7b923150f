"""What was typed as a password: nowhere in what the instrumentation keeps, sends, shows or logs."""

import os
import re
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.support.collector import Collector
from tests.support.popup import REFUSES, Popup, shell
from tests.support.processes import children
from tests.support.sidecar import RunningSidecar
from tests.support.waiting import eventually

SECRET = b"correct-horse-4711-battery-staple"
QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "50"}
WAITS = shell("cat <&3 >/dev/null; env >&2; echo here; cat")
"""A subprogram that has read its secret, shows its environment to its client, and stays."""

_WRITABLE = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) rw", re.MULTILINE)


def mirrored(sidecar: RunningSidecar) -> dict[str, str]:
    """Return the environment of a popup that tells sidecar."""
    paths = {"QMAIL_POPUP_SIDECAR": str(sidecar.socket), "QMAIL_POPUP_SPOOL": str(sidecar.spool)}
    return {"PATH": os.environ["PATH"], **paths}


def popup(subprogram: tuple[str, ...], environ: dict[str, str]) -> Popup:
    """Return one that runs."""
    return Popup([sys.executable, "-m", "qmail_popup"], subprogram, env=environ)


def shown(sidecar: RunningSidecar) -> Iterator[bytes]:
    """Yield what /metrics shows in either format."""
    for accepted in ("text/plain", "application/openmetrics-text"):
        request = urllib.request.Request(sidecar.url, headers={"Accept": accepted})  # noqa: S310  our own URL
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            yield answer.read()


def kept(directory: Path) -> Iterator[bytes]:
    """Yield every file below directory: store, spool, key, log and messages."""
    return (path.read_bytes() for path in directory.rglob("*") if path.is_file())


def memory(pid: int) -> Iterator[bytes]:
    """Yield all that a process can have written to: more than a core file of it would hold."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as bytes_of:
        for start, end in _WRITABLE.findall(Path(f"/proc/{pid}/maps").read_bytes()):
            bytes_of.seek(int(start, 16))
            with suppress(OSError):
                yield bytes_of.read(int(end, 16) - int(start, 16))


def test_a_password_that_is_typed_as_a_user_name_goes_nowhere(tmp_path: Path) -> None:
    """With the defaults, by the socket and by the spool: it is in the record, and nobody repeats that."""
    said = b"USER " + SECRET + b"\r\nPASS x\r\n"
    with (
        Collector() as collector,
        RunningSidecar(
            tmp_path, "--otlp", collector.url, "--otlp-metrics", "--json-log", environ=QUICK
        ) as sidecar,
    ):
        for socket in (sidecar.socket, tmp_path / "nobody"):
            environ = {**mirrored(sidecar), "QMAIL_POPUP_SIDECAR": str(socket)}
            with popup(REFUSES, environ) as running:
                running.talk(said)
                assert 1 == running.status()
                assert SECRET in running.records()[0]
        assert sidecar.reaches(2, "auth_attempts_total", result="rejected", method="User", protocol="POP3")
        assert eventually(lambda: len(collector.spans()) == 4)
        metrics = list(shown(sidecar))
        assert 0 == sidecar.stop()
        assert 2 == sidecar.log.read_text().count("user.hash")
    sent = [request.body for request in collector.requests]
    assert any(b"user.hash" in body for body in sent)
    assert not any(SECRET in found for found in (*sent, *metrics, *kept(tmp_path)))


def test_a_password_is_in_nobodys_hands(tmp_path: Path) -> None:
    """Neither what is kept and sent, nor the memory of popup, sidecar and exporter, nor any environment."""
    with (
        Collector() as collector,
        RunningSidecar(
            tmp_path, "--otlp", collector.url, "--json-log", "--user-names", "plain", environ=QUICK
        ) as sidecar,
    ):
        with popup(WAITS, mirrored(sidecar)) as running:
            told = _serve(running)
            assert b"TRACEPARENT=" in told
            assert SECRET not in told
            pids = [running.process.pid, sidecar.process.pid, *children(sidecar.process.pid)]
            assert 3 == len(pids)
            assert [] == [pid for pid in pids if _knows(pid, SECRET)]
            assert _knows(running.process.pid, b"pop.example.org")
            running.line.end()
            assert 0 == running.status()
        assert eventually(lambda: len(collector.spans()) > 0)
        metrics = list(shown(sidecar))
        assert 0 == sidecar.stop()
        assert "bob" in sidecar.log.read_text()
    sent = [request.body for request in collector.requests]
    assert not any(SECRET in found for found in (*sent, *metrics, *kept(tmp_path)))


def _serve(running: Popup) -> bytes:
    """Log in; return what the subprogram shows once it has read the password."""
    running.line.send(b"USER bob\r\nPASS " + SECRET + b"\r\n")
    told = b""
    while not told.endswith(b"here\n"):
        told += running.line.receive_line()
    return told


def _knows(pid: int, word: bytes) -> bool:
    environ = Path(f"/proc/{pid}/environ").read_bytes()
    return word in environ or any(word in region for region in memory(pid))
