"""Single faults between a record and its count, in real processes.

Each scenario injects a fault into a stand, and leaves a sidecar running there. Afterwards the counts must
equal what happened; with a mechanism disabled, the same scenario loses or duplicates counts.
"""

import fcntl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from observability.event import build
from tests.chaos.stand import Stand
from tests.support.popup import LOGIN
from tests.support.processes import opened
from tests.support.programs import need
from tests.support.sidecar import fields, spooled
from tests.support.waiting import until


def absent(stand: Stand) -> None:
    """Run a session without a sidecar, and start one later."""
    stand.keeper.make_spool()
    stand.whole_session()
    stand.keeper.start()


def held(stand: Stand) -> None:
    """Suspend the sidecar before the event; resumed, it gets the event from both socket and spool."""
    stand.keeper.start()
    with stand.session() as popup:
        stand.keeper.hold()
        popup.talk(LOGIN)
    stand.keeper.go_on()
    assert stand.keeper.reaches(1, "telemetry_events_total", source="socket")


def killed_while_held(stand: Stand) -> None:
    """Suspend the sidecar before the event, and kill it before it reads the event."""
    stand.keeper.start()
    with stand.session() as popup:
        stand.keeper.hold()
        popup.talk(LOGIN)
    stand.keeper.kill()
    stand.keeper.start()


def killed_after_counting(stand: Stand) -> None:
    """Kill the sidecar after its acknowledgement."""
    stand.keeper.start()
    stand.whole_session()
    stand.keeper.kill()
    stand.keeper.start()


def killed_before_committing(stand: Stand) -> None:
    """Lock the store from another process while the event arrives, and kill the sidecar meanwhile."""
    stand.keeper.start()
    with stand.keeper.locked():
        stand.whole_session()
        stand.keeper.kill()
    stand.keeper.start()


def killed_while_draining(stand: Stand) -> None:
    """Lock the store from another process while the spool is read, and kill the sidecar meanwhile."""
    stand.keeper.start()
    with stand.keeper.locked():
        stand.whole_session(spool_only=True)
        until(lambda: _has_read(stand.keeper.process.pid, f"{stand.keeper.spool}/taken."))
        stand.keeper.kill()
    stand.keeper.start()


def killed_before_removing(stand: Stand) -> None:
    """Kill the sidecar between the commit of drained events and the removal of the file."""
    stand.keeper.make_spool()
    stand.whole_session()
    left = (stand.keeper.spool / "spool").rename(stand.keeper.spool / "taken.before")
    _start_to_be_killed(stand, "unlink", f"-P{left}")
    until(stand.keeper.ended)
    assert left.exists()
    stand.keeper.start()


def killed_before_acknowledging(stand: Stand) -> None:
    """Kill the sidecar between the commit of an event and its acknowledgement."""
    _start_to_be_killed(stand, "sendto")
    stand.whole_session()
    until(stand.keeper.ended)
    stand.keeper.start()


def _start_to_be_killed(stand: Stand, call: str, *options: str) -> None:
    """Start a sidecar that is killed at its first call of this system call, before that is executed."""
    (strace,) = need("strace")
    usual = stand.keeper.command
    how = (
        "-qqf",
        "-o/dev/null",
        *options,
        f"-etrace={call}",
        f"-einject={call}:error=EINTR:signal=KILL:when=1",
    )
    stand.keeper.command = (strace, *how, *usual)
    stand.keeper.start()
    stand.keeper.command = usual


def held_before_locking(stand: Stand) -> None:
    """Delay a popup between opening the spool and locking it, while the file is drained."""
    stand.keeper.start().hold()
    stand.whole_session(spool_only=True)
    file = stand.keeper.spool / "spool"
    with stand.session("hurry-to-lock", spool_only=True) as popup:
        popup.talk(LOGIN)
        until(lambda: _has_open(popup.process.pid, file))
        stand.keeper.go_on()
        until(lambda: not stand.keeper.waiting())
        (stand.keeper.spool / "let-go").touch()


def held_before_writing(stand: Stand) -> None:
    """Act as a popup that has locked the spool but not yet written, while the file is renamed."""
    stand.keeper.start().hold()
    stand.whole_session(spool_only=True)
    with (stand.keeper.spool / "spool").open("ab", buffering=0) as writer:
        fcntl.flock(writer, fcntl.LOCK_SH)
        stand.keeper.go_on()
        until(lambda: _is_drained(stand))
        writer.write(spooled(build(fields())))
        stand.note(records=1, sessions=1)


def _is_drained(stand: Stand) -> bool:
    """Return whether the spool was drained, or was left alone because of its writer."""
    return not stand.keeper.waiting() or "another process is writing to it" in stand.keeper.said


def _has_open(pid: int, file: Path) -> bool:
    """Return whether a process has the file open."""
    return str(file) in opened(pid).values()


def _has_read(pid: int, prefix: str) -> bool:
    """Return whether a process has read anything of a file whose path begins like this."""
    for fd, link in opened(pid).items():
        with suppress(FileNotFoundError):
            if link.startswith(prefix) and int(Path(f"/proc/{pid}/fdinfo/{fd}").read_text().split()[1]):
                return True
    return False


SCENARIOS: tuple[Callable[[Stand], None], ...] = (
    absent,
    held,
    killed_while_held,
    killed_after_counting,
    killed_before_committing,
    killed_while_draining,
    killed_before_removing,
    killed_before_acknowledging,
    held_before_locking,
    held_before_writing,
)
