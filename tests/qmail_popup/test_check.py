"""`--check`: one line for each thing that is wrong, or what a session would do."""

import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from qmail_popup import check, reasons
from qmail_popup.settings import OWN_PREFIX, Settings
from tests.support.descriptors import CHECKOUT

POPUP = [sys.executable, "-S", "-m", "qmail_popup"]
DEFAULT = "session=129-130,141,143 temporary=111,126-127 misuse=2 credentials=*"
BARE = {"PATH": "/usr/bin:/bin"}


def checked(
    *subprogram: str | bytes, host: str = "pop.example.org", log: str = "5>&1", **env: str
) -> tuple[int, list[str]]:
    """Run a check with these variables, as a run script would; its status and its lines."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {log}', "sh", *POPUP, "--check", host, *(subprogram or ("/bin/true",))],
        cwd=CHECKOUT,
        env=BARE | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert b"" == done.stderr
    return done.returncode, done.stdout.decode("ascii").splitlines()


def test_nothing_is_wrong() -> None:
    """It says what would be done, line by line, with status 0."""
    assert checked("/bin/true") == (
        0,
        [
            "hostname: pop.example.org",
            "APOP: off",
            "STLS: off",
            "timeouts: 1200 s idle, none until the login",
            "response codes: off",
            "subprogram: /bin/true",
            "records: descriptor 5",
            "events: none",
            f'exit statuses: QMAIL_POPUP_EXITS="{DEFAULT}"',
            "exit later than 10 s after the credentials: always session",
        ],
    )


def test_what_was_set_is_shown(tmp_path: Path) -> None:
    """Each setting of the run script has its place."""
    status, lines = checked(
        "cvm-checkpassword",
        PATH=str(_executable(tmp_path, "cvm-checkpassword").parent),
        POP3AUTH="apop",
        UCSPITLS="!",
        QMAIL_POPUP_TIMEOUT="60",
        QMAIL_POPUP_LOGIN_TIMEOUT="180",
        QMAIL_POPUP_REFUSAL_SECONDS="20",
        QMAIL_POPUP_RESP_CODES="1",
        QMAIL_POPUP_SPOOL=str(tmp_path),
        QMAIL_POPUP_PUSHGATEWAY="http://127.0.0.1:9091",
    )
    assert (0, []) == (
        status,
        [
            line
            for line in (
                "APOP: offered",
                "STLS: required, where the server speaks UCSPI-TLS",
                "timeouts: 60 s idle, 180 s until the login",
                "response codes: on",
                f"subprogram: {tmp_path}/cvm-checkpassword",
                f"events: the spool {tmp_path}, pushed to http://127.0.0.1:9091",
                'exit statuses: QMAIL_POPUP_EXITS="credentials=2,7,100 temporary=3-6,111,126-127 session=*"',
                "exit later than 20 s after the credentials: always session",
            )
            if line not in lines
        ],
    )


@pytest.mark.parametrize(
    "wrapper", [("env", "cvm-checkpassword"), ("sh", "-c", "exec /x/cvm-checkpassword y")]
)
def test_a_checker_behind_another_program_is_not_seen(wrapper: tuple[str, ...]) -> None:
    """It says what to set, and with that set it is content."""
    status, lines = checked(*wrapper)
    (hint,) = [line for line in lines if "is not the subprogram itself" in line]
    assert (0, True) == (status, hint.startswith("cvm-checkpassword "))
    (exits,) = re.findall(r'QMAIL_POPUP_EXITS="(.*)"', hint)
    status, lines = checked(*wrapper, QMAIL_POPUP_EXITS=exits)
    assert (0, []) == (status, [line for line in lines if "is not the subprogram itself" in line])
    assert [True] == [exits in line for line in lines if line.startswith("exit statuses")]


@pytest.mark.parametrize("program", [b"checkpw", *reasons.COLUMNS])
def test_a_column_reads_back_as_it_is_written(program: bytes) -> None:
    """What it prints can be set, and changes nothing."""
    meanings = reasons.statuses(program, {})
    named, mistake = reasons.parse(check.written(meanings).encode())
    assert b"" == mistake
    for status in range(1, 256):
        assert reasons.meaning(status, meanings) == reasons.meaning(status, named)


@pytest.mark.parametrize(
    ("env", "complaint"),
    [
        ({"QMAIL_POPUP_TIMEOUT": "soon"}, "QMAIL_POPUP_TIMEOUT=soon: not a whole number of seconds above 0"),
        (
            {"QMAIL_POPUP_LOGIN_TIMEOUT": "0"},
            "QMAIL_POPUP_LOGIN_TIMEOUT=0: not a whole number of seconds above 0",
        ),
        (
            {"QMAIL_POPUP_REFUSAL_SECONDS": "1.5"},
            "QMAIL_POPUP_REFUSAL_SECONDS=1.5: not a whole number of seconds above 0",
        ),
        (
            {"QMAIL_POPUP_RESP_CODES": "yes"},
            "QMAIL_POPUP_RESP_CODES=yes: ignored; the only value with an effect is 1",
        ),
        ({"QMAIL_POPUP_STDERR": "1"}, "QMAIL_POPUP_STDERR=1: ignored; the only value with an effect is keep"),
        ({"QMAIL_POPUP_EXITS": "tmp=4"}, "QMAIL_POPUP_EXITS: unknown reason: tmp=4"),
        ({"QMAIL_POPUP_SIDECR": "/x"}, "QMAIL_POPUP_SIDECR: unknown variable"),
        ({"POP3AUTH": "user"}, "POP3AUTH=user: begins with neither apop nor +apop, so APOP is not offered"),
        ({"SSLCTLFD": "77"}, "SSLCTLFD=77: not an open descriptor"),
        ({"SSLREADFD": "x"}, "SSLREADFD=x: not an open descriptor"),
        ({"SSLWRITEFD": "5"}, "descriptor 5: used by the server for TLS, so no record is written"),
        ({"QMAIL_POPUP_SPOOL": "/nonexistent"}, "spool /nonexistent: no such directory"),
        ({"QMAIL_POPUP_SPOOL": "/bin/true"}, "spool /bin/true: not a directory"),
        (
            {"QMAIL_POPUP_TIMEOUT": "\x1b[2J"},
            "QMAIL_POPUP_TIMEOUT=?[2J: not a whole number of seconds above 0",
        ),
    ],
    ids=str,
)
def test_a_setting_that_makes_no_sense(env: dict[str, str], complaint: str) -> None:
    """One line names it, and the status is 1."""
    assert (1, [complaint]) == checked(**env)


def test_a_gateway(tmp_path: Path) -> None:
    """A URL that pushes nothing is told, without what may be a password in it."""
    told = {"QMAIL_POPUP_SPOOL": str(tmp_path), "QMAIL_POPUP_PUSH_CREDENTIALS": "/nonexistent"}
    for url, complaints in (
        (
            "http://u:secret@h:9091",
            [
                (
                    "QMAIL_POPUP_PUSHGATEWAY: ignored, because the URL contains a user; "
                    "use QMAIL_POPUP_PUSH_CREDENTIALS"
                )
            ],
        ),
        (
            "h:9091",
            [
                "QMAIL_POPUP_PUSHGATEWAY=h:9091: not an http or https URL",
                "QMAIL_POPUP_PUSH_CREDENTIALS=/nonexistent: cannot be read",
            ],
        ),
    ):
        assert (1, complaints) == checked(QMAIL_POPUP_PUSHGATEWAY=url, **told)


def test_a_closed_log() -> None:
    """Without descriptor 5 no record is written, which many an operator finds out late."""
    assert (1, ["descriptor 5: closed, so no record is written; 5>&1 opens it"]) == checked(log="5>&-")


@pytest.mark.parametrize("host", ["", "a host", "<x>"])
def test_a_host_s_name_that_is_none(host: str) -> None:
    """It stands in the timestamp, of which clients make a digest."""
    assert (1, [f"hostname {host!r}: not a valid host name; the APOP timestamp contains it"]) == checked(
        host=host
    )


def test_several_things_at_once() -> None:
    """Each has its line."""
    status, lines = checked("/nonexistent", log="5>&-", QMAIL_POPUP_TIMEOUT="x", QMAIL_POPUP_EXITS="x")
    assert (1, 4) == (status, len(lines))


def _executable(directory: Path, name: str, text: str = "#!/bin/sh\n", mode: int = 0o755) -> Path:
    path = directory / name
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        ("#!/bin/sh\n", 0o644, "not executable"),
        ("echo no interpreter\n", 0o755, "neither a binary nor a script that begins with #!"),
        ("", 0o755, "neither a binary nor a script that begins with #!"),
        ("#!\n", 0o755, "a script without an interpreter"),
        ("#!/nonexistent/sh -e\n", 0o755, "its interpreter /nonexistent/sh: no such file or directory"),
    ],
)
def test_a_subprogram_that_cannot_be_run(tmp_path: Path, text: str, mode: int, why: str) -> None:
    """By its path or by PATH: it says why, and nothing is started to find out."""
    path = _executable(tmp_path, "checker", text, mode)
    for name, env in ((str(path), {}), ("checker", {"PATH": f"{tmp_path}:/nonexistent"})):
        assert (1, [f"subprogram {path}: {why}"]) == checked(name, **env)


def test_a_subprogram_that_is_not_there() -> None:
    """A name without a slash is looked for in PATH, and a directory is no program."""
    assert (1, ["subprogram no-such-checker: not found in PATH"]) == checked("no-such-checker")
    assert (1, ["subprogram /nonexistent/x: no such file or directory"]) == checked("/nonexistent/x")
    assert (1, ["subprogram /bin: not a file"]) == checked("/bin")
    assert (1, ["subprogram : no such file or directory"]) == checked("")


def test_the_search_goes_on_as_the_system_s_does(tmp_path: Path) -> None:
    """What cannot be run in one directory may be found in the next."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    _executable(tmp_path / "a", "checker", mode=0o644)
    found = _executable(tmp_path / "b", "checker")
    status, lines = checked("checker", PATH=f"/nonexistent:{tmp_path}/a:{tmp_path}/b")
    assert (0, True) == (status, f"subprogram: {found}" in lines)


