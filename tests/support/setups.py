"""Set-ups of a sidecar: a good one, and what is changed about it."""

from collections.abc import Callable
from pathlib import Path

Options = list[str]


def good(directory: Path) -> Options:
    """Make a directory as an operator does; return the options."""
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
    """Return what writes a file, and options in which DIR is the directory."""

    def make(directory: Path) -> Options:
        (directory / name).write_text(text)
        (directory / name).chmod(mode)
        return [option.replace("DIR", str(directory)) for option in options]

    return make


def given(*options: str) -> Callable[[Path], Options]:
    """Return what gives options in which DIR is the directory, and changes nothing."""
    return lambda directory: [option.replace("DIR", str(directory)) for option in options]
