r"""What a server that speaks TLS tells its popup: by SIGTERM, and by UCSPI-TLS.

Owns the three descriptors that the server names, the stretch of a session in which a handshake may fail,
and SIGTERM while the client has not logged in. Over UCSPI-TLS the server does the TLS itself: after the
start command it answers on the control socket (`VAR=value\0…\0\0`) once the handshake is done, and speaks
to us in clear over two pipes. A handshake that fails shows as SIGTERM, or as the end of the input or of the
control socket before that answer. At any other time SIGTERM says that nothing more will come: sslserver
sends it when its client has gone, without waiting for what it has handed on to be read.
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

MAX_ANSWER = 65536  # bytes, with its end
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


def watch() -> "Sigterm | None":
    """Catch SIGTERM from here on; None where it is ignored, or no descriptor is left: it stays as it is."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        return None
    try:
        return Sigterm()
    except OSError:
        return None


def start(descriptors: "Sequence[int]", sigterm: "Sigterm | None" = None) -> "Handshake | None":
    """Ask the server for TLS and move its pipes to 0 and 1; None where it could not be asked.

    The numbers may be any and may be equal, so they are duplicated before the first is moved.
    sigterm: where it is caught already
    """
    copies: list[int] = []
    handshake = None
    try:
        for fd in descriptors:
            copies.append(posix.dup(fd))  # noqa: PERF401  one by one, so that each is known if the next fails
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
    """SIGTERM, caught: the server's word that nothing more will come.

    over: whether it has come; what is there is served then, and nothing is waited for
    """

    __slots__ = ("_before", "_reader", "_writer", "over")

    def __init__(self) -> None:
        """Catch it; OSError where there is no pipe."""
        self.over = False
        # A handler in Python runs too late for a signal that comes right before poll(2): only a
        # descriptor that the C handler writes to ends that poll.
        self._reader, self._writer = posix.pipe()
        posix.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._before = signal.signal(signal.SIGTERM, lambda _signal, _frame: None)

    def descriptors(self) -> "Sequence[int]":
        """Return what to wait for besides the network."""
        return () if self.over or self._reader < 0 else (self._reader,)

    def ended(self, ready: "Collection[int]") -> None:
        """Note whether it has come; that by itself ends no session."""
        self.over = self.over or self._reader in ready

    def disconnected(self) -> None:
        """Take a reply that could not be written for the same word: who would read it has gone."""
        self.over = True

    def release(self) -> None:
        """Have it do what it did before, for a program that is to be started, or for good."""
        if self._reader >= 0:
            signal.signal(signal.SIGTERM, self._before)
            signal.set_wakeup_fd(-1)
            _close((self._reader, self._writer))
            self._reader = -1


class Handshake:
    """From the start command to the server's answer, the stretch in which SIGTERM means a failure.

    control: our copy of the control socket, the last one left
    answer: what the server told, names that begin with SSL only; empty before it has
    """

    __slots__ = ("_heard", "_ours", "_pending", "_sigterm", "answer", "control")

    def __init__(self, control: int, sigterm: Sigterm | None = None) -> None:
        """Begin, before the server can have a reason to send SIGTERM; an ignored one is caught as well."""
        self.answer: dict[bytes, bytes] = {}
        self.control = control
        self._heard = b""
        self._pending = True
        self._ours = sigterm is None
        self._sigterm = sigterm or Sigterm()

    @property
    def over(self) -> bool:
        """Whether the server has said that nothing more will come."""
        return self._sigterm.over

    def disconnected(self) -> None:
        """Take it that the client has gone."""
        self._sigterm.disconnected()

    def descriptors(self) -> "Sequence[int]":
        """Return what to wait for besides the network."""
        return (*([self.control] if self._pending else []), *self._sigterm.descriptors())

    def ended(self, ready: "Collection[int]") -> str | None:
        """Look at what is ready; FAILED where the handshake has failed."""
        self._sigterm.ended(ready)
        if not self._pending:
            return None
        # A SIGTERM that comes behind the answer leaves the handshake good: the answer is there by then.
        failed = self._hear() if self.over or self.control in ready else None
        return failed or (self._unanswered() if self.over else None)

    def look(self) -> str | None:
        """Look once at all there is, without waiting, for a login that may be ahead of the answer."""
        return self.ended(_ready(self.descriptors())) if self._pending else None

    def settle(self) -> None:
        """End the stretch: SIGTERM means again what it meant before."""
        self._pending = False
        if self._ours:  # and what was ignored says nothing
            self._sigterm.release()
            self._sigterm.over = False

    def release(self) -> None:
        """Have SIGTERM do what it did before it was caught."""
        self.settle()
        self._sigterm.release()

    def why(self, ended: str) -> str:
        """Tell a failed handshake from a client that went: the answer of a good one is there by then."""
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
    """Return those that can be read from now."""
    poll = select.poll()
    for fd in descriptors:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _events in poll.poll(0)]


def _variables(block: bytes) -> dict[bytes, bytes]:
    """Read the answer's entries; what the server might set beyond SSL's own names is not its to set."""
    entries = [entry.partition(b"=") for entry in block.split(b"\0")]
    return {name: value for name, equals, value in entries if equals and name.startswith(_NAMES)}
