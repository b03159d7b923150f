"""The page and the history of a sidecar that runs."""

import json
import sqlite3
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

from observability.event import build
from observability.status.overview import of_json, to_json
from tests.support.sidecar import REJECTED, RunningSidecar, connect, deliver, fields
from tests.support.snapshots import NOW, accepted, refused, snapshot
from tests.support.waiting import TIMEOUT, eventually

ATTEMPT = ["auth_attempts", "accepted", "User", "POP3"]


def asked(sidecar: RunningSidecar, path: str) -> tuple[dict[str, str], str]:
    """Ask a sidecar for a page; return headers and text."""
    url = sidecar.url.replace("/metrics", path)
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:  # noqa: S310  our own URL
        return dict(answer.headers), answer.read().decode()


def history(sidecar: RunningSidecar) -> dict[str, Any]:
    """Ask a sidecar for its history."""
    found: dict[str, Any] = json.loads(asked(sidecar, "/history")[1])
    return found


def sums(sidecar: RunningSidecar) -> list[int]:
    """Return the accepted attempts of all minutes that had any."""
    return [n for _, _, added in history(sidecar)["minutes"] for *series, n in added if series == ATTEMPT]


def test_what_came_stands_on_the_page_and_stays(tmp_path: Path) -> None:
    """Counted sessions are in the sums at once, and after a kill in the next sidecar's."""
    with RunningSidecar(tmp_path) as sidecar:
        assert eventually(lambda: bool(history(sidecar)["minutes"]))
        for _ in range(3):
            deliver(sidecar.socket, build(fields()))
        deliver(sidecar.socket, build(fields(REJECTED)))
        assert 3 == sum(sums(sidecar))
        headers, text = asked(sidecar, "/")
        sidecar.kill()
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert '<tr><th>POP3</th><td>USER</td><td class="n">3</td><td class="n">1</td>' in text
    assert not any(word in text for word in ("bob", "192.0.2.7", "client.example.org", str(tmp_path)))
    with RunningSidecar(tmp_path) as sidecar:
        assert eventually(lambda: 3 == sum(sums(sidecar)))


def test_what_is_wrong_is_told_without_what_it_concerns(tmp_path: Path) -> None:
    """A gateway that does not answer is an error by its name; its URL stays in the log."""
    with RunningSidecar(tmp_path, "--push=http://127.0.0.1:1", "--push-interval=0.1") as sidecar:
        assert eventually(lambda: ["push"] == history(sidecar)["errors"])
        text = asked(sidecar, "/")[1]
    assert "The last push failed. The sidecar&#x27;s log says why." in text
    assert "127.0.0.1:1" not in text
    assert "127.0.0.1:1" in sidecar.said


def test_a_store_that_takes_nothing_is_told(tmp_path: Path) -> None:
    """While it lasts; the page is served anyway, and says what was committed before."""
    with RunningSidecar(tmp_path) as sidecar:
        deliver(sidecar.socket, build(fields()))
        with closing(sqlite3.connect(tmp_path / "state.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with connect(sidecar.socket, build(fields())) as waiting:
                assert eventually(lambda: "The store rejects commits" in asked(sidecar, "/")[1])
                assert '<td class="n">1</td>' in asked(sidecar, "/")[1]
                other.execute("ROLLBACK")
                assert waiting.recv(1)
        assert eventually(lambda: "Nothing is wrong right now." in asked(sidecar, "/")[1])
        assert '<td class="n">2</td>' in asked(sidecar, "/")[1]


def test_the_history_as_json_is_the_history() -> None:
    """Nothing is lost on the way, and what /metrics tells stays as it was."""
    whole = snapshot(
        {2: {accepted(): 3, **refused("session", 2)}},
        born=NOW - 99,
        takes_commits=False,
        pushes=True,
        spans=False,
        errors=frozenset({"push", "other"}),
    )
    told = json.loads(json.dumps(to_json(whole)))
    bare = whole._replace(
        minutes=[], born=None, takes_commits=True, pushes=None, spans=None, errors=frozenset()
    )
    assert whole == of_json(told, bare)
