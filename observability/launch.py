"""Starts a pusher, from the one popup that found none running; only that one imports this.

Owns what the pusher gets from the session: the lock, as descriptor 0, and nothing else. No other descriptor
(a client's socket would not close), no terminal, no variable of the session's environment but those that
say which authorities TLS is to trust.
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
_CANNOT_RUN = 127  # a shell's word for it, which nobody reads


def launch(lock: int, program: str, options: "Mapping[bytes, bytes]") -> None:
    """Start a pusher that holds `lock`; OSError.

    program: argv[0] of this process; options: the pusher's. By fork(2): posix_spawn(3) has all signals wait
    until the file is executed, the mirror's alarm too, and the file's system may hang. Where it does, the
    child waits with the lock, and no popup starts another.
    """
    command, environ = _command(realpath(program))
    told = [b"%s=%s" % option for option in options.items()]
    if posix.fork() == 0:
        try:
            _become([*command, "--once", *told], environ, lock)
        finally:
            posix._exit(_CANNOT_RUN)  # noqa: SLF001  its public name is in os, and is an import


def _become(argv: "list[str | bytes]", environ: "Mapping[bytes, bytes]", lock: int) -> None:
    posix.setsid()
    posix.dup2(lock, _LOCK)
    _close_all_but_lock()
    posix.dup(posix.open(_NULL, posix.O_WRONLY))  # 1 and 2: the lowest that are free
    for fd in range(3):
        posix.set_inheritable(fd, True)  # noqa: FBT003  posix takes no keywords
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    posix.execve(argv[0], argv, environ)


def _close_all_but_lock() -> None:
    """Close what there is, which may be above a limit that was lowered since."""
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
    """Return the command and the environment of the sidecar's program that belongs to `program`."""
    environ = {name: value for name, value in posix.environ.items() if name in _TRUST}
    if not program.endswith(_MODULE):
        return [dirname(program) + _SIDECAR], environ  # installed: the two stand side by side
    environ[b"PYTHONPATH"] = dirname(dirname(program)).encode(errors="surrogateescape")
    return [sys.executable, "-m", "observability"], environ
