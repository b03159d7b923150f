"""The spool: what was left is read once and goes."""

import fcntl
import os
import time
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from observability.arrivals.parsing import SPOOL
from observability.arrivals.spool import Spool
from observability.event import LIMIT, build
from tests.support.arrivals import Clock, drained, identities, reasons
from tests.support.sidecar import fields, hello_of, spooled

PIECE = 65536  # bytes that are read at once
LONGEST = build({**fields(), b"CIPHER": b"x" * (LIMIT + 1 - len(build({**fields(), b"CIPHER": b"x"})))})[:-2]


def test_an_empty_spool_is_drained_at_once(spool: Spool, clock: Clock) -> None:
    """There is nothing in it, and that is complete."""
    assert ([], clock.now) == drained(spool)


def test_what_was_left_arrives_and_goes(spool: Spool, directory: Path, clock: Clock) -> None:
    """Events come in the order in which they were left, and the file goes with them."""
    told = [fields() for _ in range(400)]
    (directory / "spool").write_bytes(spooled(*map(build, told)))
    arrivals, began = drained(spool)
    assert [bytes.fromhex(one[b"TRACE"].decode()) for one in told] == identities(arrivals)
    assert {SPOOL} == {source for source, _ in arrivals}
    assert clock.now == began
    assert [] == list(directory.iterdir())


def test_a_file_goes_only_after_its_commit(spool: Spool, directory: Path) -> None:
    """What was read is still there, under a name of ours, until it is settled."""
    (directory / "spool").write_bytes(spooled(build(fields())))
    spool.begin()
    while spool.arrivals():
        assert spool.settle() is None
    assert ["taken"] == [path.name.split(".")[0] for path in directory.iterdir()]
    assert spool.settle() is not None
    assert [] == list(directory.iterdir())


def test_what_a_killed_sidecar_had_taken_is_drained_by_the_next(spool: Spool, directory: Path) -> None:
    """It is told by its name, beside a spool that has begun again."""
    (directory / "taken.0123").write_bytes(spooled(build(fields())))
    (directory / "spool").write_bytes(spooled(build(fields())))
    assert [SPOOL, SPOOL] == reasons(drained(spool)[0])
    assert [] == list(directory.iterdir())


@pytest.mark.parametrize(
    ("damaged", "expected"),
    [
        (b"\0\0V=1\0TRACE=01" + spooled(build(fields())), ["torn", SPOOL]),
        (spooled(build(fields()), build(fields()))[:-10], [SPOOL, "torn"]),
        (spooled(build(fields()))[:-2], [SPOOL]),
        (spooled(build(fields())) + b"\0" * 5 + spooled(build(fields())), [SPOOL, SPOOL]),
        (b"x" * 200_000 + spooled(build(fields())), ["too long", SPOOL]),
        (spooled(build(fields())) + b"x" * 200_000, [SPOOL, "too long"]),
        (spooled(hello_of(fields()), build(fields())), ["a hello in the spool", SPOOL]),
        (b"\0" * 100_000, []),
        (b"\0" * (PIECE - len(LONGEST) - 1) + LONGEST + b"\0\0", [SPOOL]),
        (b"", []),
    ],
)
def test_what_is_torn_spoils_no_other(
    spool: Spool, directory: Path, damaged: bytes, expected: list[str]
) -> None:
    """A run of NULs begins again, wherever a writer had been killed."""
    (directory / "taken.1").write_bytes(damaged)
    assert expected == reasons(drained(spool)[0])


def test_what_never_ends_takes_no_memory(spool: Spool, directory: Path) -> None:
    """However large a file without a single separator is, only a piece of it is ever held."""
    (directory / "taken.1").write_bytes(b"x" * 8_000_000)
    tracemalloc.start()
    try:
        assert ["too long"] == reasons(drained(spool)[0])
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.integers(0, 3), st.integers(65536 - 700, 65536 + 100))
def test_no_boundary_between_reads_is_seen(directory: Path, extra: int, filling: int) -> None:
    """Events come whole wherever the pieces in which the file is read happen to end."""
    told = fields()
    block = spooled(build(told))
    padding = b"\0" * (filling - extra)
    (directory / "taken.1").write_bytes(padding + block + b"\0" * extra + block)
    with closing(Spool(directory, time.monotonic)) as spool:
        assert [SPOOL, SPOOL] == reasons(drained(spool)[0])


def test_a_file_is_locked_for_as_long_as_it_is_drained(spool: Spool, directory: Path) -> None:
    """A writer that still has it open cannot get the lock, and looks for the new file."""
    path = directory / "spool"
    path.write_bytes(spooled(build(fields())))
    with path.open("ab") as writer:
        spool.begin()
        while spool.arrivals():
            with pytest.raises(BlockingIOError):
                fcntl.flock(writer, fcntl.LOCK_SH | fcntl.LOCK_NB)
            spool.settle()
        with pytest.raises(BlockingIOError):
            fcntl.flock(writer, fcntl.LOCK_SH | fcntl.LOCK_NB)
        spool.settle()
        fcntl.flock(writer, fcntl.LOCK_SH | fcntl.LOCK_NB)
        assert 0 == os.fstat(writer.fileno()).st_nlink


def test_an_empty_file_stays_where_it_is(spool: Spool, directory: Path) -> None:
    """A popup that has just made it is about to write."""
    (directory / "spool").touch()
    assert drained(spool)[1] is not None
    assert ["spool"] == [path.name for path in directory.iterdir()]


def test_a_drain_that_is_under_way_is_not_begun_anew(spool: Spool, directory: Path) -> None:
    """What comes meanwhile belongs to the next one."""
    (directory / "spool").write_bytes(spooled(build(fields())))
    spool.begin()
    (directory / "spool").write_bytes(spooled(build(fields())))
    spool.begin()
    assert [SPOOL] == reasons(spool.arrivals())
    while spool.is_draining:
        assert [] == spool.arrivals()
        spool.settle()
    assert ["spool"] == [path.name for path in directory.iterdir()]


def test_its_size_is_what_waits_taken_or_not(spool: Spool, directory: Path) -> None:
    """Nothing else in the directory is part of it."""
    (directory / "spool").write_bytes(b"x" * 10)
    (directory / "taken.1").write_bytes(b"x" * 5)
    (directory / "lost").write_bytes(b"xxx")
    (directory / "spool.bak").write_bytes(b"x" * 100)
    assert (15, 3) == (spool.waiting_bytes(), spool.lost_bytes())


def test_a_spool_that_is_left_is_drained_later(directory: Path, clock: Clock) -> None:
    """A sidecar that ends in the midst of a drain lets go of the lock and leaves the file."""
    (directory / "spool").write_bytes(spooled(build(fields())))
    spool = Spool(directory, clock)
    spool.begin()
    assert [SPOOL] == reasons(spool.arrivals())
    spool.close()
    assert [SPOOL] == reasons(drained(Spool(directory, clock))[0])
