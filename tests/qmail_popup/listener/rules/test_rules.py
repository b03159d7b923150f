"""The rules: what is looked up for an address, in which order, held against the real tcprulescheck."""

import ipaddress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qmail_popup.listener.addresses import read
from qmail_popup.listener.rules.rules import BrokenRulesError, Rules, Verdict
from qmail_popup.listener.variables import before_login
from tests.support import rules

_RULES = """\
# a comment
18.23.0.32:deny
18.23.0.33:allow
18.23.0.:allow,A="x",B=/y=z/,C=""
18.23.:deny
18.:allow,A="1",A="2"
10.2-3.:deny
1.2.3.37-53:allow,D="d,d:d"
=host.example.org:deny
=.example.org:deny
=:deny
joe@127.0.0.1:deny
joe@=host:deny
127.:allow,POP3AUTH="apop"
:allow,Z="z"
"""
_ADDRESSES = (
    *("18.23.0.32", "18.23.0.33", "18.23.0.3", "18.23.1.1", "10.2.0.1", "10.3.255.255"),
    *(
        "10.4.0.1",
        "1.2.3.36",
        "1.2.3.37",
        "1.2.3.53",
        "1.2.3.54",
        "127.0.0.1",
        "182.3.0.32",
        "255.255.255.255",
    ),
)


def of(data: bytes, ip: str) -> Verdict:
    """Return what rules say of an address as people write it."""
    return Rules(data).of(read((ip, 0)).ip)


def shown(verdict: Verdict) -> list[str]:
    """Return a verdict in the words of tcprulescheck."""
    if verdict.is_denied:
        return ["deny connection"]
    variables = [f"{name.decode()}={value.decode('latin-1')}" for name, value in verdict.variables.items()]
    return [*(f"set environment variable {variable}" for variable in variables), "allow connection"]


@pytest.mark.parametrize("ip", _ADDRESSES)
def test_as_tcprulescheck_has_it(tmp_path: Path, ip: str) -> None:
    """Deny, allow, variables, prefixes and ranges are found as the real program finds them."""
    rules.compiled(tmp_path / "cdb", _RULES)
    assert rules.checked(tmp_path / "cdb", ip) == shown(of((tmp_path / "cdb").read_bytes(), ip))


def test_a_variable_that_comes_twice(tmp_path: Path) -> None:
    """The last counts, as where tcpserver sets one after the other."""
    rules.compiled(tmp_path / "cdb", _RULES)
    assert {b"A": b"2"} == of((tmp_path / "cdb").read_bytes(), "18.24.1.1").variables


_PARTS = st.lists(st.sampled_from(["0", "1", "9", "10", "255"]), min_size=4, max_size=4)
_KEYS = st.tuples(_PARTS, st.integers(0, 4)).map(lambda drawn: ".".join([*drawn[0][: drawn[1]], ""][:4]))


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.lists(_KEYS), _PARTS)
def test_any_rules(tmp_path: Path, keys: list[str], parts: list[str]) -> None:
    """Whatever prefixes there are, the same one is found."""
    actions = ("deny", 'allow,A="a"', "allow")
    lines = [f"{key}:{actions[number % 3]}\n" for number, key in enumerate(keys)]
    rules.compiled(tmp_path / "cdb", "".join(lines))
    ip = ".".join(parts)
    assert rules.checked(tmp_path / "cdb", ip) == shown(of((tmp_path / "cdb").read_bytes(), ip))


# As Debian's ucspi-tcp-ipv6 writes and looks for them.
_AS_WRITTEN = rules.cdb(
    [
        (b"2001:db8::1", b"D\0"),
        (b"2001:db8::", b"+A=long\0"),
        (b"2001:db8:", b"+A=middle\0"),
        (b"2001:", b"+A=short\0"),
        (b"::1", b"D\0"),
        (b"::", b"+A=colons\0"),
        (b"", b"+A=default\0"),
    ]
)


@pytest.mark.parametrize(
    ("ip", "found"),
    [
        ("2001:db8::1", None),
        ("2001:db8::2", "long"),
        ("2001:db8:1::2", "middle"),
        ("2001:db9::1", "short"),
        ("::1", None),
        ("::2", "colons"),
        ("fe80::1", "default"),
        ("::ffff:1.2.3.4", "default"),
        ("1.2.3.4", "default"),
    ],
)
def test_ipv6_as_people_write_it(ip: str, found: str | None) -> None:
    """The address itself, then shorter and shorter prefixes that end with a colon."""
    expected = ["deny connection"] if found is None else [f"set environment variable A={found}", _ALLOW]
    assert expected == shown(of(_AS_WRITTEN, ip))


_ALLOW = "allow connection"
_DENY = "deny connection"


@pytest.mark.parametrize(
    ("ip", "printed"),
    [
        ("2001:db8:0:42:1:2:3:4", b"2001:db8::42:1:2:3:4"),
        ("2001:db8:1:2:3:4:5:0", b"2001:db8:1:2:3:4:5::"),
        ("0:1:2:3:4:5:6:7", b"::1:2:3:4:5:6:7"),
        ("1:0:3:0:5:0:7:8", b"1::3:0:5:0:7:8"),
        ("2001:0:0:1::5", b"2001:0:0:1::5"),
        ("2001:db8::1:0:0:5", b"2001:db8::1:0:0:5"),
        ("::1.2.3.4", b"::102:304"),
        ("1:2:3:4:5:6:7:8", b"1:2:3:4:5:6:7:8"),
    ],
)
def test_ipv6_as_tcpserver_prints_it(ip: str, printed: bytes) -> None:
    """The tcpserver of ucspi-tcp-ipv6 shortens one zero group, too; the form of RFC 5952 counts as well."""
    proper = str(ipaddress.ip_address(ip)).encode()
    assert [_DENY] == shown(of(rules.cdb([(printed, b"D\0"), (b"", b"")]), ip))
    assert [_DENY] == shown(of(rules.cdb([(proper, b"D\0"), (b"", b"")]), ip))


