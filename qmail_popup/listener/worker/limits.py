"""Limits the connections before login across all workers, and chooses which to close for a new one.

At the limit per client its new connection is refused. At the total limit the connection that has been silent
longest is closed; if another worker has it, that worker is asked by an eventfd(2). A worker that does not
answer, because it is stopped, keeps its connections; then others close their own.
"""

import os
from collections.abc import Callable, Sequence

from qmail_popup.listener.ipc.counts import Column
from qmail_popup.listener.options import Options
from qmail_popup.listener.process.loop import Loop, Timeouts
from qmail_popup.listener.worker.connection import Connection


class Limits:
    """One worker's view of the limits."""

    def __init__(  # noqa: PLR0913  its collaborators
        self,
        loop: Loop,
        options: Options,
        column: Column,
        *,
        wakeups: Sequence[int],
        slot: int,
        timed_out: Callable[[Connection], None],
        refused: Callable[[Connection], None],
        woken: Callable[[], None],
    ) -> None:
        """wakeups: eventfds of all workers; slot: index of our own.

        timed_out: called with a connection silent for too long; refused: with one to close for a new one
        woken: called when another process has written to our eventfd
        """
        self._limit, self._limit_per_client = options.connections, options.connections_per_client
        self._max_asked = options.connections + options.sessions  # the spawner allows a worker no more
        self._column, self._wakeups, self._slot = column, wakeups, slot
        self._refused, self._woken = refused, woken
        self._held: set[Connection] = set()
        self._silent: Timeouts[Connection] = Timeouts(timed_out)
        loop.timers.append(self._silent)
        loop.watch(wakeups[slot], self)

    def hold(self, connection: Connection) -> None:
        """Count a connection whose client is not known yet."""
        self._held.add(connection)
        self._column.hold()
        self.restart_timeout(connection)

    def enter(self, connection: Connection) -> bool:
        """Count a connection; return whether its client is within its limit."""
        self._release(connection)
        return self._column.enter(connection.client.ip) <= self._limit_per_client

    def leave(self, connection: Connection) -> None:
        """Undo hold() or enter()."""
        self._silent.drop(connection)
        if not self._release(connection):
            self._column.leave(connection.client.ip)

    def _release(self, connection: Connection) -> bool:
        """Undo hold(); return whether the connection was held."""
        if connection not in self._held:
            return False
        self._held.remove(connection)
        self._column.release()
        return True

    def restart_timeout(self, connection: Connection) -> None:
        """Restart a client's idle timeout."""
        self._silent.set(connection, connection.settings.idle_timeout)

    def enforce(self) -> None:
        """While there are too many connections, close the longest silent, or ask the worker that has it."""
        while (total := self._column.total()) > self._limit:
            self.publish()
            slot = self._column.longest_silent()
            if slot != self._slot and total <= self._max_asked:
                os.eventfd_write(self._wakeups[slot], 1)
                return
            longest = self._silent.longest()
            if longest is None:
                return
            self._refused(longest[0])

    def publish(self) -> None:
        """Publish since when our longest-silent connection has been silent."""
        longest = self._silent.longest()
        self._column.publish_silent(longest[1] if longest else None)

    def ready(self, _events: int) -> None:
        """Handle a write to our eventfd."""
        os.eventfd_read(self._wakeups[self._slot])
        self.enforce()
        self._woken()
