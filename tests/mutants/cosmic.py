"""What cosmic-ray does: makes the mutants of one module, and runs trial.py for each, in one copy."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.trial import VERDICTS, Round

TEST_TIMEOUT = 30
"""Seconds that a test waits for anything: mutants keep many from what they wait for."""

_SCRIPTS = Path(sys.executable).parent
_LOOK_SECONDS = 5.0

# One other operator tells as much as ten; of `|` most are annotations, where nothing is computed; and whether
# a number is compared by `is` or by `==` is the linter's business.
_EXCLUDED = (
    "core/ReplaceBinaryOperator_(?!Add_Sub|Sub_Add|Mul_Add|FloorDiv_Mul)"
    "|core/ReplaceComparisonOperator_(Eq_Is|Is_Eq|NotEq_IsNot|IsNot_NotEq)$"
)

_CONFIGURATION = """\
[cosmic-ray]
module-path = {module}
timeout = 86400  # trial.py has its own limits
excluded-modules = []
test-command = {command}
distributor.name = "local"
filters.operators-filter.exclude-operators = [{excluded}]
"""


@dataclass(frozen=True)
class Session:
    """The mutants of one module.

    directory: where cosmic-ray keeps them; size: their number
    """

    module: str
    directory: Path
    size: int


def prepare(module: str, copy: Path, directory: Path) -> Session:
    """Find the mutants of a module."""
    directory.mkdir()
    _configure(directory, module, [])
    _run(copy, "cosmic-ray", "init", _configuration(directory), _database(directory))
    _run(copy, "cr-filter-operators", _database(directory), _configuration(directory))
    return Session(module, directory, len(_dump(copy, directory)))


def execute(
    session: Session, copy: Path, rounds: list[Round], tell: Callable[[int], None]
) -> Iterator[tuple[str, str]]:
    """Try all; tell how many have been tried, while they are; yield what each changed, and its verdict."""
    (copy / VERDICTS).write_text("")
    _configure(session.directory, session.module, rounds)
    files = [_configuration(session.directory), _database(session.directory)]
    with subprocess.Popen([_SCRIPTS / "cosmic-ray", "exec", *files], cwd=copy, env=environment()) as process:
        while not _has_ended(process):
            tell((copy / VERDICTS).read_text().count("\n"))
    for result in _dump(copy, session.directory):
        yield result["diff"], result["output"].rstrip().rpartition("\n")[2]


def environment() -> dict[str, str]:
    """Return the environment of tests that meet mutants."""
    return os.environ | {"VECTORS": "all", "TEST_TIMEOUT": str(TEST_TIMEOUT)}


def _configuration(directory: Path) -> Path:
    return directory / "configuration.toml"


def _database(directory: Path) -> Path:
    return directory / "session.sqlite"


def _configure(directory: Path, module: str, rounds: list[Round]) -> None:
    words = (word for files, seconds in rounds for word in (str(seconds), files))
    command = shlex.join([sys.executable, "-m", "tests.mutants.trial", module, *words])
    texts = {"module": module, "command": command, "excluded": _EXCLUDED}
    quoted = {name: json.dumps(text) for name, text in texts.items()}
    _configuration(directory).write_text(_CONFIGURATION.format(**quoted), encoding="utf-8")


def _run(copy: Path, program: str, *arguments: str | Path) -> str:
    command = [_SCRIPTS / program, *arguments]
    return subprocess.run(command, cwd=copy, stdout=subprocess.PIPE, text=True, check=True).stdout


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Wait for a moment; RuntimeError if cosmic-ray has failed."""
    try:
        status = process.wait(_LOOK_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    if status:
        raise RuntimeError(f"cosmic-ray ended with status {status}")
    return True


def _dump(copy: Path, directory: Path) -> list[dict[str, str]]:
    """Return what became of each mutant, with nothing in it for one that has yet to be tried."""
    lines = _run(copy, "cosmic-ray", "dump", _database(directory)).splitlines()
    results = [json.loads(line)[1] or {} for line in lines]
    return [result for result in results if result.get("worker_outcome") != "skipped"]
