"""Install the whole product below a prefix, as `make install` asks, or take it away again.

    PREFIX/bin/qmail-popup, ...-listener, ...-sidecar           the programs
    PREFIX/lib/qmail-popup/                                     all that they need, dependencies included
    PREFIX/share/man/man8/                                      their manual pages

Nothing in there knows PREFIX, so it may be moved, mounted read-only and used without the checkout. All
byte code is compiled here and never checked against its source again. An older copy is replaced file by
file, each in one rename: a session that starts meanwhile finds the one or the other, and always a whole one.
"""

import argparse
import compileall
import contextlib
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bundle import bundle
from starters import LISTENER, POPUP, SIDECAR

ROOT = Path(__file__).resolve().parents[1]
LIB = Path("lib/qmail-popup")
PROGRAMS = {
    "bin/qmail-popup": POPUP,
    "bin/qmail-popup-listener": LISTENER,
    "bin/qmail-popup-sidecar": SIDECAR,
}
# The kernel reads one word behind #!, and 255 bytes of the line, of which " -IS" takes some.
INTERPRETER_MOST = 240
PAGES = ("qmail-popup.8", "qmail-popup-listener.8", "qmail-popup-sidecar.8")


def main() -> None:
    """Do what the command line asks; one line and status 1 where that cannot be done."""
    asked = _asked()
    prefix = Path(f"{asked.destdir}/{asked.prefix}") if asked.destdir else asked.prefix
    os.umask(0o022)  # what popups of any user run must be readable to all
    try:
        if asked.uninstall:
            uninstall(prefix)
        else:
            install(prefix.absolute(), asked.python)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"install: {error}")


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="install", description=__doc__, allow_abbrev=False)
    parser.add_argument("--prefix", type=Path, default=Path("/usr/local"))
    parser.add_argument("--destdir", default="")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--uninstall", action="store_true")
    asked = parser.parse_args()
    if not asked.prefix.is_absolute():
        parser.error(f"the prefix must be an absolute path: {asked.prefix}")
    if not os.path.isabs(asked.python) or " " in asked.python or len(asked.python) > INTERPRETER_MOST:
        parser.error(f"the interpreter must be a short absolute path without spaces: {asked.python}")
    return asked


def install(prefix: Path, python: str) -> None:
    """Put everything below `prefix`, to be run by `python`."""
    prefix.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".qmail-popup-", dir=prefix) as scratch:
        stage = Path(scratch) / "stage"
        _lay_out(stage, python)
        _move(stage, prefix)


def uninstall(prefix: Path) -> None:
    """Take away what `install` put below `prefix`, and nothing else."""
    for file in [*PROGRAMS, *(f"share/man/man8/{page}" for page in PAGES)]:
        (prefix / file).unlink(missing_ok=True)
    shutil.rmtree(prefix / LIB, ignore_errors=True)


def _lay_out(stage: Path, python: str) -> None:
    lib = stage / LIB
    lib.mkdir(parents=True)
    for package in ("qmail_popup", "observability"):
        shutil.copytree(ROOT / package, lib / package, ignore=shutil.ignore_patterns("__pycache__"))
    _dependencies(lib / "site-packages", stage.parent / "venv")
    compileall.compile_dir(
        lib, quiet=1, stripdir=lib, workers=0, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    (lib / f"popup.{sys.implementation.cache_tag}").write_bytes(bundle(ROOT))
    for page in PAGES:
        text = (ROOT / "deploy/man" / page).read_text(encoding="utf-8")
        _write(stage / "share/man/man8" / page, text, 0o644)
    for program, text in PROGRAMS.items():
        _write(stage / program, text.replace("@PYTHON@", python), 0o755)


def _write(file: Path, text: str, mode: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)


def _dependencies(target: Path, venv: Path) -> None:
    """Install the sidecar's dependencies into `target`, with a pip that leaves no trace of itself."""
    _run(sys.executable, "-m", "venv", venv)
    wanted = _run(sys.executable, ROOT / "deploy/setup/requirements.py").split()
    pip = (venv / "bin/python", "-m", "pip", "--disable-pip-version-check", "-qq")
    _run(*pip, "install", "--no-compile", "--target", target, *wanted)
    shutil.rmtree(target / "bin", ignore_errors=True)  # programs of an interpreter that is about to go


def _run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _move(stage: Path, prefix: Path) -> None:
    """Move each staged file into its place, programs last, then remove what an older copy left behind."""
    staged = _files(stage, stage)
    for file in sorted(staged, key=lambda file: (file.as_posix() in PROGRAMS, file)):
        (prefix / file).parent.mkdir(parents=True, exist_ok=True)
        (stage / file).replace(prefix / file)
    for old in _files(prefix / LIB, prefix) - staged:
        (prefix / old).unlink()
    for directory in sorted((prefix / LIB).rglob("*/"), reverse=True):
        with contextlib.suppress(OSError):  # it is not empty; empty ones would still be found, as packages
            directory.rmdir()


def _files(directory: Path, base: Path) -> set[Path]:
    return {file.relative_to(base) for file in directory.rglob("*") if not file.is_dir()}


if __name__ == "__main__":
    main()
