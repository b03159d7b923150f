"""`python -m tests.mutants [MODULE...]`: changes the code in small ways, and tells what no test notices.

The changes are cosmic-ray's. They are made in scratch copies of the checkout, never in the checkout itself,
module by module, two copies at a time. Each mutant meets the tests of its own module first, then those of the
others of its package, then what tests that package as a whole. Survivors are shown with what they changed,
and so are those whose tests failed by chance only; the exit status is 1 unless each of them is in the file
`explained` beside this one: module, changed line, and the reason why no test can tell it from the original,
with tabs between. A mutant whose tests run out of time is counted as that, not as noticed: it may loop.

table.py says which modules these are where none is named, and which tests each of them has. It takes hours: a
line a minute tells how far it is.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from tests.mutants import cosmic
from tests.mutants.progress import Progress
from tests.mutants.table import AT_LAST, ON_REQUEST, TESTS
from tests.mutants.trial import NOTICED, TIMED_OUT, Round

ROOT = Path(__file__).resolve().parents[2]
EXPLAINED = Path(__file__).with_name("explained")
WORKERS = 2
TIMES_SLOWER = 5  # what tests may take with a change, and one wait more

_RUN = "import sys; from tests.mutants.trial import run; sys.exit(run(sys.argv[1]))"


@dataclass(frozen=True)
class Mutant:
    """A change that was tried."""

    module: str
    line: str
    """What the changed line became."""
    diff: str
    verdict: str
    """One of those in trial.py."""

    @property
    def is_explained(self) -> bool:
        """Whether somebody has said why no test notices it."""
        return (self.module, self.line) in _explained()

    @property
    def is_open(self) -> bool:
        """Whether no test notices it, and nobody has said why."""
        return self.verdict not in (NOTICED, TIMED_OUT) and not self.is_explained


class Run:
    """Tries the mutants of some modules.

    free: copies of the checkout in which nobody works
    """

    def __init__(self, scratch: Path, modules: Sequence[str]) -> None:
        """Find all mutants; run all tests without any change, which ends with an error if one fails."""
        self._free: SimpleQueue[Path] = SimpleQueue()
        for number in range(WORKERS):
            self._free.put(_copy(scratch / str(number)))
        with self._copy() as copy:
            self._seconds = dict(_timed(copy, dict.fromkeys(_all_files(modules))))
            self._sessions = [
                cosmic.prepare(module, copy, scratch / f"session {number}")
                for number, module in enumerate(modules)
            ]
        self._progress = Progress(sum(session.size for session in self._sessions))

    def mutants(self) -> list[Mutant]:
        """Return all, with what became of them."""
        with ThreadPoolExecutor(WORKERS) as pool:
            return [mutant for tried in pool.map(self._try, self._sessions) for mutant in tried]

    def _try(self, session: cosmic.Session) -> list[Mutant]:
        """Try all mutants of one module."""
        module = session.module
        with self._copy() as copy:
            tried = cosmic.execute(
                session,
                copy,
                self._rounds(module),
                lambda done: self._progress.tell(module, done, session.size),
            )
            mutants = [Mutant(module, _changed(diff), diff, verdict) for diff, verdict in tried]
        self._progress.tell(module, session.size, session.size)
        print("\n".join([f"{module}: {_counts(mutants)}", *_shown(mutants)]), flush=True)
        return mutants

    def _rounds(self, module: str) -> list[Round]:
        """Return its own tests, and all others."""
        own = _own(module)
        others = [files for files in _files_of(_package(module)) if files != own]
        return [(own, self._limit([own])), (" ".join(others), self._limit(others))]

    def _limit(self, files: Iterable[str]) -> float:
        return cosmic.TEST_TIMEOUT + TIMES_SLOWER * sum(self._seconds[some] for some in files)

    @contextmanager
    def _copy(self) -> Iterator[Path]:
        """Take a copy that nobody works in, and put it back."""
        copy = self._free.get()
        try:
            yield copy
        finally:
            self._free.put(copy)


def main(modules: Sequence[str]) -> int:
    """Try all mutants of `modules`, or of all; 0 where none is left open."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        mutants = Run(Path(scratch), modules or list(TESTS)).mutants()
    print(f"all: {_counts(mutants)}")
    return int(any(mutant.is_open for mutant in mutants))


def _copy(target: Path) -> Path:
    """Copy the checkout, without what others made of it."""
    aside = shutil.ignore_patterns(".*", "__pycache__", "build", "dist")
    return Path(shutil.copytree(ROOT, target, ignore=aside))


def _timed(copy: Path, files: Iterable[str]) -> Iterator[tuple[str, float]]:
    """Run tests without any change, for one that fails would seem to notice any; yield how long they took."""
    for some in files:
        began = time.monotonic()
        command = [sys.executable, "-c", _RUN, some]
        subprocess.run(command, cwd=copy, env=cosmic.environment(), check=True)
        yield some, time.monotonic() - began


def _all_files(modules: Iterable[str]) -> Iterator[str]:
    """Yield what the mutants of some modules meet."""
    for module in modules:
        yield _own(module)
        yield from _files_of(_package(module))


def _own(module: str) -> str:
    return (TESTS | ON_REQUEST)[module]


def _files_of(package: str) -> list[str]:
    """Return what tests a package: the files of each module, then what tests all of it."""
    files = {TESTS[module]: None for module in TESTS if _package(module) == package}
    return [*files, AT_LAST[package]]


def _package(module: str) -> str:
    return max((package for package in AT_LAST if module.startswith(f"{package}/")), key=len)


def _changed(diff: str) -> str:
    """Return what the changed line became, without its indentation; a removed one with a minus before it."""
    lines = [line for line in diff.splitlines() if line[:3] not in ("+++", "---") and line[1:].strip()]
    lines = [line for line in lines if line[0] in "+-"]
    added = [line[1:] for line in lines if line.startswith("+")]
    return " ".join(" ".join(added or lines).split())


def _counts(mutants: Sequence[Mutant]) -> str:
    noticed = sum(mutant.verdict == NOTICED for mutant in mutants)
    timed_out = sum(mutant.verdict == TIMED_OUT for mutant in mutants)
    left = sum(mutant.is_open for mutant in mutants)
    explained = len(mutants) - noticed - timed_out - left
    return (
        f"{len(mutants)} mutants, {noticed} noticed, {timed_out} timed out, {explained} explained,"
        f" {left} that no test notices"
    )


def _shown(mutants: Iterable[Mutant]) -> Iterator[str]:
    """Yield what somebody should look at."""
    for mutant in mutants:
        if mutant.is_open or (mutant.verdict == TIMED_OUT and not mutant.is_explained):
            yield f"{mutant.verdict}:\n{mutant.diff}"
        elif mutant.verdict == NOTICED and mutant.is_explained:
            yield f"explained, but a test notices it:\n{mutant.diff}"


def _explained() -> dict[tuple[str, str], str]:
    """Return the reason for each survivor that has one, by module and changed line."""
    lines = EXPLAINED.read_text(encoding="utf-8").splitlines()
    entries = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return {(module, line): reason for module, line, reason in entries}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
