"""Where one scenario plays: a sidecar on paths of its own, popups started by hand.

It keeps the books: what went to descriptor 5, and how many sessions there were.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.support.keeper import Keeper
from tests.support.popup import LOGIN, REFUSES, Popup
from tests.support.scraper import counts
from tests.support.without import command

# Nothing of site-packages is the popup's business, and without it starts in half the time.
_BARE = "-S"
POPUP = command((), "qmail_popup", _BARE)


class Tally(NamedTuple):
    """What is counted, or should be."""

    attempts: int
    sessions: int


class Stand:
    """One scenario's sidecar and popups. Leaving the context ends the sidecar."""

    def __init__(self, directory: Path, *without: str) -> None:
        """Play with files in `directory`; without: parts that are missing, see `tests.support.without`."""
        self.keeper = Keeper(directory, command(without, "observability"))
        self._without = without
        self._records = self._sessions = 0

    @property
    def happened(self) -> Tally:
        """What should be counted."""
        return Tally(self._records, self._sessions)

    def counted(self) -> Tally:
        """Return what is counted once the spool is empty."""
        numbers = self.keeper.drained()
        return Tally(*(counts(numbers, f"{name}_total").total() for name in ("auth_attempts", "sessions")))

    def note(self, records: int, sessions: int) -> None:
        """Take into the books what the test did itself."""
        self._records += records
        self._sessions += sessions

    @contextmanager
    def session(self, *without: str, spool_only: bool = False) -> Iterator[Popup]:
        """Begin a session; in the context it has to log in (and is refused), at its end the popup is gone.

        without: parts that this popup has not, beside those that all have not.
        """
        told: Mapping[str, str] = self.keeper.environment
        if spool_only:
            told = {"QMAIL_POPUP_SPOOL": told["QMAIL_POPUP_SPOOL"]}
        env = {"PATH": os.environ["PATH"], **told}
        with Popup(command((*self._without, *without), "qmail_popup", _BARE), REFUSES, env=env) as popup:
            assert b"+OK\r\n" == popup.line.receive_line()
            yield popup
            assert 1 == popup.status()
            self.note(len(popup.records()), 1)

    def whole_session(self, *, spool_only: bool = False) -> None:
        """Have a session from its begin to its end."""
        with self.session(spool_only=spool_only) as popup:
            popup.talk(LOGIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.keeper.kill()
