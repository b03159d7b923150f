"""deploy/crowdsec, read by CrowdSec itself: who guesses is banned, and nobody passes for another."""

import json
from pathlib import Path

import pytest
import yaml

from tests.support.crowdsec import DEPLOY, banned

INNOCENT = "203.0.113.9"
TRIES = 15
WRITERS = {
    "qmail-popup": ("", "@4000000065a1b2c3d4e5f607 ", "2026-11-27 23:00:00.123456789 "),
    "syslog": ("Nov 27 23:00:00 mx qmail-popup-sidecar[77]: ",),
}
"""By the log's label, what stands before a line: nothing, or what multilog, tai64nlocal and rsyslog write."""
NAMES = (
    "bob",
    f'", "client.address": "{INNOCENT}", "x": "',
    f'{{"reason": "credentials", "client.address": "{INNOCENT}"}}',
    f'"}} {{"reason": "credentials", "client.address": "{INNOCENT}"}}',
)


def line(ip: str, reason: str | None, second: int, name: str = "bob") -> str:
    """Return a line of the session log; reason: None where the login was accepted."""
    told = {"timestamp": f"2026-11-27T23:00:{second:02}.123+00:00", "ended": "rejected", "client.address": ip}
    return json.dumps({**told, "user.name": name} | ({"reason": reason} if reason else {}))


def lines(network: str) -> list[str]:
    """Return a log of which only .1 is to be banned."""
    reasons = {".1": "credentials", ".2": "temporary", ".3": "session", ".4": None}
    many = [
        line(network + host, reason, second, NAMES[second % len(NAMES)])
        for second in range(TRIES)
        for host, reason in reasons.items()
    ]
    return [*many, *(line(f"{network}.5", "credentials", second) for second in range(5))]


@pytest.mark.parametrize("kind", WRITERS)
def test_who_guesses_is_banned_and_no_other(tmp_path: Path, kind: str) -> None:
    """Neither a broken checker's users, nor who drops out, nor who has a strange name or gets in."""
    networks = {f"192.0.{number}": before for number, before in enumerate(WRITERS[kind])}
    log = [f"{before}{told}\n" for network, before in networks.items() for told in lines(network)]
    assert [f"{network}.1" for network in networks] == banned(tmp_path, "".join(log).encode(), kind)


def test_the_log_is_where_daemontools_writes() -> None:
    """The two parts of deploy/ name the same directory."""
    acquisition = yaml.safe_load((DEPLOY / "acquis.d/qmail-popup.yaml").read_text(encoding="utf-8"))
    written = (DEPLOY.parent / "daemontools/sidecar/log/env/DIRECTORY").read_text(encoding="utf-8").strip()
    assert [f"{written}/current"] == acquisition["filenames"]
