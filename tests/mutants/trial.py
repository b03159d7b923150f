"""`python -m tests.mutants.trial MODULE [SECONDS FILES]...`: whether tests notice the change made to MODULE.

cosmic-ray runs this for each mutant, in a copy of the checkout. FILES, with names as for a shell, are one
round of tests, and the next round runs only if this one noticed nothing. The last line printed is the
verdict; the exit status is 0 only for SURVIVED.

A mutant is noticed only if a test fails twice: one that fails by chance, on a busy machine, must not hide
that no other would fail. A round that takes longer than SECONDS has noticed nothing either: the mutant may
loop, or the machine may be slow.
"""

import subprocess
import sys
from collections.abc import Sequence
from glob import glob
from itertools import chain
from pathlib import Path

import pytest

Round = tuple[str, float]
"""Files of tests, and the seconds that they have."""

NOTICED, SURVIVED, TIMED_OUT = "noticed", "survived", "timed out"
CHANCE, NOT_RUN = "tests fail by chance", "tests did not run"
VERDICTS = Path("verdicts")  # a line for each mutant of the module: it shows how far the run is

_ATTEMPTS = 3
# What is installed is the same code, and installing it takes longer than all else.
_PYTEST = (
    *(sys.executable, "-B", "-m", "pytest", "-x", "-q", "--no-header", "--tb=no"),
    *("-o", "cache_dir=.mutants-cache", "-k", "not installed"),  # the cache knows which test failed
)
# A change may also keep a module, or a conftest.py, from being imported.
_NOTICED = (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED, pytest.ExitCode.USAGE_ERROR)


def main(arguments: Sequence[str]) -> int:
    """Print the verdict."""
    module = Path(arguments[0])
    rounds = [
        (files, float(seconds)) for seconds, files in zip(arguments[1::2], arguments[2::2], strict=True)
    ]
    _forget(module)
    found = verdict(rounds)
    _forget(module)
    with VERDICTS.open("a", encoding="ascii") as verdicts:
        print(found, file=verdicts)
    print(found)
    return int(found != SURVIVED)


def verdict(rounds: Sequence[Round]) -> str:
    """Return what the first round says that does not let the mutant survive."""
    found = (_meet(files, seconds) for files, seconds in rounds)
    return next((one for one in found if one != SURVIVED), SURVIVED)


def run(files: str, seconds: float | None = None, *options: str) -> int:
    """Run tests; return pytest's exit status. All that they started ends with them (tests/conftest.py)."""
    paths = chain.from_iterable(sorted(glob(name)) or [name] for name in files.split())
    command = [*_PYTEST, *options, *paths]
    return subprocess.run(command, stdin=subprocess.DEVNULL, timeout=seconds, check=False).returncode


def _meet(files: str, seconds: float) -> str:
    try:
        for _ in range(_ATTEMPTS):
            status = run(files, seconds)
            if status not in _NOTICED:
                return SURVIVED if status == pytest.ExitCode.OK else f"{NOT_RUN}: status {status}"
            if run(files, seconds, "--last-failed") in _NOTICED:
                return NOTICED
    except subprocess.TimeoutExpired:
        return TIMED_OUT
    return CHANCE


def _forget(module: Path) -> None:
    """Remove what was compiled of it: it would run in place of a mutant of the same size and second."""
    for compiled in module.parent.glob(f"__pycache__/{module.stem}.*"):
        compiled.unlink()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
