"""The command line: what it is read as, and that its page has all of it."""

import re
from pathlib import Path

import pytest

from qmail_popup.listener import options
from tests.support.descriptors import CHECKOUT
from tests.support.resident import refused

_OPTION = re.compile(r"--[a-z][a-z0-9-]*")
_REST = ["pop.example.org", "checkpassword", "-v", "--pop3"]


def test_what_it_is_without_options() -> None:
    """The defaults are those of its page, and what follows the subprogram is the subprogram's."""
    told = options.parse(_REST)
    assert ([], None, 40, 10_000, 50, False) == (
        told.pop3,
        told.user,
        told.sessions,
        told.connections,
        told.connections_per_client,
        told.verbose,
    )
    assert [text.encode() for text in _REST] == told.arguments
    assert told.workers >= 1


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("127.0.0.1:110", ("127.0.0.1", 110)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),  # noqa: S104  nothing listens
        ("[::]:65535", ("::", 65535)),
        ("pop.example.org:110", ("pop.example.org", 110)),
    ],
)
def test_where_it_listens(text: str, endpoint: tuple[str, int]) -> None:
    """Any number of places, IPv6 in brackets."""
    assert [endpoint, endpoint] == options.parse(["--pop3", text, "--pop3", text, *_REST]).pop3


@pytest.mark.parametrize("port", ["", "65536", "0000099999", "-1", "\u00b2"])
def test_what_is_no_port(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    """getaddrinfo(3) would take the rest of a larger number, with zeros before it or without."""
    with pytest.raises(SystemExit):
        options.parse(["--pop3", f"127.0.0.1:{port}", *_REST])
    assert "not HOST:PORT" in capsys.readouterr().err


def test_what_is_missing_is_named() -> None:
    """A subprogram, but none of its arguments, which there need not be."""
    expected = "qmail-popup-listener: the following arguments are required: subprogram\n"
    assert (2, expected) == ((done := refused("pop.example.org")).returncode, done.stderr)


def test_the_page_has_each_option() -> None:
    """Neither says more than the other."""
    page = Path(CHECKOUT, "deploy/man/qmail-popup-listener.8").read_text().replace("\\-", "-")
    known = set(_OPTION.findall(refused("--help").stdout))
    assert known == set(_OPTION.findall(page.partition(".SH OPTIONS")[2].partition(".SH DESCRIPTORS")[0]))
