r"""The subprogram: its environment, descriptor 3, start and end.

The interface is checkpassword's: `name\0secret\0timestamp\0` on descriptor 3; the exit status decides. The
secret is a view of the line it arrived in, which the session wipes. The program is started with
posix_spawn(3), which takes signals and descriptors as tables, reports why execve failed, and costs less than
forking the interpreter. Descriptors are set up only in the child, because 3 and 5 may be in use in the popup.
"""

import errno
import posix
from select import PIPE_BUF

from qmail_popup.settings import OWN_PREFIX, TLS_DESCRIPTORS
from qmail_popup.wire import IN, OUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Collection, Mapping

    Buffer = bytes | bytearray | memoryview
else:
    import _signal as signal  # signal itself imports enum: 4.6 ms

STDERR, FD = 2, 3
CANNOT_RUN = 111  # checkpassword: "temporary problem"
DEFAULTED = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD)
_NO_PROCESS = (errno.EAGAIN, errno.ENOMEM)
_COERCED = (b"C.UTF-8", b"C.utf8", b"UTF-8")  # what PEP 538 sets LC_CTYPE to
_LC_CTYPE = b"LC_CTYPE"


class Outcome:
    """How it ended: exit status, or signal, or "pipe" or "fork" if it never started.

    error: errno, if it could not be executed (its status is then CANNOT_RUN) or never started
    spawned, exited: nanoseconds of the given clock
    """

    __slots__ = ("error", "exited", "failure", "signal", "spawned", "status")

    def __init__(self) -> None:
        """Start with nothing known."""
        self.status: int | None = None
        self.signal: int | None = None
        self.failure: str | None = None
        self.error: int | None = None
        self.spawned = self.exited = 0


def environment(
    inherited: "Mapping[bytes, bytes]", tls_variables: "Mapping[bytes, bytes]"
) -> dict[bytes, bytes]:
    """Return the subprogram's environment: inherited and the TLS server's, without our variables."""
    # posix_spawn rejects empty names.
    return {
        name: value
        for name, value in as_inherited({**inherited, **tls_variables}).items()
        if name and not name.startswith(OWN_PREFIX) and name not in TLS_DESCRIPTORS
    }


def as_inherited(environ: "dict[bytes, bytes]") -> dict[bytes, bytes]:
    """Undo CPython's change to LC_CTYPE in the C locale (PEP 538)."""
    if environ.get(_LC_CTYPE) in _COERCED:
        del environ[_LC_CTYPE]
        environ.update(_inherited_lc_ctype())
    return environ


def _inherited_lc_ctype() -> dict[bytes, bytes]:
    """Return LC_CTYPE as inherited, if it was set."""
    entries = [entry.partition(b"=") for entry in _contents(b"/proc/self/environ").split(b"\0")]
    # If a name occurs twice, CPython takes the first too.
    return {name: value for name, _equals, value in reversed(entries) if name == _LC_CTYPE}


def _contents(path: bytes) -> bytes:
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return b""
    read = b""
    while chunk := posix.read(fd, 65536):
        read += chunk
    posix.close(fd)
    return read


def start(  # noqa: PLR0913  what a process is started with
    argv: list[bytes],
    environ: "Mapping[bytes, bytes]",
    *,
    network: int | None = None,
    sigmask: "Collection[int]" = (),
    defaulted: "Collection[int]" = DEFAULTED,
    spawn: "Callable[..., int]" = posix.posix_spawnp,
    keep_stderr: bool,
    clock: "Callable[[], int]",
) -> "Subprogram":
    """Start it with `sigmask` blocked; if it cannot be started, the outcome says why.

    defaulted: signals to set to their defaults, at least DEFAULTED; spawn: called as os.posix_spawnp
    network: the descriptor to use as its 0 and 1, if 0 and 1 are not the network already. The write to
    descriptor 3 then does not block either: a pipe has room for all of it.
    """
    outcome = Outcome()
    try:
        read_end, write_end = posix.pipe()
    except OSError as error:
        outcome.failure, outcome.error = "pipe", error.errno
        return Subprogram(0, -1, outcome, clock)
    outcome.spawned = clock()
    # 3 before 2: if 2 was closed at the start, the pipe may be 2.
    actions = [(posix.POSIX_SPAWN_DUP2, read_end, FD)]
    if network is not None:
        actions += (posix.POSIX_SPAWN_DUP2, network, IN), (posix.POSIX_SPAWN_DUP2, network, OUT)
    if not keep_stderr:
        actions.append((posix.POSIX_SPAWN_DUP2, OUT, STDERR))
    pid = _spawned(spawn, argv, environ, actions, outcome, sigmask=sigmask, defaulted=defaulted)
    posix.close(read_end)  # so that a write without a reader fails instead of blocking
    return Subprogram(pid, write_end, outcome, clock, may_wait=network is None)


