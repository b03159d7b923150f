"""DIR/pusher.error: why a pusher could not work, for popups, which look before they start the next one.

Nobody reads what a pusher writes to its descriptor 2, and what it lacks is missing at the next login, too.
Owns the file: one line, replaced as a whole, and removed once a pusher has worked.
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
    """Leave for popups why what is done inside could not be done; or nothing, where it could."""
    try:
        yield
    except HeldError:  # whose holder may end at any time: then the next pusher is to start
        raise
    except Exception as error:
        _note(spool, describe(error))
        raise
    with contextlib.suppress(OSError):
        (spool / _ERROR).unlink(missing_ok=True)


@contextlib.contextmanager
def noted_from(argv: Sequence[str]) -> Iterator[None]:
    """Leave for popups what is wrong with a pusher's command line, which is read inside."""
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
        if sys.stderr:  # which there is none of where descriptor 2 is closed
            sys.stderr.write(written.getvalue())


def _spool_in(argv: Sequence[str]) -> Path:
    """Return the spool that a command line names as popups do, or the usual one."""
    named = [option.removeprefix(_SPOOL) for option in argv if option.startswith(_SPOOL)]
    return Path(named[-1] if named else DEFAULT_SPOOL)


def _note(spool: Path, message: str) -> None:
    """Leave one line for popups, which start no pusher while that is new; nothing where it cannot be."""
    with contextlib.suppress(OSError):
        aside = spool / f"{_ERROR}.{os.getpid()}"
        fd = os.open(aside, _NEW, _MODE)
        os.fchmod(fd, _MODE)  # whatever the umask
        os.write(fd, f"{message}\n".encode(errors="backslashreplace"))
        os.close(fd)
        aside.rename(spool / _ERROR)
