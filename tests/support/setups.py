"""Configurations of a sidecar: a valid one, and changes to it."""

from collections.abc import Callable
from pathlib import Path

Options = list[str]


def good(directory: Path) -> Options:
    """Create a directory as an operator would; return the options."""
    for name, mode in {"run": 0o750, "spool": 0o2770, "lib": 0o750}.items():
        (directory / name).mkdir()
        (directory / name).chmod(mode)
    (directory / "lib").joinpath("state.sqlite").touch()
    return [
        f"--socket={directory}/run/sidecar.sock",
        f"--spool={directory}/spool",
        f"--state={directory}/lib/state.sqlite",
        "--listen=127.0.0.1:0",
    ]


def written(name: str, text: str, *options: str, mode: int = 0o640) -> Callable[[Path], Options]:
    """Return a function that writes a file and returns options, with DIR replaced by the directory."""

    def make(directory: Path) -> Options:
        (directory / name).write_text(text)
        (directory / name).chmod(mode)
        return [option.replace("DIR", str(directory)) for option in options]

    return make


def given(*options: str) -> Callable[[Path], Options]:
    """Return a function that only returns options, with DIR replaced by the directory."""
    return lambda directory: [option.replace("DIR", str(directory)) for option in options]
