"""The page in a real browser: on a telephone and on a desk, by day and by night."""

import os
import shutil
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from observability.event import build
from observability.status.snapshot import Logins
from tests.support import browser
from tests.support.browser import Browser
from tests.support.busy_day import store
from tests.support.sidecar import RunningSidecar, deliver, fields

pytestmark = pytest.mark.skipif(
    not shutil.which(browser.PROGRAM), reason="no chromium here: `make packages-browser` installs it"
)

DESK, TELEPHONE = 1400, 390
_CLIPPED = """
    [...document.querySelectorAll("h1, h2, p, td, th, li, caption, text")]
        .filter(each => each.checkVisibility())
        .filter(each => each.getBoundingClientRect().right > innerWidth + 0.5
            || each.getBoundingClientRect().left < 0)
        .map(each => each.textContent)
"""
_SIZES = """
    [...document.querySelectorAll("p, td, th, li, a, text")]
        .map(each => parseFloat(getComputedStyle(each).fontSize)
            * (each.closest("svg.chart")?.getScreenCTM().a ?? 1))
"""
_LUMINANCES = """
    ["backgroundColor", "color"].map(name => getComputedStyle(document.body)[name])
        .map(colour => colour.match(/[0-9]+/g).map(Number).reduce((sum, part) => sum + part) / 765)
"""
_NUMBERS = "[...document.querySelectorAll('.head .n')].map(each => each.textContent)"
_HEIGHTS = """
    [...document.querySelectorAll("svg.chart .accepted")].map(each => each.getBoundingClientRect().height)
"""
KEPT = os.environ.get("KEEP_PICTURES", "")
"""Where the README's picture goes, if anywhere."""


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Logins]]:
    """Give the address of a page with a day on it, and the logins of that."""
    directory = tmp_path_factory.mktemp("sidecar")
    logins = Logins.of(store(directory / "state.sqlite", time.time()))
    with RunningSidecar(directory, "--sessions-limit=200") as sidecar:
        deliver(sidecar.socket, build(fields()))
        yield sidecar.url.replace("/metrics", "/"), logins._replace(accepted=logins.accepted + 1)


@pytest.fixture
def url(day: tuple[str, Logins]) -> str:
    """Return the address of a page."""
    return day[0]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Give a browser."""
    with Browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.mark.parametrize("width", [DESK, TELEPHONE])
@pytest.mark.parametrize("dark", [False, True], ids=["day", "night"])
def test_the_page_can_be_read(url: str, seen: Browser, width: int, dark: bool, tmp_path: Path) -> None:  # noqa: FBT001  pytest
    """Nothing is cut off or too small, ink and paper differ, and the console is empty."""
    seen.show(url, width, dark=dark)
    assert width == seen.ask("document.documentElement.scrollWidth")
    assert [] == seen.ask(_CLIPPED)
    assert min(seen.ask(_SIZES)) > 9
    paper, ink = seen.ask(_LUMINANCES)
    assert (paper < 0.2 and ink > 0.8) if dark else (paper > 0.8 and ink < 0.2)
    picture = seen.picture()
    is_kept = KEPT and width == DESK and not dark
    (Path(KEPT) if is_kept else tmp_path).joinpath("sidecar-page.png").write_bytes(picture)
    assert width == struct.unpack(">I", picture[16:20])[0]  # of the header of a PNG
    assert [] == seen.complaints


def test_the_numbers_are_on_the_page(day: tuple[str, Logins], seen: Browser) -> None:
    """Those of the last 24 hours: in words, and as bars that are drawn."""
    url, logins = day
    seen.show(url, DESK, dark=False)
    assert [f"{logins.accepted:,}", f"{logins.failed:,}"] == seen.ask(_NUMBERS)[:2]
    assert 90 < len([height for height in seen.ask(_HEIGHTS) if height > 1])
