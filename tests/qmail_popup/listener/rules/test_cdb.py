"""Constant databases: what is found in good ones, and that no broken one is taken for a good one."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmail_popup.listener.rules.cdb import BrokenCdbError, Cdb
from tests.support import rules

_RECORDS = [(b"%d.%d." % (n // 7, n), b"+A=%d\0" % n) for n in range(300)]


def test_what_is_found() -> None:
    """Each key leads to its value, in a file with many and in one with none."""
    cdb = Cdb(rules.cdb(_RECORDS))
    assert _RECORDS == list(cdb)
    assert [value for _, value in _RECORDS] == [cdb.get(key) for key, _ in _RECORDS]
    assert (None, None) == (cdb.get(b""), cdb.get(b"0.0"))
    assert ([], None) == (list(Cdb(rules.cdb([]))), Cdb(rules.cdb([])).get(b""))


def test_the_first_of_a_key_counts() -> None:
    """A key that is there twice has the value that was added first."""
    cdb = Cdb(rules.cdb([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]))
    assert (b"1", b"2") == (cdb.get(b"a"), cdb.get(b"b"))


def test_a_file_of_tcprules(tmp_path: Path) -> None:
    """The real program writes what these tests do."""
    rules.compiled(tmp_path / "cdb", "1.2.:deny\n1.2.:allow\n9.8.7.6-9:allow,A=|b|\n:allow\n")
    records = [(b"1.2.", b"D\0"), (b"1.2.", b"")]
    records += [(b"9.8.7.%d" % last, b"+A=b\0") for last in range(6, 10)]
    assert rules.cdb([*records, (b"", b"")]) == (tmp_path / "cdb").read_bytes()


def test_every_cut_is_broken() -> None:
    """There is no length at which a part of a database is one."""
    data = rules.cdb(_RECORDS[:5])
    for size in range(len(data)):
        with pytest.raises(BrokenCdbError):
            Cdb(data[:size])


@pytest.mark.parametrize(
    "position",
    [*range(2048, 2056), *range(-64, 0)],
    ids=str,
)
def test_a_byte_of_the_structure(position: int) -> None:
    """Lengths of a record and hash tables that say something else are noticed."""
    data = bytearray(rules.cdb([(b"1.2.", b"D\0"), (b"3.4.", b"D\0"), (b"5.6.", b"D\0"), (b"7.8.", b"D\0")]))
    data[position] ^= 0x41
    with pytest.raises(BrokenCdbError):
        Cdb(bytes(data))


@given(st.binary(max_size=64), st.lists(st.tuples(st.integers(0, 4095), st.binary(min_size=1, max_size=8))))
def test_anything(tail: bytes, changes: list[tuple[int, bytes]]) -> None:
    """Whatever stands in a file, it is read or is broken, and reading it ends."""
    data = bytearray(rules.cdb(_RECORDS[:40]) + tail)
    for position, piece in changes:
        data[position : position + len(piece)] = piece
    try:
        cdb = Cdb(bytes(data))
    except BrokenCdbError:
        return
    assert {key: cdb.get(key) for key, _ in cdb} == dict(reversed(list(cdb)))


def test_zeros() -> None:
    """A file that a crash has left with nothing written to it is not one without records."""
    for size in (2048, 4096):
        with pytest.raises(BrokenCdbError):
            Cdb(bytes(size))


def test_more_behind_it() -> None:
    """What stands behind the end is not part of a database."""
    with pytest.raises(BrokenCdbError):
        Cdb(rules.cdb(_RECORDS) + b"x")


@given(st.binary(min_size=2048, max_size=2400))
def test_noise(data: bytes) -> None:
    """Noise is broken."""
    with pytest.raises(BrokenCdbError):
        Cdb(data)
