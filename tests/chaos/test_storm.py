"""Hundreds of sessions of all kinds, while the sidecar is killed, suspended, cut off and locked out.

CHAOS=n makes each storm n times as long, with a new seed, which a failing test prints.
"""

import os
import random
import shutil
import tempfile
from pathlib import Path

from tests.chaos.storm import MIN_SESSIONS, Outcome, Storm, weather
from tests.support.descriptors import CHECKOUT
from tests.support.keeper import Keeper

_LONGER = int(os.environ.get("CHAOS", "0"))
_ROUNDS = _LONGER or 1
_OTHER_USER = 64_023
_UMASK = ("/bin/sh", "-c", 'umask 077; exec "$@"', "sh")


def _seed(usual: int) -> int:
    seed = random.randrange(1 << 32) if _LONGER else usual  # noqa: S311
    print(f"seed {seed}")
    return seed


def _popup(prefix: Path) -> list[str]:
    return [str(prefix / "bin/qmail-popup")]


def _exact(outcome: Outcome) -> None:
    """Check a storm in which no popup was killed: for all labels, everything was counted once."""
    assert [] == outcome.complaints
    assert outcome.looks
    assert outcome.connections.total() >= MIN_SESSIONS
    assert outcome.records == outcome.attempts
    assert outcome.connections == outcome.sessions
    # Events came by both socket and spool, and only duplicates did not count.
    assert {("socket",), ("spool",)} == set(outcome.sources)
    assert {("duplicate",)} >= set(outcome.dropped)


def test_every_record_counts_once(installed: Path) -> None:
    """Attempts equal the records on descriptor 5, sessions the connections; no counter ever goes back.

    As root: the popup is root and the sidecar is not. Both deny all access to others by their umask.
    """
    with tempfile.TemporaryDirectory(prefix="shared-") as scratch:
        shared = Path(scratch)
        shared.chmod(0o755)  # pytest's directories are private to its user
        shutil.copytree(installed, shared / "prefix", symlinks=True)
        (shared / "files").mkdir(mode=0o755)
        sidecar = [str(shared / "prefix/bin/qmail-popup-sidecar")]
        with Keeper(shared / "files", sidecar, user=None if os.geteuid() else _OTHER_USER) as keeper:
            storm = Storm(_popup(shared / "prefix"), shared, _seed(2), _ROUNDS, wrap=_UMASK)
            _exact(weather(storm, keeper))
            assert 0o2770 == keeper.spool.stat().st_mode & 0o7777


def test_killed_popups_are_all_that_is_missing(tmp_path: Path, installed: Path) -> None:
    """If popups are killed as well, at most their events are missing, and nothing counts twice."""
    with Keeper(tmp_path) as keeper:
        outcome = weather(Storm(_popup(installed), CHECKOUT, _seed(3), _ROUNDS, strikes=True), keeper)
    assert [] == outcome.complaints
    assert outcome.struck
    assert set() == set(outcome.attempts - outcome.records)
    assert 0 <= outcome.records.total() - outcome.attempts.total() <= outcome.killed
    assert 0 <= outcome.connections.total() - outcome.sessions.total() <= outcome.struck
    killed = sum(count for (ended, _), count in outcome.sessions.items() if ended == "killed")
    assert 0 < killed <= outcome.struck
    # SIGKILL may interrupt a write between two pages, and so tear an event.
    assert {("duplicate",), ("malformed",)} >= set(outcome.dropped)
