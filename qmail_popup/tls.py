r"""UCSPI-TLS: how the popup asks the server to start TLS, and learns what became of it.

Owns the three descriptors that the server names and the stretch of a session in which a handshake may
fail. The server does the TLS itself: after the start command it answers on the control socket
(`VAR=value\0…\0\0`) once the handshake is done, and speaks to us in clear over two pipes. A handshake
that fails shows as SIGTERM, or as the end of the input or of the control socket before that answer.
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

ANSWER_MOST = 65536  # bytes, with its end
_END = b"\0\0"
FAILED = "tls_failed"
_START = b"Y"  # UCSPI-TLS: start, and answer with the environment
_NAMES = b"SSL"


def claim(descriptors: "Sequence[int]") -> list[int]:
    """Keep the server's descriptors from the subprogram; return those that are open."""
    return [fd for fd in descriptors if _claimed(fd)]


def _claimed(fd: int) -> bool:
    try:
        if fd in (IN, OUT):  # they stay the network, whatever else they are
            posix.fstat(fd)
        else:
            posix.set_inheritable(fd, False)  # noqa: FBT003  posix takes no keywords
    except OSError:
        return False
    return True


def start(descriptors: "Sequence[int]") -> "Handshake | None":
    """Ask the server for TLS and move its pipes to 0 and 1; None where it could not be asked.

    The numbers may be any and may be equal, so they are duplicated before the first is moved.
    """
    copies: list[int] = []
    handshake = None
    try:
        for fd in descriptors:
            copies.append(posix.dup(fd))  # noqa: PERF401  one by one, so that each is known if the next fails
        control, read_end, write_end = copies
        handshake = Handshake(control)
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


class Handshake:
    """From the start command to the server's answer: the one stretch in which SIGTERM is caught.

    control: our copy of the control socket, the last one left
    answer: what the server told, names that begin with SSL only; empty before it has
    """

    __slots__ = ("_heard", "_pending", "_sigterm", "_wakeup", "_woken", "answer", "control")

    def __init__(self, control: int) -> None:
        """Catch SIGTERM, before the server can have a reason to send it."""
        self.answer: dict[bytes, bytes] = {}
        self.control = control
        self._heard = b""
        self._pending = True
        # A handler in Python runs too late for a signal that comes right before poll(2): only a
        # descriptor that the C handler writes to ends that poll.
        self._woken, self._wakeup = posix.pipe()
        posix.set_blocking(self._wakeup, False)
        signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        self._sigterm = signal.signal(signal.SIGTERM, lambda _signal, _frame: None)

    def descriptors(self) -> "Sequence[int]":
        """Return what to wait for besides the network: nothing once the answer is there."""
        return (self.control, self._woken) if self._pending else ()

    def ended(self, ready: "Collection[int]") -> str | None:
        """Look at those of the descriptors that are ready; FAILED where the handshake has failed."""
        if self._woken in ready:
            return FAILED
        return self._hear() if self.control in ready else None

    def look(self) -> str | None:
        """Look once at all there is, without waiting, for a login that may be ahead of the answer."""
        poll = select.poll()
        for fd in self.descriptors():
            poll.register(fd, select.POLLIN)
        return self.ended([fd for fd, _events in poll.poll(0)]) if self._pending else None

    def settle(self) -> str | None:
        """End the stretch: SIGTERM ends the popup again. FAILED if it came before that."""
        if not self._pending:
            return None
        self._pending = False
        signal.signal(signal.SIGTERM, self._sigterm)
        signal.set_wakeup_fd(-1)
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        failed = poll.poll(0)
        posix.close(self._woken)
        posix.close(self._wakeup)
        return FAILED if failed else None

    def why(self, ended: str) -> str:
        """Tell a failed handshake from a client that went: the answer of a good one is there by then."""
        if ended != DISCONNECTED or not self._pending:
            return ended
        return FAILED if self.look() or self.descriptors() else ended

    def _hear(self) -> str | None:
        try:
            chunk = posix.read(self.control, ANSWER_MOST)
        except BlockingIOError:
            return None
        except OSError:
            return FAILED
        self._heard += chunk
        end = 0 if self._heard.startswith(b"\0") else self._heard.find(_END)
        if 0 <= end <= ANSWER_MOST - len(_END):
            self.answer = _variables(self._heard[:end])
            return self.settle()
        return FAILED if not chunk or len(self._heard) > ANSWER_MOST else None


def _variables(block: bytes) -> dict[bytes, bytes]:
    """Read the answer's entries; what the server might set beyond SSL's own names is not its to set."""
    entries = [entry.partition(b"=") for entry in block.split(b"\0")]
    return {name: value for name, equals, value in entries if equals and name.startswith(_NAMES)}
