"""The conformance vectors with the mirror on, put to what is installed, whatever stands at the socket's path.

Nothing changes for client, log and subprogram but that the latter gets a TRACEPARENT.
"""

import dataclasses
import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conformance.session import play
from tests.conformance.vector import Vector, read
from tests.conformance.verdict import complaints
from tests.support.descriptors import CHECKOUT
from tests.support.keeper import Keeper
from tests.support.listener import left_in
from tests.support.programs import need
from tests.support.scraper import counts

_VECTORS = [*read(CHECKOUT / "tests/conformance/vectors.jsonl")]
_AT_ONCE = 6  # most of the time one of them waits
_TRACEPARENT = re.compile(r"TRACEPARENT=00-[0-9a-f]{32}-[0-9a-f]{16}-01")


def _sessions(vectors: Sequence[Vector]) -> int:
    """Count those that are sessions; the others are for a person, or a mistake of usage."""
    return sum(vector.argv is None or len(vector.argv) > 1 for vector in vectors)


_SESSIONS = _sessions(_VECTORS)

Place = Callable[[Path], None]


def _stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def _unreadable(path: Path) -> None:
    _stale(path)
    path.chmod(0)


_PLACES: dict[str, Place] = {
    "a directory": Path.mkdir,
    "a regular file": Path.touch,
    "a dangling link": lambda path: path.symlink_to("nowhere"),
    "a stale socket": _stale,
    "unreadable": _unreadable,
    "over 108 bytes": lambda _path: None,
}
_NAMES = {"over 108 bytes": "x" * 109}  # sockaddr_un, unix(7)


def _mirrored(vector: Vector, path: Path, spool: Path) -> Vector:
    """Return the vector with the mirror on; of TRACEPARENT it says nothing, for that is looked at here."""
    env = {"QMAIL_POPUP_SIDECAR": str(path), "QMAIL_POPUP_SPOOL": str(spool), **vector.env}
    sub_env = {name: value for name, value in vector.sub_env.items() if name != "TRACEPARENT"}
    return dataclasses.replace(vector, env=env, sub_env=sub_env)


def _complaints(vector: Vector, popup: list[str]) -> list[str]:
    """Play it; what is not as the vector has it, or as the mirror should have it."""
    seen = play(vector, popup)
    found = [f"{vector.name}: {text}" for text in complaints(vector, seen)]
    if seen.notes and len([entry for entry in seen.notes.env if _TRACEPARENT.fullmatch(entry)]) != 1:
        found.append(f"{vector.name}: TRACEPARENT is not there, once and well-formed")
    return found


class Players(NamedTuple):
    """Processes that play vectors against the installed popup, some at a time."""

    pool: ProcessPoolExecutor
    popup: list[str]

    def complaints(
        self, vectors: Sequence[Vector], path: Path, spool: Path, wrapper: Sequence[str] = ()
    ) -> list[str]:
        """Play vectors with the mirror on; wrapper: a command that runs the popup."""
        mirrored = [_mirrored(vector, path, spool) for vector in vectors]
        found = self.pool.map(_complaints, mirrored, [[*wrapper, *self.popup]] * len(mirrored))
        return [text for texts in found for text in texts]


@pytest.fixture(scope="module")
def players(installed: Path) -> Iterator[Players]:
    """Return them."""
    with ProcessPoolExecutor(_AT_ONCE, get_context("fork")) as pool:
        yield Players(pool, [str(installed / "bin/qmail-popup")])


def test_with_a_sidecar(players: Players, tmp_path: Path) -> None:
    """Each session counts once, and none needs the spool."""
    with Keeper(tmp_path) as keeper:
        keeper.start()
        assert [] == players.complaints(_VECTORS, keeper.socket, keeper.spool)
        assert _SESSIONS == counts(keeper.numbers(), "sessions_total").total()
        assert [] == left_in(keeper.spool)


def test_with_a_stopped_sidecar(players: Players, tmp_path: Path) -> None:
    """Each session is in the spool, and counts once, though the sidecar reads of it later as well."""
    with Keeper(tmp_path) as keeper:
        keeper.start().hold()
        assert [] == players.complaints(_VECTORS, keeper.socket, keeper.spool)
        assert _SESSIONS == len(left_in(keeper.spool))
        keeper.go_on()
        assert _SESSIONS == counts(keeper.drained(), "sessions_total").total()


def test_without_a_sidecar(players: Players, tmp_path: Path) -> None:
    """Each session is in the spool, once, and nothing is lost."""
    (tmp_path / "spool").mkdir()
    assert [] == players.complaints(_VECTORS, tmp_path / "socket", tmp_path / "spool")
    assert _SESSIONS == len({event[b"TRACE"] for event in left_in(tmp_path / "spool")})
    assert ["spool"] == [path.name for path in (tmp_path / "spool").iterdir()]


@pytest.mark.parametrize("place", _PLACES)
def test_with_a_socket_that_is_none(players: Players, tmp_path: Path, place: str) -> None:
    """What stands at its path is left as it is, and each session is in the spool, once.

    Each vector meets one of the places: where nobody listens, all of them are played above.
    """
    vectors = _VECTORS[list(_PLACES).index(place) :: len(_PLACES)]
    if place == "unreadable" and os.geteuid() == 0:
        command = [*need("setpriv"), "--inh-caps=-all", "--bounding-set=-all"]  # root alone reads everything
    else:
        command = []
    path, spool = tmp_path / _NAMES.get(place, "socket"), tmp_path / "spool"
    spool.mkdir()
    _PLACES[place](path)
    before = sorted(tmp_path.iterdir())
    assert [] == players.complaints(vectors, path, spool, command)
    assert before == sorted(tmp_path.iterdir())
    assert _sessions(vectors) == len({event[b"TRACE"] for event in left_in(spool)})
