"""The floors of the instrumentation: what may import what, and what a session loads of it."""

import ast
from pathlib import Path

import pytest

from observability import event
from tests.support.descriptors import CHECKOUT
from tests.test_layout import DEAR, graph, loaded

# From the ground up: a module imports those of its own floor and of the floors before it, and none above.
FLOORS = [
    "event",
    "spoolfile",
    "launch",
    "mirror",  # so far the popup's, which imports nothing of what follows
    "errors",
    "arrivals",
    "privacy",
    "options",
    "settings",
    "store",
    "sidecar",
    "log",
    "prometheus",
    "pushgateway",
    "otlp",
    "status",
    "check",
    "assembly",
    "__main__",
]
_PACKAGE = CHECKOUT / "observability"
_MAX_AT_THE_TOP = 10
_WORDS = {name.decode() for name in event.FIELDS}


def _floor(module: str) -> int:
    return FLOORS.index(module.split(".")[1])


def test_the_floors_are_all_there_is() -> None:
    """No module and no folder is left out of the order, and few of them are modules."""
    modules = {path.stem for path in _PACKAGE.glob("*.py")} - {"__init__"}
    folders = {path.parent.name for path in _PACKAGE.glob("*/__init__.py")}
    assert sorted(FLOORS) == sorted(modules | folders)
    assert len(modules) <= _MAX_AT_THE_TOP


def test_imports_run_down() -> None:
    """Whoever reads a floor needs to know nothing of those above it."""
    edges = graph()
    up = [
        (name, imported)
        for name in edges
        for imported in edges[name]
        if name.startswith("observability.") and name.count(".") < 3
        if imported.startswith("observability.") and _floor(imported) > _floor(name)
    ]
    assert [] == up


@pytest.mark.parametrize("name", ["mirror", "launch", "spoolfile", "event"])
def test_what_a_session_imports_is_cheap(name: str) -> None:
    """None of the modules that take longer than a whole session is loaded by it."""
    modules = loaded(f"import observability.{name}")
    assert f"observability.{name}" in modules
    own = {module for module in modules if module.startswith("observability")}
    # Only one session in many starts a pusher, and os is what it takes to find that.
    dear = DEAR - {"os"} if name == "launch" else DEAR
    assert set() == {module.split(".")[0] for module in modules - own} & dear
    assert {_floor(module) for module in own - {"observability"}} <= set(
        range(_floor("observability.errors"))
    )


@pytest.mark.parametrize(
    "path",
    [
        path
        for package in ("qmail_popup", "observability")
        for path in sorted((CHECKOUT / package).rglob("*.py"))
        if path != _PACKAGE / "event.py"
    ],
    ids=lambda path: str(path.relative_to(CHECKOUT)),
)
def test_the_names_of_an_events_fields_stand_in_one_module(path: Path) -> None:
    """All others use its constants, or the attributes of what was read."""
    constants = [
        node.value for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Constant)
    ]
    words = {value.decode(errors="replace") if isinstance(value, bytes) else value for value in constants}
    assert set() == words & _WORDS
