"""What a library's chain of errors is cut to."""

import socket

import pytest
import requests

from observability.otlp.process import cause_of


def test_nobody_listens() -> None:
    """Of 270 characters, which name objects by their addresses, the last words remain."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    with pytest.raises(requests.ConnectionError) as failed:
        requests.post(url, data=b"", timeout=5)
    assert len(str(failed.value)) > 150
    assert "Connection refused" == cause_of(failed.value)


def test_no_such_host() -> None:
    """A name that leads nowhere is told as the resolver has it."""
    with pytest.raises(requests.ConnectionError) as failed:
        requests.post("http://nowhere.invalid", data=b"", timeout=5)
    assert "0x" not in cause_of(failed.value)
    assert len(cause_of(failed.value)) < 60


@pytest.mark.parametrize(
    ("error", "expected"),
    [(OSError(28, "No space left on device"), "No space left on device"), (MemoryError(), "MemoryError")],
)
def test_an_error_by_itself(error: BaseException, expected: str) -> None:
    """Nothing is lost of it."""
    assert expected == cause_of(error)
