"""The supervisor: starts spawner and workers, starts again who has ended, makes way for a next generation.

It is no subprogram's parent, so it can end at once: on SIGTERM its children see the end of their control
sockets, take no new connections, and end with their last session. What SIGHUP does is `reload`'s affair.
"""

import os
import pwd
import select
import signal
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from qmail_popup.listener import handover, notify, privileges
from qmail_popup.listener.census import Census
from qmail_popup.listener.children import Child, how
from qmail_popup.listener.control import announce, hand_over
from qmail_popup.listener.frames import SLOTS
from qmail_popup.listener.handover import Handover
from qmail_popup.listener.options import Options, complain
from qmail_popup.listener.reload import Reload
from qmail_popup.listener.sockets import Listening
from qmail_popup.listener.spawner import STDERR, Spawner
from qmail_popup.listener.worker import Worker
from qmail_popup.settings import Settings

_EPOCH = 1_577_836_800  # 2020
_RATE = 100_000  # numbers a second: more than a worker can give, so that a later start is above them all


class Supervisor:
    """All that the first process does."""

    def __init__(  # noqa: PLR0913  the parts that it is given
        self,
        options: Options,
        settings: Settings,
        environ: Mapping[bytes, bytes],
        *,
        listening: Sequence[Listening],
        open_files: tuple[int, int],
        log: int | None,
        user: pwd.struct_passwd | None,
        former: Handover | None,
        tell: notify.Notify,
    ) -> None:
        """environ, open_files: what subprograms inherit; log: the records' descriptor, if any.

        user: the workers', where they are to become anybody; former: what the generation before has left
        tell: takes what the service manager is to know
        """
        self._options, self._settings, self._environ = options, settings, environ
        self._listening, self._log, self._user = listening, log, user
        self._open_files = open_files
        self._census = Census(options.workers + 1)
        self._bells = [os.eventfd(0) for _ in range(options.workers)]
        self._spawner = Child("the spawner")
        self._workers = [Child(f"worker {slot}") for slot in range(options.workers)]
        self._origin = former.origin if former else time.time() - time.monotonic()
        self._reload = Reload(former, tell)
        self._woken, wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._is_ending = self._serves = False
        self._hangup = signal.signal(signal.SIGHUP, lambda _signal, _frame: self._reload.ask())
        signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
        signal.signal(signal.SIGTERM, self._end)
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._end)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        handover.release_signals()

    def run(self, ready: Callable[[], None]) -> None:
        """Serve until SIGTERM or SIGINT; ready: called once all serve."""
        while not self._is_ending:
            self._start_due()
            self._listen(ready)
            self._wait()
            self._reap()
            self._reload.turn()
        self._reload.cancel()

    def _end(self, _signal: int, _frame: object) -> None:
        self._is_ending = True

    def _children(self) -> list[Child]:
        return [self._spawner, *self._workers]  # the spawner first: workers are handed to it

    def _listen(self, ready: Callable[[], None]) -> None:
        """Hear who of the children serves; once all do, nobody of the generation before is to."""
        if self._serves:
            return
        for child in self._children():
            child.listen()
        if self._all_serve() and self._reload.retire():
            self._serves = True
            self._reload.is_over()
            ready()

    def _wait(self) -> None:
        """Wait for a signal, for what is said on a control socket, or until something is due."""
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        for control in [] if self._serves else self._silent():
            poll.register(control, select.POLLIN)
        if any(fd == self._woken for fd, _ in poll.poll(self._timeout())):
            os.read(self._woken, 4096)

    def _silent(self) -> list[socket.socket]:
        """Return where a word is waited for: from our own children, then from those of before."""
        if self._all_serve():
            return [*self._reload.former]
        return [child.control for child in self._children() if child.control and not child.serves]

    def _all_serve(self) -> bool:
        return all(child.serves for child in self._children())

    def _timeout(self) -> float | None:
        due = [child.due for child in self._children() if not child.pid]
        due += filter(None, [self._reload.due()])
        return max(0.0, min(due) - time.monotonic()) * 1000 + 1 if due else None

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children():
            if not child.pid and child.due <= now and not self._is_ending:
                self._start(child)

    def _start(self, child: Child) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            if child is self._spawner:
                task, keep = self._as_spawner(theirs)
            else:
                task, keep = self._as_worker(theirs, self._workers.index(child))
            child.fork(ours, theirs, task, keep)
        for worker in self._workers if child is self._spawner else [child]:
            self._introduce(worker)

    def _introduce(self, worker: Child) -> None:
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
                listeners=[one.socket for one in self._listening],
                control=control,
                column=self._census.column(slot),
                bells=self._bells,
                slot=slot,
                first_number=number,
            )
            privileges.give_up(self._user)
            announce(control)
            worker.run()

        return task, {control.fileno(), *self._bells, *(one.socket.fileno() for one in self._listening)}

    def _as_spawner(self, control: socket.socket) -> tuple[Callable[[], None], Collection[int]]:
        keep = {0, 1, STDERR, control.fileno(), *([] if self._log is None else [self._log])}

        def task() -> None:
            privileges.name_process(b"popup-spawner")
            if self._hangup == signal.SIG_IGN:  # as subprograms are to find it
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
            spawner = Spawner(
                self._options,
                self._settings,
                self._environ,
                control=control,
                column=self._census.column(self._options.workers),
                open_files=self._open_files,
                log=self._log,
            )
            announce(control)
            spawner.run()

        return task, keep

    def _reap(self) -> None:
        """See who has ended, and say why."""
        while (ended := _ended())[0]:
            pid, status = ended
            child = next((child for child in self._children() if child.pid == pid), None)
            if child:
                self._ended(child, status)
            elif not self._reload.ended(pid, status, self._hand_over) and status:
                complain(f"process {pid}, of before the reload, {how(status)}")

    def _ended(self, child: Child, status: int) -> None:
        complain(child.ended(status))
        if child is self._spawner:
            self._census.clear(self._options.workers)
            return
        self._census.clear(self._workers.index(child))
        # Of a client that waits the kernel may have told only the one that has ended.
        for bell in self._bells:
            os.eventfd_write(bell, 1)

    def _hand_over(self, former: Sequence[socket.socket]) -> OSError:
        """Become the next generation; returns only where that cannot be."""
        controls = [child.control for child in self._children() if child.control]
        with privileges.open_files(self._open_files):
            return handover.execute(
                Handover(self._listening, [*former, *controls], self._origin),
                ignore_hangup=self._hangup == signal.SIG_IGN,
            )


def _ended() -> tuple[int, int]:
    """Return a child that has ended, and how, as Python counts it; 0 where there is none."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return 0, 0
    return pid, os.waitstatus_to_exitcode(status) if pid else 0
