"""What the popup prints for a person at a terminal."""

import subprocess

import pytest

from tests.support.descriptors import CHECKOUT


def _printed(popup: list[str], *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*popup, *arguments], cwd=CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )


def test_version_names_the_program_and_a_number(popup: list[str]) -> None:
    """A person can tell which one is installed."""
    done = _printed(popup, "--version")
    assert (0, b"") == (done.returncode, done.stderr)
    name, version = done.stdout.split()
    assert b"qmail-popup" == name
    assert all(part.isdigit() for part in version.split(b"."))


def test_help_says_how_to_call_it(popup: list[str]) -> None:
    """It names the arguments, and comes on descriptor 1 with status 0."""
    done = _printed(popup, "--help")
    assert (0, b"") == (done.returncode, done.stderr)
    assert b"hostname subprogram" in done.stdout


@pytest.mark.parametrize("argument", ["-h", "--helpme", "--Version", "pop.example.org"])
def test_any_other_single_argument_is_a_mistake_of_usage(popup: list[str], argument: str) -> None:
    """Where a server starts it with too few arguments, it is the client that reads the line."""
    done = _printed(popup, argument)
    assert (1, b"-ERR usage: popup hostname subprogram\r\n", b"") == (
        done.returncode,
        done.stdout,
        done.stderr,
    )
