"""Byte code for an installed copy, made by the Python that is to run it: `bytecode.py LIB`.

Owns what depends on the version of Python: the caches of all modules, and the popup's bundle. It removes what
another version left. install.py calls it, and so does the Debian package whenever Debian's Python changes.
"""

import compileall
import py_compile
import shutil
import sys
from pathlib import Path

from bundle import bundle

BUNDLE = f"popup.{sys.implementation.cache_tag}"


def write(lib: Path) -> None:
    """Compile all that is in `lib`, never to be checked against its source again, and make the bundle."""
    remove(lib)
    compileall.compile_dir(
        lib, quiet=1, stripdir=lib, workers=0, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
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
