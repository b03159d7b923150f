"""What may import what, and what a session imports: the promise of a fast start."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support.descriptors import CHECKOUT

# The way of the data is the way down each list: a module may import those below it.
POPUP = [
    "__main__",
    "check",
    "executable",
    "session",
    "record",
    "login",
    "reasons",
    "subprogram",
    "tls",
    "wire",
    "stderr",
    "protocol",
    "settings",
    "descriptors",
]
LISTENER = [
    "__main__",
    "supervisor/supervisor",
    "supervisor/reload",
    "supervisor/trial",
    "supervisor/handover",
    "supervisor/notify",
    "supervisor/children",
    "tasks",
    "worker/worker",
    "worker/acceptors",
    "worker/handshakes",
    "worker/relays",
    "worker/lingering",
    "worker/admission",
    "worker/proxy",
    "worker/limits",
    "worker/reports",
    "worker/connection",
    "worker/buffer",
    "worker/outbox",
    "spawner/spawner",
    "spawner/channel",
    "spawner/logins",
    "spawner/rule_checks",
    "spawner/session",
    "spawner/blocks",
    "spawner/delivery",
    "spawner/spooler",
    "rules/reader",
    "rules/background",
    "rules/lookups",
    "rules/rules_file",
    "rules/rules",
    "rules/cdb",
    "ipc/control",
    "ipc/rights",
    "tls/certificates",
    "tls/x509",
    "tls/engine",
    "process/sockets",
    "process/processes",
    "process/privileges",
    "options",
    "process/output",
    "process/throttled",
    "process/loop",
    "ipc/frames",
    "ipc/counts",
    "tls/suites",
    "variables",
    "addresses",
]
RESIDENT = CHECKOUT / "qmail_popup/listener"
EVENTS = {"event", "launch", "mirror", "spoolfile"}
"""What of observability runs where sessions are served."""

DEAR = {
    "argparse",
    "asyncio",
    "collections",
    "contextlib",
    "dataclasses",
    "enum",
    "functools",
    "inspect",
    "json",
    "logging",
    "observability",
    "opentelemetry",
    "os",
    "pathlib",
    "prometheus_client",
    "re",
    "signal",
    "socket",
    "string",
    "subprocess",
    "threading",
    "traceback",
    "typing",
    "warnings",
}


def test_the_list_has_all_modules() -> None:
    """No module of the popup is left out of the order."""
    assert sorted(POPUP) == sorted(
        path.stem for path in (CHECKOUT / "qmail_popup").glob("*.py") if path.stem != "__init__"
    )


def imported(path: Path) -> Iterator[str]:
    """Yield what a source imports, by full names, what only a type checker sees included."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports by relative names"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("name", POPUP)
def test_imports_run_down_the_list(name: str) -> None:
    """A module imports those below it and never one above."""
    inside = {
        full.split(".")[1]
        for full in imported(CHECKOUT / "qmail_popup" / f"{name}.py")
        if "qmail_popup." in full
    }
    above = POPUP[: POPUP.index(name) + 1]
    assert set() == inside.intersection(above)


def test_the_list_has_all_modules_of_the_listener() -> None:
    """None of them is left out of the order either."""
    found = [str(path.relative_to(RESIDENT).with_suffix("")) for path in RESIDENT.rglob("*.py")]
    assert sorted(LISTENER) == sorted(name for name in found if not name.endswith("__init__"))


def of_the_listener(name: str) -> set[str]:
    """Return those modules of the listener that one of them imports."""
    edges = graph()[f"qmail_popup.listener.{name.replace('/', '.')}"]
    names = {full.removeprefix("qmail_popup.listener.").replace(".", "/") for full in edges}
    return names.intersection(LISTENER)


@pytest.mark.parametrize("name", LISTENER)
def test_the_listener_runs_down_its_list(name: str) -> None:
    """A module of the listener imports those below it, the popup's, and what builds and leaves an event."""
    assert set() == of_the_listener(name).intersection(LISTENER[: LISTENER.index(name) + 1])
    names = set(imported(RESIDENT / f"{name}.py"))
    tops = {full.split(".")[0] for full in names}
    assert set() == tops - sys.stdlib_module_names - {"qmail_popup", "observability"}
    assert {full.split(".")[1] for full in names if full.startswith("observability.")} <= EVENTS


def test_the_listeners_folders_are_floors() -> None:
    """No folder imports from one that imports from it, by whatever way."""
    floors: dict[str, set[str]] = {}
    for name in LISTENER:
        folder, inside, _ = name.rpartition("/")
        below = {other.rpartition("/")[0] for other in of_the_listener(name) if "/" in other}
        if inside:
            floors.setdefault(folder, set()).update(below - {folder})
    assert 7 == len(list(TopologicalSorter(floors).static_order()))


