"""Pushing: the order of what goes to a gateway."""

import ssl
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from observability.options.kinds import gateway as parse
from observability.pushgateway.group import Group
from observability.pushgateway.push import Pushing, Result
from tests.support import authority
from tests.support.gateway import Pushgateway
from tests.support.peer import HANG_UP, OK, Peer
from tests.support.scraper import counts
from tests.support.waiting import TIMEOUT, eventually

BODY = b"# TYPE qmail_popup_x_total counter\nqmail_popup_x_total 7\n"
GROUP = b"/metrics/job/qmail-popup/instance/mx"
ASKED, PUSHED = b"GET /-/ready HTTP/1.1", b"POST %s HTTP/1.1" % GROUP
# htpasswd -B for bob and "s3cret:with colon"
USERS = "basic_auth_users: {bob: $2b$04$eE0rJVU7wxN5DvnvjRQx1erFRz4wCX3XflBWHtawIsCeuYLHfUFzG}\n"


@contextmanager
def _pushing(
    url: str, *, body: bytes = BODY, instance: str = "mx", credentials: Path | None = None
) -> Iterator[Pushing]:
    group = Group(parse(url), instance, credentials)
    with closing(Pushing(group, lambda: body, time.monotonic)) as pushing:
        yield pushing


def _done(pushing: Pushing, method: str = "POST") -> Result:
    """Push, and wait for the result."""
    pushing.begin(method)
    result = pushing.go_on(TIMEOUT)
    assert result
    return result


def test_a_real_gateway_shows_what_was_pushed(tmp_path: Path) -> None:
    """What is pushed stands in the host's group; a later push replaces what it brings and nothing else."""
    with Pushgateway(tmp_path) as gateway:
        for body in (BODY, BODY.replace(b"_x_", b"_y_").replace(b"7", b"8")):
            with _pushing(gateway.url, body=body, instance="mx 1.example.org") as pushing:
                assert Result("") == _done(pushing)
        numbers = gateway.numbers()
    assert {("qmail-popup", "mx 1.example.org"): 7} == counts(numbers, "x_total", "job", "instance")
    assert {("qmail-popup", "mx 1.example.org"): 8} == counts(numbers, "y_total", "job", "instance")


def test_a_real_gateway_forgets_a_group(tmp_path: Path) -> None:
    """DELETE takes the host's group away, and no other."""
    with Pushgateway(tmp_path) as gateway:
        for instance in ("mx", "other"):
            with _pushing(gateway.url, instance=instance) as pushing:
                assert Result("") == _done(pushing)
        with _pushing(gateway.url) as pushing:
            assert Result("") == _done(pushing, "DELETE")
        # It answers before it has done it.
        assert eventually(lambda: counts(gateway.numbers(), "x_total", "instance") == {("other",): 7})


def test_a_real_gateway_refuses_what_is_no_exposition(tmp_path: Path) -> None:
    """A refusal is a failure that says what the gateway said."""
    with Pushgateway(tmp_path) as gateway, _pushing(gateway.url, body=b"no exposition\n") as pushing:
        assert Result(f"{gateway.url} answered POST with 400") == _done(pushing)


def test_a_real_gateway_wants_user_and_password(tmp_path: Path) -> None:
    """The credentials open the door, and without them it stays closed."""
    users, credentials = tmp_path / "users.yml", tmp_path / "credentials"
    users.write_text(USERS)
    credentials.write_text("bob:s3cret:with colon\n")
    with Pushgateway(tmp_path, f"--web.config.file={users}") as gateway:
        with _pushing(gateway.url, credentials=credentials) as pushing:
            assert Result("") == _done(pushing)
        with _pushing(gateway.url) as pushing:
            assert Result(f"{gateway.url} answered POST with 401") == _done(pushing)


def test_the_first_push_comes_behind_a_question() -> None:
    """A predecessor's push may wait in the gateway: the first one goes out once the gateway is awake."""
    with Peer() as peer, _pushing(peer.url) as pushing:
        pushing.begin()
        assert eventually(lambda: pushing.go_on(0) is None and peer.received == 1)
        assert ASKED == peer.request().partition(b"\r\n")[0]
        peer.answer(OK, OK, OK)
        assert Result("") == _done(pushing)
        assert Result("") == _done(pushing)
        assert [PUSHED, PUSHED] == peer.requests()


