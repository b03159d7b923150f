"""The event: what is built reads back, and nothing that breaks the contract does."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability import event as contract
from observability.arrivals.parsing import Event, Malformed, parse
from observability.event import EXPENDABLE, build, session_span
from tests.support.sidecar import RECORD, START, fields

anything = st.binary(max_size=300)

# In the order of the table, and named as there; but for the time of the end, as ended is how it ended.
ATTRIBUTES = [
    "ended_at" if name == contract.T_ENDED else name.decode().lower().removeprefix("t_")
    for name in contract.FIELDS
    if name != contract.RECORD
]


words = st.binary(max_size=40).map(lambda value: value.replace(b"\0", b""))


names = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ_", min_size=2, max_size=9).map(lambda name: f"X_{name}".encode())


def read(block: bytes) -> Event | Malformed:
    """Parse a block as the socket and the spool hand it on: without its last NULs."""
    assert block.endswith(b"\0\0")
    return parse(block[:-2])


def block(told: Mapping[bytes, bytes]) -> bytes:
    """Return a block as any other program might write it: in whatever order, with whatever names."""
    entries = [name + b"=" + value for name, value in {b"V": b"1", **told}.items()]
    return b"\0".join([*entries, b"END=1", b"\0"])


def changed(name: str, value: bytes | None) -> bytes:
    """Return an event, good except for one value."""
    return block(fields({name: value}))


def test_a_block_is_entries_that_end_in_a_nul_and_one_more_behind_the_last() -> None:
    """The version comes first, END=1 last, and between them what is told, in the order of the table."""
    facts: contract.Facts = {
        contract.STATUS: 0,
        contract.PID: 77,
        contract.TRACE: b"t",
        contract.TLS: b"",
        contract.SIGNAL: None,
    }
    assert b"V=1\0TRACE=t\0PID=77\0STATUS=0\0END=1\0\0" == build(facts)


def test_what_is_built_reads_back() -> None:
    """Each field as what it is, and what is unknown as None."""
    event = read(build({**fields(), contract.REASON: b"session", contract.TLS: b"TLSv1.3"}))
    assert isinstance(event, Event)
    times = (0, 1_000_000, 50_000_000, 51_000_000, 350_000_000, 400_000_000)
    assert (
        *(event.trace, event.span, "POP3", 77),
        *("192.0.2.7", "client.example.org", 40000, "192.0.2.1", 110),
        *(START + reached for reached in times),
        *("accepted", None, "session", 0, None, "TLSv1.3", None),
    ) == tuple(getattr(event, name) for name in ATTRIBUTES)
    assert event.block.startswith(b"V=1\0TRACE=")


@given(st.dictionaries(names, words, max_size=20))
def test_names_that_nobody_knows_are_no_trouble(unknown: dict[bytes, bytes]) -> None:
    """A newer popup may say more, wherever in the block it says it."""
    told = fields()
    blocks = (build(told), block({**unknown, **told}), block({**told, **unknown}))
    first, *others = [read(one)[:-1] for one in blocks]  # all but the block itself
    assert [first] * 2 == others
    assert len(first) > 1


@pytest.mark.parametrize(("said", "number"), [(b"0", 0), (b"65535", 65535), (b"100000", None), (b"-1", None)])
def test_a_port_has_five_digits_at_most(said: bytes, number: int | None) -> None:
    """Whatever else a server calls one is none."""
    event = read(changed("CLIENT_PORT", said))
    assert isinstance(event, Event)
    assert number == event.client_port


def test_a_block_of_just_the_limit_keeps_everything() -> None:
    """4,096 bytes with all NULs counted are not too long, one more is."""
    short = len(build({**fields(), b"CLIENT_HOST": b"h"})) - 1
    whole = build({**fields(), b"CLIENT_HOST": b"h" * (4096 - short)})
    assert 4096 == len(whole)
    assert isinstance(read(whole), Event)
    assert Malformed("too long") == read(whole.replace(b"h\0", b"hh\0"))
    assert b"CLIENT_HOST" not in build({**fields(), b"CLIENT_HOST": b"h" * (4096 - short + 1)})


@pytest.mark.parametrize(
    ("long", "left_out"),
    [
        ({"CLIENT_HOST": b"h" * 5000, "CIPHER": b"c"}, [b"CLIENT_HOST"]),
        ({"CLIENT_HOST": b"h", "CIPHER": b"c" * 5000}, [b"CLIENT_HOST", b"CIPHER"]),
        ({"CIPHER": b"c" * 5000}, [b"CLIENT_HOST", b"CIPHER"]),
        ({"CLIENT_IP": b"1" * 5000, "TLS": b"t"}, [b"CLIENT_HOST", b"TLS", b"CLIENT_IP"]),
        (
            {"LOCAL_PORT": b"1" * 5000},
            [b"CLIENT_HOST", b"CLIENT_IP", b"CLIENT_PORT", b"LOCAL_IP", b"LOCAL_PORT"],
        ),
    ],
)
def test_what_is_too_long_loses_the_host_then_the_cipher_and_never_the_record(
    long: dict[str, bytes | None], left_out: list[bytes]
) -> None:
    """An event fits its limit whatever the server named, loses no more than it must, and has its record."""
    facts = fields(long)
    built = build(facts)
    event = read(built)
    assert isinstance(event, Event)
    assert left_out == [name for name in EXPENDABLE if name in facts and b"\0%s=" % name not in built]
    assert b"\0RECORD=%s\0" % RECORD in built


def test_building_costs_the_popup_no_import(checkout: Path) -> None:
    """The half that runs in each popup loads no module but the package and itself."""
    script = (
        f"import sys; sys.path.insert(0, {str(checkout)!r}); before = set(sys.modules);"
        "import observability.event; print(*sorted(set(sys.modules) - before))"
    )
    loaded = subprocess.run([sys.executable, "-IS", "-c", script], capture_output=True, text=True, check=True)
    assert ["observability", "observability.event"] == loaded.stdout.split()


def test_an_event_has_its_identity_and_its_record() -> None:
    """Sixteen bytes stand for the session, and the record is taken apart into its own words."""
    event = read(changed("TRACE", b"00112233445566778899aabbccddeeff"))
    assert isinstance(event, Event)
    assert bytes.fromhex("00112233445566778899aabbccddeeff") == event.identity
    assert "8899aabbccddeeff" == session_span(event.trace)
    assert ("accepted", "User", b"bob") == (event.result, event.method, event.user)
    assert not event.is_hello


def test_a_hello_is_what_has_not_ended() -> None:
    """Without ENDED it is a session's first word, and needs no more than an identity and a protocol."""
    hello = read(build({b"TRACE": b"0" * 32, b"PROTOCOL": b"POP3S"}))
    assert isinstance(hello, Event)
    assert hello.is_hello


