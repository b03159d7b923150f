"""mypy --strict, over code and tests: as a test it runs beside the others, which often wait."""

import os
import subprocess
import sys
from pathlib import Path


def test_types(checkout: Path) -> None:
    """Mypy finds no error; `make lint` runs it alone."""
    cache = checkout / ".mypy_cache"
    if not os.access(cache if cache.exists() else checkout, os.W_OK):
        cache = Path(os.devnull)  # somebody else's checkout
    command = [sys.executable, "-m", "mypy", f"--cache-dir={cache}"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr
