"""Runs one of our programs with a part disabled, so that a test can show what the part is for.

    python -m tests.support.without PART[,PART...] MODULE [ARGUMENT...]

If possible a part is disabled at the border of the process (a lock that is always granted, a file that
forgets), independently of its implementation. Popups run this, too, with `-S`, so modules that only a sidecar
needs are imported inside functions.
"""

import errno
import fcntl
import os
import posix
import runpy
import select
import sys
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3

    from observability.arrivals.parsing import Event

_SOON_SECONDS = 0.01
_TABLES_OF_TOTALS = """
    SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('marks', 'recent', 'older')
"""


def command(parts: Sequence[str], module: str, *options: str) -> tuple[str, ...]:
    """Return a command line that runs a module without these parts. options: of the interpreter."""
    wanted = ("-m", module) if not parts else ("-m", "tests.support.without", ",".join(parts), module)
    return (sys.executable, *options, *wanted)


def _identities() -> None:
    """Make the store forget every identity before the next event, even one in the same batch."""
    from observability.store.identities import Batch

    take = Batch._take  # noqa: SLF001  the only place where both kinds of identities meet

    def taking(batch: Batch, source: str, event: "Event") -> None:
        batch._known.clear()  # noqa: SLF001
        take(batch, source, event)

    _replace(Batch, "_take", taking)


def _store_file() -> None:
    """Keep the store in memory, so that it is lost with the process."""
    import sqlite3

    connect: Any = sqlite3.connect

    def in_memory(path: object, *_: object, uri: bool = False, **options: object) -> object:
        # The existing file is first opened read-only.
        return connect(path, uri=True, **options) if uri else connect(":memory:", **options)

    _replace(sqlite3, "connect", in_memory)


def _stored_totals() -> None:
    """Start the store without totals, but with the identities counted before."""
    import contextlib
    import sqlite3

    def clear(database: sqlite3.Connection) -> None:
        with contextlib.suppress(sqlite3.OperationalError):  # read-only
            for (table,) in database.execute(_TABLES_OF_TOTALS).fetchall():
                database.execute(f"DELETE FROM {table}")  # noqa: S608  a name returned by SQLite

    _connecting(clear)


def _commit_before_acknowledgement() -> None:
    """Acknowledge an event as soon as it is read."""
    import socket

    class Hasty(socket.SocketType):
        def recv(self, *arguments: int) -> bytes:
            data = super().recv(*arguments)
            if b"\0ENDED=" in data:
                self.send(b"\n")
            return data

    _replace(socket, "SocketType", Hasty)


def _commit_before_removal() -> None:
    """Remove a renamed file of the spool as soon as it is read."""
    read = os.read

    def hasty(fd: int, size: int) -> bytes:
        path = os.readlink(f"/proc/self/fd/{fd}")
        if os.path.basename(path).startswith("taken."):
            os.unlink(path)
        return read(fd, size)

    _replace(os, "read", hasty)


def _drainer_lock() -> None:
    """Grant every file lock at once."""
    _replace(fcntl, "flock", lambda *_: None)


def _acknowledgement() -> None:
    """Make the popup consider an event acknowledged once it is sent."""
    sent: set[int] = set()
    read, write, poll = posix.read, posix.write, select.poll

    def writing(fd: int, data: bytes) -> int:
        if b"\0ENDED=" in data:
            sent.add(fd)
        return write(fd, data)

    class Poll:
        def __init__(self) -> None:
            self._poll, self._fds = poll(), set[int]()

        def register(self, fd: int, events: int) -> None:
            self._fds.add(fd)
            self._poll.register(fd, events)

        def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
            return [(fd, select.POLLIN) for fd in self._fds & sent] or self._poll.poll(timeout)

    _replace(posix, "write", writing)
    _replace(posix, "read", lambda fd, size: b"\n" if fd in sent else read(fd, size))
    _replace(select, "poll", Poll)


