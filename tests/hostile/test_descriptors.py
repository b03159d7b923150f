"""Descriptors that are closed at the start: what the popup opens then must not be mistaken for them."""

from itertools import chain, combinations

import pytest

from tests.support.popup import HOST, LOGIN, Popup, shell

_REPEAT = shell("tr '\\0' '\\n' <&3; echo to 2 >&2; ls /proc/$$/fd")
"""Shows descriptor 3, speaks on descriptor 2, lists what is open."""

_SHELLS_OWN = b"10"
"""dash may keep a copy of what it redirects there."""

_CLOSED = list(chain.from_iterable(combinations((0, 1, 2, 3, 5), size) for size in range(6)))


@pytest.mark.parametrize("closed", _CLOSED, ids=lambda closed: "-".join(map(str, closed)) or "none")
def test_any_of_the_five_may_be_closed(popup: list[str], closed: tuple[int, ...]) -> None:
    """Without a network it ends at once; without the others all else is as ever."""
    with Popup(popup, _REPEAT, fds=dict.fromkeys(closed)) as running:
        said = running.talk(LOGIN)
        status, records, errors = running.status(), running.records(), running.errors()
        accepted = [running.record("Accept")]
    assert b"" == errors
    if {0, 1} & set(closed):
        assert (1, []) == (status, records)
        assert said == (b"" if 1 in closed else b"+OK\r\n")
    else:
        assert (0, [] if 5 in closed else accepted) == (status, records)
        _check(said.splitlines(), logging=5 not in closed)


def _check(said: list[bytes], *, logging: bool) -> None:
    """Hold what the subprogram showed against what it must have got."""
    assert [b"+OK", b"+OK ", b"bob", b"secret"] == said[:4]
    assert said[4].endswith(f"@{HOST}>".encode())
    assert b"to 2" == said[5]
    assert [b"0", b"1", b"2", b"3"] + ([b"5"] if logging else []) == [
        fd for fd in said[6:] if fd != _SHELLS_OWN
    ]
