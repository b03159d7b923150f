"""Starts a pusher; imported only by a popup that found none running.

Owns what the pusher inherits: the lock, as descriptor 0. It gets no other descriptor (a client's socket would
stay open), no terminal, and from the session's environment only the variables that name trusted authorities.
"""

import posix
import sys
from posixpath import dirname, realpath

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping
else:
    import _signal as signal  # signal itself imports enum: 4.6 ms

_SIDECAR = "/qmail-popup-sidecar"
_MODULE = "/qmail_popup/__main__.py"
_TRUST = (b"SSL_CERT_FILE", b"SSL_CERT_DIR")
_NULL = "/dev/null"
_LOCK = 0
_CANNOT_RUN = 127  # what a shell returns; nothing reads it


def launch(lock: int, program: str, options: "Mapping[bytes, bytes]") -> None:
    """Start a pusher that holds `lock`; OSError.

    program: argv[0] of this process; options: the pusher's. Uses fork(2): posix_spawn(3) blocks all signals,
    the mirror's alarm included, until the file is executed, and its file system may hang. In that case the
    child waits with the lock, and no popup starts another.
    """
    command, environ = _command(realpath(program))
    arguments = [b"%s=%s" % option for option in options.items()]
    if posix.fork() == 0:
        try:
            _become([*command, "--once", *arguments], environ, lock)
        finally:
            posix._exit(_CANNOT_RUN)  # noqa: SLF001  its public name is in os, which would have to be imported


def _become(argv: "list[str | bytes]", environ: "Mapping[bytes, bytes]", lock: int) -> None:
    posix.setsid()
    posix.dup2(lock, _LOCK)
    _close_all_but_lock()
    posix.dup(posix.open(_NULL, posix.O_WRONLY))  # 1 and 2: the lowest free numbers
    for fd in range(3):
        posix.set_inheritable(fd, True)  # noqa: FBT003  posix takes no keywords
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    posix.execve(argv[0], argv, environ)


def _close_all_but_lock() -> None:
    """Close all open descriptors but the lock; some may exceed a limit that was lowered since."""
    try:
        numbers = [int(name) for name in posix.listdir("/proc/self/fd")]
    except OSError:
        numbers = list(range(posix.sysconf("SC_OPEN_MAX")))
    for fd in numbers:
        try:
            if fd != _LOCK:
                posix.close(fd)
        except OSError:  # the one that listed them
            pass


def _command(program: str) -> "tuple[list[str | bytes], dict[bytes, bytes]]":
    """Return command and environment of the sidecar program that belongs to `program`."""
    environ = {name: value for name, value in posix.environ.items() if name in _TRUST}
    if not program.endswith(_MODULE):
        return [dirname(program) + _SIDECAR], environ  # installed: both are in one directory
    environ[b"PYTHONPATH"] = dirname(dirname(program)).encode(errors="surrogateescape")
    return [sys.executable, "-m", "observability"], environ
