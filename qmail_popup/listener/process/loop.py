"""The event loop of worker, spawner and rules reader: waits for ready descriptors and for deadlines.

Must not know what a descriptor is for. A handler is any object with `ready`; each call handles a bounded
amount, so that one peer cannot delay the others.
"""

import select
import time
from collections.abc import Callable, Collection
from itertools import takewhile
from typing import Protocol, TypeVar

IN, OUT, NOTHING = select.EPOLLIN, select.EPOLLOUT, 0
GONE = select.EPOLLHUP | select.EPOLLERR  # reported whatever events are requested
ONCE = select.EPOLLONESHOT  # report nothing more, not even GONE, until change()
ALONE = select.EPOLLEXCLUSIVE  # wake only one of several waiting processes
_MANY = 16  # queues, before empty ones are removed
_AT_ONCE = 256  # ready descriptors handled in one turn

_Item = TypeVar("_Item")


class Handler(Protocol):
    """Called when a descriptor is ready."""

    def ready(self, events: int) -> None:
        """Read, write or close; must not block."""


class Timer(Protocol):
    """A set of pending items, the first of which has a deadline."""

    def __len__(self) -> int:
        """Return the number of pending items; with none, the loop skips the timer."""

    def due(self) -> float | None:
        """Return the next deadline, in seconds of the monotonic clock."""

    def expire(self, now: float) -> None:
        """Handle all items due by now."""


class Deadlines(dict[_Item, float]):
    """Items with the same timeout, so that the first one set expires first.

    Maps each item to its deadline. The loop asks for the first at each turn, so to save a call this is a dict
    instead of having one.
    """

    def __init__(self, seconds: float, expired: Callable[[_Item], None]) -> None:
        """expired: called with each item that is neither set again nor dropped for `seconds`."""
        super().__init__()
        self.seconds, self._expired = seconds, expired

    def set(self, item: _Item, since: float | None = None) -> None:
        """Start or restart an item's timeout. since: if it began earlier than now."""
        self.pop(item, None)
        if since is None:
            self[item] = time.monotonic() + self.seconds
        else:
            self._insert(item, since + self.seconds)

    def _insert(self, item: _Item, due: float) -> None:
        """Add an item in front of those with later deadlines; takes time for each of them."""
        later = [*takewhile(lambda other: self[other] > due, reversed(self))]
        self[item] = due
        for other in reversed(later):
            self[other] = self.pop(other)

    def drop(self, item: _Item) -> None:
        """Cancel an item's timeout."""
        self.pop(item, None)

    def longest(self) -> tuple[_Item, float] | None:
        """Return the item set longest ago, and when."""
        for item, due in self.items():
            return item, due - self.seconds
        return None

    def due(self) -> float | None:
        """Return the first deadline."""
        return next(iter(self.values()), None)

    def expire(self, now: float) -> None:
        """Expire each item that is due."""
        while (due := self.due()) is not None and due <= now:
            item = next(iter(self))
            del self[item]
            self._expired(item)


class Timeouts(dict[_Item, Deadlines[_Item]]):
    """Items with individual timeouts: one queue for each length, of which there are few, usually one.

    Maps each item to its queue.
    """

    def __init__(self, expired: Callable[[_Item], None]) -> None:
        """expired: called with each item that is neither set again nor dropped within its timeout."""
        super().__init__()
        self._expired = expired
        self._queues: dict[float, Deadlines[_Item]] = {}
        self._only: Deadlines[_Item] | None = None  # set if there is only one queue

    def set(self, item: _Item, seconds: float, since: float | None = None) -> None:
        """Start an item's timeout, or restart it with a new length. since: if it began earlier than now."""
        queue = self.get(item)
        if queue is None or queue.seconds != seconds:
            self.drop(item)
            queue = self[item] = self._queues[seconds] if seconds in self._queues else self._open(seconds)
        queue.set(item, since)

    def drop(self, item: _Item) -> None:
        """Cancel an item's timeout."""
        queue = self.pop(item, None)
        if queue is not None:
            queue.pop(item, None)

    def longest(self) -> tuple[_Item, float] | None:
        """Return the item set longest ago, and when."""
        if self._only:
            item, due = next(iter(self._only.items()))
            return item, due - self._only.seconds
        found = [longest for queue in self._queues.values() if (longest := queue.longest())]
        return min(found, key=lambda pair: pair[1]) if found else None

    def due(self) -> float | None:
        """Return the first deadline."""
        if self._only is not None:
            return next(iter(self._only.values()), None)
        return min(filter(None, (queue.due() for queue in self._queues.values())), default=None)

    def expire(self, now: float) -> None:
        """Expire each item that is due."""
        for queue in [*self._queues.values()]:
            queue.expire(now)

    def _open(self, seconds: float) -> Deadlines[_Item]:
        """Add a queue; if there are many, remove the empty ones."""
        if len(self._queues) >= _MANY:
            self._queues = {time: queue for time, queue in self._queues.items() if queue}
        self._queues[seconds] = queue = Deadlines(seconds, self._expire)
        self._only = queue if len(self._queues) == 1 else None
        return queue

    def _expire(self, item: _Item) -> None:
        self.drop(item)
        self._expired(item)


class Loop:
    """Descriptors, each with its handler, and timers."""

    def __init__(self) -> None:
        """Create the epoll instance."""
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self.timers: list[Timer] = []

    def watch(self, fd: int, handler: Handler, events: int = IN) -> None:
        """Call `handler` whenever `fd` is ready."""
        self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def change(self, fd: int, events: int) -> None:
        """Wait for other events on `fd`."""
        self._epoll.modify(fd, events)

    def expect(self, fd: int, handler: Handler, events: int) -> None:
        """Wait for these events from now on; with none, stop watching, even for GONE."""
        if not events:
            self.forget(fd)
        elif fd in self._handlers:
            self.change(fd, events)
        else:
            self.watch(fd, handler, events)

    def forget(self, fd: int) -> None:
        """Stop watching `fd`. Required before closing it if another process has a copy."""
        if self._handlers.pop(fd, None) is not None:  # an Output without lines is false
            self._epoll.unregister(fd)

    def closing(self, fd: int) -> None:
        """Forget `fd`, about to be closed: the kernel then unregisters it itself.

        Only if no other process has a copy, or if nothing is reported any more because of ONCE.
        """
        self._handlers.pop(fd, None)

    def turn(self) -> None:
        """Wait until something is ready or due, and handle it."""
        left = self._left()
        # Again without waiting, before anything expires: after SIGSTOP and SIGCONT the first returns nothing.
        ready = self._epoll.poll(left, _AT_ONCE) or self._epoll.poll(0, _AT_ONCE)
        if len(ready) > 1:
            self._call(ready)
        else:
            for fd, events in ready:
                if (handler := self._handlers.get(fd)) is not None:
                    handler.ready(events)
        if left is not None and not (left and ready):
            self._expire()

    def _call(self, ready: Collection[tuple[int, int]]) -> None:
        """Call several handlers. An earlier one may close a descriptor, whose number another then gets."""
        handlers = [(fd, self._handlers.get(fd), events) for fd, events in ready]
        for fd, handler, events in handlers:
            if handler is not None and self._handlers.get(fd) is handler:
                handler.ready(events)

    def _left(self) -> float | None:
        """Return the seconds until the first deadline."""
        first = None
        for timer in self.timers:
            if timer and (due := timer.due()) is not None and (first is None or due < first):
                first = due
        return None if first is None else max(0.0, first - time.monotonic())

    def _expire(self) -> None:
        now = time.monotonic()
        for timer in self.timers:
            timer.expire(now)
