"""What a start imports: only what the options ask for, and everything before the sidecar serves."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.keeper import Keeper
from tests.test_layout import loaded

_SHOWING = (sys.executable, "-X", "importtime")
_PROGRAM = "import gc, os, sys; from observability.__main__ import main; main(sys.argv[1:], os.environ)"
_IMPORT = re.compile(r"^import time: .*\| +(\S+)$", re.MULTILINE)

_OPTIONAL = {
    "arrivals.log": "--read-log=log",
    "log.sessions": "--json-log",
    "otlp.exporter": "--otlp=http://127.0.0.1:9",
    "prometheus.textfile": "--textfile=metrics.prom",
    "pushgateway.push": "--push=http://127.0.0.1:9",
}
_SLOW = {"ctypes", "logging", "subprocess"}
_OTHER_WORK = {"check.command", "pushgateway.pusher", "status.command", "store.reset"}


def test_a_mistake_is_answered_before_anything_slow_is_imported() -> None:
    """Nor does --version wait for the server."""
    slow = {"h11", "http", "logging", "prometheus_client", "sqlite3", "ssl", "subprocess"}
    assert set() == loaded("import observability.__main__") & slow


def _imported(keeper: Keeper) -> set[str]:
    return {name.removeprefix("observability.") for name in _IMPORT.findall(keeper.said)}


@pytest.mark.parametrize("options", [(), _OPTIONAL.values()], ids=["no option", "all options"])
def test_a_sidecar_imports_what_its_options_ask_for(tmp_path: Path, options: Sequence[str]) -> None:
    """It imports what they need before it serves, never later, and nothing for what is not asked for."""
    placed = [
        option.replace("=log", f"={tmp_path}/log").replace("=me", f"={tmp_path}/me") for option in options
    ]
    with Keeper(tmp_path, (*_SHOWING, "-m", "observability")) as keeper:
        keeper.start(*placed)
        ready = _imported(keeper)
        keeper.numbers()
        keeper.stop()
        ended = _imported(keeper)
    assert ready & {*_OPTIONAL} == ({*_OPTIONAL} if options else set())
    assert ready & _SLOW == (_SLOW if options else set())
    assert set() == ready & _OTHER_WORK
    assert ready == ended


def test_garbage_is_collected_once_it_serves(tmp_path: Path) -> None:
    """It is not while modules are imported."""
    with Keeper(tmp_path, (sys.executable, "-c", f"{_PROGRAM}; print(gc.isenabled())")) as keeper:
        keeper.start().stop()
        assert "True\n" == keeper.log.read_text()
