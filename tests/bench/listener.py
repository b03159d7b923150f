"""The listener's measurements, with what it is held against in the same run.

CPU is that of a server's whole process tree for one connection, so that what else the machine does matters
little; the sidecar is not part of it. Each figure is followed by what it is a ratio of, and by the goal.
"""

import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench import listener_costs as costs
from tests.bench import listener_servers as servers
from tests.bench import listener_tls
from tests.bench.listener_servers import Running
from tests.support.resident import HOST
from tests.support.sidecar import RunningSidecar

_ROUNDS, _EACH = 12, 50
_CLIENTS, _GREETINGS = 32, 3000
_IDLE = 8_000  # connections: as many as both ends have descriptors for, with a limit of 20,000
_POPUP_IDLE = 2840  # KiB of an idle popup, by the same reckoning: see "popup"
_NULL = "/bin/true"


def run(prefix: Path) -> list[str]:
    """Measure the listener that is installed at `prefix`; return a line for each figure."""
    with tempfile.TemporaryDirectory(prefix="listener-") as scratch:
        directory = Path(scratch)
        directory.chmod(0o755)
        return [
            *_logins(prefix, directory),
            *_mailboxes(prefix, directory),
            *_without_login(prefix, directory),
            *_greetings(prefix, directory),
            *_idle(prefix, directory),
            *listener_tls.run(prefix, directory),
        ]


def _logins(prefix: Path, directory: Path) -> Iterator[str]:
    with ExitStack() as stack:
        start = stack.enter_context
        env = start(_mirrored(directory / "mirror"))
        null = start(servers.tcp([_NULL]))
        plain = start(servers.listener(prefix, directory / "plain", [_NULL]))
        mirrored = start(servers.listener(prefix, directory / "mirrored", [_NULL], env))
        popup = start(servers.tcp(servers.popup(prefix, _NULL), env))
        spent = costs.costs(
            {
                "null": (null, costs.come),
                "plain": (plain, costs.login),
                "mirrored": (mirrored, costs.login),
                "popup": (popup, costs.login),
            },
            _ROUNDS,
            _EACH,
        )
    yield _line("login, null checker, mirror on", spent, "mirrored", {"null": 1.3, "popup": None})
    yield _line("login, null checker, mirror off", spent, "plain", {"null": None})


def _mailboxes(prefix: Path, directory: Path) -> Iterator[str]:
    mail = servers.mail(directory)
    with ExitStack() as stack:
        start = stack.enter_context
        running = {
            "listener": start(servers.listener(prefix, directory / "mailbox", mail.subprogram, mail.env)),
            "popup": start(servers.tcp(servers.popup(prefix, *mail.subprogram), mail.env)),
            "mailfront": start(servers.tcp(mail.auth, mail.env)),
            "dovecot": start(servers.dovecot(directory / "dovecot", reuse=False)),
            "dovecot, reused": start(servers.dovecot(directory / "reused", reuse=True)),
            "execve": start(servers.tcp(["/bin/sh", "-c", "exec /bin/true"])),
        }
        visits = {name: (server, costs.mailbox) for name, server in running.items() if name != "execve"}
        spent = costs.costs({**visits, "execve": (running["execve"], costs.come)}, _ROUNDS, _EACH)
    goals = {"popup": 0.25, "mailfront": 0.8, "dovecot": 0.2, "dovecot, reused": None}
    yield _line("login and mailbox", spent, "listener", goals)


def _without_login(prefix: Path, directory: Path) -> Iterator[str]:
    with (
        servers.listener(prefix, directory / "quit", [_NULL]) as listener,
        servers.dovecot(directory / "quit-reused", reuse=True) as dovecot,
    ):
        both = {"listener": (listener, costs.leave), "dovecot, reused": (dovecot, costs.leave)}
        spent = costs.costs(both, _ROUNDS, 4 * _EACH)
    yield _line("greeting and QUIT", spent, "listener", {"dovecot, reused": 1.0})


def _greetings(prefix: Path, directory: Path) -> Iterator[str]:
    with (
        servers.listener(prefix, directory / "greeting", [_NULL]) as listener,
        servers.tcp(servers.popup(prefix, _NULL)) as popup,
    ):
        ours = costs.greetings(listener.port, _CLIENTS, _GREETINGS)
        theirs = costs.greetings(popup.port, _CLIENTS, _GREETINGS // 10)
    for name, part in (("median", 0.5), ("p99", 0.99)):
        mine, other = costs.percentile(ours, part), costs.percentile(theirs, part)
        yield (
            f"greeting, {_CLIENTS} clients, {name}: {mine:.2f} ms, {mine / other:.3f} of tcpserver with the "
            f"popup ({other:.2f} ms; goal 0.1)"
        )


def _idle(prefix: Path, directory: Path) -> Iterator[str]:
    for name, mirrored in (("mirror off", False), ("mirror on", True)):
        with ExitStack() as stack:
            env = stack.enter_context(_mirrored(directory / f"idle {mirrored}")) if mirrored else {}
            place = directory / f"idle-{mirrored}"
            running = stack.enter_context(servers.listener(prefix, place, [_NULL], env))
            before = costs.memory(running.pid)
            alone = _median(running)
            with _crowd(running):
                held = costs.memory(running.pid)
                crowded = _median(running)
        each = (held - before) * 1024 / _IDLE
        yield (
            f"an idle connection, {_IDLE} open, {name}: {each / 1000:.2f} kB of private memory, "
            f"{held * 1.024 / _IDLE:.2f} kB with the processes (goal 5; a popup: {_POPUP_IDLE} KiB)"
        )
        yield (
            f"greeting with {_IDLE} idle, {name}: {crowded:.2f} ms, {crowded / alone:.2f} of that without "
            f"them ({alone:.2f} ms; goal 2)"
        )


def _median(running: Running) -> float:
    return costs.percentile(costs.greetings(running.port, 1, 500), 0.5)


@contextmanager
def _crowd(running: Running) -> Iterator[None]:
    """Have many connect, take the greeting, and stay."""
    with ExitStack() as stack:
        for _ in range(_IDLE):
            stack.enter_context(socket.create_connection((HOST, running.port))).recv(512)
        yield


@contextmanager
def _mirrored(directory: Path) -> Iterator[Mapping[str, str]]:
    """Run a sidecar; the environment that tells of it."""
    directory.mkdir()
    with RunningSidecar(directory) as sidecar:
        yield {"QMAIL_POPUP_SIDECAR": str(sidecar.socket), "QMAIL_POPUP_SPOOL": str(sidecar.spool)}


def _line(what: str, spent: Mapping[str, float], ours: str, goals: Mapping[str, float | None]) -> str:
    held = [
        f"{spent[ours] / spent[name]:.2f} of {name} ({spent[name]:.2f} ms{f'; goal {goal}' if goal else ''})"
        for name, goal in goals.items()
    ]
    return f"{what}: {spent[ours]:.3f} ms of CPU, " + ", ".join(held)
