"""The supervisor's children: what each runs, what they share, and which descriptors each keeps."""

import os
import pwd
import signal
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from qmail_popup.listener.ipc.control import announce
from qmail_popup.listener.ipc.counts import Counts
from qmail_popup.listener.ipc.frames import SLOTS
from qmail_popup.listener.options import Options
from qmail_popup.listener.process import privileges
from qmail_popup.listener.process.sockets import Listening
from qmail_popup.listener.rules.reader import Reader, lines
from qmail_popup.listener.spawner.spawner import STDERR, Spawner
from qmail_popup.listener.variables import SettingsOf
from qmail_popup.listener.worker.worker import Worker

if TYPE_CHECKING:
    from qmail_popup.listener.tls.engine import Server

_EPOCH = 1_577_836_800  # 2020
_RATE = 100_000  # numbers per second: more than a worker can use, so a restarted one begins above them

Task = tuple[Callable[[], None], Collection[int]]


class Tasks:
    """What the children share, created before the first fork.

    listening, open_files, origin, ignores_hangup: also needed by the next generation, after a reload
    """

    def __init__(  # noqa: PLR0913  its collaborators
        self,
        options: Options,
        settings_of: SettingsOf,
        environ: Mapping[bytes, bytes],
        *,
        listening: Sequence[Listening],
        open_files: tuple[int, int],
        log: int | None,
        user: pwd.struct_passwd | None,
        tls: "Server | None",
        origin: float | None,
    ) -> None:
        """environ, open_files: inherited by subprograms; log: the records' descriptor, if any.

        user: the account that workers switch to, if any; tls: None without a certificate
        origin: the previous generation's, if any
        """
        self._options, self._settings_of, self._environ = options, settings_of, environ
        self._log, self._user, self._tls = log, user, tls
        self.listening, self.open_files = listening, open_files
        self.origin = time.time() - time.monotonic() if origin is None else origin
        self.ignores_hangup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        self.workers, self.has_rules = options.workers, options.rules is not None
        self._counts = Counts(options.workers + 1)
        self._wakeups = [os.eventfd(0) for _ in range(options.workers)]
        self._lines = lines(options.workers + 1) if self.has_rules else []

    def worker(self, control: socket.socket, slot: int) -> Task:
        """Return a worker's task."""
        number = first_number(self.origin, time.monotonic(), slot)
        rules = self._lines[slot + 1].asker if self._lines else None

        def task() -> None:
            privileges.name_process(b"popup-worker")
            worker = Worker(
                self._options,
                self._settings_of,
                listening=self.listening,
                control=control,
                column=self._counts.column(slot),
                wakeups=self._wakeups,
                slot=slot,
                first_number=number,
                rules=rules,
                tls=self._tls,
            )
            privileges.give_up(self._user)
            announce(control)
            worker.run()

        return task, {*self._wakeups, *_numbers(control, rules, *(one.socket for one in self.listening))}

    def worker_ended(self, slot: int) -> None:
        """Discard its connection counts, and wake the others: the kernel may have woken only this one."""
        self._counts.clear(slot)
        for wakeup in self._wakeups:
            os.eventfd_write(wakeup, 1)

    def spawner(self, control: socket.socket) -> Task:
        """Return the spawner's task."""
        rules = self._lines[0].asker if self._lines else None

        def task() -> None:
            privileges.name_process(b"popup-spawner")
            if self.ignores_hangup:  # subprograms inherit it as the listener did
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
            spawner = Spawner(
                self._options,
                self._settings_of,
                self._environ,
                control=control,
                column=self._counts.column(self._options.workers),
                open_files=self.open_files,
                log=self._log,
                rules=rules,
            )
            announce(control)
            spawner.run()

        return task, {0, 1, STDERR, *_numbers(control, rules), *([] if self._log is None else [self._log])}

    def spawner_ended(self) -> None:
        """Discard its login counts."""
        self._counts.clear(self._options.workers)

    def reader(self, control: socket.socket) -> Task:
        """Return the rules reader's task."""
        askers = [line.reader for line in self._lines]

        def task() -> None:
            privileges.name_process(b"popup-rules")
            reader = Reader(self._options.rules or b"", control, askers)
            privileges.confine()
            announce(control)
            reader.run()

        return task, {STDERR, *_numbers(control, *askers)}


def first_number(origin: float, now: float, slot: int) -> int:
    """Return a worker's first session number, a positive one even if the clock was before 2020 at boot."""
    return int((max(origin - _EPOCH, 0.0) + now) * _RATE) * SLOTS + slot


def _numbers(*sockets: socket.socket | None) -> list[int]:
    return [sock.fileno() for sock in sockets if sock]
