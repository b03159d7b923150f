"""The sidecar's own messages, and the threads that write lines.

Owns the output descriptors: each has a thread that only writes, so that a reader that stalls delays nothing
else. Lines without room, and those that cannot be written, are lost and counted.
"""

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
    """A descriptor whose reader may be slow."""

    def __init__(self, fd: int, timeout: float, max_waiting: int = MAX_WAITING) -> None:
        """Write to fd. timeout: seconds that close() waits for unwritten lines."""
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
        """Queue lines; False if there is no room for them."""
        if not data:
            return True  # to the thread, nothing means the end
        if self._put - self._written + len(data) > self._max_waiting:
            self._refused += data.count(b"\n")
            return False
        self._put += len(data)
        self._put_lines += data.count(b"\n")
        self._waiting.put(data)
        return True

    def close(self) -> None:
        """Write what is queued, as far as the timeout allows; the rest is lost."""
        self._waiting.put(b"")
        self._thread.join(self._timeout)
        self._refused += self._put_lines - self._done_lines
        self._put_lines = self._done_lines

    def _run(self) -> None:
        torn = b""  # a line break, if the last line was written in part
        while data := self._waiting.get():
            # Go on after EPIPE or ENOSPC: a reader or disk space may come back.
            lines = torn + data
            written = _write(self._fd, lines)
            self._failed += lines[max(written, len(torn)) :].count(b"\n")
            if written:
                is_whole = written == len(lines) or lines[written - 1 : written] == b"\n"
                torn = b"" if is_whole else b"\n"
            self._done_lines += data.count(b"\n")
            self._written += len(data)


def fill_standard_descriptors() -> None:
    """Fill closed standard descriptors, so that no file opened later takes their place."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004  stdin, stdout, stderr
        pass
    os.close(fd)


class Messages:
    """The sidecar's messages: one line each on stderr, as JSON or for a person."""

    def __init__(self, stream: Stream, clock: Callable[[], float], *, as_json: bool) -> None:
        """Write to stream. clock: seconds since 1970."""
        self._stream, self._clock = stream, clock
        self._render = json_line(_MESSAGE_NAMES) if as_json else _plain

    def __call__(self, level: str, message: str) -> None:
        """Log it; level: info, warning or error."""
        fields = {"timestamp": timestamp(self._clock()), "level": level, "message": message}
        self._stream.put(f"{self._render(fields)}\n".encode())


def json_line(names: Sequence[str]) -> Callable[[Fields], str]:
    """Return a function that renders fields as one line of JSON, names first and in this order."""
    import logging  # this and the next only for JSON: a sixth of the start-up time

    from pythonjsonlogger.json import JsonFormatter

    formatter = JsonFormatter(" ".join(f"%({name})s" for name in names))
    return lambda fields: formatter.format(logging.makeLogRecord({"msg": fields}))


def timestamp(seconds: float) -> str:
    """Return seconds since 1970 in RFC 3339 format, in UTC with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _plain(fields: Fields) -> str:
    """Render for a person, on one line; escapes what a file name chosen by others may contain."""
    shown = (c if c.isprintable() else ascii(c)[1:-1] for c in str(fields["message"]))
    return f"qmail-popup-sidecar: {''.join(shown)}"


def _write(fd: int, data: bytes) -> int:
    """Write as much as possible; return how many bytes were written."""
    written = 0
    while written < len(data):
        try:
            written += os.write(fd, data[written:])
        except BlockingIOError:  # someone who shares the descriptor made it non-blocking
            room = select.poll()
            room.register(fd, select.POLLOUT)
            room.poll()
        except OSError:
            break
    return written
