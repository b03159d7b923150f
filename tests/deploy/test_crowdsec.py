"""deploy/crowdsec, read by CrowdSec itself: who guesses is banned, and nobody passes for another."""

import json
from pathlib import Path

import pytest
import yaml

from tests.support.crowdsec import DEPLOY, banned

INNOCENT = "203.0.113.9"
TRIES = 15
BEFORE = {
    "plain": ("", "qmail-popup"),
    "multilog": ("@4000000065a1b2c3d4e5f607 ", "qmail-popup"),
    "tai64nlocal": ("2026-11-27 23:00:00.123456789 ", "qmail-popup"),
    "rsyslog": ("Nov 27 23:00:00 mx qmail-popup-sidecar[77]: ", "syslog"),
}
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


@pytest.mark.parametrize("writer", BEFORE)
def test_who_guesses_is_banned_and_no_other(tmp_path: Path, writer: str) -> None:
    """Neither a broken checker's users, nor who drops out, nor who has a strange name or gets in."""
    sessions = {
        "192.0.2.1": "credentials",
        "192.0.2.2": "temporary",
        "192.0.2.3": "session",
        "192.0.2.4": None,
    }
    before, kind = BEFORE[writer]
    lines = [
        before + line(ip, reason, second, NAMES[second % len(NAMES)])
        for second in range(TRIES)
        for ip, reason in sessions.items()
    ]
    few = [before + line("192.0.2.5", "credentials", second) for second in range(5)]
    assert ["192.0.2.1"] == banned(tmp_path, "\n".join([*lines, *few, ""]).encode(), kind)


def test_the_log_is_where_daemontools_writes() -> None:
    """The two parts of deploy/ name the same directory."""
    acquisition = yaml.safe_load((DEPLOY / "acquis.d/qmail-popup.yaml").read_text(encoding="utf-8"))
    written = (DEPLOY.parent / "daemontools/sidecar/log/env/DIRECTORY").read_text(encoding="utf-8").strip()
    assert [f"{written}/current"] == acquisition["filenames"]
