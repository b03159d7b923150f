"""What each option means, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from observability.options import kinds


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
    gateway = kinds.gateway(url)
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
    with pytest.raises(ValueError, match=r"must be http:|not a URL"):
        kinds.gateway(url)


@pytest.mark.parametrize("url", ["http://bob:geheim@push.example.org", "http://bob:geheim@push:port"])
def test_a_password_in_a_url_is_refused_and_not_shown(url: str) -> None:
    """The refusal of a URL with a password does not spread the password."""
    with pytest.raises(ValueError, match="URL") as refused:
        kinds.gateway(url)
    assert "geheim" not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


@pytest.mark.parametrize("url", ["http://collector:4318", "https://[2001:db8::1]/base/"])
def test_a_collector_is_any_http_url(url: str) -> None:
    """It is used as it stands."""
    assert url == kinds.collector(url)


@pytest.mark.parametrize(
    "url",
    ["", "collector:4318", "http://", "http://[::1:4318", "http://c:0", "http://c/?a=b", "http://c/a b"],
)
def test_what_is_no_collector_is_refused(url: str) -> None:
    """Whatever nothing could be sent to."""
    with pytest.raises(ValueError, match="must be a URL"):
        kinds.collector(url)


def test_a_collector_with_a_password_is_not_shown() -> None:
    """The refusal says where credentials belong."""
    with pytest.raises(ValueError, match="OTEL_EXPORTER_OTLP_HEADERS") as refused:
        kinds.collector("http://bob:geheim@collector")
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (kinds.path, ""),
        (kinds.path, "a\0b"),
        (kinds.resolved, ""),
        (kinds.textfile, ""),
        (kinds.textfile, "/"),
        (kinds.textfile, "/dev/full"),
        (kinds.textfile, "/metrics/qmail-popup.prom.txt"),
        (kinds.textfile, "/metrics/.prom"),
        (kinds.address, "9110"),
        (kinds.address, ":9110"),
        (kinds.address, "localhost:"),
        (kinds.address, "localhost:65536"),
        (kinds.address, "localhost:-1"),
        (kinds.share, "1.1"),
        (kinds.share, "nan"),
        (kinds.share, "most"),
        (kinds.seconds, "0"),
        (kinds.seconds, "nan"),
        (kinds.seconds, "86401"),
        (kinds.sessions, "0"),
        (kinds.sessions, "-1"),
        (kinds.sessions, "many"),
        (kinds.instance, ""),
        (kinds.instance, ".."),
        (kinds.instance, "a/b"),
    ],
)
def test_what_makes_no_sense_is_refused(read: Callable[[str], object], text: str) -> None:
    """An empty path would be the working directory, for example."""
    with pytest.raises(ValueError, match=r"\w"):
        read(text)


def test_the_state_is_where_its_links_lead(tmp_path: Path) -> None:
    """Its companions stand beside the file itself; what does not exist yet may be named."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert tmp_path / "real" / "state" == kinds.resolved(f"{tmp_path}/link/state")
    (tmp_path / "real" / "state").write_bytes(b"")
    assert tmp_path / "real" / "state" == kinds.resolved(f"{tmp_path}/link/state")


def test_a_loop_of_links_leads_nowhere(tmp_path: Path) -> None:
    """Python 3.13 and later say nothing of it by themselves."""
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for text in (f"{loop}", f"{loop}/state"):
        with pytest.raises(ValueError, match="loop"):
            kinds.resolved(text)
