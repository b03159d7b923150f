"""The commands of the runbooks, each as it stands there, on a host where something is going on.

Paths, addresses and ports are those of the test; the kernel's log is a file.
"""

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from observability.event import build
from tests.dashboards.test_rules import RUNBOOKS
from tests.support import authority
from tests.support.popup import LOGIN
from tests.support.programs import need
from tests.support.server import HOST, serving
from tests.support.sidecar import REJECTED, RunningSidecar, connect, deliver, fields, hello_of
from tests.support.waiting import eventually, until

_COMMANDS = re.findall(r"^```sh\n(.*?)\n```$", RUNBOOKS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
_FORGED = "eve' Accept::AUTH::User P:POP3 S:192.0.2.7:x ?~ 'bob"
_LINES = (
    ("Accept", "P:POP3", "192.0.2.7", "alice"),
    ("Reject", "P:POP3", "192.0.2.66", "bob"),
    ("Reject", "P:POP3S", "192.0.2.66", "bob"),
    ("Reject", "P:POP3", "2001:db8::1", _FORGED),
    ("Accept", "P:POP3S", "192.0.2.8", "carol"),
    ("Accept", "P:POP3", "192.0.2.7", "alice"),
)
_KERNEL = "Nov 28 03:00:00 mail1 kernel: Out of memory: Killed process 4711 (qmail-popup)\n"

# By what a command has in it: what it has to find.
FINDS = {
    "/^Reject::AUTH/": r"\A *2 192\.0\.2\.66\n *1 2001:db8::1\n\Z",
    "s/^[^ ]* qmail-popup:": rf"\A *2 bob\n *1 {re.escape(_FORGED)}\n\Z",
    r"S:192\.0\.2\.7:'": r"\A(?:@\S+ qmail-popup: pid 1 Accept::.* S:192\.0\.2\.7:x .*\n){2}\Z",
    "Accept::' ": r"\A\d{4}-\d\d-\d\d \S+ qmail-popup: pid 1 Accept::AUTH::User .* 'alice'\n\Z",
    '"P:POP3" {': r"\A *2 192\.0\.2\.7\n\Z",
    "tail -1 ": r"\A\d{4}-\d\d-\d\d \S+ qmail-popup: pid 1 Accept::.* 'alice'\n\Z",
    "(Accept|Reject)::'": r"\A6\n\Z",
    '"reason": ': r'\A\{.*"reason": "temporary".*\}\n\Z',
    '"tls_failed"': r'\A\{.*"ended": "tls_failed".*\}\n\Z',
    '"(killed|error)"': r'\A\{.*"ended": "killed".*\}\n\Z',
    '"level": "warning"': r'"level": "warning"',
    "answered (GET|POST)": r"cannot reach",
    "-starttls pop3": r"\AnotBefore=.*\nnotAfter=.*\nsubject=.*\n\Z",
    "-connect mail1:995": r"\AnotBefore=.*\nnotAfter=.*\nsubject=.*\nissuer=.*\n\Z",
    "journalctl": r"Out of memory",
    "ps -eo": r"\A *\d+ +\d+ \S+ +checkpassword 600\n",
    "ss -Htn": rf"\A *1 {re.escape(HOST)}\n\Z",
    "df -h": r"(?s)Filesystem.*lost",
    "ls -la ": r"lost",
    "QMAIL_POPUP_PUSHGATEWAY": r"(?s)pop3/env/QMAIL_POPUP_PUSHGATEWAY\n.*pop3/run\n",
    "svstat ": r"(?s)sidecar: .*@|sidecar: ",
    "curl ": r"\A\d{2,}\n\Z",
}


class Host:
    """A host's files below a directory, and what stands for its addresses."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ports: dict[str, str] = {}

    def run(self, command: str) -> str:
        """Run a command of the page on this host; what it says."""
        script = re.sub(r"/(?:var|etc/service)/", lambda found: f"{self.root}{found[0]}", command)
        for told, here in self.ports.items():
            script = script.replace(told, here)
        script = script.replace("journalctl -k --since -1h", f"cat {self.root}/kernel")
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
        assert "" == done.stderr, script
        return done.stdout


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Give one on which logins succeed and fail, a sidecar has complained, and a checker hangs."""
    need("tai64n", "tai64nlocal", "svstat", "openssl", "curl", "ss", "ps")
    host = Host(tmp_path_factory.mktemp("host"))
    _write_log(host.root / "var/log/qmail-popup/pop3")
    _write_service(host.root / "etc/service")
    (host.root / "kernel").write_text(_KERNEL, encoding="ascii")
    for name in ("var/lib/qmail-popup", "var/spool/qmail-popup", "var/log/qmail-popup/sidecar"):
        (host.root / name).mkdir(parents=True)
    (host.root / "var/spool/qmail-popup/lost").write_bytes(b".")
    with ExitStack() as stack:
        _have_sidecar(host, stack)
        _have_servers(host, stack)
        checker = stack.enter_context(subprocess.Popen(["checkpassword", "600"], executable=need("sleep")[0]))
        stack.callback(checker.kill)
        until(lambda: b"checkpassword" in Path(f"/proc/{checker.pid}/cmdline").read_bytes())
        yield host


def _write_log(directory: Path) -> None:
    directory.mkdir(parents=True)
    lines = [
        f"qmail-popup: pid 1 {verdict}::AUTH::User {protocol} S:{ip}:x ?~ '{name}'\n"
        for verdict, protocol, ip, name in _LINES
    ]
    (tai64n,) = need("tai64n")
    stamped = subprocess.run([tai64n], input="".join(lines), capture_output=True, text=True, check=True)
    (directory / "current").write_text(stamped.stdout, encoding="ascii")


def _write_service(directory: Path) -> None:
    (directory / "pop3/env").mkdir(parents=True)
    (directory / "sidecar/env").mkdir(parents=True)
    (directory / "pop3/env/QMAIL_POPUP_PUSHGATEWAY").write_text("http://127.0.0.1:9091\n")
    (directory / "sidecar/env/OPTIONS").write_text("--json-log\n")
    (directory / "pop3/run").write_text("#!/bin/sh\n# QMAIL_POPUP_PUSHGATEWAY is in env\n")
    (directory / "sidecar/run").write_text("#!/bin/sh\n")


def _have_sidecar(host: Host, stack: ExitStack) -> None:
    """Run one that is sent sessions of all kinds; its log is what multilog would have of it."""
    options = ("--json-log", "--push=http://127.0.0.1:9")
    directory = host.root / "sidecar"
    directory.mkdir()
    sidecar = stack.enter_context(RunningSidecar(directory, *options))
    deliver(sidecar.socket, build(fields({**REJECTED, "REASON": b"temporary"})))
    deliver(sidecar.socket, build(fields({"RECORD": None, "ENDED": b"tls_failed"})))
    connect(sidecar.socket, hello_of(fields())).close()
    deliver(sidecar.socket, b"nonsense\0\0")
    log = host.root / "var/log/qmail-popup/sidecar/current"

    wanted = ("temporary", "tls_failed", "killed", "malformed", "cannot reach")

    def has_all() -> bool:
        log.write_text(sidecar.log.read_text() + sidecar.said, encoding="utf-8")
        text = log.read_text(encoding="utf-8")
        return all(word in text for word in wanted)

    assert eventually(has_all), log.read_text(encoding="utf-8")
    host.ports["http://127.0.0.1:9110/metrics"] = sidecar.url


def _have_servers(host: Host, stack: ExitStack) -> None:
    """Run POP3 with STLS and POP3S, and have a client of the first."""
    certificates = authority.make(host.root)
    popup = [sys.executable, "-m", "qmail_popup", "pop.example.org", "sh", "-c", "sleep 600"]
    peer = [sys.executable, "-m", "tests.support.ucspi_tls", HOST, "0", *popup]
    for port, told in ((110, {"UCSPITLS": ""}), (995, {})):
        server = stack.enter_context(serving(peer, {**certificates.environment, **told}))
        host.ports[f"mail1:{port}"] = f"{HOST}:{server.port}"
        host.ports[f"sport = :{port}"] = f"sport = :{server.port}"
        if port == 110:
            client = stack.enter_context(socket.create_connection((HOST, server.port)))
            client.recv(512)
            client.sendall(LOGIN)


@pytest.mark.parametrize("command", dict.fromkeys(_COMMANDS))
def test_a_command_finds_what_it_is_for(host: Host, command: str) -> None:
    """And no command is without something to find."""
    wanted = [pattern for part, pattern in FINDS.items() if part in command]
    assert wanted, command
    assert re.search(wanted[0], host.run(command)), host.run(command)


def test_every_expectation_is_about_a_command() -> None:
    """None is left of a command that has gone."""
    assert [] == [part for part in FINDS if not any(part in command for command in _COMMANDS)]
