"""The gateway as the operator names it."""

from pathlib import Path

import pytest

from observability.errors import UnusableError
from observability.pushgateway.group import Group, parse

URL = "https://push.example.org/way/"


@pytest.mark.parametrize(
    ("url", "host", "port", "prefix"),
    [
        ("http://push.example.org", "push.example.org", 80, ""),
        ("http://push.example.org:9091/", "push.example.org", 9091, ""),
        ("https://push.example.org/way/in/", "push.example.org", 443, "/way/in"),
        ("http://[2001:db8::1]:9091", "2001:db8::1", 9091, ""),
    ],
)
def test_a_url_is_taken_apart(url: str, host: str, port: int, prefix: str) -> None:
    """A scheme's own port goes without saying, and so does a slash at the end."""
    gateway = parse(url)
    assert (host, port, prefix) == (gateway.host, gateway.port, gateway.prefix)
    assert url.startswith("https") == gateway.is_secure


@pytest.mark.parametrize(
    "url",
    [
        "",
        "push.example.org:9091",
        "ftp://push.example.org",
        "http://",
        "http://:9091",
        "http://push.example.org:port",
        "http://push.example.org:99999",
        "http://push..example.org",
        "http://push.example.org/?a=b",
        "http://push.example.org/#a",
        "http://push.example.org/a b",
        "http://push.example.org/a\r\nX: y",
        "http://push.example.org/\u00fc",
        "http://[::1",
    ],
)
def test_what_is_no_gateway_is_refused(url: str) -> None:
    """Whatever could not be asked, or would ask for something else, is no gateway."""
    with pytest.raises(ValueError, match=r"gateway|no URL"):
        parse(url)


@pytest.mark.parametrize("url", ["http://bob:geheim@push.example.org", "http://bob:geheim@push:port"])
def test_a_password_in_a_url_is_refused_and_not_shown(url: str) -> None:
    """The refusal of a URL with a password does not spread the password."""
    with pytest.raises(ValueError, match="URL") as refused:
        parse(url)
    assert "geheim" not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_a_request_names_group_and_length() -> None:
    """The head is complete, and ends with an empty line."""
    group = Group(parse(URL), "mx 1", None)
    lines = group.head("POST", group.path, 7).decode().split("\r\n")
    assert "POST /way/metrics/job/qmail-popup/instance/mx%201 HTTP/1.1" == lines[0]
    assert {"Host: push.example.org", "Content-Length: 7", "Connection: close"} <= set(lines)
    assert ["", ""] == lines[-2:]


def test_credentials_come_from_the_first_line_of_a_file(tmp_path: Path) -> None:
    """The first line is all that is used, in the form of RFC 7617, and no repr shows it."""
    file = tmp_path / "credentials"
    file.write_bytes(b"Aladdin:open sesame\r\nmore:lines\n")
    group = Group(parse(URL), "mx", file)
    assert b"\r\nAuthorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n" in group.head("GET", "/", 0)
    assert "QWxh" not in f"{group!r} {group.gateway!r}"


@pytest.mark.parametrize("content", [b"", b"no colon\na:b\n", None])
def test_a_file_without_credentials_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """A file that cannot be what it should be is found out at the start."""
    file = tmp_path / "credentials"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UnusableError, match="credentials"):
        Group(parse(URL), "mx", file)
