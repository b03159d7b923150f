"""The sidecar's own messages, and how lines get out of it.

Owns the descriptors that lines go to: each has a thread that does nothing but write, so that a reader who
stalls holds nobody up. What it leaves no room for, and what cannot be written, is lost and counted.
"""

import logging
import os
import queue
import select
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

MAX_WAITING = 16 * 1024 * 1024  # bytes

Fields = Mapping[str, object]

_MESSAGE_NAMES = ("timestamp", "level", "message")


class Stream:
    """A descriptor that others may be slow to read from."""

    def __init__(self, fd: int, timeout: float, max_waiting: int = MAX_WAITING) -> None:
        """Write to fd. timeout: seconds to wait at the end for what is not written yet."""
        self._fd, self._timeout, self._max_waiting = fd, timeout, max_waiting
        self._waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._put = self._written = 0  # bytes; each is changed by one thread only
        self._put_lines = self._done_lines = self._refused = self._failed = 0
        self._thread = threading.Thread(target=self._run, name=f"write {fd}", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Return how many lines found no room or could not be written."""
        return self._refused + self._failed

    @property
    def written(self) -> int:
        """Return how many lines were written."""
        return self._done_lines - self._failed

    def put(self, data: bytes) -> bool:
        """Have lines written; False where there is no room for them."""
        if self._put - self._written + len(data) > self._max_waiting:
            self._refused += data.count(b"\n")
            return False
        self._put += len(data)
        self._put_lines += data.count(b"\n")
        self._waiting.put(data)
        return True

    def close(self) -> None:
        """Write what waits, as long as the timeout allows; the rest is lost."""
        self._waiting.put(b"")
        self._thread.join(self._timeout)
        self._refused += self._put_lines - self._done_lines
        self._put_lines = self._done_lines

    def _run(self) -> None:
        torn = b""  # a line break, where the last line was written in part
        while data := self._waiting.get():
            # A reader who is gone, or a disk that is full, is no reason to stop: it may come back.
            lines = torn + data
            written = _write(self._fd, lines)
            self._failed += lines[max(written, len(torn)) :].count(b"\n")
            if written:
                is_whole = written == len(lines) or lines[written - 1 : written] == b"\n"
                torn = b"" if is_whole else b"\n"
            self._done_lines += data.count(b"\n")
            self._written += len(data)


def fill_standard_descriptors() -> None:
    """See that nothing which is opened later can be mistaken for stdout or stderr."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004  stdin, stdout, stderr
        pass
    os.close(fd)


class Messages:
    """What the sidecar has to tell of itself: a line on stderr each, in JSON or for a person."""

    def __init__(self, stream: Stream, clock: Callable[[], float], *, as_json: bool) -> None:
        """Write to stream. clock: seconds since 1970."""
        self._stream, self._clock = stream, clock
        self._render = json_line(_MESSAGE_NAMES) if as_json else _plain

    def __call__(self, level: str, message: str) -> None:
        """Log it; level: info, warning or error."""
        fields = {"timestamp": timestamp(self._clock()), "level": level, "message": message}
        self._stream.put(f"{self._render(fields)}\n".encode())


def json_line(names: Sequence[str]) -> Callable[[Fields], str]:
    """Make what renders fields as one line of JSON, names first and in this order."""
    from pythonjsonlogger.json import JsonFormatter  # only for who wants JSON: it takes a tenth of the start

    formatter = JsonFormatter(" ".join(f"%({name})s" for name in names))
    return lambda fields: formatter.format(logging.makeLogRecord({"msg": fields}))


def timestamp(seconds: float) -> str:
    """Return seconds since 1970 as RFC 3339 has them, in UTC and to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _plain(fields: Fields) -> str:
    """Render it for a person; it may quote a file's name, which others chose, and stays one line of text."""
    shown = (c if c.isprintable() else ascii(c)[1:-1] for c in str(fields["message"]))
    return f"qmail-popup-sidecar: {''.join(shown)}"


def _write(fd: int, data: bytes) -> int:
    """Write all that can be written; return how many bytes that were."""
    written = 0
    while written < len(data):
        try:
            written += os.write(fd, data[written:])
        except BlockingIOError:  # others, who share the descriptor, have set it so
            room = select.poll()
            room.register(fd, select.POLLOUT)
            room.poll()
        except OSError:
            break
    return written
