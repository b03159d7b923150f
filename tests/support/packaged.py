"""The product as installed by the Debian package: its sidecar and popup, run in a throwaway root."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import maildir, subprogram
from tests.support.clients import curl
from tests.support.programs import need
from tests.support.scraper import counts, read
from tests.support.server import Server, serving, tcpserver
from tests.support.throwaway import ThrowAwayRoot
from tests.support.waiting import TIMEOUT, until

SOCKET, SPOOL, STATE = "/run/qmail-popup/sidecar.sock", "/var/spool/qmail-popup", "/var/lib/qmail-popup"
UNITS = Path("usr/lib/systemd/system")
SIDECAR = ("qmail-popup-sidecar.socket", "qmail-popup-sidecar.service")


class Sidecar:
    """The sidecar, run as by its units except for the port: it starts at the first connection."""

    def __init__(self, root: ThrowAwayRoot, log: Path) -> None:
        """Listen on its socket. log: file for its output."""
        (activate,) = need("systemd-socket-activate")
        (start,) = re.findall(r"^ExecStart=(\S+)", (root.path / UNITS / SIDECAR[1]).read_text(), re.MULTILINE)
        account = ["setpriv", "--reuid=qmailpop", "--regid=qmailpop", "--init-groups"]
        command = root.command(activate, "-l", SOCKET, *account, start, "--listen", "127.0.0.1:0")
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(command, stderr=errors)
        until((root.path / SOCKET[1:]).is_socket)

    def counts(self, attempts: int) -> bool:
        """Return whether it counts this many accepted logins in time."""
        until(lambda: "metrics are on" in self._log.read_text() or self._process.poll() is not None)
        (url,) = re.findall(r"metrics are on (\S+)", self._log.read_text())
        until(lambda: {("accepted",): attempts} == counts(read(url), "auth_attempts_total", "result"))
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(TIMEOUT)


@contextmanager
def pop3(root: ThrowAwayRoot) -> Iterator[Server]:
    """Serve bob's mail in the root, with tcpserver and the installed popup."""
    bob = replace(maildir.account(root.path / "srv"), home=Path("/srv/bob"))
    maildir.pwfile(root.path / "srv/passwd", bob)
    checker, told = subprogram.checker(Path("/srv/passwd"))
    command = tcpserver("/usr/bin/qmail-popup", "pop.example.org", *checker, *subprogram.pop3_server())
    with serving(root.command(*command), {**told, "QMAIL_POPUP_SIDECAR": SOCKET}) as server:
        yield server


def log_in(server: Server) -> None:
    """Read a message as bob, and wait until the session has ended."""
    assert 0 == curl(server, "bob:secret", "1").returncode
    server.settled_records()
