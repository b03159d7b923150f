"""Reading a log that others write, rotate and remove: each line once, whatever happens to its file."""

import errno
import os
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from resource import RLIMIT_NOFILE, getrlimit, setrlimit
from typing import IO

import pytest

from observability.arrivals.log_file import NO_TIME
from observability.arrivals.log_files import Log, Place
from observability.arrivals.log_lines import MAX_LINE, read
from tests.support.programs import need


class Reader:
    """Reads a log as the sidecar does, and may be killed: what it goes on from is the place that it noted."""

    def __init__(self, path: Path, *, from_start: bool = False) -> None:
        self._path = path
        self.lines: list[bytes] = []
        self.gaps: list[str] = []
        self.overlong = 0
        self._log = Log(path, None, from_start=from_start)
        self.read()

    def read(self, pieces: int = 10**6) -> "Reader":
        """Take in what is new; no more than so many pieces of it."""
        reading = self._log.pieces()
        for _number, piece in zip(range(pieces), reading, strict=False):
            self.overlong += piece.overlong
            for line in piece.lines:
                self._take(line, piece.after)
        self.place = self._log.place()
        self.gaps += self._log.gaps
        self._log.gaps.clear()
        return self

    def killed(self) -> "Reader":
        """Begin again from what was noted."""
        self._log.close()
        self._log = Log(self._path, self.place)
        return self

    def close(self) -> None:
        """Let go of the files."""
        self._log.close()

    def _take(self, line: bytes, after: float | None) -> None:
        found = read(line)
        time = found.time if found else None
        if after is None or (time is not None and time > after):
            self.lines.append(line.rpartition(b"'")[0].rpartition(b"'")[2] if found else line)
            self._log.last = NO_TIME if time is None else time


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return the path of a log that does not exist yet."""
    return tmp_path / "log"


def write(path: Path, *lines: str) -> None:
    """Append lines to a file."""
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def record(name: str) -> bytes:
    """Return a record's line."""
    return f"qmail-popup: pid 7 Reject::AUTH::User P:POP3 S:192.0.2.1:unknown ?~ '{name}'\n".encode()


def numbered(count: int) -> list[bytes]:
    """Return the names in so many records."""
    return [b"n%d" % number for number in range(count)]


def test_it_begins_at_the_end_of_what_is_there(log: Path) -> None:
    """What was written before is not counted, but a line that had no end by then is."""
    log.write_text("old\nhalf")
    with closing(Reader(log)) as reader:
        write(log, " of it", "new")
        assert [b"half of it", b"new"] == reader.read().lines


def test_it_can_begin_at_the_start(log: Path) -> None:
    """Where that is asked for, all companions are read too, the oldest first."""
    for name, age in (("log.2", 30), ("log.1", 20), ("log", 10)):
        path = log.with_name(name)
        write(path, f"in {name}")
        os.utime(path, (10**9 - age, 10**9 - age))
    with closing(Reader(log, from_start=True)) as reader:
        assert [b"in log.2", b"in log.1", b"in log"] == reader.lines


def test_a_log_that_comes_later_is_read_from_its_start(log: Path) -> None:
    """Nothing was there when the reading began, so all that comes is new; a kill changes nothing."""
    with closing(Reader(log)) as reader:
        reader.killed()
        write(log, "first")
        assert [b"first"] == reader.read().lines


def test_a_line_without_an_end_waits_for_it(log: Path) -> None:
    """A line is read once its newline is there."""
    with closing(Reader(log)) as reader:
        log.write_text("be")
        assert [] == reader.read().lines
        write(log, "gun")
        assert [b"begun"] == reader.read().lines


def test_it_begins_in_a_line_that_is_too_long(log: Path) -> None:
    """What was there before does not count, however long, and is not searched for a line's end."""
    with log.open("w") as file:
        file.truncate(1 << 40)
    with closing(Reader(log)) as reader:
        write(log, " its end", "short")
        assert ([b"short"], 0) == (reader.read().lines, reader.overlong)