def test_a_duration_is_known_where_both_its_ends_were_reached() -> None:
    """The first end that was reached counts, and a missing one makes no number."""
    event = read(changed("T_EXITED", None))
    assert isinstance(event, Event)
    assert (0.4, 0.35) == (event.duration, event.auth_duration)
    early = read(
        build({b"TRACE": b"0" * 32, b"PROTOCOL": b"POP3", b"T_START": b"5", b"T_ENDED": b"2000000005"})
    )
    assert isinstance(early, Event)
    assert (2, None) == (early.duration, early.auth_duration)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("V", b"2"),
        ("V", b""),
        ("TRACE", b"0" * 31),
        ("TRACE", b"0" * 33),
        ("TRACE", b"A" * 32),
        ("TRACE", b"0" * 31 + b"\n"),
        ("TRACE", None),
        ("SPAN", b"0" * 15),
        ("ENDED", b"killed"),
        ("ENDED", b"Accepted"),
        ("ENDED", b""),
        ("ERROR", b"fork"),
        ("PROTOCOL", b"POP4"),
        ("PROTOCOL", b"POP3\n"),
        ("PROTOCOL", None),
        ("PID", b"-1"),
        ("PID", b"1_0"),
        ("PID", b"\xd9\xa1"),
        ("STATUS", b"256"),
        ("STATUS", b"-1"),
        ("STATUS", b"01"),
        ("SIGNAL", b"9"),
        ("T_START", b"1.5"),
        ("T_START", b"9" * 20),
        ("T_START", b"%d" % (START + 2_000_000)),
        ("T_EXITED", b"%d" % (START + 400_000_001)),
        ("RECORD", b""),
        ("RECORD", RECORD + b"x"),
        ("RECORD", RECORD + b"\n"),
    ],
)
def test_a_value_that_breaks_the_contract_is_malformed(name: str, value: bytes | None) -> None:
    """One value that does not fit makes the whole event worth nothing."""
    assert isinstance(read(changed(name, value)), Malformed)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STATUS", b"0"),
        ("STATUS", b"111"),
        ("STATUS", b"255"),
        ("STATUS", None),
        ("T_START", b"0"),
        ("T_GREETED", None),
        ("T_ENDED", b"9" * 19),
        ("RECORD", None),
        ("CLIENT_IP", b"\x01\xff\n\x1b[2J"),
        ("TLS", b""),
        ("X", b"a=b=c"),
    ],
)
def test_a_value_within_the_contract_is_taken(name: str, value: bytes | None) -> None:
    """What may be missing may be missing, and free values may hold any byte but NUL."""
    assert isinstance(read(changed(name, value)), Event)


