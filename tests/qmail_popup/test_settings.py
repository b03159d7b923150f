"""The environment and the arguments, in process: what each variable means, and what it does not."""

import pytest

from qmail_popup.settings import IDLE_TIMEOUT, MAX_TIMEOUT, Settings

ARGUMENTS = (b"pop.example.org", b"checkpassword", b"pop3d", b"Maildir")


def settings(**environ: bytes) -> Settings:
    """Read an environment with these variables and no others."""
    return Settings(ARGUMENTS, {name.encode(): value for name, value in environ.items()})


def test_nothing_set() -> None:
    """An empty environment switches nothing on."""
    told = settings()
    assert b"pop.example.org" == told.hostname
    assert [b"checkpassword", b"pop3d", b"Maildir"] == told.subprogram
    assert IDLE_TIMEOUT == 1200 == told.idle_timeout
    assert (b"unknown", b"unknown", b"") == (told.client_ip, told.client_host, told.local_port)
    switches = (told.apop, told.resp_codes, told.keep_stderr, told.tls_on, told.tls_wanted, told.tls_required)
    assert (False,) * 6 == switches
    assert [] == told.tls_descriptors


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"1", 1),
        (b"60", 60),
        (b"007", 7),
        (b"0", 1200),
        (b"000", 1200),
        (b"", 1200),
        (b"-5", 1200),
        (b"+5", 1200),
        (b" 5", 1200),
        (b"5 ", 1200),
        (b"1.5", 1200),
        (b"\xc2\xb2", 1200),
        (b"ten", 1200),
        (b"2000000", MAX_TIMEOUT),
        (b"2000001", MAX_TIMEOUT),
        (b"999999999", MAX_TIMEOUT),
        (b"9" * 5000, MAX_TIMEOUT),
        (b"0" * 5000 + b"9", 9),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_the_idle_timeout(text: bytes, seconds: int) -> None:
    """Whole seconds above 0, at most what poll(2) can wait; all else is the default."""
    assert seconds == settings(QMAIL_POPUP_TIMEOUT=text).idle_timeout


def test_the_longest_timeout_is_one_that_poll_takes() -> None:
    """In milliseconds it fits an int."""
    assert 2_000_000 == MAX_TIMEOUT
    assert MAX_TIMEOUT * 1000 < 2**31


@pytest.mark.parametrize(
    ("text", "on"),
    [
        (b"apop", True),
        (b"+APop", True),
        (b"APOP,user", True),
        (b"+apopx", True),
        (b"", False),
        (b"+", False),
        (b" apop", False),
        (b"++apop", False),
        (b"user,apop", False),
        (b"apo", False),
    ],
)
def test_apop(text: bytes, on: bool) -> None:  # noqa: FBT001 - pytest's parameter
    """APOP is enabled where POP3AUTH begins with it, in any case."""
    assert on is settings(POP3AUTH=text).apop


@pytest.mark.parametrize(
    ("text", "wanted", "required"),
    [(b"", True, False), (b"!", True, True), (b"-", False, False), (b"1", True, False), (b"!!", True, False)],
)
def test_ucspi_tls(text: bytes, wanted: bool, required: bool) -> None:  # noqa: FBT001 - pytest's parameters
    """`-` is none, `!` is required, anything else is offered."""
    told = settings(UCSPITLS=text)
    assert (wanted, required) == (told.tls_wanted, told.tls_required)


@pytest.mark.parametrize(
    ("environ", "on"),
    [
        ({"TCPLOCALPORT": b"995"}, True),
        ({"TCP6LOCALPORT": b"995"}, True),
        ({"SSLLOCALPORT": b"995"}, True),
        ({"SSL_PROTOCOL": b"TLSv1.3"}, True),
        ({"SSL_PROTOCOL": b""}, False),
        ({"TCPLOCALPORT": b"110"}, False),
        ({"TCPLOCALPORT": b"0995"}, False),
        ({"TCPLOCALPORT": b"996"}, False),
        ({"TCPLOCALPORT": b"9950"}, False),
        ({"TCPLOCALPORT": b"110", "SSLLOCALPORT": b"995"}, False),
        ({"TCPLOCALPORT": b"995", "SSL_PROTOCOL": b""}, True),
        ({"TCPLOCALPORT": b"110", "SSL_PROTOCOL": b"TLSv1.2"}, True),
    ],
)
def test_tls_from_the_start(environ: dict[str, bytes], on: bool) -> None:  # noqa: FBT001 - pytest's parameter
    """TLS counts as on where the port is POP3S's or the server names a TLS version."""
    assert on is settings(**environ).tls_on


def test_switches_of_our_own() -> None:
    """The extras are on for one word each, and for no other."""
    on, off = (
        settings(QMAIL_POPUP_RESP_CODES=a, QMAIL_POPUP_STDERR=b) for a, b in ((b"1", b"keep"), (b"yes", b"1"))
    )
    assert (True, True) == (on.resp_codes, on.keep_stderr)
    assert (False, False) == (off.resp_codes, off.keep_stderr)


