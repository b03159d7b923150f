"""Fixtures that all tests share: the installed product, and the popup in both forms that users start."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support import shares, wheels
from tests.support.programs import environ_without_make
from tests.support.selection import starts_server
from tests.support.supervised import supervise

CHECKOUT = Path(__file__).resolve().parent.parent

# What takes longest is begun first, so that no worker is kept when all others are done. A worker that gets a
# file with one or two tests gets the next file as well, which then waits: there stands a short one.
_FIRST = (
    "test_types.py",
    "fleet/test_fleet.py",
    "dashboards/test_rules_fleet.py",
    "fleet/test_alerts.py",
    "dashboards/test_rules.py",
    "fleet/test_fleet_figures.py",
    "conformance/test_vectors.py",
    "deploy/test_debian.py",
    "deploy/test_packaging.py",
    "deploy/test_install_again.py",
    "dashboards/",
    "observability/test_mirror_vectors.py",
    "deploy/",
    "chaos/",
    "chain/",
    "hostile/",
    "fuzz/",
    "qmail_popup/listener/",
    "observability/otlp/",
    "observability/pushgateway/test_pusher.py",
    "observability/test_sidecar",
    "qmail_popup/test_wire",
    "mutants/",
    "test_supervised.py",
)

# How long an example takes depends more on the machine than on the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Go on in a process that takes all that tests start along when it ends; a worker descends from one."""
    if not hasattr(config, "workerinput"):
        supervise()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Share the compiling of the test modules among the workers."""
    shares.compile_share(session.config)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what `make check` leaves out."""
    if starts_server(item):
        item.add_marker("server")


@pytest.hookimpl(trylast=True)  # pytest itself has put together what shares a fixture
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the long ones begin first; among the others the order stays."""

    def rank(item: pytest.Item) -> int:
        path = item.nodeid.removeprefix("tests/")
        return next((at for at, first in enumerate(_FIRST) if path.startswith(first)), len(_FIRST))

    items.sort(key=rank)


@pytest.fixture(scope="session")
def checkout() -> Path:
    """Return the directory that holds qmail_popup/ and observability/."""
    return CHECKOUT


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return a PREFIX that `make install` filled, once for the whole run; what that said is beside it."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent  # the workers' directories are below the run's
    prefix = shared / "installed" / "prefix"
    with (shared / "installed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not prefix.exists():
            _install(prefix)
    return prefix


def _install(prefix: Path) -> None:
    made = subprocess.run(
        ["make", "-s", "-C", CHECKOUT, "install", f"PREFIX={prefix}", "PYTHON=/usr/bin/python3"],
        env=environ_without_make(),
        umask=0o077,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.fail(f"make install failed:\n{made.stdout}{made.stderr}", pytrace=False)
    prefix.with_name("said").write_text(made.stdout)


@pytest.fixture(scope="session")
def wheelhouse(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Return the environment of a pip that takes dependencies from wheels of what is installed."""
    return wheels.offline(installed, tmp_path_factory.mktemp("wheels"))


@pytest.fixture
def offline(wheelhouse: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have installers ask no index for dependencies, as on a packager's machine."""
    for name, value in wheelhouse.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def shared_prefix(installed: Path) -> Iterator[Path]:
    """Return a copy that every account may read, as pytest's own directories may not be; nobody writes."""
    with tempfile.TemporaryDirectory(prefix="installed-") as name:
        Path(name).chmod(0o755)
        yield Path(shutil.copytree(installed, Path(name) / "prefix", copy_function=os.link, symlinks=True))


@pytest.fixture(scope="session", params=["checkout", "installed"])
def popup(request: pytest.FixtureRequest) -> list[str]:
    """Return the start of a popup's command line; the checkout's wants cwd or PYTHONPATH at the checkout."""
    if request.param == "checkout":
        return [sys.executable, "-m", "qmail_popup"]
    return [str(request.getfixturevalue("installed") / "bin" / "qmail-popup")]