def test_a_failure_of_our_own_names_its_kind() -> None:
    """ERROR goes with ENDED=error, and holds one of three words."""
    failed = {"ENDED": b"error", "RECORD": None, "ERROR": b"pipe"}
    assert isinstance(read(build(fields(failed))), Event)
    assert isinstance(read(build(fields({**failed, "ERROR": b"disk"}))), Malformed)
    for ended in (b"accepted", b"quit", None):
        assert isinstance(read(build(fields({**failed, "ENDED": ended}))), Malformed)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"END=1",
        build(fields())[:-3],
        build(fields())[:-8],
        build(fields())[:-2] + b"\0X=behind the end",
        build(fields())[:-2] + b"\0A=behind the end",
        build(fields())[:-2].replace(b"PID=77", b"PID"),
        build(fields())[:-2].replace(b"PID=77", b"PID=77\0PID=77"),
        build(fields())[:-2].replace(b"PID=77", b"X=1\0X=1"),
        build(fields())[:-2].replace(b"V=1\0", b""),
        build(fields())[:-2].replace(b"V=1\0", b"V=2\0"),
        block({**fields(), b"TRACE": b"0" * 32})[:-2].replace(b"PROTOCOL", b"protocol"),
        block({**fields(), b"X": b"y" * 4000})[:-2],
    ],
)
def test_a_block_that_is_torn_double_or_too_long_is_malformed(block: bytes) -> None:
    """Its last entry is END=1, each entry is NAME=value, and no name comes twice."""
    assert isinstance(parse(block), Malformed)


@given(anything)
def test_nothing_that_can_be_sent_raises(block: bytes) -> None:
    """Bytes come in, a value comes out."""
    assert isinstance(parse(block), Event | Malformed)


@given(st.integers(0, 600), anything)
def test_no_damage_raises(position: int, damage: bytes) -> None:
    """Nor does an event with something else in the midst of it."""
    block = build(fields())[:-2]
    assert isinstance(parse(block[:position] + damage + block[position + len(damage) :]), Event | Malformed)


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        (b"PROTOCOL=POP3\0T_START=1700000000000000000ENDED=quit", "T_START"),
        (b"PROTOCOL=POP3\0T_ENDED=1700000000000000000END=1", "torn"),
        (b"PROTOCOL=POP3\0T_START=5ENDED=quit", "T_START"),
        (b"PROTOCOL=POP3\0TLS=vEND=1", "torn"),
        (b"SPAN=0123456789abcdefPROTOCOL=POP3", "a missing identity or protocol"),
        (b"PROTOCOL=POP3\0RECORD=qmail-popup: pid ENDED=rejected", "RECORD"),
        (b"PROTOCOL=POP3\0RECORD=qmail-popup: pid 77 Reject::AUTH::User P:POP3 S:ENDED=rejected", "RECORD"),
    ],
)
def test_a_field_that_lost_its_end_hides_nothing(rest: bytes, expected: str) -> None:
    """Python before 3.11.5 skips the beginning of a field that fails within a possessive group."""
    end = b"" if expected == "torn" else b"\0END=1"
    told = parse(b"V=1\0TRACE=0123456789abcdef0123456789abcdef\0" + rest + end)
    assert Malformed(expected) == told
