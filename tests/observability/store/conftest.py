"""What the tests of the store share: a new one, where it stands, and the clocks that it asks."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from observability.store.database import Store
from tests.support.stores import Time, opened


@pytest.fixture
def time() -> Time:
    """Return clocks to set."""
    return Time()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the store of a test stands."""
    return tmp_path / "state.sqlite"


@pytest.fixture
def store(path: Path, time: Time) -> Iterator[Store]:
    """Give a new store."""
    with opened(path, time.clocks()) as store:
        yield store