@pytest.mark.parametrize("kill", [False, True])
def test_a_line_that_is_too_long_is_skipped(log: Path, kill: bool) -> None:  # noqa: FBT001  both ways
    """It counts as one, wherever the reading stops inside it, and the next line is read."""
    with closing(Reader(log)) as reader:
        with log.open("w") as file:
            file.write("x" * (MAX_LINE + 1))
            file.flush()
            reader.read()
            if kill:
                reader.killed()
            file.write("x" * 1_000_000 + "\nshort\n")
        assert ([b"short"], 1) == (reader.read().lines, reader.overlong)


def test_the_longest_line(log: Path) -> None:
    """It is read; one that is longer is not, though it has its end, and counts as too long."""
    with closing(Reader(log)) as reader:
        write(log, "x" * MAX_LINE, "y" * (MAX_LINE + 1), "short")
        assert ([b"x" * MAX_LINE, b"short"], 1) == (reader.read().lines, reader.overlong)


def test_two_files_change_places(log: Path) -> None:
    """A rename changes nothing: the old file is read to its end, then the new one."""
    with closing(Reader(log)) as reader:
        write(log, "1")
        reader.read()
        old = log.open("a")
        log.rename(log.with_name("log.1"))
        old.write("2\n")
        write(log, "4")
        old.write("3\n")
        old.close()
        assert [b"1", b"2", b"3", b"4"] == reader.read().lines


def test_a_writer_that_was_not_told_of_the_rotation(log: Path) -> None:
    """It goes on in the renamed file, which stays open for that."""
    with closing(Reader(log)) as reader, log.open("a") as old:
        log.rename(log.with_name("log.1"))
        write(log, "new")
        reader.read()
        old.write("late\n")
        old.flush()
        assert [b"new", b"late"] == reader.read().lines


@pytest.mark.parametrize("kill", [False, True])
def test_rotated_twice_between_two_looks(log: Path, kill: bool) -> None:  # noqa: FBT001  both ways
    """All files in between are read, in their order."""
    with closing(Reader(log)) as reader:
        write(log, "1")
        reader.read()
        if kill:
            reader.killed()
        for number in (2, 3):
            log.rename(log.with_name(f"log.{4 - number}"))
            write(log, str(number))
        assert [b"1", b"2", b"3"] == reader.read().lines
        assert [] == reader.gaps


@pytest.fixture
def few_descriptors() -> Iterator[int]:
    """Have this process open only so many files."""
    most, (usual, hard) = 300, getrlimit(RLIMIT_NOFILE)
    setrlimit(RLIMIT_NOFILE, (most, hard))
    yield most
    setrlimit(RLIMIT_NOFILE, (usual, hard))


@pytest.mark.parametrize("from_start", [False, True])
def test_more_files_than_are_opened_at_once(
    log: Path,
    few_descriptors: int,
    from_start: bool,  # noqa: FBT001  both ways
) -> None:
    """What was rotated while nobody looked is read in order, however many files that is; few stay open."""
    count = few_descriptors + 10
    log.mkdir()
    if not from_start:
        (log / "current").touch()
    with closing(Reader(log, from_start=from_start)) as reader:
        for number in range(count):
            write(log / "current", f"n{number}")
            (log / "current").rename(log / f"@{number:024x}.s")
        for _ in range(3):
            reader.killed().read()
        assert (numbered(count), []) == (reader.lines, reader.gaps)
        write(log / "current", "more")
        reader.read()
        assert b"more" == reader.read().lines[-1]
        assert 50 > len(reader.place.positions)


def test_a_file_that_was_removed_is_read_to_its_end(log: Path) -> None:
    """It is held open, so nothing that was written to it is missed."""
    with closing(Reader(log)) as reader:
        write(log, "1")
        reader.read()
        write(log, "2")
        log.unlink()
        write(log, "3")
        assert [b"1", b"2", b"3"] == reader.read().lines


