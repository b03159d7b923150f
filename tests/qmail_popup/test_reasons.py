"""Why a login was refused: the table of the man page, and the variable that changes it."""

import re
from signal import SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGSEGV, SIGTERM

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmail_popup import reasons
from qmail_popup.settings import Settings
from qmail_popup.subprogram import Outcome
from tests.support.chance import examples

SECOND = 1_000_000_000
STATUSES = range(1, 256)
SHELL_ENDED = {129, 130, 141, 143}
CVM = dict.fromkeys((2, 7, 100), "credentials") | dict.fromkeys((3, 4, 5, 6, 111, 126, 127), "temporary")
TABLE = {
    "checkpw": ({2: "misuse", 111: "temporary", 126: "temporary", 127: "temporary"}, "credentials"),
    "cvm-checkpassword": (CVM, "session"),
    "cvm-v1checkpassword": (CVM, "session"),
    "vchkpw": (dict.fromkeys((1, 3, 12, 13, 20), "credentials"), "temporary"),
}
"""The table of the man page: the statuses that it names, and what all others mean."""


def outcome(status: int | None = None, signal: int | None = None, error: int | None = None) -> Outcome:
    """Return how a subprogram ended."""
    ended = Outcome()
    ended.status, ended.signal, ended.error = status, signal, error
    return ended


def why(ended: Outcome, seconds: float = 0, program: str = "checkpw", **variables: str) -> tuple[str, bytes]:
    """Return the reason for an end so long after the credentials, and what is wrong with the variable."""
    environ = {f"QMAIL_POPUP_{name}".encode(): value.encode() for name, value in variables.items()}
    ended.exited = 1 + round(seconds * SECOND)
    return reasons.of(ended, 1, Settings([b"pop.example.org", program.encode()], environ))


@pytest.mark.parametrize("directory", ["", "/usr/bin/", "./"])
@pytest.mark.parametrize("program", TABLE)
def test_each_status_of_each_checker(program: str, directory: str) -> None:
    """Within ten seconds it means what the column of its checker says; behind them, a session."""
    named, other = TABLE[program]
    for status in STATUSES:
        meant = named.get(status, "session" if status in SHELL_ENDED else other)
        assert (status, (meant, b"")) == (status, why(outcome(status), program=directory + program))
        assert (status, (meant, b"")) == (status, why(outcome(status), 10, directory + program))
        assert ("session", b"") == why(outcome(status), 10.001, directory + program)


@pytest.mark.parametrize("program", ["cvm-checkpassword2", "env", "/cvm-checkpassword/sh", "vchkpw/"])
def test_a_checker_that_is_not_seen(program: str) -> None:
    """Only the last component of the first word tells the checkers apart."""
    assert ("credentials", b"") == why(outcome(100), program=program)
    assert ("misuse", b"") == why(outcome(2), program=program)


@pytest.mark.parametrize("program", TABLE)
def test_each_signal(program: str) -> None:
    """What ends a session from outside says nothing of the checker; any other is a crash of it."""
    for signal in range(1, 65):
        meant = "session" if signal in (SIGPIPE, SIGTERM, SIGHUP, SIGINT) else "crashed"
        assert (signal, (meant, b"")) == (signal, why(outcome(signal=signal), program=program))
        assert ("session", b"") == why(outcome(signal=signal), 11, program)


def test_what_could_not_be_run() -> None:
    """It is temporary whatever the table, the variable and the time say: nobody was let in."""
    for program in TABLE:
        for variables in ({}, {"EXITS": "credentials=111"}, {"EXITS": "session=*"}):
            assert "temporary" == why(outcome(111, error=2), 11, program, **variables)[0]


def test_the_time_is_the_operator_s() -> None:
    """A checker that takes long to refuse, on purpose, can be given that time."""
    assert "credentials" == why(outcome(1), 29, REFUSAL_SECONDS="30")[0]
    assert "session" == why(outcome(1), 31, REFUSAL_SECONDS="30")[0]
    assert "session" == why(outcome(1), 11, REFUSAL_SECONDS="0")[0]


@pytest.mark.parametrize(
    ("exits", "program", "meant"),
    [
        (
            "credentials=3 temporary=4-15,111 misuse=64",
            "checkpw",
            {3: "credentials", 9: "temporary", 64: "misuse"},
        ),
        ("credentials=3", "checkpw", {2: "misuse", 111: "temporary", 3: "credentials", 4: "credentials"}),
        ("credentials=3", "vchkpw", {2: "temporary", 3: "credentials", 20: "credentials"}),
        ("temporary=1", "cvm-checkpassword", {1: "temporary", 2: "credentials", 8: "session"}),
        ("credentials=3 temporary=*", "checkpw", {3: "credentials", 2: "temporary", 255: "temporary"}),
        ("temporary=*", "checkpw", {141: "session", 129: "session", 128: "temporary"}),
        ("temporary=141 credentials=*", "vchkpw", {141: "temporary", 143: "session", 4: "credentials"}),
        ("crashed=139,134", "checkpw", {139: "crashed", 134: "crashed", 135: "credentials"}),
        ("session=1-255", "vchkpw", {1: "session", 111: "session", 255: "session"}),
        ("misuse=1 misuse=1,1-3", "checkpw", {1: "misuse", 3: "misuse"}),
        ("  credentials=3\t", "cvm-checkpassword", {3: "credentials"}),
        ("", "checkpw", {2: "misuse"}),
    ],
)
def test_the_operator_s_table(exits: str, program: str, meant: dict[int, str]) -> None:
    """It speaks for what it names, `*` for all the rest, and no signal and no time is changed by it."""
    for status, word in meant.items():
        assert (status, (word, b"")) == (status, why(outcome(status), program=program, EXITS=exits))
    assert "session" == why(outcome(next(iter(meant))), 11, program, EXITS=exits)[0]
    assert "crashed" == why(outcome(signal=SIGSEGV), program=program, EXITS=exits)[0]
    assert "session" == why(outcome(signal=SIGPIPE), program=program, EXITS=exits)[0]


