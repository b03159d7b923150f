"""A session of a real popup that leaves its event in a spool, and the number of lost events."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.support.popup import LOGIN, REFUSES, Popup


def refused_session(
    popup: list[str],
    spool: Path,
    *wrapper: str,
    prepare: Callable[[], None] | None = None,
    env: Mapping[str, str] | None = None,
    says: bytes = LOGIN,
) -> None:
    """Run one refused session, and check that it behaves as without a mirror."""
    told = {"PATH": os.environ["PATH"], "QMAIL_POPUP_SPOOL": str(spool), **(env or {})}
    with Popup([*wrapper, *popup], REFUSES, env=told, prepare=prepare) as running:
        assert running.talk(says).endswith(b"-ERR authorization failed\r\n")
        assert 1 == running.status()
        assert [1, b""] == [len(running.records()), running.errors()]


def lost(spool: Path) -> int:
    """Return the number of events in `lost`."""
    file = spool / "lost"
    return file.stat().st_size if file.exists() else 0
