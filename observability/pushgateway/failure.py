"""DIR/pusher.error: why a pusher failed, for popups to check before they start another.

Nobody reads a pusher's descriptor 2, and its problem will probably persist until the next login. Owns the
file: one line, replaced as a whole, and removed once a pusher has succeeded.
"""

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from observability.errors import HeldError, UnusableError, describe
from observability.options.table import DEFAULT_SPOOL

_ERROR = "pusher.error"
_MODE = 0o640
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SPOOL = "--spool="


@contextlib.contextmanager
def noted(spool: Path) -> Iterator[None]:
    """Write the error of the enclosed work to the file, or remove the file on success."""
    try:
        yield
    except HeldError:  # the holder may end at any time, so the next pusher must start
        raise
    except Exception as error:
        _note(spool, describe(error))
        raise
    with contextlib.suppress(OSError):
        (spool / _ERROR).unlink(missing_ok=True)


@contextlib.contextmanager
def noted_from(argv: Sequence[str]) -> Iterator[None]:
    """Write what is wrong with a pusher's command line, parsed in the enclosed code, to the file."""
    written = io.StringIO()
    try:
        with contextlib.redirect_stderr(written):
            yield
    except (SystemExit, UnusableError) as error:
        wrong = written.getvalue() or (str(error) if isinstance(error, UnusableError) else "")
        if wrong and "--once" in argv:
            _note(_spool_in(argv), " ".join(wrong.split()))
        raise
    finally:
        if sys.stderr:  # None if descriptor 2 is closed
            sys.stderr.write(written.getvalue())


def _spool_in(argv: Sequence[str]) -> Path:
    """Return the spool named on the command line as popups write it, or the default."""
    named = [option.removeprefix(_SPOOL) for option in argv if option.startswith(_SPOOL)]
    return Path(named[-1] if named else DEFAULT_SPOOL)


def _note(spool: Path, message: str) -> None:
    """Write a line that keeps popups from starting pushers while it is new; ignore failures."""
    with contextlib.suppress(OSError):
        aside = spool / f"{_ERROR}.{os.getpid()}"
        fd = os.open(aside, _NEW, _MODE)
        os.fchmod(fd, _MODE)  # regardless of the umask
        os.write(fd, f"{message}\n".encode(errors="backslashreplace"))
        os.close(fd)
        aside.rename(spool / _ERROR)
