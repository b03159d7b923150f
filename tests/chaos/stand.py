"""The environment of one scenario: a sidecar with its own paths, and popups started directly.

It also counts what should be counted: records on descriptor 5, and sessions.
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

# The popup needs nothing from site-packages, and starts in half the time without them.
_BARE = "-S"
POPUP = command((), "qmail_popup", _BARE)


class Tally(NamedTuple):
    """Actual or expected counts."""

    attempts: int
    sessions: int


class Stand:
    """One scenario's sidecar and popups. Leaving the context ends the sidecar."""

    def __init__(self, directory: Path, *without: str) -> None:
        """directory: for all files; without: disabled parts, see `tests.support.without`."""
        self.keeper = Keeper(directory, command(without, "observability"))
        self._without = without
        self._records = self._sessions = 0

    @property
    def happened(self) -> Tally:
        """The expected counts."""
        return Tally(self._records, self._sessions)

    def counted(self) -> Tally:
        """Wait until the spool is empty, and return the actual counts."""
        numbers = self.keeper.drained()
        return Tally(*(counts(numbers, f"{name}_total").total() for name in ("auth_attempts", "sessions")))

    def note(self, records: int, sessions: int) -> None:
        """Add records and sessions of the test itself to the expected counts."""
        self._records += records
        self._sessions += sessions

    @contextmanager
    def session(self, *without: str, spool_only: bool = False) -> Iterator[Popup]:
        """Start a session; log in (and be refused) within the context, which then awaits the popup's end.

        without: parts disabled in this popup, in addition to those disabled in all
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
        """Run a session from beginning to end."""
        with self.session(spool_only=spool_only) as popup:
            popup.talk(LOGIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.keeper.kill()
