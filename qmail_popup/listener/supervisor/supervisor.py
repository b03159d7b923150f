"""The supervisor: starts and restarts spawner, rules reader and workers; yields to the next generation.

It is not the parent of any subprogram, so on SIGTERM it exits at once: its children see their control sockets
close, accept no new connections, and exit after their last session. `reload` handles SIGHUP.
"""

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Sequence

from qmail_popup.listener.ipc.control import hand_over
from qmail_popup.listener.options import complain
from qmail_popup.listener.process import privileges
from qmail_popup.listener.supervisor import handover, notify
from qmail_popup.listener.supervisor.children import Child, how
from qmail_popup.listener.supervisor.handover import Handover
from qmail_popup.listener.supervisor.reload import Reload
from qmail_popup.listener.tasks import Tasks


class Supervisor:
    """The supervisor's loop."""

    def __init__(self, tasks: Tasks, former: Handover | None, tell: notify.Notify) -> None:
        """tasks: of the children; former: from the previous generation.

        tell: sends a state to the service manager
        """
        self._tasks = tasks
        self._spawner, self._reader = Child("the spawner"), Child("the reader of rules")
        self._workers = [Child(f"worker {slot}") for slot in range(tasks.workers)]
        self._reload = Reload(former, tell)
        self._woken, wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._is_ending = self._serves = False
        signal.signal(signal.SIGHUP, lambda _signal, _frame: self._reload.ask())
        signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
        signal.signal(signal.SIGTERM, self._end)
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._end)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        handover.release_signals()

    def run(self, ready: Callable[[], None]) -> None:
        """Run until SIGTERM or SIGINT. ready: called once all children are ready."""
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
        """Return the children to run; the spawner first, because workers are passed to it."""
        return [self._spawner, *([self._reader] if self._tasks.has_rules else []), *self._workers]

    def _listen(self, ready: Callable[[], None]) -> None:
        """Check which children are ready; once all are, retire the previous generation."""
        if self._serves:
            return
        for child in self._children():
            child.listen()
        if self._all_serve() and self._reload.retire():
            self._serves = True
            self._reload.is_over()
            ready()

    def _wait(self) -> None:
        """Wait for a signal, for a message on a control socket, or until something is due."""
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        for control in [] if self._serves else self._silent():
            poll.register(control, select.POLLIN)
        if any(fd == self._woken for fd, _ in poll.poll(self._timeout())):
            os.read(self._woken, 4096)

    def _silent(self) -> list[socket.socket]:
        """Return the control sockets to wait for: of our own children, then of the previous generation."""
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
                try:
                    self._start(child)
                except OSError as error:  # too many processes or descriptors
                    complain(child.failed(error))

    def _start(self, child: Child) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            if child is self._spawner:
                task, keep = self._tasks.spawner(theirs)
            elif child is self._reader:
                task, keep = self._tasks.reader(theirs)
            else:
                task, keep = self._tasks.worker(theirs, self._workers.index(child))
            child.fork(ours, theirs, task, keep)
        for worker in self._workers:
            if child in (worker, self._spawner):
                self._introduce(worker)

    def _introduce(self, worker: Child) -> None:
        """Connect a worker and the spawner by a channel."""
        if worker.control is None or self._spawner.control is None:
            return
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError:  # it is started again, and connected then
            os.kill(worker.pid, signal.SIGKILL)
            return
        slot = self._workers.index(worker)
        with ours, theirs:
            is_connected = hand_over(self._spawner.control, slot, [ours.fileno(), worker.process])
            if not (is_connected and hand_over(worker.control, slot, [theirs.fileno()])):
                os.kill(worker.pid, signal.SIGKILL)  # and not the spawner, which has logins

    def _reap(self) -> None:
        """Handle ended processes, and log why they ended."""
        while (ended := _ended())[0]:
            pid, status = ended
            child = next((child for child in self._children() if child.pid == pid), None)
            if child:
                self._ended(child, status)
            elif not self._reload.ended(pid, status, self._hand_over) and status:
                complain(f"process {pid}, from before the reload, {how(status)}")

    def _ended(self, child: Child, status: int) -> None:
        complain(child.ended(status))
        if child is self._spawner:
            self._tasks.spawner_ended()
        elif child in self._workers:
            self._tasks.worker_ended(self._workers.index(child))

    def _hand_over(self, former: Sequence[socket.socket]) -> OSError:
        """Become the next generation; returns only on failure."""
        controls = [child.control for child in self._children() if child.control]
        tasks = self._tasks
        with privileges.open_files(tasks.open_files):
            return handover.execute(
                Handover(tasks.listening, [*former, *controls], tasks.origin),
                ignore_hangup=tasks.ignores_hangup,
            )


def _ended() -> tuple[int, int]:
    """Return pid and exit code of a child that has ended; pid 0 if there is none."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return 0, 0
    return pid, os.waitstatus_to_exitcode(status) if pid else 0
