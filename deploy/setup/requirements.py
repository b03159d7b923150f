"""Print the requirements in pyproject.toml, one per line, including the extras given as arguments.

For `pip install -r`: a checkout needs the project's dependencies but not the project itself, which runs in
place. An installed copy, even an editable one, could be imported instead of the checkout.
"""

import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def requirements(pyproject: Path, extras: list[str]) -> list[str]:
    """Return the project's dependencies and those of its extras; an unknown extra is a KeyError."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    named = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
    return [requirement for group in named for requirement in group]


if __name__ == "__main__":
    print(*requirements(PYPROJECT, sys.argv[1:]), sep="\n")
