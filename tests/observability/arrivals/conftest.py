"""What the tests of the arrivals share: a clock, a spool and an intake, each with its place."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from observability.arrivals.connections import Intake
from observability.arrivals.spool import Spool
from tests.support.arrivals import Clock
from tests.support.intakes import listening, serving


@pytest.fixture
def clock() -> Clock:
    """Return a clock to set."""
    return Clock()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a spool directory."""
    made = tmp_path / "spool"
    made.mkdir()
    return made


@pytest.fixture
def spool(directory: Path, clock: Clock) -> Iterator[Spool]:
    """Give what empties that directory."""
    with closing(Spool(directory, clock)) as spool:
        yield spool


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where popups connect."""
    return tmp_path / "sidecar.sock"


@pytest.fixture
def intake(path: Path, clock: Clock) -> Iterator[Intake]:
    """Give an intake that serves three connections at most."""
    with serving(listening(path), clock) as intake:
        yield intake
