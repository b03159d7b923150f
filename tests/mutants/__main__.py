"""`python -m tests.mutants [MODULE...]`: changes the code in small ways, and tells what no test notices.

The changes are cosmic-ray's. They are made in scratch copies of the checkout, never in the checkout itself,
module by module, two copies at a time. Each mutant meets the tests of its own module first, then those of the
others of its package, then what tests that package as a whole. Survivors are shown with what they changed;
the exit status is 1 unless each of them is in the file `explained` beside this one: module, changed line, and
the reason why no test can tell it from the original, with tabs between. table.py says which modules these are
where none is named, and which tests each of them has.
"""

import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from tests.mutants.table import AT_LAST, ON_REQUEST, TESTS

ROOT = Path(__file__).resolve().parents[2]
EXPLAINED = Path(__file__).with_name("explained")
WORKERS = 2
SECONDS_MOST = 400  # for one mutant; all its tests take a fifth of that
LOOP_SECONDS = 120  # for the tests of its own module, which take a minute at most: it may loop forever
SCRIPTS = Path(sys.executable).parent

# What is installed is the same code, and installing it takes longer than all else.
PYTEST = (
    f"env VECTORS=all {shlex.quote(str(SCRIPTS))}/python -m pytest"
    " -x -q --no-header --tb=no -p no:cacheprovider -k 'not installed'"
)

# One other operator tells as much as ten; of `|` most are annotations, where nothing is computed; and whether
# a number is compared by `is` or by `==` is the linter's business.
EXCLUDED = (
    "core/ReplaceBinaryOperator_(?!Add_Sub|Sub_Add|Mul_Add|FloorDiv_Mul)"
    "|core/ReplaceComparisonOperator_(Eq_Is|Is_Eq|NotEq_IsNot|IsNot_NotEq)$"
)

CONFIGURATION = """\
[cosmic-ray]
module-path = {module}
timeout = {seconds}
excluded-modules = []
test-command = {command}
distributor.name = "local"
filters.operators-filter.exclude-operators = [{excluded}]
"""


@dataclass(frozen=True)
class Mutant:
    """A change that was tried."""

    module: str
    line: str
    """What the changed line became."""
    diff: str
    survived: bool

    @property
    def unexplained(self) -> bool:
        """Whether no test notices it, and nobody has said why."""
        return self.survived and (self.module, self.line) not in _explained()


def main(modules: Sequence[str]) -> int:
    """Try all mutants of `modules`, or of all; 0 where no survivor is unexplained."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        free: SimpleQueue[Path] = SimpleQueue()
        for number in range(WORKERS):
            free.put(_copy(Path(scratch) / str(number)))
        with _one_of(free) as copy:
            # Tests that fail without any change would seem to notice every change.
            for module in modules or {_package(module): module for module in TESTS}.values():
                subprocess.run(_command(module), cwd=copy, check=True)
        with ThreadPoolExecutor(WORKERS) as pool:
            tried = pool.map(lambda module: _try(module, free), modules or TESTS)
            mutants = [mutant for some in tried for mutant in some]
    print(f"all: {_counts(mutants)}")
    return 1 if any(mutant.unexplained for mutant in mutants) else 0


@contextmanager
def _one_of(free: SimpleQueue[Path]) -> Iterator[Path]:
    """Take a copy that nobody works in, and put it back."""
    copy = free.get()
    try:
        yield copy
    finally:
        free.put(copy)


def _copy(target: Path) -> Path:
    """Copy the checkout, without what others made of it."""
    aside = shutil.ignore_patterns(".*", "__pycache__", "build", "dist")
    return Path(shutil.copytree(ROOT, target, ignore=aside))


def _command(module: str) -> list[str]:
    """Return what tests `module`: its own files, and if those notice nothing, all others."""
    package = _package(module)
    others = {TESTS[other]: None for other in TESTS if _package(other) == package} | {AT_LAST[package]: None}
    own = (TESTS | ON_REQUEST)[module]
    rest = " ".join(files for files in others if files != own)
    return ["/bin/sh", "-c", f"timeout {LOOP_SECONDS} {PYTEST} {own} && {PYTEST} {rest}"]


def _package(module: str) -> str:
    return max((package for package in AT_LAST if module.startswith(f"{package}/")), key=len)


def _try(module: str, free: SimpleQueue[Path]) -> list[Mutant]:
    """Try all mutants of one module."""
    with _one_of(free) as copy:
        configuration, session = copy / "mutants.toml", copy / "mutants.sqlite"
        configuration.write_text(_configuration(module), encoding="utf-8")
        session.unlink(missing_ok=True)
        _run(copy, "cosmic-ray", "init", configuration, session)
        _run(copy, "cr-filter-operators", session, configuration)
        _run(copy, "cosmic-ray", "exec", configuration, session)
        mutants = list(_mutants(module, _run(copy, "cosmic-ray", "dump", session)))
    print(
        "\n".join([f"{module}: {_counts(mutants)}", *(m.diff for m in mutants if m.unexplained)]), flush=True
    )
    return mutants


def _configuration(module: str) -> str:
    texts = {"module": module, "command": shlex.join(_command(module)), "excluded": EXCLUDED}
    quoted = {name: json.dumps(text) for name, text in texts.items()}
    return CONFIGURATION.format(seconds=SECONDS_MOST, **quoted)


def _run(copy: Path, program: str, *arguments: str | Path) -> str:
    command = [SCRIPTS / program, *arguments]
    return subprocess.run(command, cwd=copy, stdout=subprocess.PIPE, text=True, check=True).stdout


def _mutants(module: str, dump: str) -> Iterator[Mutant]:
    """Read a session: a line for each mutant, with what it was and what became of it."""
    for text in dump.splitlines():
        _item, result = json.loads(text)
        if result["worker_outcome"] == "skipped":
            continue
        if result["test_outcome"] not in ("killed", "survived"):
            raise RuntimeError(f"{module}: {result['output']}")
        survived = result["test_outcome"] == "survived"
        yield Mutant(module, _changed(result["diff"]), result["diff"], survived=survived)


def _changed(diff: str) -> str:
    """Return what the changed line became, without its indentation."""
    lines = [line[1:] for line in diff.splitlines() if line.startswith("+") and not line.startswith("+++")]
    return " ".join(" ".join(lines).split())


def _counts(mutants: list[Mutant]) -> str:
    survivors = [mutant for mutant in mutants if mutant.survived]
    unexplained = sum(mutant.unexplained for mutant in mutants)
    known = len(survivors) - unexplained
    return f"{len(mutants)} mutants, {known} of them explained, {unexplained} that no test notices"


def _explained() -> dict[tuple[str, str], str]:
    """Return the reason for each survivor that has one, by module and changed line."""
    lines = EXPLAINED.read_text(encoding="utf-8").splitlines()
    entries = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return {(module, line): reason for module, line, reason in entries}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