def test_an_inode_that_is_used_again(log: Path) -> None:
    """Another file with the same number is another file."""
    write(log, "1")
    with closing(Reader(log)) as reader:
        write(log, "2")
        reader.read()
        position = reader.place.positions[0]
        reader.close()
        log.unlink()
        write(log, "a file of its own", "with a second line", "and more than that")
        reader.place = Place([position._replace(inode=log.stat().st_ino)], log.stat().st_ino)
        reader.killed().read()
        assert reader.gaps


def test_a_copy_of_what_was_read_is_not_read_again(log: Path) -> None:
    """Restored from a backup, a log has other inodes and the same lines."""
    with closing(Reader(log)) as reader:
        write(log, *map(str, range(100)))
        reader.read()
        write(log, "new")
        shutil.copy(log, log.with_name("copy"))
        log.with_name("copy").rename(log)
        reader.killed().read()
        assert [*(b"%d" % number for number in range(100)), b"new"] == reader.lines
        assert [] == reader.gaps


@pytest.mark.parametrize("kill", [False, True])
def test_an_edited_log(log: Path, kill: bool) -> None:  # noqa: FBT001  both ways
    """Whoever writes a copy and renames it, as `sed -i` does, has no line counted twice while we watch."""
    with closing(Reader(log)) as reader:
        write(log, "1", "2")
        reader.read()
        write(log, "3")
        shutil.copy(log, log.with_name("copy"))
        log.with_name("copy").rename(log)
        write(log, "4")
        reader.read(1)
        if kill:
            reader.killed()
        assert [b"1", b"2", b"3", b"4"] == reader.read().lines
        assert [] == reader.gaps


@pytest.mark.parametrize("kill", [False, True])
def test_a_place_that_is_gone(log: Path, kill: bool) -> None:  # noqa: FBT001  both ways
    """It goes on with the first line that is later than the last one that counted, and says so."""
    stamp = "@400000006b0a1046{:d}0000000 " + record("x").decode().strip()
    with closing(Reader(log)) as reader:
        write(log, stamp.format(1), stamp.format(2))
        reader.read()
        reader.close()
        log.unlink()
        write(log.with_name("log.1"), stamp.format(2), stamp.format(3))
        write(log, stamp.format(4))
        reader.killed().read()
        if kill:
            reader.killed()
        write(log, stamp.format(4))
        assert (5, 1) == (len(reader.read().lines), len(reader.gaps))


def test_cut_short_in_place(log: Path) -> None:
    """Whoever copies a log and cuts it short may lose lines: what is in the copy is read, and it is a gap."""
    with closing(Reader(log)) as reader:
        write(log, "1")
        reader.read()
        write(log, "2")
        shutil.copy(log, log.with_name("log.1"))
        os.truncate(log, 0)
        write(log, "3")
        assert [b"1", b"2", b"3"] == reader.read().lines
        assert 1 == len(reader.gaps)


def test_a_copy_that_comes_before_the_cut(log: Path) -> None:
    """As long as both are there, the lines in both count once."""
    with closing(Reader(log)) as reader:
        write(log, "1")
        reader.read()
        shutil.copy(log, log.with_name("log.1"))
        write(log, "2")
        reader.read()
        os.truncate(log, 0)
        write(log, "3")
        assert [b"1", b"2", b"3"] == reader.read().lines


def test_a_directory_that_cannot_be_read(log: Path) -> None:
    """That is an error which passes: the place stays."""
    log.mkdir()
    with closing(Reader(log)) as reader:
        write(log / "current", "1")
        reader.read()
        log.rename(log.with_name("elsewhere"))
        log.write_text("")
        log.unlink()
        reader.read()
        log.with_name("elsewhere").rename(log)
        write(log / "current", "2")
        assert [b"1", b"2"] == reader.read().lines


