"""Wheels of what was installed, so that the next installation asks no index: that takes most of its time."""

import zipfile
from collections.abc import Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path

from tests.support.installed import LIB


def offline(prefix: Path, directory: Path) -> Mapping[str, str]:
    """Return the environment of a pip that installs what is in a prefix; directory: for wheels of it."""
    for one in distributions(path=[str(prefix / LIB / "site-packages")]):
        _pack(one, directory)
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(directory)}


def _pack(one: Distribution, directory: Path) -> None:
    with zipfile.ZipFile(directory / f"{_name(one)}.whl", "w") as wheel:
        for file in one.files or ():
            place = Path(file.locate())
            if place.is_file() and "__pycache__" not in file.parts:
                wheel.write(place, file)


def _name(one: Distribution) -> str:
    """Return the wheel's name without its suffix, see PEP 427."""
    lines = (one.read_text("WHEEL") or "").splitlines()
    tags = [line.removeprefix("Tag: ").split("-") for line in lines if line.startswith("Tag: ")]
    compressed = [".".join(dict.fromkeys(parts)) for parts in zip(*tags, strict=True)]
    return "-".join([one.name.replace("-", "_"), one.version, *compressed])
