"""What the chains share: the popup, an account, an authority, and the subprograms behind the popup.

The popup is the installed one, which servers start. That the checkout's serves alike is asked by the vectors.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import authority, maildir, subprogram
from tests.support.authority import Authority
from tests.support.maildir import Account
from tests.support.server import HOST, Server, serving

Checker = tuple[list[str], dict[str, str]]
"""A subprogram, and the environment that it wants."""

OFFERED = {"UCSPITLS": ""}


@pytest.fixture
def popup(installed: Path) -> list[str]:
    """Return the start of its command line."""
    return [str(installed / "bin/qmail-popup")]


@pytest.fixture
def bob(tmp_path: Path) -> Account:
    """Return an account with two messages."""
    return maildir.account(tmp_path)


@pytest.fixture
def checker(bob: Account, tmp_path: Path) -> Checker:
    """Return what checks bob's password and serves his mail."""
    check, env = subprogram.checker(maildir.pwfile(tmp_path / "passwd", bob))
    return [*check, *subprogram.pop3_server()], env


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return a certificate authority and a server's certificate."""
    return authority.make(tmp_path_factory.mktemp("authority"))


@contextmanager
def serve_tls(
    popup: list[str], checker: Checker, certificates: Authority, mode: dict[str, str]
) -> Iterator[Server]:
    """Run the chain behind a server that speaks TLS as `mode`, a part of its environment, says."""
    program, env = checker
    peer = [sys.executable, "-m", "tests.support.ucspi_tls", HOST, "0"]
    chain = [*peer, *popup, "pop.example.org", *program]
    with serving(chain, env | certificates.environment | mode) as running:
        yield running
        assert b"" == running.errors.read_bytes()


@pytest.fixture(params=[OFFERED], ids=["offered"])
def tls_server(
    request: pytest.FixtureRequest, popup: list[str], checker: Checker, certificates: Authority
) -> Iterator[Server]:
    """Return the chain behind a server that offers TLS, or speaks it as the parameter says."""
    with serve_tls(popup, checker, certificates, request.param) as running:
        yield running
