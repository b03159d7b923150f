"""Shares the compiling of the test modules among pytest's workers.

pytest rewrites every assert and keeps the byte code; that is half of what collecting costs. Without this, in
a fresh checkout each worker would compile every module, all at the same time.
"""

from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest


def compile_share(config: pytest.Config) -> None:
    """In a worker, import a share of the modules that it will collect; collecting reports what is wrong."""
    worker = getattr(config, "workerinput", None)
    if worker:
        first, step = int(worker["workerid"].removeprefix("gw")), worker["workercount"]
        for path in _modules(config)[first % step :: step]:
            name = ".".join(path.relative_to(config.rootpath).with_suffix("").parts)
            with suppress(Exception, pytest.skip.Exception):
                import_module(name)


def _modules(config: pytest.Config) -> list[Path]:
    """Return the test modules in the directories on the command line."""
    directories = [config.invocation_params.dir / argument for argument in config.args]
    return sorted(path for directory in directories for path in directory.rglob("test_*.py"))
