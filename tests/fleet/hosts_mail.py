"""A mail host: tcpserver, the installed popup, a checker that may break, POP3 and POP3S, and a sidecar.

It knows nothing of who watches it: where to push, if at all, is among the options that it is started with.
"""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import maildir, subprogram
from tests.support.authority import Authority
from tests.support.keeper import Keeper
from tests.support.networks import Node
from tests.support.server import Server, serving, tcpserver

AT_ONCE = 100
_METRICS_PORT = 9110

# $1: while this file is there, the checker breaks.
_CHECKER = '[ ! -e "$1" ] || exit 111; shift; exec "$@"'


class MailHost:
    """One host of a network; leaving the context ends all that runs on it.

    account: whose mail it has
    """

    def __init__(self, directory: Path, node: Node, installed: Path) -> None:
        """Keep what it has below `directory`; installed: the PREFIX of the product."""
        directory.mkdir()
        self.node, self._installed = node, installed
        self.account = maildir.account(directory)
        self._passwords = maildir.pwfile(directory / "passwd", self.account)
        self._broken = directory / "broken"
        self._keeper = Keeper(directory, [*node.enter, str(installed / "bin/qmail-popup-sidecar")])
        self._running = ExitStack()
        self._servers: list[Server] = []

    def start(self, certificates: Authority | None = None, options: Sequence[str] = ()) -> Self:
        """Start all; with certificates there is POP3S too. options: the sidecar's."""
        self._running.enter_context(self._keeper)
        port = _METRICS_PORT if self.node.has_own_ports else 0
        listen = f"--listen={self.node.address}:{port}"
        self._keeper.start(listen, f"--sessions-limit={AT_ONCE}", *options)
        self._serve(tcpserver(at_once=AT_ONCE, host=self.node.address), {})
        if certificates:
            secure = [sys.executable, "-m", "tests.support.ucspi_tls", self.node.address, "0"]
            self._serve(secure, certificates.environment)
        return self

    @property
    def mirror(self) -> Mapping[str, str]:
        """What the popups are told of the sidecar."""
        return self._keeper.environment

    @property
    def pop3(self) -> int:
        """The port of POP3."""
        return self._servers[0].port

    @property
    def pop3s(self) -> int:
        """The port of POP3S."""
        return self._servers[1].port

    @property
    def target(self) -> str:
        """Where it is scraped."""
        return self._keeper.url.removeprefix("http://").removesuffix("/metrics")

    def break_checker(self) -> None:
        """From now on nobody can be checked."""
        self._broken.touch()

    def mend_checker(self) -> None:
        """From now on everybody can be checked again."""
        self._broken.unlink()

    def _serve(self, server: Sequence[str], env: Mapping[str, str]) -> None:
        check, told = subprogram.checker(self._passwords)
        popup = [str(self._installed / "bin/qmail-popup"), "pop.example.org"]
        checker = ["/bin/sh", "-c", _CHECKER, "sh", str(self._broken), *check]
        program = [*self.node.enter, *server, *popup, *checker, *subprogram.pop3_server()]
        running = serving(program, {**env, **told, **self.mirror})
        self._servers.append(self._running.enter_context(running))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._running.close()
