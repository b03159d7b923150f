"""What deploy/ says of the listener under daemontools: the pages' own commands, on a real svscan.

The paths of the pages lie below a directory of the test's own, and accounts, checker and port are this
machine's; all else is as it stands there.
"""

import poplib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import authority
from tests.support.descriptors import CHECKOUT
from tests.support.documents import commands
from tests.support.maildir import MESSAGES
from tests.support.programs import environ_without_make, need, need_root
from tests.support.server import HOST, free_port
from tests.support.services import LOGGER, Host
from tests.support.waiting import TIMEOUT, until

PAGE, README = CHECKOUT / "deploy/OPERATIONS.md", CHECKOUT / "deploy/daemontools/README.md"
_MOVE = "From tcpserver or sslserver to the listener"


class Operator:
    """Somebody who has a host with tcpserver, and follows the page."""

    def __init__(self, place: Path, prefix: Path, service: str) -> None:
        """Lay the host out in `place`, which all accounts may enter. service: pop3 or pop3s."""
        self.host, self.port = Host(place, prefix), free_port()
        self._place, self.service = place, service
        self._certificates = authority.make(place)
        self.host.place_sslserver()
        tls = {} if service == "pop3" else self._certificates.environment
        self.host.place_server(service, PORT=str(self.port), **tls)
        (place / "etc/qmail-popup").mkdir(parents=True)
        (place / "etc/qmail-popup" / service).symlink_to(place / "service" / service)
        self._edit(prefix)

    def _edit(self, prefix: Path) -> None:
        """Edit a copy of the directory that the page copies, where a host differs from ours."""
        made = self._certificates
        tls = "" if self.service == "pop3" else f"--tls-certificate {made.certificate} --tls-key {made.key}"
        copy = Path(shutil.copytree(CHECKOUT / "deploy/daemontools/listener", self._checkout / "listener"))
        told = {
            "env/OPTIONS": f"--{self.service} {HOST}:{self.port} --rules tcp.cdb {tls}",
            "env/PREFIX": str(prefix),
            "log/env/ACCOUNT": LOGGER,
            "log/env/DIRECTORY": str(self._place / "log/listener"),
        }
        for file in (self._place / "service" / self.service / "env").glob("CVM_*"):
            told[f"env/{file.name}"] = file.read_text().strip()
        for name, value in told.items():
            (copy / name).write_text(f"{value}\n")

    def have_the_checker(self) -> None:
        """Edit the copy further: the checker and the POP3 server of this machine."""
        for name in ("CHECKER", "POP3_SERVER"):
            shutil.copy(
                self._place / "service" / self.service / "env" / name, self._checkout / "listener/env"
            )

    @property
    def _checkout(self) -> Path:
        return self._place / "checkout/deploy/daemontools"

    def follow(self, block: str) -> str:
        """Type what stands there, as root in the checkout, of our service; what it says."""
        block = re.sub(r"\bpop3\b", self.service, block)
        script = block.replace("/etc/service", f"{self._place}/service")
        done = subprocess.run(
            ["sh", "-eu", "-c", script.replace("/etc/qmail-popup", f"{self._place}/etc/qmail-popup")],
            cwd=self._place / "checkout",
            env=environ_without_make(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert 0 == done.returncode, (script, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def connect(self) -> poplib.POP3:
        """Log in, once somebody serves."""
        until(self._is_served)
        client = self._connected()
        client.user("bob")
        client.pass_("secret")
        return client

    def _connected(self) -> poplib.POP3:
        if self.service == "pop3":
            return poplib.POP3(HOST, self.port, TIMEOUT)
        return poplib.POP3_SSL(HOST, self.port, timeout=TIMEOUT, context=self._certificates.trusted())

    def _is_served(self) -> bool:
        try:
            self._connected().quit()
        except OSError:
            return False
        return True

    def runs(self) -> list[str]:
        """Return which of both services are up."""
        return [name for name in (self.service, "listener") if self.host.svscan.pid(name)]


@pytest.fixture(params=["pop3", "pop3s"])
def operator(shared_prefix: Path, request: pytest.FixtureRequest) -> Iterator[Operator]:
    """Return one, at a host on which tcpserver serves, or sslserver."""
    need_root()
    need("svscan", "tcprules", "envdir")
    with tempfile.TemporaryDirectory(prefix="move-") as name:
        Path(name).chmod(0o755)
        found = Operator(Path(name), shared_prefix, request.param)
        with found.host.svscan:
            found.host.start()
            yield found


def test_to_the_listener_and_back(operator: Operator) -> None:
    """By the page's commands; who is logged in stays so both ways, and mail is served after each."""
    prepare, switch, back, *_ = commands(PAGE, _MOVE)
    assert "" == operator.follow(prepare)
    assert "" == operator.follow(commands(PAGE, "The listener")[-1])
    until(lambda: _is_supervised(operator))
    before = operator.connect()
    operator.follow(switch)
    until(lambda: ["listener"] == operator.runs())
    meanwhile = operator.connect()
    operator.follow(back)
    until(lambda: [operator.service] == operator.runs())
    after = operator.connect()
    for client in (before, meanwhile, after):
        assert len(MESSAGES) == client.stat()[0]
        client.quit()
    assert 1 == len(operator.host.records("listener", 1))


def test_without_a_server_before(operator: Operator) -> None:
    """By the commands of deploy/daemontools: it starts by itself, and has the name that was told."""
    operator.host.svscan.control("-d", operator.service)
    until(lambda: [] == operator.runs())
    operator.have_the_checker()
    assert "" == operator.follow(commands(README, "The listener")[0])
    client = operator.connect()
    assert len(MESSAGES) == client.stat()[0]
    client.quit()
    assert b"pop.your.domain\0" in Path(f"/proc/{operator.host.svscan.pid('listener')}/cmdline").read_bytes()


def _is_supervised(operator: Operator) -> bool:
    place = operator.host.svscan.place_of("listener")
    return subprocess.run([*need("svok"), place], check=False).returncode == 0
