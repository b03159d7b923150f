"""Byte code for an installed copy, made by the Python that will run it: `bytecode.py LIB`.

Owns the files that depend on the Python version: all modules' caches, and the popup's bundle. Removes those
of other versions. Called by install.py, and by the Debian package whenever Debian's Python changes.
"""

import compileall
import functools
import py_compile
import shutil
import sys
from pathlib import Path

from bundle import bundle

BUNDLE = f"popup.{sys.implementation.cache_tag}"


def write(lib: Path) -> None:
    """Compile everything in `lib`, without later checks against the source, and make the bundle."""
    remove(lib)
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compile_in = functools.partial(
        compileall.compile_dir, lib, quiet=1, stripdir=lib, invalidation_mode=unchecked
    )
    try:
        compile_in(workers=0)
    except OSError:  # several processes need a writable /dev/shm, which some containers do not have
        compile_in(workers=1)
    new = lib / f"new.{BUNDLE}"
    new.write_bytes(bundle(lib))
    new.replace(lib / BUNDLE)  # a popup that starts meanwhile reads the old one or this one


def remove(lib: Path) -> None:
    """Remove all byte code except this Python's bundle, which popups that start meanwhile read."""
    for cache in [*lib.rglob("__pycache__")]:
        shutil.rmtree(cache)
    for other in lib.glob("popup.*"):
        if other.name != BUNDLE:
            other.unlink()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
