"""Which tests start servers, daemons or an installation, or take long: `make check` skips those."""

from functools import cache
from types import ModuleType

import pytest

# All tests in these start servers, or take as long.
_FOLDERS = (
    "chain/",
    "chaos/",
    "fleet/",
    "hostile/",
    "deploy/test_demo",
    "deploy/test_install",
    "deploy/test_pack",
    "dashboards/test_rules",
    "fuzz/",
    "mutants/test_trial",
)
_STARTERS = {
    f"tests.support.{name}"
    for name in (
        "alertmanager",
        "banning",
        "collector",
        "crowdsec",
        "daemon",
        "gateway",
        "host",
        "keeper",
        "manager",
        "packaged",
        "prometheus_server",
        "resident",
        "server",
        "services",
        "svscan",
        "throwaway",
        "unattended",
    )
}
_STARTER_NAMES = {"RunningSidecar"}
_INSTALLED = "installed"


def starts_server(item: pytest.Item) -> bool:
    """Return whether a test is in a folder or module of such tests, or needs the installed product."""
    if item.nodeid.removeprefix("tests/").startswith(_FOLDERS) or _is_of_installed(item):
        return True
    module = getattr(item, "module", None)
    return module is not None and _has_starter(module)


def _is_of_installed(item: pytest.Item) -> bool:
    parameters = getattr(item, "callspec", None)
    chosen = parameters.params.values() if parameters else ()
    return _INSTALLED in getattr(item, "fixturenames", ()) or _INSTALLED in chosen


@cache
def _has_starter(module: ModuleType) -> bool:
    return any(_is_starter(name, value) for name, value in vars(module).items())


def _is_starter(name: str, value: object) -> bool:
    """Return whether a module's global comes from a module that starts servers."""
    home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", "")
    return home in _STARTERS or name in _STARTER_NAMES
