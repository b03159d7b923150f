"""The event loop of worker and spawner: descriptors that are ready, and deadlines that have passed.

It knows no descriptor's meaning. A handler is any object with `ready`; what it takes from a descriptor in one
call is bounded, so that one peer holds up no other.
"""

import select
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

IN, OUT, NOTHING = select.EPOLLIN, select.EPOLLOUT, 0
GONE = select.EPOLLHUP | select.EPOLLERR  # told of whatever is waited for
ALONE = select.EPOLLEXCLUSIVE  # of several processes that wait, wake one
_MANY = 16  # queues
_AT_ONCE = 256  # descriptors in one turn

_Item = TypeVar("_Item")


class Handler(Protocol):
    """What is called where a descriptor is ready."""

    def ready(self, events: int) -> None:
        """Read, write or end; must not wait."""


class Timer(Protocol):
    """Something that falls due, with a length: of what is waited for."""

    def __len__(self) -> int:
        """Return how many items are waited for; of none, nothing is asked."""

    def due(self) -> float | None:
        """Return when it does next, in seconds of the monotonic clock."""

    def expire(self, now: float) -> None:
        """Do what was due by now."""


class Deadlines(dict[_Item, float]):
    """Items that all have the same time, so that the one that was set first falls due first.

    Each with when it does. A loop asks for that at each turn, so it is a dict, and holds none.
    """

    def __init__(self, seconds: float, expired: Callable[[_Item], None]) -> None:
        """Call `expired` with each item that is neither set again nor dropped for `seconds`."""
        super().__init__()
        self._seconds, self._expired = seconds, expired

    def set(self, item: _Item, since: float | None = None) -> None:
        """Start an item's time, or start it again; since: where it began before now."""
        self.pop(item, None)
        self[item] = (time.monotonic() if since is None else since) + self._seconds

    def drop(self, item: _Item) -> None:
        """Wait for an item no more."""
        self.pop(item, None)

    def longest(self) -> tuple[_Item, float] | None:
        """Return the item that was set longest ago, and when."""
        for item, due in self.items():
            return item, due - self._seconds
        return None

    def due(self) -> float | None:
        """Return when the first item falls due."""
        return next(iter(self.values()), None)

    def expire(self, now: float) -> None:
        """Call for each item that is due."""
        while (due := self.due()) is not None and due <= now:
            item = next(iter(self))
            del self[item]
            self._expired(item)


class Timeouts(dict[_Item, float]):
    """Items, each with its own time; few times, so that each has its queue, mostly one."""

    def __init__(self, expired: Callable[[_Item], None]) -> None:
        """Call `expired` with each item that is neither set again nor dropped in its time."""
        super().__init__()
        self._expired = expired
        self._queues: dict[float, Deadlines[_Item]] = {}
        self._only: Deadlines[_Item] | None = None  # where there is one queue

    def set(self, item: _Item, seconds: float, since: float | None = None) -> None:
        """Start an item's time, or start it again, as long as it is now."""
        if (before := self.get(item)) != seconds:
            if before is not None:
                self.drop(item)
            self[item] = seconds
        if seconds not in self._queues:
            self._open(seconds)
        self._queues[seconds].set(item, since)

    def drop(self, item: _Item) -> None:
        """Wait for an item no more."""
        if (seconds := self.pop(item, None)) is not None:
            self._queues[seconds].drop(item)

    def longest(self) -> tuple[_Item, float] | None:
        """Return the item that was set longest ago, and when."""
        if self._only is not None:
            return self._only.longest()
        found = [longest for queue in self._queues.values() if (longest := queue.longest())]
        return min(found, key=lambda pair: pair[1]) if found else None

    def due(self) -> float | None:
        """Return when the first item falls due."""
        if self._only is not None:
            return next(iter(self._only.values()), None)
        return min(filter(None, (queue.due() for queue in self._queues.values())), default=None)

    def expire(self, now: float) -> None:
        """Call for each item that is due."""
        for queue in [*self._queues.values()]:
            queue.expire(now)

    def _open(self, seconds: float) -> None:
        """Begin a queue, and end those that are empty if there are many."""
        if len(self._queues) >= _MANY:
            self._queues = {time: queue for time, queue in self._queues.items() if queue}
        self._queues[seconds] = queue = Deadlines(seconds, self._expire)
        self._only = queue if len(self._queues) == 1 else None

    def _expire(self, item: _Item) -> None:
        self.drop(item)
        self._expired(item)


class Loop:
    """Descriptors, each with its handler, and timers."""

    def __init__(self) -> None:
        """Begin with none."""
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self.timers: list[Timer] = []

    def watch(self, fd: int, handler: Handler, events: int = IN) -> None:
        """Call `handler` from now on where `fd` is ready."""
        self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def change(self, fd: int, events: int) -> None:
        """Wait for other events on `fd`."""
        self._epoll.modify(fd, events)

    def expect(self, fd: int, handler: Handler, events: int) -> None:
        """Wait for these events from now on; where there are none, not even for GONE."""
        if not events:
            self.forget(fd)
        elif fd in self._handlers:
            self.change(fd, events)
        else:
            self.watch(fd, handler, events)

    def forget(self, fd: int) -> None:
        """Watch `fd` no more; needed before it is closed where another process has it, too."""
        if self._handlers.pop(fd, None):
            self._epoll.unregister(fd)

    def closing(self, fd: int) -> None:
        """Forget `fd`, whose only copy is about to be closed: the kernel forgets it by itself."""
        self._handlers.pop(fd, None)

    def turn(self) -> None:
        """Wait until something is ready or due, and see to it."""
        handlers = self._handlers
        due = self._due()
        timeout = -1 if due is None else max(0.0, due - time.monotonic())
        ready = [(fd, handlers.get(fd), events) for fd, events in self._epoll.poll(timeout, _AT_ONCE)]
        for fd, handler, events in ready:
            if handler is not None and handlers.get(fd) is handler:  # one before it may have closed `fd`
                handler.ready(events)
        if due is not None and due <= (now := time.monotonic()):
            for timer in self.timers:
                timer.expire(now)

    def _due(self) -> float | None:
        first = None
        for timer in self.timers:
            if timer and (due := timer.due()) is not None and (first is None or due < first):
                first = due
        return first
