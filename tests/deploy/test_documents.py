"""What the pages for people say: links that lead somewhere, and names that exist."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import pytest
from prometheus_client.samples import Sample

from observability.prometheus.collector import Sources, registry
from observability.store.database import Committed
from observability.store.families import at_start
from tests.support.descriptors import CHECKOUT
from tests.support.documents import anchors, links, pages
from tests.support.programs import need

_PROGRAMS = ("qmail-popup", "qmail-popup-listener", "qmail-popup-sidecar")
MANUALS = {name: CHECKOUT / f"deploy/man/{name}.8" for name in _PROGRAMS}
PAGES = [pytest.param(page, id=str(page.relative_to(CHECKOUT))) for page in pages()]
WRITTEN = [*PAGES, *(pytest.param(page, id=page.name) for page in MANUALS.values())]

_SPAN = re.compile(r"`([^`\n]+)`")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_VARIABLE = re.compile(r"QMAIL_POPUP_[A-Z_]*[A-Z]")
_METRIC = re.compile(r"(?<![\w:])qmail_popup_[a-z_]+(?![\w:])")
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_SIDECAR = "qmail-popup-sidecar "
_PARTS = ("_bucket", "_count", "_sum")  # of a histogram, as Prometheus names them


@pytest.mark.parametrize("page", PAGES)
def test_each_link_leads_somewhere(page: Path) -> None:
    """To a file that is there and, where one is named, to a heading that it has."""
    inside = [link for link in links(page) if "://" not in link]
    assert [] == [link for link in inside if not _leads(page, *link.partition("#"))]


def _leads(page: Path, file: str, _mark: str, anchor: str) -> bool:
    target = (page.parent / file).resolve() if file else page
    return target.exists() and target.is_relative_to(CHECKOUT) and (not anchor or anchor in anchors(target))


@pytest.mark.parametrize("page", PAGES)
def test_each_option_is_one(page: Path) -> None:
    """Of the sidecar in its command lines, and of a program of ours wherever an option stands for itself."""
    text = re.sub(r" *\\\n *", " ", page.read_text(encoding="utf-8"))
    lines = [
        line.partition(_SIDECAR)[2].partition(" | ")[0] for line in text.splitlines() if _SIDECAR in line
    ]
    alone = [span for span in _SPAN.findall(text) if span.startswith("--")]
    assert set() == _named(lines) - _options("observability")
    assert set() == _named(alone) - _options("observability") - _options("qmail_popup.listener")


def _named(said: Iterable[str]) -> set[str]:
    return {option for words in said for option in _OPTION.findall(words)}


def test_the_manual_has_all_options_and_no_other() -> None:
    """What --help lists is explained, and nothing is explained that is not there."""
    text = re.sub(r"\\f[BIPR]", "", MANUALS["qmail-popup-sidecar"].read_text(encoding="utf-8"))
    assert _options("observability") == set(_OPTION.findall(text.replace("\\-", "-")))


@cache
def _options(package: str) -> set[str]:
    command = [sys.executable, "-m", package, "--help"]
    told = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    return set(_OPTION.findall(told))


@pytest.mark.parametrize("page", WRITTEN)
def test_each_variable_of_ours_is_one(page: Path) -> None:
    """A name that nothing reads would be set in vain."""
    assert set() == set(_VARIABLE.findall(page.read_text(encoding="utf-8"))) - _variables()


def test_the_manual_has_all_variables() -> None:
    """What the popup reads is explained."""
    assert set() == _variables() - set(_VARIABLE.findall(MANUALS["qmail-popup"].read_text(encoding="utf-8")))


@cache
def _variables() -> set[str]:
    source = (CHECKOUT / "qmail_popup/settings.py").read_text(encoding="utf-8")
    return {f"QMAIL_POPUP_{name}" for name in re.findall(r'OWN_PREFIX \+ b"(\w+)"', source)}


@pytest.mark.parametrize("page", PAGES)
def test_each_metric_is_one(page: Path) -> None:
    """A query that is copied from a page finds something."""
    assert set() == set(_METRIC.findall(page.read_text(encoding="utf-8"))) - _metrics()


@pytest.mark.parametrize(
    ("metric", "label"), [("sessions_total", "ended"), ("auth_failures_total", "reason")], ids=str
)
def test_the_manual_explains_each_label_value(metric: str, label: str) -> None:
    """How sessions end and why logins are refused, each by the word that the metric has."""
    manual = MANUALS["qmail-popup-sidecar"].read_text(encoding="utf-8")
    told = manual.partition(f"\n.B {metric}\n")[2].partition("\n.TP\n")[0]
    values = {s.labels[label] for s in _samples() if s.name == f"qmail_popup_{metric}"}
    assert set() == values - set(re.findall(r"\w+", told))
    assert values


def _samples() -> Sequence[Sample]:
    committed = Committed(at_start(), {}, 0)
    sources = Sources(lambda: committed, lambda: 0, lambda: 0, 1, "0")
    return [sample for family in registry(sources).collect() for sample in family.samples]


@cache
def _metrics() -> set[str]:
    names = {sample.name for sample in _samples()}
    whole = {name.removesuffix(part) for name in names for part in _PARTS}
    return names | whole


def test_each_threat_has_a_test_that_exists() -> None:
    """SECURITY.md promises nothing that no test holds."""
    named = _TEST.findall((CHECKOUT / "SECURITY.md").read_text(encoding="utf-8"))
    assert len(named) > 30
    assert [] == [(file, name) for file, name in named if name not in _tests(CHECKOUT / file)]


def test_each_line_of_the_table_of_threats_names_a_test() -> None:
    """A line without one would be a promise."""
    text = (CHECKOUT / "SECURITY.md").read_text(encoding="utf-8").partition("## Threats")[2]
    lines = [
        line
        for line in text.splitlines()
        if line.startswith("| ") and not line.startswith(("| threat", "| ---"))
    ]
    assert [] == [line for line in lines if not _TEST.search(line)]


@cache
def _tests(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8")) if file.exists() else ast.Module([], [])
    return {
        node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize("name", MANUALS)
def test_a_manual_page_is_well_formed(name: str) -> None:
    """Groff has nothing to say against it, with all of its warnings on."""
    (groff,) = need("groff")
    done = subprocess.run(
        [groff, "-man", "-Tutf8", "-ww", "-z", MANUALS[name]], capture_output=True, text=True, check=False
    )
    assert (0, "") == (done.returncode, done.stderr)


def test_the_manual_pages_for_browsers_are_those_of_man(tmp_path: Path) -> None:
    """Nothing was changed in deploy/man without `make manuals`."""
    command = [sys.executable, str(CHECKOUT / "deploy/manuals.py"), "--output", str(tmp_path)]
    subprocess.run(command, capture_output=True, check=True)
    written, kept = (
        {page.name: page.read_text() for page in place.glob("*.8.md")}
        for place in (tmp_path, CHECKOUT / "deploy/man")
    )
    assert written
    assert written == kept
