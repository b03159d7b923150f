"""A copy of the product's code in which one thing is switched off, to see which test notices."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tests.support.descriptors import CHECKOUT


class Change(NamedTuple):
    """An exact piece of text, and what stands in its place."""

    file: str
    old: str
    new: str


def changed(directory: Path, changes: Iterable[Change]) -> Path:
    """Copy both packages below `directory` and change them; AssertionError where a text is not there once."""
    for package in ("qmail_popup", "observability"):
        shutil.copytree(CHECKOUT / package, directory / package)
    for file, old, new in changes:
        text = (directory / file).read_text()
        assert 1 == text.count(old), f"{file} does not say, once: {old}"
        (directory / file).write_text(text.replace(old, new))
    return directory