def test_prefixes_of_ipv6_as_tcpserver_prints_it() -> None:
    """A prefix of the form that tcpserver prints comes before all of the other form."""
    ip = "2001:db8:0:42:1:2:3:4"
    both = [(b"2001:db8::42:", b"D\0"), (ip.encode(), b"+A=x\0"), (b"", b"")]
    assert [_DENY] == shown(of(rules.cdb(both), ip))
    assert [_DENY] == shown(of(rules.cdb([(b"2001:db8:0:42:", b"D\0"), (b"", b"")]), ip))


# What tcprules of ucspi-tcp6 1.11.4 makes of 10./8:deny, 10.1.2.0/23:allow, 1.2.3.4:deny, 1.2.:allow,
# 2001:db8::/32:deny, 2001:db8:1::/48:allow, fe80::1:deny and the default, each allow with its variable.
_AS_BITS = rules.cdb(
    [
        (b"_0000e0g0", b"D\0"),
        (b"_0000e0g00000000p000000w", b"+A=x\0"),
        (b"1.2.3.4", b"D\0"),
        (b"1.2.", b"+B=y\0"),
        (b"^00`000000000000a0000bc0de0fgh000", b"D\0"),
        (b"^00`000000000000a0000bc0de0fgh000000000000000000i", b"+C=z\0"),
        (b"FE80:0000:0000:0000:0000:0000:0000:0001", b"D\0"),
        (b"", b"+Z=d\0"),
    ]
)


@pytest.mark.parametrize(
    ("ip", "found"),
    [
        ("10.1.2.9", "A=x"),
        ("10.1.3.255", "A=x"),
        ("10.1.4.0", None),
        ("10.2.2.9", None),
        ("11.1.2.9", "Z=d"),
        ("1.2.3.4", None),
        ("1.2.3.5", "B=y"),
        ("2001:db8::9", None),
        ("2001:db8:1:ffff::4", "C=z"),
        ("2001:db9:1::4", "Z=d"),
        ("fe80::1", None),
        ("fe80::2", "Z=d"),
    ],
)
def test_prefixes_in_bits(ip: str, found: str | None) -> None:
    """The longest prefix of those that ucspi-tcp6 has compiled, as its tcprulescheck finds it."""
    expected = ["deny connection"] if found is None else [f"set environment variable {found}", _ALLOW]
    assert expected == shown(of(_AS_BITS, ip))


@given(st.ip_addresses())
def test_no_rules(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """Where no rule is for an address it may connect, as under tcpserver."""
    assert [_ALLOW] == shown(of(rules.cdb([]), str(ip)))


def test_what_is_never_looked_up(tmp_path: Path) -> None:
    """Rules for names of hosts and users are counted, for one line at the start."""
    rules.compiled(tmp_path / "cdb", _RULES)
    assert 5 == Rules((tmp_path / "cdb").read_bytes()).unused


def test_variables_of_the_listener(tmp_path: Path) -> None:
    """What the listener sets a rule does not set, and the rest of it counts."""
    names = "TCPLOCALHOST TCP6REMOTEIP PROTO SSL_PROTOCOL SSLCTLFD QMAIL_POPUP_SIDECAR QMAIL_POPUP_SPOOL"
    names += " QMAIL_POPUP_PUSHGATEWAY QMAIL_POPUP_STATE QMAIL_POPUP_INSTANCE QMAIL_POPUP_PUSH_CREDENTIALS"
    names += " TRACEPARENT NOTIFY_SOCKET LISTEN_FDS"
    own = names.split()
    rule = ",".join(f'{name}="x"' for name in [*own, "POP3AUTH", "UCSPITLS", "QMAIL_POPUP_EXITS", ""])
    rules.compiled(tmp_path / "cdb", f":allow,{rule}\n")
    told = Rules((tmp_path / "cdb").read_bytes())
    assert {name.encode() for name in own} == told.ignored
    verdict = told.of(read(("1.2.3.4", 1)).ip)
    assert [b"POP3AUTH", b"UCSPITLS", b"QMAIL_POPUP_EXITS"] == list(verdict.variables)
    assert [b"POP3AUTH", b"UCSPITLS"] == list(before_login(verdict.variables))


@pytest.mark.parametrize("value", [b"D", b"E\0", b"\0", b"+A\0", b"+A=b", b"D\0+A=b", b"D\0\0"])
def test_an_instruction_that_is_none(value: bytes) -> None:
    """A value that tcprules does not write breaks the file: nothing is let in by a flipped bit."""
    with pytest.raises(BrokenRulesError):
        Rules(rules.cdb([(b"1.2.", value)]))


def test_a_broken_file() -> None:
    """What is no database has no rules."""
    with pytest.raises(BrokenRulesError):
        Rules(b"")