@pytest.mark.parametrize("name", POPUP)
def test_the_popup_is_standard_library_only(name: str) -> None:
    """It imports nothing that would have to be installed, and only the main module knows of the mirror."""
    tops = {full.split(".")[0] for full in imported(CHECKOUT / "qmail_popup" / f"{name}.py")}
    allowed = sys.stdlib_module_names | {"qmail_popup"} | ({"observability"} if name == "__main__" else set())
    assert set() == tops - allowed


def test_the_protocol_is_pure() -> None:
    """It knows no descriptor, no process and no clock."""
    assert {"collections.abc.Callable"} == {*imported(CHECKOUT / "qmail_popup" / "protocol.py")}


def test_nothing_that_the_popup_imports_at_the_top_is_the_mirror() -> None:
    """The mirror is imported inside a function: who has it off pays nothing for it."""
    tree = ast.parse((CHECKOUT / "qmail_popup" / "__main__.py").read_bytes())
    tops = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert not [node for node in tops if node.module and node.module.startswith("observability")]


@cache
def graph() -> dict[str, set[str]]:
    """Return both packages' modules and, for each, those of them that it imports."""
    packages = ("qmail_popup", "observability")
    paths = [path for package in packages for path in (CHECKOUT / package).rglob("*.py")]
    names = {".".join(path.relative_to(CHECKOUT).with_suffix("").parts): path for path in paths}
    return {name: {full for full in _modules(path) if full in names} for name, path in names.items()}


def _modules(path: Path) -> Iterator[str]:
    """Yield each imported name, and what it may be a name in."""
    for full in imported(path):
        yield full
        yield full.rpartition(".")[0]


def test_nobody_imports_in_circles() -> None:
    """Both packages have an order in which each module imports only what comes before it."""
    assert set(graph()) == set(TopologicalSorter(graph()).static_order())


def test_the_popup_knows_nothing_of_the_sidecar() -> None:
    """What the main module imports of observability is the mirror, which knows its descriptors alone."""
    edges = graph()
    assert {"observability.mirror"} == {
        name for name in edges["qmail_popup.__main__"] if name.startswith("obs")
    }
    popups = {name for name in edges["observability.mirror"] if name.startswith("qmail_popup")}
    assert {"qmail_popup.descriptors"} == popups


def loaded(statement: str) -> set[str]:
    """Return what a fresh interpreter has loaded behind `statement` and had not before it."""
    script = (
        f"import sys; before = set(sys.modules); sys.path.insert(0, {str(CHECKOUT)!r}); {statement}; "
        "import posix; posix.write(1, ' '.join(set(sys.modules) - before).encode())"
    )
    done = subprocess.run(
        ["/usr/bin/python3", "-IS", "-c", script], stdout=subprocess.PIPE, text=True, check=True
    )
    return set(done.stdout.split())


def test_what_importing_the_popup_loads() -> None:
    """All that a session without a login needs, and not a module more."""
    own = {
        "qmail_popup",
        "qmail_popup.descriptors",
        *(f"qmail_popup.{name}" for name in ("__main__", "session", "wire", "protocol", "settings")),
    }
    assert own | {"select"} == loaded("import qmail_popup.__main__") - {"posix", "time", "_signal"}


@pytest.mark.parametrize("name", ["__main__", "tls", "login", "subprogram", "record", "reasons", "stderr"])
def test_nothing_dear_is_loaded(name: str) -> None:
    """What a session with a login or with TLS loads besides is as cheap."""
    modules = loaded(f"import qmail_popup.{name}")
    assert f"qmail_popup.{name}" in modules
    assert set() == {module.split(".")[0] for module in modules} & DEAR


@pytest.mark.parametrize("name", ["__init__", *POPUP])
def test_nothing_happens_at_import(name: str) -> None:
    """The top of a module holds definitions, and calls nothing but what makes a constant."""
    tree = ast.parse((CHECKOUT / "qmail_popup" / f"{name}.py").read_bytes())
    statements = (
        ast.FunctionDef,
        ast.ClassDef,
        ast.Import,
        ast.ImportFrom,
        ast.Assign,
        ast.AnnAssign,
        ast.If,
    )
    docstring, *rest = tree.body
    assert isinstance(docstring, ast.Expr)
    assert [] == [ast.unparse(node) for node in rest if not isinstance(node, statements)]
    tests = {ast.unparse(node.test) for node in rest if isinstance(node, ast.If)}
    assert tests <= {"TYPE_CHECKING", "__name__ == '__main__'"}
