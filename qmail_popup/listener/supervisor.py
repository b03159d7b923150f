"""The supervisor: binds, starts spawner and workers, and starts again who has ended.

It is no subprogram's parent, so it can end at once: on SIGTERM its children see the end of their control
sockets, take no new connections, and end with their last session.
"""

import os
import pwd
import select
import signal
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress

from qmail_popup.listener import privileges, processes
from qmail_popup.listener.census import Census
from qmail_popup.listener.control import MAX_WORDS, hand_over, leave_words
from qmail_popup.listener.frames import SLOTS
from qmail_popup.listener.options import Options, complain
from qmail_popup.listener.spawner import STDERR, Spawner
from qmail_popup.listener.worker import Worker
from qmail_popup.settings import Settings

_PAUSES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # seconds before who has ended is started again
_STEADY_SECONDS = 60.0  # who has lived as long is started again soon
_EPOCH = 1_577_836_800  # 2020
_RATE = 100_000  # numbers a second: more than a worker can give, so that a later start is above them all


class _Child:
    """A process that is to run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pid = 0  # 0: it does not run
        self.process = -1  # a pidfd(2)
        self.control: socket.socket | None = None
        self.started = self.due = 0.0
        self.failures = 0


class Supervisor:
    """All that the first process does."""

    def __init__(  # noqa: PLR0913  the parts that it is given
        self,
        options: Options,
        settings: Settings,
        environ: Mapping[bytes, bytes],
        *,
        listeners: Sequence[socket.socket],
        open_files: tuple[int, int],
        log: int | None,
        user: pwd.struct_passwd | None,
    ) -> None:
        """environ, open_files: what subprograms inherit; log: the records' descriptor, if any.

        user: the workers', where they are to become anybody
        """
        self._options, self._settings, self._environ = options, settings, environ
        self._listeners, self._log, self._user = listeners, log, user
        self._open_files = open_files
        self._census = Census(options.workers + 1)
        self._bells = [os.eventfd(0) for _ in range(options.workers)]
        self._spawner = _Child("the spawner")
        self._workers = [_Child(f"worker {slot}") for slot in range(options.workers)]
        self._origin = time.time() - time.monotonic()
        self._woken, wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._is_ending = False
        signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
        signal.signal(signal.SIGTERM, self._end)
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._end)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)

    def run(self, ready: Callable[[], None]) -> None:
        """Serve until SIGTERM or SIGINT; ready: called once all run."""
        self._start_due()
        ready()
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        while not self._is_ending:
            if poll.poll(self._timeout()):
                os.read(self._woken, 4096)
            self._reap()
            self._start_due()

    def _end(self, _signal: int, _frame: object) -> None:
        self._is_ending = True

    def _children(self) -> list[_Child]:
        return [self._spawner, *self._workers]  # the spawner first: workers are handed to it

    def _timeout(self) -> float | None:
        due = [child.due for child in self._children() if not child.pid]
        return max(0.0, min(due) - time.monotonic()) * 1000 + 1 if due else None

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children():
            if not child.pid and child.due <= now and not self._is_ending:
                self._start(child)

    def _start(self, child: _Child) -> None:
        child.control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with control:
            if child is self._spawner:
                task, keep = self._as_spawner(control)
            else:
                task, keep = self._as_worker(control, self._workers.index(child))
            child.started = time.monotonic()
            child.pid = processes.fork(task, keep, lambda error: leave_words(control, error))
        child.process = os.pidfd_open(child.pid)
        for worker in self._workers if child is self._spawner else [child]:
            self._introduce(worker)

    def _introduce(self, worker: _Child) -> None:
        """Give a worker and the spawner a channel."""
        if worker.control is None or self._spawner.control is None:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        slot = self._workers.index(worker)
        with ours, theirs:
            if not hand_over(self._spawner.control, slot, [ours.fileno(), worker.process]):
                os.kill(self._spawner.pid, signal.SIGKILL)
            if not hand_over(worker.control, slot, [theirs.fileno()]):
                os.kill(worker.pid, signal.SIGKILL)

    def _as_worker(self, control: socket.socket, slot: int) -> tuple[Callable[[], None], Collection[int]]:
        number = int((self._origin + time.monotonic() - _EPOCH) * _RATE) * SLOTS + slot

        def task() -> None:
            privileges.name_process(b"popup-worker")
            worker = Worker(
                self._options,
                self._settings,
                listeners=self._listeners,
                control=control,
                column=self._census.column(slot),
                bells=self._bells,
                slot=slot,
                first_number=number,
            )
            privileges.give_up(self._user)
            worker.run()

        return task, {control.fileno(), *self._bells, *(sock.fileno() for sock in self._listeners)}

    def _as_spawner(self, control: socket.socket) -> tuple[Callable[[], None], Collection[int]]:
        keep = {0, 1, STDERR, control.fileno(), *([] if self._log is None else [self._log])}

        def task() -> None:
            privileges.name_process(b"popup-spawner")
            Spawner(
                self._options,
                self._settings,
                self._environ,
                control=control,
                column=self._census.column(self._options.workers),
                open_files=self._open_files,
                log=self._log,
            ).run()

        return task, keep

    def _reap(self) -> None:
        """See who has ended, and say why."""
        for child in self._children():
            if child.pid and (ended := os.waitpid(child.pid, os.WNOHANG))[0]:
                self._ended(child, os.waitstatus_to_exitcode(ended[1]))

    def _ended(self, child: _Child, status: int) -> None:
        now = time.monotonic()
        child.failures = 0 if now - child.started > _STEADY_SECONDS else child.failures + 1
        pause = _PAUSES[min(child.failures, len(_PAUSES)) - 1] if child.failures else _PAUSES[0]
        words = _words(child.control)
        why = f"signal {-status}" if status < 0 else f"status {status}"
        complain(f"{child.name}, process {child.pid}, has ended with {why}{words}; starts again in {pause} s")
        os.close(child.process)
        child.pid, child.control, child.due = 0, None, now + pause
        if child is not self._spawner:
            self._census.clear(self._workers.index(child))
            for (
                bell
            ) in self._bells:  # of a client that waits the kernel may have told only the one that has ended
                os.eventfd_write(bell, 1)
        else:
            self._census.clear(self._options.workers)


def _words(control: socket.socket | None) -> str:
    """Return a child's last words, and close; a worker may have chosen them."""
    if control is None:
        return ""
    with control, suppress(OSError):
        words = control.recv(MAX_WORDS, socket.MSG_DONTWAIT).decode(errors="replace")
        return f" ({words})" if words.isprintable() and words else ""
    return ""