def test_nothing_is_run(tmp_path: Path) -> None:
    """A check is not a login."""
    touched = tmp_path / "touched"
    assert 0 == checked(str(_executable(tmp_path, "checker", f"#!/bin/sh\ntouch {touched}\n")))[0]
    assert not touched.exists()


def test_a_sidecar(tmp_path: Path) -> None:
    """It is asked whether it takes a connection; the spool for when it does not has to be there too."""
    path, spool = tmp_path / "socket", tmp_path / "spool"
    spool.mkdir()
    told = {"QMAIL_POPUP_SIDECAR": str(path), "QMAIL_POPUP_SPOOL": str(spool)}
    assert (1, [f"sidecar {path}: no such file or directory"]) == checked(**told)
    with socket.socket(socket.AF_UNIX) as sidecar:
        sidecar.bind(str(path))
        assert (1, [f"sidecar {path}: connection refused"]) == checked(**told)
        sidecar.listen()
        status, lines = checked(**told)
        assert (0, True) == (status, f"events: the sidecar at {path}, or the spool {spool}" in lines)
        peer, _ = sidecar.accept()
        with peer:
            assert b"" == peer.recv(1)  # not a byte: nothing is counted
    assert [] == list(spool.iterdir())


def test_a_sidecar_s_path_that_is_too_long(tmp_path: Path) -> None:
    """That is a complaint like any other."""
    told = {"QMAIL_POPUP_SIDECAR": "/" + "x" * 200, "QMAIL_POPUP_SPOOL": str(tmp_path)}
    assert (1, [f"sidecar /{'x' * 200}: af_unix path too long"]) == checked(**told)


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("/dev/null")], ids=["dir", "link"])
def test_a_spool_that_a_popup_would_not_write_to(tmp_path: Path, make: object) -> None:
    """It appends to a regular file with one link, and to nothing else."""
    assert callable(make)
    make(tmp_path / "spool")
    complaint = "its file spool is not a writable regular file with a single link"
    assert (1, [f"spool {tmp_path}: {complaint}"]) == checked(QMAIL_POPUP_SPOOL=str(tmp_path))


