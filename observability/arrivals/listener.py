"""The sidecar's socket and its service manager: where popups connect, and who is told of it.

Owns how a listening socket comes about: handed over by systemd (LISTEN_FDS, sd_listen_fds(3)), or made at a
path that nothing but a stale socket of ours may stand on. Tells systemd that the sidecar is ready
(NOTIFY_SOCKET, sd_notify(3)).
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Mapping
from pathlib import Path

from observability.errors import UnusableError

BACKLOG = 4096  # Linux caps it at net.core.somaxconn, 4,096 where nobody changed that
_FIRST_HANDED_OVER = 3  # SD_LISTEN_FDS_START
_NO_OTHERS = 0o117  # leaves 0660: root and the popups' group


def inherited(environ: Mapping[str, str], pid: int) -> socket.socket | None:
    """Return the listening socket that the service manager hands over, if it does."""
    if environ.get("LISTEN_PID") != str(pid) or environ.get("LISTEN_FDS", "") in ("", "0"):
        return None
    try:
        listener = socket.socket(fileno=_FIRST_HANDED_OVER)
    except OSError as error:
        raise UnusableError(f"LISTEN_FDS is set, but descriptor 3 is no socket: {error.strerror}") from error
    if listener.family != socket.AF_UNIX or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise UnusableError(
            "LISTEN_FDS hands over a socket that is no Unix stream socket, or does not listen"
        )
    listener.set_inheritable(False)
    return listener


class Door:
    """A socket at a path of our own: 0660, and its directory 0750 where that has to be made."""

    def __init__(self, path: Path) -> None:
        """Listen at path; UnusableError where that cannot be."""
        self._path = path
        self.listener, self._inode = _listen(path)

    def renewed(self) -> socket.socket | None:
        """Listen anew, where somebody has removed the socket; None where nobody has."""
        if os.path.lexists(self._path):
            return None
        with contextlib.suppress(UnusableError):
            self.listener, self._inode = _listen(self._path)
            return self.listener
        return None

    def close(self) -> None:
        """Take the socket away, unless it is somebody else's by now."""
        with contextlib.suppress(OSError):
            if self._path.lstat().st_ino == self._inode:
                self._path.unlink()


def _listen(path: Path) -> tuple[socket.socket, int]:
    try:
        if not path.parent.exists():
            path.parent.mkdir(mode=0o750)
            path.parent.chmod(0o750)  # whatever the umask
        _clear(path)
        return _bind(path), path.lstat().st_ino
    except OSError as error:
        raise UnusableError(f"cannot listen on {path}: {error.strerror or error}") from error


def notify(environ: Mapping[str, str], state: str) -> None:
    """Tell the service manager, if there is one; state: e.g. READY=1."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    # A manager that does not listen is no reason not to serve.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, contextlib.suppress(OSError):
        # "@" stands for the abstract namespace.
        manager.sendto(state.encode(), f"\0{address[1:]}" if address[0] == "@" else address)


def _clear(path: Path) -> None:
    """Take a stale socket away; raise OSError for one that answers and for anything else."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(errno.EEXIST, "there is something else, which is no socket")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(0)
            probe.connect(str(path))
        raise OSError(errno.EADDRINUSE, "another program listens there")
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        path.unlink()


def _bind(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(_NO_OTHERS)
    try:
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener
