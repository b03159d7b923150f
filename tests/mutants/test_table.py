"""The table of mutants: it follows the product, and the tests."""

import difflib

import pytest

from tests.mutants.__main__ import EXPLAINED
from tests.mutants.table import AT_LAST, ON_REQUEST, TESTS
from tests.support.descriptors import CHECKOUT

_STATEMENTS = ("continue",)  # what a whole statement may become


_ALL = TESTS | ON_REQUEST


def test_each_module_has_tests() -> None:
    """In one of the two tables; a package's own file holds no code."""
    paths = (
        path for package in ("qmail_popup", "observability") for path in (CHECKOUT / package).rglob("*.py")
    )
    modules = {str(path.relative_to(CHECKOUT)) for path in paths if path.name != "__init__.py"}
    assert modules == _ALL.keys()
    assert not TESTS.keys() & ON_REQUEST.keys()


@pytest.mark.parametrize("module", _ALL)
def test_its_tests_are_there(module: str) -> None:
    """A name that has changed would leave mutants without the tests that notice them."""
    assert [] == [tests for tests in _ALL[module].split() if not list(CHECKOUT.glob(tests))]


def test_what_is_explained_is_there() -> None:
    """An explanation is of a line that differs little from one of its module."""
    entries = [line.split("\t") for line in EXPLAINED.read_text().splitlines() if not line.startswith("#")]
    assert [] == [line for module, line, _reason in entries if not _is_near(module, line)]


def _is_near(module: str, changed: str) -> bool:
    lines = [" ".join(line.split()) for line in (CHECKOUT / module).read_text(encoding="utf-8").splitlines()]
    return changed in _STATEMENTS or bool(difflib.get_close_matches(changed, lines, 1, 0.9))


def test_what_comes_last_is_there() -> None:
    """Files and folders, for each package."""
    assert {"qmail_popup", "qmail_popup/listener", "observability"} == AT_LAST.keys()
    named = " ".join(AT_LAST.values()).split()
    assert [] == [tests for tests in named if not (CHECKOUT / tests).exists()]