@pytest.mark.parametrize(
    ("exits", "mistake"),
    [
        ("wrong=3", b"unknown reason: wrong=3"),
        ("Credentials=3", b"unknown reason: Credentials=3"),
        ("3", b"unknown reason: 3"),
        ("\u00e9=3", b"unknown reason: \xc3\xa9=3"),
        ("temporary", b"not a list of statuses from 1 to 255, or *: temporary"),
        ("temporary=", b"not a list of statuses from 1 to 255, or *: temporary="),
        ("temporary=1,", b"not a list of statuses from 1 to 255, or *: temporary=1,"),
        ("temporary=0", b"not a list of statuses from 1 to 255, or *: temporary=0"),
        ("temporary=0-4", b"not a list of statuses from 1 to 255, or *: temporary=0-4"),
        ("temporary=256", b"not a list of statuses from 1 to 255, or *: temporary=256"),
        ("temporary=4-3", b"not a list of statuses from 1 to 255, or *: temporary=4-3"),
        ("temporary=4-", b"not a list of statuses from 1 to 255, or *: temporary=4-"),
        ("temporary=-4", b"not a list of statuses from 1 to 255, or *: temporary=-4"),
        ("temporary=1-2-3", b"not a list of statuses from 1 to 255, or *: temporary=1-2-3"),
        ("temporary=+4", b"not a list of statuses from 1 to 255, or *: temporary=+4"),
        ("temporary=4=5", b"not a list of statuses from 1 to 255, or *: temporary=4=5"),
        ("temporary=" + "9" * 5000, b"not a list of statuses from 1 to 255, or *: temporary=" + b"9" * 5000),
        ("temporary=3 credentials=1-3", b"status assigned to two reasons: credentials=1-3"),
        ("temporary=* credentials=*", b"status assigned to two reasons: credentials=*"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_one_mistake_and_the_variable_counts_as_unset(exits: str, mistake: bytes) -> None:
    """What stands before it counts as little, and the mistake is named."""
    assert ("credentials", mistake) == why(outcome(64), EXITS=f"misuse=64 {exits}")


_ITEM = st.one_of(
    st.integers(1, 255).map(str),
    st.tuples(st.integers(1, 255), st.integers(1, 255)).map(lambda pair: "{}-{}".format(*sorted(pair))),
    st.just("*"),
)
_WORD = st.tuples(st.sampled_from(reasons.REASONS), st.lists(_ITEM, min_size=1, max_size=3))


def _numbers(item: str) -> set[int]:
    """Return what an item names, 0 for all that nothing names."""
    if item == "*":
        return {0}
    low, _, high = item.partition("-")
    return set(range(int(low), int(high or low) + 1))


@examples(300)
@given(st.lists(_WORD, max_size=4), st.sampled_from([" ", "  ", "\n", "\t "]))
def test_the_grammar_is_read_as_it_is_written(words: list[tuple[str, list[str]]], space: str) -> None:
    """Each number has the reason of the word that names it; under two reasons it is a mistake."""
    text = space.join(f"{reason}={','.join(items)}" for reason, items in words)
    meant: dict[int, set[str]] = {}
    for reason, items in words:
        for number in set[int]().union(*map(_numbers, items)):
            meant.setdefault(number, set()).add(reason)
    named, mistake = reasons.parse(text.encode())
    if any(len(found) > 1 for found in meant.values()):
        assert ({}, True) == (named, bool(mistake))
    else:
        assert ({number: next(iter(found)) for number, found in meant.items()}, b"") == (named, mistake)


_GRAMMAR = (
    rb"\s*(?:(?:session|credentials|temporary|misuse|crashed)=ITEM(?:,ITEM)*(?:\s+|$))*",
    rb"(?:\*|NUMBER(?:-NUMBER)?)",
    rb"0{0,2}[1-9]|0?[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5]",
)


def _is_grammatical(text: bytes) -> bool:
    """Hold a text against the grammar, told another way than the product has it."""
    whole, item, number = _GRAMMAR
    pattern = whole.replace(b"ITEM", item).replace(b"NUMBER", b"(?:%b)" % number)
    if not re.fullmatch(pattern, text):
        return False
    ranges = re.findall(rb"([0-9]+)-([0-9]+)", text)
    return all(int(low) <= int(high) for low, high in ranges)


@examples(500)
@given(
    st.lists(
        st.sampled_from(
            [*b"temporary= misuse= credentials= 1 2 25 255 256 0 00 - , , * = \t x \xff".split(b" "), b" "]
        ),
        max_size=8,
    ).map(b"".join)
    | st.binary(max_size=12)
)
def test_nothing_else_is_accepted(text: bytes) -> None:
    """Whatever it is: it is read, or it is a mistake of which nothing counts."""
    named, mistake = reasons.parse(text)
    if not _is_grammatical(text):
        assert ({}, True) == (named, bool(mistake))
    elif mistake:
        assert mistake.startswith(b"status assigned to two reasons")
    assert set(named.values()) <= {*reasons.REASONS}
    assert set(named) <= {reasons.OTHER, *STATUSES}


def test_without_a_checker_s_name_the_default_column_counts() -> None:
    """Who reads an event of an older popup knows no program."""
    named, other = TABLE["checkpw"]
    for status in STATUSES:
        meant = named.get(status, "session" if status in SHELL_ENDED else other)
        assert meant == reasons.reason(status, None, late=False)
    assert "crashed" == reasons.reason(None, SIGKILL, late=False)
    assert "session" == reasons.reason(None, SIGKILL, late=True)


def test_each_reason_has_its_response_code() -> None:
    """A client asks for another password only where one was wrong."""
    codes = {"credentials": b"[AUTH] ", "temporary": b"[SYS/TEMP] ", "misuse": b"[SYS/PERM] "}
    assert codes | {"crashed": b"[SYS/TEMP] ", "session": b""} == reasons.RESPONSE_CODES
    assert set(reasons.REASONS) == set(reasons.RESPONSE_CODES)
