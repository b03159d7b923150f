"""What the listener is measured beside, all in clear: tcpserver with the popup or mailfront, and Dovecot."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support import maildir, processes
from tests.support.authority import Authority
from tests.support.programs import need
from tests.support.resident import HOST, HOSTNAME, Listener
from tests.support.server import serving, tcpserver
from tests.support.waiting import until

_USER_ID = 1000  # Dovecot serves nobody as root


class Running(NamedTuple):
    """A server that runs: the first of its processes, where it listens, and servers behind it."""

    pid: int
    port: int
    others: tuple[int, ...] = ()


class Mail(NamedTuple):
    """An account, and what checks its password and serves its mail, with its environment."""

    directory: Path
    subprogram: Sequence[str]
    env: Mapping[str, str]
    auth: Sequence[str]
    """The same with mailfront's own front end in place of the popup."""


def mail(directory: Path) -> Mail:
    """Make an account."""
    account = maildir.account(directory)
    names = ("cvm-checkpassword", "cvm-pwfile", "pop3front-maildir", "pop3front-auth")
    checkpassword, pwfile, serve, auth = need(*names)
    passwords = maildir.pwfile(directory / "passwd", account)
    env = {"CVM_PWFILE_PATH": str(passwords), "CVM_ACCOUNT_SPLIT_CHARS": ""}
    quiet = ["/bin/sh", "-c", 'exec "$0" "$@" 2>/dev/null']
    return Mail(
        directory,
        [checkpassword, pwfile, serve, "Maildir"],
        env | {"QMAIL_POPUP_STDERR": "keep"},
        [*quiet, auth, pwfile, serve, "Maildir"],
    )


@contextmanager
def listener(
    prefix: Path,
    directory: Path,
    subprogram: Sequence[str],
    env: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> Iterator[Running]:
    """Run the installed listener."""
    directory.mkdir(parents=True, exist_ok=True)
    wide = ("--connections-per-client", "100000", "--sessions", "200", *options)
    command = [str(prefix / "bin/qmail-popup-listener")]
    with Listener(directory, *wide, subprogram=subprogram, env=env, command=command) as running:
        yield Running(running.process.pid, running.port)


@contextmanager
def tcp(program: Sequence[str], env: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Run a program for each connection, under tcpserver."""
    with serving(tcpserver(*program, at_once=200), env or {}) as server:
        yield Running(server.pid, server.port)


def popup(prefix: Path, *subprogram: str) -> list[str]:
    """Return the command line of the installed popup."""
    return [str(prefix / "bin/qmail-popup"), HOSTNAME, *subprogram]


@contextmanager
def dovecot(directory: Path, *, reuse: bool, secure: Authority | None = None) -> Iterator[Running]:
    """Run Dovecot as it comes, with a login process a connection, or with processes that serve many.

    secure: it speaks POP3S, with this certificate
    """
    (program,) = need("dovecot")
    directory.mkdir()
    directory.chmod(0o755)
    account = maildir.account(directory)
    for path in (account.home, *account.home.rglob("*")):
        os.chown(path, _USER_ID, _USER_ID)
    (directory / "passwd").write_text(f"bob:{{plain}}secret:{_USER_ID}:{_USER_ID}::{account.home}::\n")
    port = _free_port()
    names = (
        {"port": 0, "secure_port": port, "tls": _TLS.format(made=secure)}
        if secure
        else _CLEAR | {"port": port}
    )
    many = _MANY if reuse else ""
    (directory / "conf").write_text(_CONFIGURATION.format(directory=directory, many=many, **names))
    with subprocess.Popen([program, "-F", "-c", directory / "conf"], stderr=subprocess.DEVNULL) as child:
        try:
            until(lambda: _answers(port, secure))
            yield Running(child.pid, port)
        finally:
            for pid in (child.pid, *processes.children(child.pid)):
                os.kill(pid, signal.SIGTERM)


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def _answers(port: int, secure: Authority | None) -> bool:
    try:
        with socket.create_connection((HOST, port)) as peer:
            return secure is not None or peer.recv(512).startswith(b"+OK")
    except ConnectionError:
        time.sleep(0.1)
        return False


_CONFIGURATION = """protocols = pop3
listen = 127.0.0.1
base_dir = {directory}/run
log_path = {directory}/log
{tls}
disable_plaintext_auth = no
mail_location = maildir:~/Maildir
mail_max_userip_connections = 1000
passdb {{
  driver = passwd-file
  args = scheme=plain {directory}/passwd
}}
userdb {{
  driver = passwd-file
  args = {directory}/passwd
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {port}
  }}
  inet_listener pop3s {{
    port = {secure_port}
    ssl = yes
  }}
  {many}
}}
service pop3 {{
  {many}
}}
"""
_MANY = "service_count = 0"
_CLEAR: dict[str, object] = {"secure_port": 0, "tls": "ssl = no"}
_TLS = "ssl = yes\nssl_cert = <{made.certificate}\nssl_key = <{made.key}"
