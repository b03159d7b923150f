"""What can go wrong between a record and its count, one thing at a time, in real processes.

Each scenario does it to a stand, and leaves a sidecar running there. Whatever it was, what happened is then
what is counted; the same scenario shows what is lost or counted twice where a mechanism is switched off.
"""

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from observability.event import build
from tests.chaos.stand import Stand
from tests.support.popup import LOGIN
from tests.support.programs import need
from tests.support.sidecar import fields, spooled
from tests.support.waiting import until

_TICKS_SECONDS = 1.5  # two of the sidecar's


def absent(stand: Stand) -> None:
    """Have no sidecar; one is started later."""
    stand.keeper.make_spool()
    stand.whole_session()
    stand.keeper.start()


def held(stand: Stand) -> None:
    """Stop it when the event comes; later it reads what the popup has left in the spool as well."""
    stand.keeper.start()
    with stand.session() as popup:
        stand.keeper.hold()
        popup.talk(LOGIN)
    stand.keeper.go_on()


def killed_while_held(stand: Stand) -> None:
    """Stop it when the event comes, and kill it before it reads it."""
    stand.keeper.start()
    with stand.session() as popup:
        stand.keeper.hold()
        popup.talk(LOGIN)
    stand.keeper.kill()
    stand.keeper.start()


def killed_after_counting(stand: Stand) -> None:
    """Kill it once it has acknowledged."""
    stand.keeper.start()
    stand.whole_session()
    stand.keeper.kill()
    stand.keeper.start()


def killed_before_committing(stand: Stand) -> None:
    """Lock the store from outside while the event comes in, and kill the sidecar before it is free."""
    stand.keeper.start()
    with stand.keeper.locked():
        stand.whole_session()
        stand.keeper.kill()
    stand.keeper.start()


def killed_while_draining(stand: Stand) -> None:
    """Lock the store from outside while the spool is read, and kill the sidecar before it is free."""
    stand.keeper.start()
    with stand.keeper.locked():
        stand.whole_session(spool_only=True)
        until(lambda: not (stand.keeper.spool / "spool").exists())
        time.sleep(_TICKS_SECONDS)
        stand.keeper.kill()
    stand.keeper.start()


def killed_before_removing(stand: Stand) -> None:
    """Kill it between the commit of what it drained and the removal of the file."""
    stand.keeper.make_spool()
    stand.whole_session()
    left = (stand.keeper.spool / "spool").rename(stand.keeper.spool / "taken.before")
    _start_to_be_killed(stand, "unlink", f"-P{left}")
    until(stand.keeper.ended)
    assert left.exists()
    stand.keeper.start()


def killed_before_acknowledging(stand: Stand) -> None:
    """Kill it between the commit of an event and its acknowledgement."""
    _start_to_be_killed(stand, "sendto")
    stand.whole_session()
    until(stand.keeper.ended)
    stand.keeper.start()


def _start_to_be_killed(stand: Stand, call: str, *options: str) -> None:
    """Start a sidecar that is killed when it makes this system call for the first time, before it is made."""
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
    """Hold a popup up between opening the spool and locking it; meanwhile the file is drained."""
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
    """Be a popup that has locked the spool and is in no hurry to write; meanwhile the file is taken away."""
    stand.keeper.start().hold()
    stand.whole_session(spool_only=True)
    with (stand.keeper.spool / "spool").open("ab", buffering=0) as writer:
        fcntl.flock(writer, fcntl.LOCK_SH)
        stand.keeper.go_on()
        until(lambda: not (stand.keeper.spool / "spool").exists())
        time.sleep(_TICKS_SECONDS)
        writer.write(spooled(build(fields())))
        stand.note(records=1, sessions=1)


def _has_open(pid: int, file: Path) -> bool:
    """Tell whether a process has the file open."""
    links = Path(f"/proc/{pid}/fd").iterdir()
    with suppress(FileNotFoundError):
        return any(os.readlink(link) == str(file) for link in links)
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