@pytest.mark.parametrize(
    ("environ", "client_ip", "client_host"),
    [
        ({"TCPREMOTEIP": b"192.0.2.1", "TCPREMOTEHOST": b"a.example"}, b"192.0.2.1", b"a.example"),
        ({"SSLREMOTEIP": b"192.0.2.1", "SSLREMOTEHOST": b"a.example"}, b"192.0.2.1", b"a.example"),
        (
            {"TCP6REMOTEIP": b"2001:db8::1", "TCPREMOTEIP": b"b", "SSLREMOTEIP": b"c"},
            b"2001:db8::1",
            b"unknown",
        ),
        ({"TCPREMOTEIP": b"b", "SSLREMOTEIP": b"c"}, b"b", b"unknown"),
        ({"TCP6REMOTEIP": b"::ffff:192.0.2.1"}, b"192.0.2.1", b"unknown"),
        ({"TCP6REMOTEIP": b"::ffff:::ffff:1"}, b"::ffff:1", b"unknown"),
        ({"TCP6REMOTEIP": b"::ffff:"}, b"unknown", b"unknown"),
        ({"TCPREMOTEHOST": b"::ffff:a"}, b"unknown", b"::ffff:a"),
        ({"TCP6REMOTEIP": b"", "TCPREMOTEIP": b"192.0.2.1"}, b"unknown", b"unknown"),
        ({"TCP6REMOTEHOST": b"", "TCPREMOTEHOST": b"a.example"}, b"unknown", b"unknown"),
        ({"REMOTEIP": b"x", "REMOTEHOST": b"y"}, b"unknown", b"unknown"),
    ],
)
def test_the_client_s_names(environ: dict[str, bytes], client_ip: bytes, client_host: bytes) -> None:
    """The first variable that is set is the one that counts, also where it is set to nothing."""
    told = settings(**environ)
    assert (client_ip, client_host) == (told.client_ip, told.client_host)


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        ((b"3", b"5", b"10"), [3, 5, 10]),
        ((b"7", b"7", b"7"), [7, 7, 7]),
        ((b"0", b"007", b"1"), [0, 7, 1]),
        ((b"999999999", b"9", b"9"), [999999999, 9, 9]),
        ((b"3", b"1000000000", b"10"), [3, 10]),
        ((b"0" * 5000, b"0" * 5000 + b"999999999", b"0" * 9 + b"5"), [0, 999999999, 5]),
        ((b"", b"-1", b"+1"), []),
        ((b"x", b"1 ", b"1.0"), []),
    ],
)
def test_descriptors(texts: tuple[bytes, ...], numbers: list[int]) -> None:
    """The three descriptors of UCSPI-TLS, in their order, less those that are no decimal number."""
    told = settings(**dict(zip(("SSLCTLFD", "SSLREADFD", "SSLWRITEFD"), texts, strict=True)))
    assert numbers == told.tls_descriptors


def test_one_descriptor_is_not_told() -> None:
    """A variable that is not set leaves its descriptor out."""
    assert [4, 6] == settings(SSLCTLFD=b"4", SSLWRITEFD=b"6").tls_descriptors


@pytest.mark.parametrize(
    ("environ", "sidecar", "spool"),
    [
        ({}, b"", b""),
        ({"QMAIL_POPUP_SIDECAR": b"", "QMAIL_POPUP_SPOOL": b""}, b"", b""),
        ({"QMAIL_POPUP_SIDECAR": b"/s"}, b"/s", b"/var/spool/qmail-popup"),
        ({"QMAIL_POPUP_SPOOL": b"/d"}, b"", b"/d"),
        ({"QMAIL_POPUP_SIDECAR": b"/s", "QMAIL_POPUP_SPOOL": b"/d"}, b"/s", b"/d"),
    ],
)
def test_the_mirror(environ: dict[str, bytes], sidecar: bytes, spool: bytes) -> None:
    """It is off where nothing is set, and has a spool wherever it is on."""
    told = settings(**environ)
    assert (sidecar, spool) == (told.sidecar, told.spool)


def test_addresses_for_the_mirror() -> None:
    """They are named by the server, without what IPv6 puts before an IPv4 address."""
    told = settings(
        TCP6REMOTEPORT=b"4000", TCP6LOCALIP=b"::ffff:192.0.2.2", TCPLOCALIP=b"x", TCPLOCALPORT=b"110"
    )
    assert (b"4000", b"192.0.2.2", b"110") == (told.client_port, told.local_ip, told.local_port)


@pytest.mark.parametrize(
    ("environ", "pusher", "spool"),
    [
        ({}, {b"--push": b"http://g:9091"}, b"/var/spool/qmail-popup"),
        ({"QMAIL_POPUP_SPOOL": b"/d"}, {b"--push": b"http://g:9091", b"--spool": b"/d"}, b"/d"),
        ({"QMAIL_POPUP_SIDECAR": b"/s"}, {}, b"/var/spool/qmail-popup"),
        ({"QMAIL_POPUP_PUSHGATEWAY": b"http://user:secret@g:9091"}, {}, b"/var/spool/qmail-popup"),
        ({"QMAIL_POPUP_PUSHGATEWAY": b"user:secret@g:9091"}, {}, b"/var/spool/qmail-popup"),
    ],
)
def test_a_pushgateway(environ: dict[str, bytes], pusher: dict[bytes, bytes], spool: bytes) -> None:
    """It is the popups' business only without a sidecar, and none with a user in its URL."""
    told = settings(**({"QMAIL_POPUP_PUSHGATEWAY": b"http://g:9091"} | environ))
    assert (pusher, spool) == (told.pusher, told.spool)


def test_what_a_pusher_is_told() -> None:
    """Each option is what its variable says, and there is none where there is no gateway."""
    names = {"QMAIL_POPUP_STATE": b"/t", "QMAIL_POPUP_INSTANCE": b"i", "QMAIL_POPUP_PUSH_CREDENTIALS": b"/c"}
    expected = {b"--push": b"g", b"--state": b"/t", b"--instance": b"i", b"--push-credentials": b"/c"}
    assert expected == settings(QMAIL_POPUP_PUSHGATEWAY=b"g", **names).pusher
    assert {} == settings(**names).pusher
