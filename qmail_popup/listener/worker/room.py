"""How many clients there may be before their login, over all workers, and who has to go for a newcomer.

At the limit of one client its newcomer is sent away. At the limit of all the one that has been silent longest
has to go, whichever worker has it: a worker asks another by an eventfd(2).
"""

import os
from collections.abc import Callable, Sequence

from qmail_popup.listener.ipc.census import Column
from qmail_popup.listener.options import Options
from qmail_popup.listener.process.loop import Loop, Timeouts
from qmail_popup.listener.worker.connection import Connection


class Room:
    """One worker's part of it."""

    def __init__(  # noqa: PLR0913  the parts that it is given
        self,
        loop: Loop,
        options: Options,
        column: Column,
        *,
        bells: Sequence[int],
        slot: int,
        timed_out: Callable[[Connection], None],
        refused: Callable[[Connection], None],
        rung: Callable[[], None],
    ) -> None:
        """bells: of all workers; slot: which one is ours.

        timed_out: called with who has been silent for too long; refused: with who has to go
        rung: called where another process has rung ours
        """
        self._limit, self._limit_per_client = options.connections, options.connections_per_client
        self._column, self._bells, self._slot = column, bells, slot
        self._refused, self._rung = refused, rung
        self._held: set[Connection] = set()
        self._silent: Timeouts[Connection] = Timeouts(timed_out)
        loop.timers.append(self._silent)
        loop.watch(bells[slot], self)

    def hold(self, connection: Connection) -> None:
        """Count a connection whose client is not known yet."""
        self._held.add(connection)
        self._column.hold()
        self.heard(connection)

    def enter(self, connection: Connection) -> bool:
        """Count a connection; whether its client may have one more."""
        self._release(connection)
        return self._column.enter(connection.client.ip) <= self._limit_per_client

    def leave(self, connection: Connection) -> None:
        """Count it no more."""
        self._silent.drop(connection)
        if not self._release(connection):
            self._column.leave(connection.client.ip)

    def _release(self, connection: Connection) -> bool:
        """Whether it was one that is held; it is no more."""
        if connection not in self._held:
            return False
        self._held.remove(connection)
        self._column.release()
        return True

    def heard(self, connection: Connection) -> None:
        """Note that a client is not silent."""
        self._silent.set(connection, connection.settings.idle_timeout)

    def make(self) -> None:
        """Close the longest silent connections while there are too many, or have it done who has them."""
        while self._column.total() > self._limit:
            self.publish()
            slot = self._column.longest_silent()
            if slot != self._slot:
                os.eventfd_write(self._bells[slot], 1)
                return
            longest = self._silent.longest()
            if longest is None:
                return
            self._refused(longest[0])

    def publish(self) -> None:
        """Tell the others how long one's own have been silent."""
        longest = self._silent.longest()
        self._column.tell_silent(longest[1] if longest else None)

    def ready(self, _events: int) -> None:
        """Do what another worker asks for."""
        os.eventfd_read(self._bells[self._slot])
        self.make()
        self._rung()
