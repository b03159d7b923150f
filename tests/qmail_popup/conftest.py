"""What the tests of TLS share: the server's end of a popup that could have TLS."""

from collections.abc import Iterator

import pytest

from tests.support.handshake import Server, offered


@pytest.fixture
def server() -> Iterator[Server]:
    """Return a server that has offered TLS."""
    with offered() as server:
        yield server
