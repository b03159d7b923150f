"""What the stores of a fleet know from before a test: hosts that were quiet, and a host's yesterday.

Knows how a store takes samples of old, and of the rules only by which name they remember an hour.
"""

import time
from collections.abc import Mapping
from urllib.parse import urlencode
from urllib.request import urlopen

from tests.fleet.fleet_engine import Program
from tests.support.waiting import TIMEOUT

_STEP = 5
_REMEMBERED = "instance_method_protocol_outcome:qmail_popup_auth:increase10m_avg1h"
_BACK = 23.5 * 3600
"""Seconds: an hour's mean is known at its end, and an hour has a half on each side of now."""

Hour = Mapping[tuple[str, str], float]
"""Attempts in ten minutes by protocol and outcome."""


def remember_quiet(store: Program, target: str, quiet: str, seconds: int) -> None:
    """Have a store know a host since so long ago, by the page of a quiet one: nothing has happened there."""
    with urlopen(f"http://{quiet}/metrics", timeout=TIMEOUT) as answer:
        page = answer.read()
    labels = [("extra_label", f"instance={target}"), ("extra_label", "job=qmail-popup")]
    for ago in range(_STEP, seconds, _STEP):
        _import(store, [*labels, ("timestamp", str(int((time.time() - ago) * 1000)))], page)


def remember_yesterday(store: Program, target: str, hour: Hour, faster: float, seconds: int) -> None:
    """Have a store know what the rules recorded yesterday, from this time of the day on for so many seconds.

    faster: times that their clock runs faster
    """
    begin = int(time.time() - _BACK / faster) - _STEP
    lines = [
        f'{_REMEMBERED}{{job="qmail-popup",instance="{target}",method="User",protocol="{protocol}",'
        f'outcome="{outcome}"}} {count} {at}000'
        for (protocol, outcome), count in hour.items()
        for at in range(begin, begin + seconds, _STEP)
    ]
    _import(store, [], "\n".join(lines).encode())


def _import(store: Program, words: list[tuple[str, str]], page: bytes) -> None:
    url = f"{store.url}/api/v1/import/prometheus?{urlencode(words)}"
    with urlopen(url, page, TIMEOUT):  # noqa: S310 - our own URL
        pass
