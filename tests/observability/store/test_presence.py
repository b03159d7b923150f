"""The store's file: what becomes of it when somebody removes or replaces it."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from observability.arrivals.parsing import SOCKET, SPOOL, Arrival
from observability.errors import UnusableError
from observability.store.database import Store
from observability.store.presence import Presence
from observability.store.reading import read
from tests.support.stores import SESSION, Time, event, opened, values


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the store of a test stands, in a directory of its own."""
    (tmp_path / "state").mkdir()
    return tmp_path / "state" / "state.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """Give a new store."""
    with opened(path, Time().clocks()) as store:
        yield store


def _all_files(path: Path) -> None:
    for file in path.parent.iterdir():
        file.unlink()


def _directory(path: Path) -> None:
    shutil.rmtree(path.parent)


def _log(path: Path) -> None:
    path.with_name(f"{path.name}-wal").unlink()


def _index(path: Path) -> None:
    path.with_name(f"{path.name}-shm").unlink()


def _other_log(path: Path) -> None:
    _log(path)
    path.with_name(f"{path.name}-wal").write_bytes(b"something else")


def _truncate(path: Path) -> None:
    os.truncate(path, 0)


def _truncate_log(path: Path) -> None:
    os.truncate(path.with_name(f"{path.name}-wal"), 0)


@pytest.mark.parametrize(
    "remove", [Path.unlink, _all_files, _directory, _log, _index, _other_log, _truncate, _truncate_log]
)
def test_a_store_that_is_removed_is_put_there_again(
    path: Path, store: Store, remove: Callable[[Path], None]
) -> None:
    """With all it held, identities included, and what comes after that is added there."""
    told = event()
    store.commit([Arrival(SOCKET, told)])
    presence = Presence(path, store)
    assert presence.keep() is None
    remove(path)
    lost = presence.keep()
    assert lost
    assert (True, True) == (lost.is_mended, str(path) in lost.message)
    assert presence.keep() is None
    assert [] == store.commit([Arrival(SPOOL, told)])
    store.commit([Arrival(SOCKET, event())])
    store.sync()
    expected = values(store)
    store.close()
    assert 0o600 == path.stat().st_mode & 0o777
    with opened(path, Time().clocks()) as found:
        assert expected == values(found)
        assert 2 == found.committed.values[SESSION]
        assert [] == found.commit([Arrival(SPOOL, told)])


@pytest.mark.parametrize("remove", [_directory, _log, _truncate_log])
def test_whatever_happens_to_it_may_happen_again(
    path: Path, store: Store, remove: Callable[[Path], None]
) -> None:
    """What is counted stands in the file each time, and there is nothing more to mend."""
    presence = Presence(path, store)
    for number in (1, 2, 3):
        store.commit([Arrival(SOCKET, event())])
        store.sync()
        assert presence.keep() is None
        remove(path)
        lost = presence.keep()
        assert lost
        assert (True, None) == (lost.is_mended, presence.keep())
        assert number == read(path).values[SESSION]


def test_a_store_that_is_truncated_and_not_in_memory_ends_it(path: Path, store: Store) -> None:
    """Nothing is acknowledged that the next start would not find; what is left stays for the operator."""
    store.commit([Arrival(SOCKET, event()) for _ in range(1000)])
    store.close()
    with opened(path, Time().clocks()) as again:  # which has read little of it yet
        presence = Presence(path, again)
        assert presence.keep() is None
        os.truncate(path, 8192)
        with pytest.raises(UnusableError, match=f"the store {path} was truncated: .*(corrupt|malformed)"):
            presence.keep()
        assert 8192 == path.stat().st_size


def test_a_store_that_is_replaced_ends_it(path: Path, store: Store) -> None:
    """What stands there is left as it is, and so is what stands beside it."""
    store.commit([Arrival(SOCKET, event())])
    presence = Presence(path, store)
    path.unlink()
    path.write_bytes(b"another")
    Path(f"{path}-wal").unlink()
    Path(f"{path}-wal").write_bytes(b"another's")
    with pytest.raises(UnusableError, match=f"{path} was replaced"):
        presence.keep()
    store.close()
    assert (b"another", b"another's") == (path.read_bytes(), Path(f"{path}-wal").read_bytes())


def test_a_store_that_cannot_be_put_there_is_told_and_counts_on(path: Path, store: Store) -> None:
    """Until it can: nothing is lost that was counted in between."""
    presence = Presence(path, store)
    _directory(path)
    path.parent.write_bytes(b"in the way")
    for _ in range(2):
        lost = presence.keep()
        assert lost
        assert (False, True) == (lost.is_mended, str(path) in lost.message)
        store.commit([Arrival(SOCKET, event())])
    path.parent.unlink()
    lost = presence.keep()
    assert lost
    assert lost.is_mended
    store.close()
    with opened(path, Time().clocks()) as found:
        assert 2 == found.committed.values[SESSION]