@contextmanager
def logger(*command: str | Path) -> Iterator[IO[bytes]]:
    """Run a program that logs what it reads, until what it has to read ends."""
    with subprocess.Popen([*need(str(command[0])), *command[1:]], stdin=subprocess.PIPE) as process:
        assert process.stdin
        yield process.stdin
        process.stdin.close()
        assert 0 == process.wait()


def _svlogd(log: Path) -> list[str | Path]:
    log.mkdir()
    (log / "config").write_text("s4000\nn1000\n")
    return ["svlogd", "-b", "4000", "-tt", log]


LOGGERS = {
    "multilog": lambda log: ["multilog", "t", "s4096", "n1000", log],
    "multilog without times": lambda log: ["multilog", "s4096", "n1000", log],
    "svlogd": _svlogd,
}


@pytest.mark.parametrize("name", LOGGERS)
def test_rotations_and_kills_at_random_moments(log: Path, name: str) -> None:
    """Of three thousand records that a real logger wrote and rotated, each was read once, without a gap."""
    chance = random.Random(1)  # noqa: S311  which moment it is protects nothing
    command = LOGGERS[name](log)
    with closing(Reader(log)) as reader:
        with logger(*command) as stream:
            for number in range(3000):
                stream.write(record(f"n{number}"))
                if chance.random() < 0.02:
                    stream.flush()
                    reader.read(chance.randrange(4))
                if chance.random() < 0.01:
                    reader.killed()
        reader.read()
        assert Counter(numbered(3000)) == Counter(reader.lines)
        assert [] == reader.gaps
        assert 20 < len([*log.glob("@*")])


def test_a_processor(log: Path) -> None:
    """What a processor has made of a file that was read is another file, and not read again."""
    with (
        closing(Reader(log)) as reader,
        logger("multilog", "t", "s4096", "n100", "!tai64nlocal", log) as stream,
    ):
        for number in range(200):
            stream.write(record(f"n{number}"))
            stream.flush()
            while len(reader.read().lines) <= number:
                pass
        assert numbered(200) == reader.lines


ROTATIONS = {
    "create": (10, "create"),
    "dateext": (1, "create\ndateext"),
    "olddir": (10, "create\nolddir old\ncreateolddir"),
}


# Root has to name whom it trusts with the directory; another user may not change to anybody.
_AS_ROOT = "" if os.geteuid() else "su root root\n"


@pytest.mark.parametrize("name", ROTATIONS)
def test_logrotate(log: Path, name: str) -> None:
    """The real one renames the file, and its writer goes on in it until it is told."""
    (program,) = need("logrotate")
    times, options = ROTATIONS[name]
    setup, state = log.with_name("setup"), log.with_name("state")
    setup.write_text(f"{log} {{\nrotate 50\n{_AS_ROOT}{options}\n}}\n")
    setup.chmod(0o644)
    with closing(Reader(log)) as reader:
        for number in range(0, 3 * times, 3):
            with log.open("ab") as writer:
                writer.write(record(f"n{number}"))
                writer.flush()
                reader.read()
                subprocess.run([program, "-f", "-s", state, setup], check=True)
                writer.write(record(f"n{number + 1}"))
            if number % 2 and name != "olddir":
                reader.killed()
            reader.read()
            with log.open("ab") as writer:
                writer.write(record(f"n{number + 2}"))
        assert Counter(numbered(3 * times)) == Counter(reader.read().lines)
        assert [] == reader.gaps


def test_logrotate_by_copying(log: Path) -> None:
    """Nothing is read twice, and each time it is a gap: what came between copy and cut is lost."""
    (program,) = need("logrotate")
    setup, state = log.with_name("setup"), log.with_name("state")
    setup.write_text(f"{log} {{\nrotate 50\n{_AS_ROOT}copytruncate\n}}\n")
    setup.chmod(0o644)
    with closing(Reader(log)) as reader, log.open("ab", buffering=0) as writer:
        for number in range(0, 20, 2):
            writer.write(record(f"n{number}"))
            reader.read()
            writer.write(record(f"n{number + 1}"))
            subprocess.run([program, "-f", "-s", state, setup], check=True)
            if number % 4:
                reader.killed()
        reader.read()
        assert (numbered(20), 10) == (reader.lines, len(reader.gaps))


