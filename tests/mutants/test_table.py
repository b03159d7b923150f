"""The table of mutants: it follows the product, and the tests."""

import pytest

from tests.mutants.__main__ import AT_LAST, TESTS
from tests.support.descriptors import CHECKOUT


@pytest.mark.parametrize("module", TESTS)
def test_a_module_is_there_and_its_tests_too(module: str) -> None:
    """A name that has changed would leave mutants without the tests that notice them."""
    assert (CHECKOUT / module).is_file()
    assert [] == [tests for tests in TESTS[module].split() if not list(CHECKOUT.glob(tests))]


def test_what_comes_last_is_there() -> None:
    """Files and folders, for both packages."""
    assert {"qmail_popup", "observability"} == AT_LAST.keys()
    named = " ".join(AT_LAST.values()).split()
    assert [] == [tests for tests in named if not (CHECKOUT / tests).exists()]
