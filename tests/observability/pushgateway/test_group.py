"""One host's group on a gateway, and the credentials for it."""

from pathlib import Path

import pytest

from observability.errors import UnusableError
from observability.options.kinds import gateway
from observability.pushgateway.group import Group

URL = "https://push.example.org/way/"


def test_a_request_names_group_and_length() -> None:
    """The head has all that a gateway needs, and asks for one exchange on this connection."""
    group = Group(gateway(URL), "mx 1", None)
    request = group.request("POST", group.path, 7)
    assert (b"POST", b"/way/metrics/job/qmail-popup/instance/mx%201") == (request.method, request.target)
    expected = {(b"host", b"push.example.org"), (b"content-length", b"7"), (b"connection", b"close")}
    assert expected <= set(request.headers)


def test_credentials_come_from_the_first_line_of_a_file(tmp_path: Path) -> None:
    """The first line is all that is used, in the form of RFC 7617, and no repr shows it."""
    file = tmp_path / "credentials"
    file.write_bytes(b"Aladdin:open sesame\r\nmore:lines\n")
    group = Group(gateway(URL), "mx", file)
    assert b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==" == _credentials(group)
    assert "QWxh" not in f"{group!r} {group.gateway!r}"


def _credentials(group: Group) -> bytes:
    return dict(group.request("GET", "/", 0).headers)[b"authorization"]


def test_credentials_are_read_again_when_that_is_asked_for(tmp_path: Path) -> None:
    """A new password needs no restart; where the file is broken the old one stays in use."""
    file = tmp_path / "credentials"
    file.write_bytes(b"a:b")
    group = Group(gateway(URL), "mx", file)
    file.write_bytes(b"Aladdin:open sesame")
    group.reload()
    file.write_bytes(b"nonsense")
    with pytest.raises(UnusableError, match=f"--push-credentials {file}: "):
        group.reload()
    assert b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==" == _credentials(group)


@pytest.mark.parametrize("content", [b"", b"no colon\na:b\n", None])
def test_a_file_without_credentials_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """A file that cannot be what it should be is found out at the start."""
    file = tmp_path / "credentials"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UnusableError, match="credentials"):
        Group(gateway(URL), "mx", file)
