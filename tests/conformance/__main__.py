"""Plays all vectors against any command that takes `hostname subprogram [argument...]`.

python -m tests.conformance COMMAND [ARGUMENT...]
"""

import sys

from tests.conformance.session import play
from tests.conformance.test_vectors import VECTORS
from tests.conformance.verdict import complaints


def main(*command: str) -> int:
    """Print what fails, and a closing line."""
    failed = 0
    for vector in VECTORS:
        if found := complaints(vector, play(vector, command)):
            failed += 1
            print(f"FAIL {vector.name}", *found, sep="\n     ")
    print(f"{len(VECTORS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
