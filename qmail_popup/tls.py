r"""How a server that does TLS talks to its popup: by SIGTERM, and by UCSPI-TLS.

Owns the three descriptors that the server names, the time during which a handshake may fail, and SIGTERM
before the login. With UCSPI-TLS the server does the TLS: after the start command it answers on the control
socket (`VAR=value\0…\0\0`) once the handshake is done, and exchanges clear text with us over two pipes. A
failed handshake shows as SIGTERM, or as EOF on the input or the control socket before that answer. At any
other time SIGTERM means that no more input will come: sslserver sends it when its client disconnects,
without waiting until we have read what it passed on.
"""

import posix
import select

from qmail_popup.wire import DISCONNECTED, IN, OUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Collection, Iterable, Sequence
else:
    import _signal as signal  # signal itself imports enum: 4.6 ms

MAX_ANSWER = 65536  # bytes, terminator included
_END = b"\0\0"
FAILED = "tls_failed"
_START = b"Y"  # UCSPI-TLS: start, and answer with the environment
_NAMES = b"SSL"


def claim(descriptors: "Sequence[int]") -> list[int]:
    """Make the server's descriptors close-on-exec; return those that are open."""
    return [fd for fd in descriptors if _claimed(fd)]


def _claimed(fd: int) -> bool:
    try:
        if fd in (IN, OUT):  # 0 and 1 stay the network, whatever else they are
            posix.fstat(fd)
        else:
            posix.set_inheritable(fd, False)  # noqa: FBT003  posix takes no keywords
    except OSError:
        return False
    return True


def watch() -> "Sigterm | None":
    """Catch SIGTERM; return None, and change nothing, if it is ignored or no descriptor is left."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        return None
    try:
        return Sigterm()
    except OSError:
        return None


def start(descriptors: "Sequence[int]", sigterm: "Sigterm | None" = None) -> "Handshake | None":
    """Ask the server for TLS and move its pipes to 0 and 1; None if it could not be asked.

    The numbers are arbitrary and may be equal, so all are duplicated before the first is moved.
    sigterm: if it is already caught
    """
    copies: list[int] = []
    handshake = None
    try:
        for fd in descriptors:
            copies.append(posix.dup(fd))  # noqa: PERF401  one by one, so that all can be closed if the next dup fails
        control, read_end, write_end = copies
        handshake = Handshake(control, sigterm)
        posix.write(control, _START)
        posix.dup2(read_end, IN)
        posix.dup2(write_end, OUT)
    except OSError:
        _close(copies)
        if handshake:
            handshake.settle()
        return None
    _close({read_end, write_end, *descriptors} - {IN, OUT})
    return handshake


def _close(descriptors: "Iterable[int]") -> None:
    for fd in descriptors:
        posix.close(fd)


class Sigterm:
    """A caught SIGTERM, by which the server says that no more input will come.

    over: whether it arrived; input already received is then still served, but nothing is waited for
    """

    __slots__ = ("_before", "_reader", "_writer", "over")

    def __init__(self) -> None:
        """Catch it; OSError if no pipe can be made."""
        self.over = False
        # A Python handler runs too late for a signal that arrives just before poll(2). Only a descriptor
        # written by the C handler interrupts that poll.
        self._reader, self._writer = posix.pipe()
        posix.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._before = signal.signal(signal.SIGTERM, lambda _signal, _frame: None)

    def descriptors(self) -> "Sequence[int]":
        """Return the descriptors to wait for besides the network."""
        return () if self.over or self._reader < 0 else (self._reader,)

    def ended(self, ready: "Collection[int]") -> None:
        """Record whether it arrived; that alone ends no session."""
        self.over = self.over or self._reader in ready

    def disconnected(self) -> None:
        """Treat a reply that could not be written the same way: the client has disconnected."""
        self.over = True

    def release(self) -> None:
        """Restore the previous handler, before a program is started or for good."""
        if self._reader >= 0:
            signal.signal(signal.SIGTERM, self._before)
            signal.set_wakeup_fd(-1)
            _close((self._reader, self._writer))
            self._reader = -1


class Handshake:
    """The time between the start command and the server's answer, when SIGTERM means failure.

    control: our copy of the control socket, the last one left
    answer: the server's variables, only names that begin with SSL; empty until it answers
    """

    __slots__ = ("_heard", "_ours", "_pending", "_sigterm", "answer", "control")

    def __init__(self, control: int, sigterm: Sigterm | None = None) -> None:
        """Catch SIGTERM, even an ignored one, before the server can have a reason to send it."""
        self.answer: dict[bytes, bytes] = {}
        self.control = control
        self._heard = b""
        self._pending = True
        self._ours = sigterm is None
        self._sigterm = sigterm or Sigterm()

    @property
    def over(self) -> bool:
        """Whether the server has said that no more input will come."""
        return self._sigterm.over

    def disconnected(self) -> None:
        """Record that the client has disconnected."""
        self._sigterm.disconnected()

    def descriptors(self) -> "Sequence[int]":
        """Return the descriptors to wait for besides the network."""
        return (*([self.control] if self._pending else []), *self._sigterm.descriptors())

    def ended(self, ready: "Collection[int]") -> str | None:
        """Handle the ready descriptors; return FAILED if the handshake failed."""
        self._sigterm.ended(ready)
        if not self._pending:
            return None
        # A SIGTERM after the answer leaves the handshake good: the answer can be read by then.
        failed = self._hear() if self.over or self.control in ready else None
        return failed or (self._unanswered() if self.over else None)

    def look(self) -> str | None:
        """Check once without waiting, because a login may arrive before the server's answer."""
        return self.ended(_ready(self.descriptors())) if self._pending else None

    def settle(self) -> None:
        """End the handshake: SIGTERM gets its previous meaning."""
        self._pending = False
        if self._ours:  # if it was ignored, its arrival means nothing
            self._sigterm.release()
            self._sigterm.over = False

    def release(self) -> None:
        """Restore SIGTERM's original handler."""
        self.settle()
        self._sigterm.release()

    def why(self, ended: str) -> str:
        """Tell a failed handshake from a disconnect: a good handshake has been answered by then."""
        if ended != DISCONNECTED or not self._pending:
            return ended
        return self.look() or self._unanswered() or ended

    def _unanswered(self) -> str | None:
        return FAILED if self._pending else None

    def _hear(self) -> str | None:
        if not _ready((self.control,)):
            return None
        try:
            chunk = posix.read(self.control, MAX_ANSWER)
        except BlockingIOError:
            return None
        except OSError:
            return FAILED
        self._heard += chunk
        end = 0 if self._heard.startswith(b"\0") else self._heard.find(_END)
        if 0 <= end <= MAX_ANSWER - len(_END):
            self.answer = _variables(self._heard[:end])
            self.settle()
            return None
        return FAILED if not chunk or len(self._heard) > MAX_ANSWER else None


def _ready(descriptors: "Iterable[int]") -> list[int]:
    """Return the descriptors that are readable now."""
    poll = select.poll()
    for fd in descriptors:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _events in poll.poll(0)]


def _variables(block: bytes) -> dict[bytes, bytes]:
    """Parse the answer's entries; accept only names that begin with SSL."""
    entries = [entry.partition(b"=") for entry in block.split(b"\0")]
    return {name: value for name, equals, value in entries if equals and name.startswith(_NAMES)}
