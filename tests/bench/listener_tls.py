"""The listener's measurements over TLS, with what it is held against in the same run: Dovecot, and stunnel.

New sessions all: no client resumes one. The certificate is ECDSA, the same for all servers.
"""

import hashlib
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from tests.bench import listener_costs as costs
from tests.bench import listener_servers as servers
from tests.bench.listener_servers import Running
from tests.support import authority, big_mail, maildir, secure, subprogram
from tests.support.authority import Authority
from tests.support.programs import need
from tests.support.resident import HOST, Listener, read_line
from tests.support.server import free_port
from tests.support.waiting import until

_ROUNDS, _EACH = 12, 25
_IDLE = 2_000
_PIECE = 1 << 18
_STUNNEL = """foreground = yes
syslog = no
pid =
[pop3s]
accept = {host}:{port}
connect = {host}:{behind}
cert = {both}
"""


def run(prefix: Path, directory: Path) -> Iterator[str]:
    """Measure the listener that is installed at `prefix`; return a line for each figure."""
    keys = directory / "keys"
    keys.mkdir()
    made = authority.make(keys)
    yield from _mailboxes(prefix, directory / "tls", made)
    yield from _hundred_megabytes(prefix, directory / "big", made)
    yield from _idle(prefix, directory / "tls-idle", made)


def _mailboxes(prefix: Path, directory: Path, made: Authority) -> Iterator[str]:
    directory.mkdir()
    directory.chmod(0o755)
    mail = servers.mail(directory)
    visit = _Visit(made)
    with ExitStack() as stack:
        start = stack.enter_context
        behind = start(servers.tcp(servers.popup(prefix, *mail.subprogram), mail.env))
        running = {
            "listener": start(listener(prefix, directory / "listener", mail, made)),
            "stunnel": start(stunnel(directory, made, behind)),
            "dovecot": start(servers.dovecot(directory / "dovecot", reuse=False, secure=made)),
        }
        visits = {name: (server, visit.mailbox) for name, server in running.items()}
        spent = costs.costs(visits, _ROUNDS, _EACH)
    yield (
        f"login and mailbox over POP3S: {spent['listener']:.3f} ms of CPU, "
        f"{spent['listener'] / spent['dovecot']:.2f} of dovecot ({spent['dovecot']:.2f} ms; goal 0.25), "
        f"{spent['listener'] / spent['stunnel']:.2f} of stunnel in front of tcpserver and the popup "
        f"({spent['stunnel']:.2f} ms; goal 0.5)"
    )


def _hundred_megabytes(prefix: Path, directory: Path, made: Authority) -> Iterator[str]:
    directory.mkdir()
    owner = maildir.account(directory)
    digest = big_mail.deliver(owner)
    check, env = subprogram.checker(maildir.pwfile(directory / "passwd", owner))
    program = [*check, *subprogram.pop3_server()]
    mail = servers.Mail(directory, program, env, [])
    with ExitStack() as stack:
        behind = stack.enter_context(servers.tcp(servers.popup(prefix, *program), env))
        ours = stack.enter_context(listener(prefix, directory / "listener", mail, made))
        theirs = stack.enter_context(stunnel(directory, made, behind))
        visit = _Visit(made)
        taken: dict[str, list[float]] = {"listener": [], "stunnel": []}
        for _ in range(5):  # in turn, so that what else the machine does matters less
            taken["listener"].append(visit.fetch(ours.port, digest))
            taken["stunnel"].append(visit.fetch(theirs.port, digest))
    mine, other = (big_mail.SIZE / 1e6 / min(taken[name]) for name in ("listener", "stunnel"))
    yield (
        f"100 MB of mail over POP3S: {mine:.0f} MB/s, {mine / other:.2f} of stunnel in front of tcpserver "
        f"({other:.0f} MB/s; goal 1.0; the best of 5 each)"
    )


def _idle(prefix: Path, directory: Path, made: Authority) -> Iterator[str]:
    directory.mkdir()
    mail = servers.Mail(directory, ["/bin/true"], {}, [])
    with listener(prefix, directory, mail, made) as running:
        _Visit(made).greet(running.port).close()
        before = costs.memory(running.pid)
        with ExitStack() as stack:
            visit = _Visit(made)
            for _ in range(_IDLE):
                stack.enter_context(closing(visit.greet(running.port)))
            held = costs.memory(running.pid)
    each = (held - before) * 1024 / _IDLE
    yield f"an idle connection with TLS, {_IDLE} open: {each / 1000:.2f} kB of private memory (goal 25)"


class _Visit:
    """A client that trusts the authority, and resumes no session."""

    def __init__(self, made: Authority) -> None:
        self._context = made.trusted()

    def greet(self, port: int) -> ssl.SSLSocket:
        """Connect, and take the greeting."""
        bare = socket.create_connection((HOST, port))
        peer = self._context.wrap_socket(bare, server_hostname="localhost")
        if not peer.recv(512).startswith(b"+OK"):
            raise RuntimeError("no greeting")
        return peer

    def mailbox(self, port: int) -> None:
        """Log in, look at the mailbox, and leave."""
        with self.greet(port) as peer:
            for line in (b"USER bob\r\n", b"PASS secret\r\n", b"STAT\r\n"):
                costs.ask(peer, line)
            peer.sendall(b"QUIT\r\n")
            costs.end(peer)

    def fetch(self, port: int, digest: str) -> float:
        """Fetch the first message; how many seconds that took, from asking for it to its last byte."""
        with self.greet(port) as peer:
            for line in (b"USER bob\r\n", b"PASS secret\r\n"):
                costs.ask(peer, line)
            began = time.perf_counter()
            peer.sendall(b"RETR 1\r\n")
            read_line(peer)
            found, left = hashlib.sha256(), big_mail.SIZE
            while left:
                data = peer.recv(min(_PIECE, left))
                if not data:
                    raise RuntimeError(f"{left} bytes are missing")
                found.update(data)
                left -= len(data)
            taken = time.perf_counter() - began
        if found.hexdigest() != digest:
            raise RuntimeError("another mail has come")
        return taken


@contextmanager
def listener(prefix: Path, directory: Path, mail: servers.Mail, made: Authority) -> Iterator[Running]:
    """Run the installed listener; its port is that of POP3S."""
    directory.mkdir(parents=True, exist_ok=True)
    pair = ["--tls-certificate", str(made.certificate), "--tls-key", str(made.key)]
    wide = ["--connections-per-client", "100000", "--sessions", "200", "--pop3s", f"{HOST}:0", *pair]
    command = [str(prefix / "bin/qmail-popup-listener")]
    with Listener(directory, *wide, subprogram=mail.subprogram, env=mail.env, command=command) as running:
        yield Running(running.process.pid, secure.port(running))


@contextmanager
def stunnel(directory: Path, made: Authority, behind: Running) -> Iterator[Running]:
    """Run stunnel in front of a server; what it costs is what both cost."""
    (program,) = need("stunnel4")
    port, settings = free_port(), directory / "stunnel.conf"
    both = made.both(directory / "both.pem")
    settings.write_text(_STUNNEL.format(host=HOST, port=port, behind=behind.port, both=both))
    with subprocess.Popen([program, settings], stderr=subprocess.DEVNULL) as child:
        try:
            until(lambda: _accepts(port))
            yield Running(child.pid, port, (behind.pid,))
        finally:
            child.terminate()


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
