"""The sidecar's listening socket and its service manager.

The socket is passed by systemd (LISTEN_FDS, sd_listen_fds(3)) or created at a path, replacing only a stale
socket. Also notifies systemd of the sidecar's state (NOTIFY_SOCKET, sd_notify(3)).
"""

import contextlib
import errno
import resource
import socket
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from observability.arrivals.paths import Identity, Lost, identity
from observability.errors import UnusableError, describe

BACKLOG = 4096  # Linux caps it at net.core.somaxconn, 4,096 by default
_FIRST_HANDED_OVER = 3  # SD_LISTEN_FDS_START
OTHER_DESCRIPTORS = 112  # apart from connections of popups and HTTP clients
_MAX_HTTP_CLIENTS = 2048  # enough for a thousand clients that send nothing and reconnect all the time
_MODE = 0o660  # root and the popups' group


def inherited(environ: Mapping[str, str], pid: int) -> socket.socket | None:
    """Return the listening socket passed by the service manager, if any."""
    if environ.get("LISTEN_PID") != str(pid) or environ.get("LISTEN_FDS", "") in ("", "0"):
        return None
    try:
        listener = socket.socket(fileno=_FIRST_HANDED_OVER)
    except OSError as error:
        raise UnusableError(
            f"LISTEN_FDS is set, but descriptor 3 is not a socket: {describe(error)}"
        ) from error
    if listener.family != socket.AF_UNIX or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise UnusableError("the socket in LISTEN_FDS is not a listening Unix stream socket")
    listener.set_inheritable(False)
    return listener


class Listener:
    """A socket at a path, mode 0660; its directory is created with mode 0750 if missing."""

    def __init__(self, path: Path) -> None:
        """Listen at `path`; UnusableError."""
        self._path = path
        self.socket, self._identity = _listen(path)

    def keep(self, move: Callable[[socket.socket], None]) -> Lost | None:
        """Check that the socket is at its path; if not, create another and pass it to `move`."""
        if identity(self._path) == self._identity:
            return None
        try:
            self.socket, self._identity = _listen(self._path)
        except UnusableError as error:
            return Lost(f"the socket was removed or replaced: {error}", is_mended=False)
        move(self.socket)
        return Lost(f"the socket {self._path} was removed, and has been created again", is_mended=True)

    def close(self) -> None:
        """Remove the socket, unless it has been replaced."""
        with contextlib.suppress(OSError):
            if identity(self._path) == self._identity:
                self._path.unlink()


def connections_allowed(limit: int) -> int:
    """Return how many popups may be connected at a time, at most `limit`; UnusableError if none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = limit + OTHER_DESCRIPTORS + _MAX_HTTP_CLIENTS
    wanted = hard if hard != resource.RLIM_INFINITY else max(soft, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    left = wanted - OTHER_DESCRIPTORS - http_clients_allowed()
    if left < 1:
        raise UnusableError(f"the limit of {wanted} open files leaves none for popups; raise it")
    return min(limit, left)


def http_clients_allowed() -> int:
    """Return how many HTTP clients may be connected: an eighth of the descriptor limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(_MAX_HTTP_CLIENTS, soft // 8)


def _listen(path: Path) -> tuple[socket.socket, Identity | None]:
    try:
        if not path.parent.exists():
            path.parent.mkdir(mode=0o750)
            path.parent.chmod(0o750)  # mkdir() applies the umask
        _clear(path)
        return _bind(path), identity(path)
    except OSError as error:
        raise UnusableError(f"cannot listen on {path}: {error.strerror or error}") from error


def notify(environ: Mapping[str, str], state: str) -> None:
    """Send a state such as READY=1 to the service manager, if there is one."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    # The sidecar also works if the manager does not listen.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, contextlib.suppress(OSError):
        # "@": the abstract namespace.
        manager.sendto(state.encode(), f"\0{address[1:]}" if address[0] == "@" else address)


def _clear(path: Path) -> None:
    """Remove a stale socket; OSError if a program listens on it or if it is not a socket."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(errno.EEXIST, "it exists and is not a socket")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(0)
            probe.connect(str(path))
        raise OSError(errno.EADDRINUSE, "another program is listening on it")
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        path.unlink()


def _bind(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        path.chmod(_MODE)  # before any client can connect, whatever the umask
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
