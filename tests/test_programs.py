"""tests/support/programs.py: a test that cannot run says so, and in CI it counts as failed."""

import pytest

from tests.support.programs import need, unavailable


def test_a_developer_may_lack_a_program() -> None:
    """Without CI the test is skipped, with the reason."""
    with pytest.raises(pytest.skip.Exception, match="no such thing"):
        unavailable("no such thing", {})


def test_ci_may_not() -> None:
    """With CI=true the same is a failure, so that nothing goes untested unseen."""
    with pytest.raises(pytest.fail.Exception, match="no such thing"):
        unavailable("no such thing", {"CI": "true"})


def test_all_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One reason names every program that is not there, and none that is."""
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"not installed: zz-one, zz-two$"):
        need("zz-one", "sh", "zz-two")


def test_what_is_there_is_found_in_the_order_asked_for() -> None:
    """The paths are absolute and come back in order."""
    shell, environment = need("sh", "env")
    assert ("/sh", "/env") == (shell[shell.rindex("/") :], environment[environment.rindex("/") :])