def test_one_push_at_a_time() -> None:
    """While a push has no answer, no other goes out, however often one is due."""
    with Peer() as peer, _pushing(peer.url) as pushing:
        peer.answer(OK)
        pushing.begin()
        assert eventually(lambda: pushing.go_on(0) is None and peer.received == 2)
        for _ in range(20):
            pushing.begin()
            assert pushing.go_on(0.01) is None
        assert [ASKED, PUSHED] == peer.requests()
        peer.answer(OK)
        assert Result("") == _done(pushing)
        assert pushing.is_idle


def test_a_push_without_an_answer_makes_it_ask_again() -> None:
    """Where a connection died, its push may still come: the gateway is asked before the next one."""
    with Peer() as peer, _pushing(peer.url) as pushing:
        peer.answer(OK, HANG_UP, OK, OK)
        assert _done(pushing).error
        assert Result("") == _done(pushing)
        assert [ASKED, PUSHED, ASKED, PUSHED] == peer.requests()


def test_a_refused_push_was_answered() -> None:
    """A gateway that refuses has nothing waiting; it need not be asked again."""
    with Peer() as peer, _pushing(peer.url) as pushing:
        peer.answer(OK, OK.replace(b"200", b"503"), OK)
        assert _done(pushing).error
        assert Result("") == _done(pushing)
        assert [ASKED, PUSHED, PUSHED] == peer.requests()


@pytest.mark.parametrize("status", [404, 501])
def test_any_answer_of_its_own_says_that_a_gateway_is_there(status: int) -> None:
    """It need not know the question."""
    with Peer() as peer, _pushing(peer.url) as pushing:
        peer.answer(OK.replace(b"200", b"%d" % status), OK)
        assert Result("") == _done(pushing)
        assert [ASKED, PUSHED] == peer.requests()


@pytest.mark.parametrize("status", [502, 504])
def test_a_proxy_that_answers_for_a_gateway_makes_it_ask_again(status: int) -> None:
    """The gateway may be stopped, and still hold the push: nothing more is sent until it answers itself."""
    late = OK.replace(b"200", b"%d" % status)
    with Peer() as peer, _pushing(peer.url) as pushing:
        peer.answer(OK, late, late, OK, OK)
        assert Result(f"{peer.url} answered POST with {status}") == _done(pushing)
        assert Result(f"{peer.url} answered GET /-/ready with {status}") == _done(pushing)
        assert Result("") == _done(pushing)
        assert [ASKED, PUSHED, ASKED, ASKED, PUSHED] == peer.requests()


def test_the_body_is_made_when_it_goes_out() -> None:
    """While the question waits for its answer, what is pushed grows no older."""
    bodies = [b"old", b"new"]
    with Peer() as peer:
        group = Group(parse(peer.url), "mx", None)
        with closing(Pushing(group, lambda: bodies[-1], time.monotonic)) as pushing:
            pushing.begin()
            assert eventually(lambda: pushing.go_on(0) is None and peer.received == 1)
            bodies.append(b"newest")
            peer.answer(OK, OK)
            assert Result("") == _done(pushing)
        peer.request()
        assert peer.request().endswith(b"\r\n\r\nnewest")


def test_nobody_there_is_a_failure(tmp_path: Path) -> None:
    """A gateway that is down fails each push at once, and is pushed to once it is back."""
    gateway = Pushgateway(tmp_path)
    with gateway:
        pass
    with _pushing(gateway.url) as pushing:
        result = _done(pushing)
        assert gateway.url in result.error
        with gateway:
            assert Result("") == _done(pushing)


def test_tls_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whom no authority of ours has signed gets nothing; whom it has gets the push."""
    made = authority.make(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(made.certificate, made.key)
    with Peer(tls) as peer:
        with _pushing(peer.url) as pushing:
            result = _done(pushing)
            assert "certificate" in result.error
        assert [] == peer.requests()
        monkeypatch.setenv("SSL_CERT_FILE", str(made.ca))
        peer.answer(OK, OK)
        with _pushing(peer.url) as pushing:
            assert Result("") == _done(pushing)


def test_a_stopped_gateway_takes_nothing_of_our_time(tmp_path: Path) -> None:
    """A gateway that is stopped keeps its one push; whoever drives it goes on with other things."""
    with Pushgateway(tmp_path) as gateway, _pushing(gateway.url) as pushing:
        assert Result("") == _done(pushing)
        gateway.hold()
        pushing.begin()
        begun = time.monotonic()
        assert [None] * 20 == [pushing.go_on(0) for _ in range(20)]
        assert time.monotonic() - begun < TIMEOUT
        gateway.go_on()
        assert Result("") == _done(pushing)
