"""Vectors of the record on descriptor 5: whose address, which protocol, which bytes."""

from tests.conformance.phrases import DONE, GIVEN, LOGIN, OK, record, told
from tests.conformance.vector import Vector

_IP = "192.0.2.7"


def _record(name: str, env: dict[str, str | None], log: list[str]) -> Vector:
    return Vector(name=name, env=env, steps=told(LOGIN), out=OK + DONE, fd3=GIVEN, log=log, exit=0)


def _named(title: str, name: str, logged: str) -> Vector:
    return Vector(
        name=title,
        steps=told(f"USER {name}\nPASS x\n"),
        out=OK + DONE,
        fd3=name + "\0x\0{stamp}\0",
        log=record(name=logged),
        exit=0,
    )


VECTORS = [
    _record(
        "TCP6REMOTEIP set but empty ends the search",
        {"TCP6REMOTEIP": "", "TCPREMOTEIP": _IP, "SSLREMOTEIP": _IP},
        record(),
    ),
    _record(
        "TCPREMOTEIP before SSLREMOTEIP",
        {"TCPREMOTEIP": _IP, "SSLREMOTEIP": "198.51.100.1"},
        record(source=f"{_IP}:unknown"),
    ),
    _record(
        "TCPREMOTEHOST set but empty ends the search",
        {"TCPREMOTEIP": _IP, "TCPREMOTEHOST": "", "SSLREMOTEHOST": "a.example"},
        record(source=f"{_IP}:unknown"),
    ),
    _record(
        "TCP6REMOTEHOST before TCPREMOTEHOST",
        {"TCP6REMOTEHOST": "six.example", "TCPREMOTEHOST": "four.example"},
        record(source="unknown:six.example"),
    ),
    _record("nothing is left of ::ffff: alone", {"TCPREMOTEIP": "::ffff:"}, record()),
    _record(
        "::ffff: is stripped once", {"TCPREMOTEIP": "::ffff:::ffff:1"}, record(source="::ffff:1:unknown")
    ),
    _record("::ffff: further in stays", {"TCPREMOTEIP": "1::ffff:1"}, record(source="1::ffff:1:unknown")),
    _record(
        "nothing is stripped from a host", {"TCPREMOTEHOST": "::ffff:a"}, record(source="unknown:??ffff?a")
    ),
    _record(
        "TCP6LOCALPORT tells of POP3S",
        {"TCP6LOCALPORT": "995", "TCPLOCALPORT": "110"},
        record(protocol="POP3S"),
    ),
    _record(
        "TCP6LOCALPORT set but empty ends the search", {"TCP6LOCALPORT": "", "TCPLOCALPORT": "995"}, record()
    ),
    _record("TCPLOCALPORT before SSLLOCALPORT", {"TCPLOCALPORT": "110", "SSLLOCALPORT": "995"}, record()),
    _record("a local port that only begins like 995", {"TCPLOCALPORT": "9950"}, record()),
    _record(
        "SSL_PROTOCOL set means TLS from the start", {"SSL_PROTOCOL": "TLSv1.2"}, record(protocol="POP3S")
    ),
    _record("SSL_PROTOCOL empty means nothing", {"SSL_PROTOCOL": ""}, record()),
    _record(
        "bytes outside 33-126 in an address become ?",
        {"TCPREMOTEIP": "a b\u00e9\x7f\n\x1f!~:"},
        record(source="a?b????!~::unknown"),
    ),
    _record(
        "bytes outside 33-126 and colons in a host become ?",
        {"TCPREMOTEHOST": "a b\u00e9\x7f\n\x1f!~:'"},
        record(source="unknown:a?b????!~?'"),
    ),
    _record(
        "an address and a host of 255 bytes stand whole",
        {"TCPREMOTEIP": "1" * 255, "TCPREMOTEHOST": "h" * 255},
        record(source="1" * 255 + ":" + "h" * 255),
    ),
    _record(
        "a longer address and host are cut there",
        {"TCPREMOTEIP": "1" * 5000, "TCPREMOTEHOST": "h" * 5000},
        record(source="1" * 255 + ":" + "h" * 255),
    ),
    _record(
        "an address that looks like the end of itself cannot fake a name",
        {"TCPREMOTEIP": "1 ?~ 'root'"},
        record(source="1??~?'root':unknown"),
    ),
    _named("a name with quotes stands as it is", "b'o\"b", "b'o\"b"),
    _named(
        "a name that looks like a record",
        "x' P:POP3S S:1.2.3.4:x ?~ 'root",
        "x' P:POP3S S:1.2.3.4:x ?~ 'root",
    ),
    _named("the bytes around the printable ones", "\x01\x1f!~\x7f\x80\xff", "??!~?\x80\xff"),
    _named("CR in a name", "b\rob\x1b", "b?ob?"),
    _named("a name of 256 bytes is cut to 255", "n" * 256, "n" * 255 + "..."),
    _named("the longest name", "n" * 4091, "n" * 255 + "..."),
]
