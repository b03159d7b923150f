"""The page in a real browser: on a telephone and on a desk, by day and by night."""

import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from observability.event import build
from tests.support import browser
from tests.support.browser import Browser
from tests.support.sidecar import REJECTED, RunningSidecar, deliver, fields
from tests.support.waiting import eventually

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
_TILES = "[...document.querySelectorAll('.tile .n')].map(each => each.textContent)"
_HEIGHT = "document.querySelector('svg .accepted').getBoundingClientRect().height"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a page with logins on it."""
    with RunningSidecar(tmp_path_factory.mktemp("sidecar")) as sidecar:
        for changes in ({}, {}, {}, REJECTED):
            deliver(sidecar.socket, build(fields(changes)))
        assert eventually(lambda: 3 == sidecar.value("sessions_total", ended="accepted", protocol="POP3"))
        yield sidecar.url.replace("/metrics", "/")


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
    (tmp_path / "page.png").write_bytes(picture)
    assert width == struct.unpack(">I", picture[16:20])[0]  # of the header of a PNG
    assert [] == seen.complaints


def test_the_numbers_are_on_the_page(url: str, seen: Browser) -> None:
    """In the tiles, and as a bar that is drawn."""
    seen.show(url, DESK, dark=False)
    assert ["3", "1", "0"] == seen.ask(_TILES)[:3]
    assert seen.ask(_HEIGHT) > 10