def test_many_copies_of_what_was_read(log: Path) -> None:
    """More than are opened at once, newer than the file read last: each is skipped, and the check ends."""
    log.mkdir()
    current = log / "current"
    current.write_bytes(record("n0") + record("n1"))
    with closing(Reader(log, from_start=True)) as reader:
        for number in range(250):
            shutil.copy(current, log / f"@4000000{number:09}00000000.s")
        current.rename(log / "@300000000000000000000000.s")
        current.write_bytes(record("n2"))
        for _ in range(2):
            assert (numbered(3), []) == (reader.read().lines, reader.gaps)


@pytest.mark.parametrize("is_killed", [False, True])
def test_the_newest_file_goes_behind_many_others(log: Path, *, is_killed: bool) -> None:
    """Files older than any that was read count no more, whatever time a clock gave to the lines in them."""
    log.mkdir()
    current = log / "current"
    with closing(Reader(log, from_start=True)) as reader:
        for number in range(40):
            stamp = b"@%024x " % ((1 << 94) + (number << 32)) if number else b"@40000000ffffffff00000000 "
            current.write_bytes(stamp + record(f"n{number}"))
            reader.read()
            current.rename(log / f"@4000000{number:09}00000000.s")
        current.write_bytes(b"@400000000000002800000000 " + record("n40"))
        reader.read()
        current.unlink()
        if is_killed:
            reader.killed()
        reader.read()
        current.write_bytes(b"@400000000000002900000000 " + record("n41"))
        assert (numbered(42), is_killed) == (reader.read().lines, bool(reader.gaps))


def test_another_file_has_the_inode_of_the_last_one(log: Path) -> None:
    """It was removed while nobody read: all that came since counts, not only what is near its inode."""
    log.mkdir()
    current = log / "current"
    with closing(Reader(log, from_start=True)) as reader:
        for number in range(60):
            stamp = b"@%024x " % ((1 << 94) + (number << 32))
            current.write_bytes(stamp + record(f"n{number}"))
            if not number:
                reader.read()
                current.rename(log / "removed")
            elif number < 59:
                current.rename(log / f"@4000000{number:09}00000000.s")
        inode = (log / "@400000000000005000000000.s").stat().st_ino
        (position,) = reader.place.positions
        reader.place = Place([position._replace(inode=inode)], inode, reader.place.last)
        assert (numbered(60), 1) == (reader.killed().read().lines, len(reader.gaps))


def test_a_copy_over_the_copy_before(log: Path) -> None:
    """As by hand, `cp log log.1; : >log`: from the second time on the copy replaces what was read."""
    with closing(Reader(log)) as reader:
        for number in range(0, 8, 2):
            for each, is_read in ((number, True), (number + 1, False)):
                with log.open("ab") as file:
                    file.write(record(f"n{each}"))
                if is_read:
                    reader.read()
            shutil.copy(log, f"{log}.1")
            os.truncate(log, 0)
            reader.read()
        assert (numbered(8), True) == (reader.lines, bool(reader.gaps))


def test_a_disk_that_fails_costs_no_descriptor(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it does; once it works again each line is read once."""
    log.write_bytes(record("n0"))
    with closing(Reader(log, from_start=True)) as reader:
        log.rename(f"{log}.1")
        log.write_bytes(record("n1"))
        reader.killed()
        before = os.listdir("/proc/self/fd")
        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", _failing)  # a disk that fails when it is told to is not to be had
            for _ in range(3):
                with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                    reader.read()
        assert before == os.listdir("/proc/self/fd")
        assert (numbered(2), []) == (reader.read().lines, reader.gaps)


def _failing(*_arguments: int) -> bytes:
    raise OSError(errno.EIO, os.strerror(errno.EIO))
