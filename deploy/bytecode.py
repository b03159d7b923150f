"""Byte code for an installed copy, made by the Python that is to run it: `bytecode.py LIB`.

Owns what depends on the version of Python: the caches of all modules, and the popup's bundle. It removes what
another version left. install.py calls it, and so does the Debian package whenever Debian's Python changes.
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
    """Compile all that is in `lib`, never to be checked against its source again, and make the bundle."""
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
    """Take away all byte code but this Python's bundle, which popups that start meanwhile read."""
    for cache in [*lib.rglob("__pycache__")]:
        shutil.rmtree(cache)
    for other in lib.glob("popup.*"):
        if other.name != BUNDLE:
            other.unlink()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
