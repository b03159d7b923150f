"""What becomes of a mutant: real runs of small tests stand for it."""

from pathlib import Path

import pytest

from tests.mutants import trial
from tests.mutants.trial import CHANCE, NOT_RUN, NOTICED, SURVIVED, TIMED_OUT, VERDICTS

_PASSES = "def test(): pass\n"
_FAILS = "def test(): assert False\n"
_NO_IMPORT = "import nothing_of_that_name\n"
_HANGS = "import time\ndef test(): time.sleep(1000)\n"
_INSTALLED = "def test_installed(): assert False\n"
# Fails in the runs with these numbers: each failure has the failed test run once more.
_BY_CHANCE = """
from pathlib import Path
def test():
    runs = Path("runs")
    runs.write_text(runs.read_text() + "x" if runs.exists() else "x")
    assert len(runs.read_text()) not in ({})
"""


def _verdict(directory: Path, monkeypatch: pytest.MonkeyPatch, *tests: str) -> str:
    """Return the verdict of these tests, each a round of its own."""
    monkeypatch.chdir(directory)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # half of what so small a run takes
    (directory / "pytest.ini").write_text("[pytest]\n")
    for number, text in enumerate(tests):
        (directory / f"test_{number}_all.py").write_text(text)
    return trial.verdict(
        [(f"test_{number}_*.py", 1.5 if text == _HANGS else 100) for number, text in enumerate(tests)]
    )


_CASES = {
    "all pass": ([_PASSES, _PASSES], SURVIVED),
    "the first fails": ([_FAILS, _HANGS], NOTICED),
    "the second fails": ([_PASSES, _FAILS], NOTICED),
    "nothing to import": ([_NO_IMPORT], NOTICED),
    "no end": ([_HANGS, _FAILS], TIMED_OUT),
    "nothing selected": ([_INSTALLED], f"{NOT_RUN}: status 5"),
    "chance": ([_BY_CHANCE.format("1, 3, 5")], CHANCE),
    "chance, then a failure": ([_BY_CHANCE.format("1,"), _FAILS], NOTICED),
}


@pytest.mark.parametrize(("tests", "expected"), _CASES.values(), ids=_CASES)
def test_verdicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tests: list[str], expected: str) -> None:
    """Only a test that fails twice has noticed a mutant; neither time nor the harness has."""
    assert expected == _verdict(tmp_path, monkeypatch, *tests)


def test_what_was_compiled_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mutant of the same size and second would not be run; other modules stay compiled."""
    monkeypatch.chdir(tmp_path)
    compiled = tmp_path / "package" / "__pycache__"
    compiled.mkdir(parents=True)
    for name in ("module", "module_too"):
        (compiled / f"{name}.cpython-311.pyc").touch()
    (tmp_path / "test_it.py").write_text(_PASSES)
    assert 0 == trial.main(["package/module.py", "100", "test_it.py"])
    assert ["module_too.cpython-311.pyc"] == [path.name for path in compiled.iterdir()]
    assert f"{SURVIVED}\n" == (tmp_path / VERDICTS).read_text() == capsys.readouterr().out