def test_a_spool_that_is_there_already(tmp_path: Path) -> None:
    """What popups have left is no fault."""
    (tmp_path / "spool").write_bytes(b"\0\0")
    status, lines = checked(QMAIL_POPUP_SPOOL=str(tmp_path))
    assert (0, True) == (status, f"events: the spool {tmp_path}" in lines)


class _Asked(Mapping[bytes, bytes]):
    """An environment without a variable, that notes what it is asked for."""

    def __init__(self) -> None:
        self.names: set[bytes] = set()

    def __getitem__(self, name: bytes) -> bytes:
        self.names.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def __len__(self) -> int:
        return 0


def test_it_knows_all_variables() -> None:
    """Each that a session reads, and no other."""
    asked = _Asked()
    Settings([b"h", b"s"], asked)
    read = {name for name in asked.names if name.startswith(OWN_PREFIX)}
    more = {OWN_PREFIX + name for name in (b"STATE", b"INSTANCE", b"PUSH_CREDENTIALS")}  # with a gateway only
    assert read | more == check.VARIABLES


def test_two_arguments_are_a_session() -> None:
    """A host may be called --check, as it may be called --help."""
    done = subprocess.run(
        [*POPUP, "--check", "/bin/true"],
        cwd=CHECKOUT,
        env=BARE,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert (1, b"+OK\r\n", b"") == (done.returncode, done.stdout, done.stderr)
