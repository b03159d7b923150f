"""A mail host under daemontools: our service directories, and an account with mail."""

import sys
from pathlib import Path

from tests.support import maildir, subprogram
from tests.support.descriptors import CHECKOUT
from tests.support.maildir import Account
from tests.support.scraper import Numbers, counts, read
from tests.support.server import HOST
from tests.support.svscan import Svscan
from tests.support.waiting import until

# Accounts on every Debian host: one whose group popups can be in, one for logs.
SIDECAR, LOGGER = "daemon", "bin"

_STAND_IN = """\
#!/bin/sh
# The options of sslserver's manual. Of them this stand-in knows what decides who begins TLS.
while getopts 1346dDvVqQhHrRUXx:t:T:u:g:l:b:B:c:pPoOI:EeSsw:nNzZm option; do
  case $option in n) wait=yes ;; '?') exit 100 ;; esac
done
shift $((OPTIND - 1))
if [ "$wait" ]; then export UCSPITLS="${{UCSPITLS-}}"; else unset UCSPITLS; fi
PYTHONPATH={checkout} exec {python} -m tests.support.ucspi_tls "$@"
"""


class Host:
    """Service directories configured for a prefix and an account with mail."""

    def __init__(self, directory: Path, prefix: Path, scanner: type[Svscan] = Svscan) -> None:
        """Create the account. directory: accessible to all users; scanner: starts the services."""
        self.svscan = scanner(directory)
        self.bob: Account = maildir.account(directory)
        self.spool, self.state = directory / "spool", directory / "state/state.sqlite"
        self.socket = directory / "run/sidecar.sock"
        self._common = {
            "PREFIX": str(prefix),
            "QMAIL_POPUP_SIDECAR": str(self.socket),
            "QMAIL_POPUP_SPOOL": str(self.spool),
        }
        passwords = maildir.pwfile(directory / "passwd", self.bob)
        checker, told = subprogram.checker(passwords)
        self._checker = {
            "CHECKER": " ".join(checker),
            "POP3_SERVER": subprogram.pop3_server_line(),
            **told,
        }

    def place_server(self, name: str, *, rules: str = "", **env: str) -> None:
        """Set up pop3 or pop3s on a port chosen by the kernel; env: other changes."""
        where = {"ADDRESS": HOST, "PORT": "0"}
        self.svscan.place(name, {**self._common, **where, **self._checker, **env}, logger=LOGGER, rules=rules)

    def place_sslserver(self) -> None:
        """Put a substitute for sslserver into PATH."""
        self.svscan.program("sslserver", _STAND_IN.format(checkout=CHECKOUT, python=sys.executable))

    def place_listener(self, options: str, **env: str) -> None:
        """Set up the listener; env: other changes."""
        told = {**self._common, **self._checker, "OPTIONS": options, **env}
        self.svscan.place("listener", told, logger=LOGGER)

    def place_sidecar(self) -> None:
        """Set up the sidecar, with its metrics on a port chosen by the kernel."""
        env = {
            "ACCOUNT": SIDECAR,
            "QMAIL_POPUP_STATE": str(self.state),
            "OPTIONS": "--listen 127.0.0.1:0 --sessions-limit 7",
        }
        self.svscan.place("sidecar", {**self._common, **env}, logger=LOGGER)

    def start(self) -> None:
        """Start all services; wait for the directories that a sidecar creates at its first start."""
        self.svscan.start()
        if self.svscan.place_of("sidecar").exists():
            until(self.spool.is_dir)

    def records(self, name: str, count: int) -> list[str]:
        """Wait for `count` records in a service's log; return them without pids."""

        def found() -> list[str]:
            lines = [line for line in self.svscan.log(name) if line.startswith("qmail-popup: pid ")]
            return [line.split(" ", 3)[3] for line in lines]

        until(lambda: len(found()) >= count)
        return found()

    def numbers(self) -> Numbers:
        """Wait for the sidecar, then scrape it at the latest URL in its log."""
        until(lambda: bool(self.starts()))
        return read(self.starts()[-1])

    def starts(self) -> list[str]:
        """Return the URL of the metrics for each start of the sidecar."""
        said = "metrics are on "
        return [line.split(said)[1] for line in self.svscan.log("sidecar") if said in line]

    def counts_to(self, *results: str) -> bool:
        """Return whether the sidecar counts these logins in time."""
        wanted = {(result,): results.count(result) for result in results}
        until(lambda: wanted == counts(self.numbers(), "auth_attempts_total", "result"))
        return True