def _spool() -> None:
    """Make the spool unavailable to the popup."""
    opened = posix.open

    def opening(path: str | bytes, flags: int, *mode: int) -> int:
        if flags & posix.O_APPEND and os.fsencode(path).endswith(b"/spool"):
            raise OSError(errno.ENOSPC, "no room")
        return opened(path, flags, *mode)

    _replace(posix, "open", opening)


def _second_look() -> None:
    """Hide from the popup that the file it has opened is no longer the spool."""
    opened = posix.open
    seen = posix.lstat
    files: dict[bytes, posix.stat_result] = {}

    def opening(path: bytes, *how: int) -> int:
        fd = opened(path, *how)
        files[path] = posix.fstat(fd)
        return fd

    _replace(posix, "open", opening)
    _replace(posix, "lstat", lambda path: files[path] if path in files else seen(path))


def _one_push_at_a_time() -> None:
    """Start a push regardless of the one before, without asking the gateway first."""
    from observability.pushgateway import push

    class Careless(push.Pushing):
        def begin(self, method: str = "POST") -> None:
            self.close()
            self._is_sure = True
            super().begin(method)

        def go_on(self, _timeout: float) -> push.Result | None:
            return super().go_on(_SOON_SECONDS)  # so that the next one need not wait

    _replace(push, "Pushing", Careless)


def _hurry_to_end() -> None:
    """Make a pusher, after its last drain of DIR, wait for DIR/let-go before it releases the lock."""
    from tests.support.waiting import until

    lock = fcntl.flock

    def locking(fd: int, operation: int) -> None:
        directory, name = os.path.split(os.readlink(f"/proc/self/fd/{fd}"))
        if (name, operation) == ("pusher.lock", fcntl.LOCK_UN):
            until(lambda: os.path.exists(f"{directory}/let-go"))
        lock(fd, operation)

    _replace(fcntl, "flock", locking)


def _hurry_to_lock() -> None:
    """Make a popup wait for DIR/let-go between opening DIR/spool and locking it, without an alarm."""
    lock = fcntl.flock

    def locking(fd: int, operation: int) -> None:
        directory = os.path.dirname(os.readlink(f"/proc/self/fd/{fd}"))
        while not os.path.exists(f"{directory}/let-go"):
            time.sleep(0.01)
        lock(fd, operation)

    _replace(fcntl, "flock", locking)
    _replace(sys.modules["_signal"], "setitimer", lambda *_: None)


def _last_look() -> None:
    """Hide from a pusher everything in the spool that it does not drain."""
    from observability.arrivals.spool import Spool

    _replace(Spool, "waiting_bytes", lambda _spool: 0)


def _connecting(work: "Callable[[sqlite3.Connection], None]") -> None:
    """Run `work` on each database that is opened."""
    import sqlite3

    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def connected(*arguments: Any, **options: Any) -> sqlite3.Connection:  # noqa: ANN401 - sqlite3's own
        database = connect(*arguments, **options)
        work(database)
        return database

    _replace(sqlite3, "connect", connected)


def _replace(owner: ModuleType | type, name: str, part: object) -> None:
    assert hasattr(owner, name), f"{owner.__name__} has no {name} to be replaced"
    setattr(owner, name, part)


PARTS: dict[str, Callable[[], None]] = {
    "identities": _identities,
    "store-file": _store_file,
    "stored-totals": _stored_totals,
    "commit-before-acknowledgement": _commit_before_acknowledgement,
    "commit-before-removal": _commit_before_removal,
    "drainer-lock": _drainer_lock,
    "acknowledgement": _acknowledgement,
    "spool": _spool,
    "second-look": _second_look,
    "one-push-at-a-time": _one_push_at_a_time,
    "hurry-to-end": _hurry_to_end,
    "hurry-to-lock": _hurry_to_lock,
    "last-look": _last_look,
}


if __name__ == "__main__":
    _, names, program, *rest = sys.argv
    for wanted in names.split(","):
        PARTS[wanted]()
    sys.argv[1:] = rest
    runpy.run_module(program, run_name="__main__", alter_sys=True)