class Subprogram:
    """A subprogram that was started, or could not be."""

    __slots__ = ("_clock", "_may_wait", "_write_end", "outcome", "pid")

    def __init__(
        self, pid: int, write_end: int, outcome: Outcome, clock: "Callable[[], int]", *, may_wait: bool = True
    ) -> None:
        """pid: 0 if there is no process; write_end: of the pipe to its descriptor 3, -1 if none.

        may_wait: whether hand_over() may wait for the subprogram to read
        """
        self.pid, self._write_end, self.outcome, self._clock = pid, write_end, outcome, clock
        self._may_wait = may_wait

    def hand_over(self, name: bytes, secret: "Buffer", timestamp: bytes) -> None:
        """Write the credentials to descriptor 3 in one write, without copying `secret`."""
        if self._write_end < 0:
            return
        parts: list[Buffer] = [name + b"\0", secret, b"\0" + timestamp + b"\0"]
        size = sum(map(len, parts))
        if size > PIPE_BUF and not self._may_wait:  # an empty pipe always has room for PIPE_BUF, pipe(7)
            posix.set_blocking(self._write_end, False)
        try:
            while (written := posix.writev(self._write_end, parts)) < size:
                parts, size = _left(parts, written), size - written
        except OSError:  # a subprogram need not read it
            pass
        posix.close(self._write_end)

    def wait(self) -> Outcome:
        """Wait for it to exit."""
        return self.ended(posix.waitpid(self.pid, 0)[1] if self.pid else None)

    def ended(self, status: int | None) -> Outcome:
        """Record how it ended. status: from waitpid(2), None if there was no process."""
        outcome = self.outcome
        if status is None:
            pass
        elif posix.WIFSIGNALED(status):
            outcome.signal = posix.WTERMSIG(status)
        else:
            outcome.status = posix.WEXITSTATUS(status)
        if outcome.spawned:
            outcome.exited = self._clock()
        return outcome


def _left(parts: "list[Buffer]", written: int) -> "list[Buffer]":
    """Return the parts not yet written: a signal may cut a write short."""
    left: list[Buffer] = []
    for part in parts:
        view = memoryview(part)
        if written < len(view):
            left.append(view[written:])
        written = max(0, written - len(view))
    return left


def _spawned(  # noqa: PLR0913  what posix_spawn(3) takes
    spawn: "Callable[..., int]",
    argv: list[bytes],
    environ: "Mapping[bytes, bytes]",
    actions: list[tuple[int, int, int]],
    outcome: Outcome,
    *,
    sigmask: "Collection[int]",
    defaulted: "Collection[int]",
) -> int:
    """Return its pid; 0 if it could not be started, with the reason in `outcome`."""
    try:
        return spawn(argv[0], argv, environ, file_actions=actions, setsigdef=defaulted, setsigmask=sigmask)
    except OSError as error:
        outcome.error = error.errno
    except ValueError:  # an empty name: execve would return ENOENT
        outcome.error = errno.ENOENT
    if outcome.error in _NO_PROCESS:
        outcome.failure = "fork"
    else:
        outcome.status = CANNOT_RUN
    return 0
