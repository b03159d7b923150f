"""A checker for trying out qmail-popup, and nothing else: `checkpassword.py FILE PROGRAM [ARGUMENT...]`.

Implements the checkpassword interface: name, password and timestamp on descriptor 3, each followed by NUL. If
they are right, it becomes the user, changes to the user's home and executes PROGRAM. The exit status is 1 for
a refusal, including input longer than the interface allows, 2 for misuse, and 111 for temporary problems.
FILE has the seven fields of passwd(5) in each line, with the password in clear text: no mail host should use
it.
"""

import os
import sys
from hmac import compare_digest
from typing import NamedTuple

MAX_CREDENTIALS = 512  # bytes; the interface's limit on descriptor 3
REFUSED, MISUSE, TEMPORARY = 1, 2, 111


class TooLongError(Exception):
    """A client sent a name or a password longer than the interface allows."""


class Account(NamedTuple):
    """A line of the file."""

    name: str
    password: str
    uid: str
    gid: str
    gecos: str
    home: str
    shell: str


def main(arguments: list[str]) -> int:
    """Check descriptor 3, then execute the program; return an exit status if that does not happen."""
    if len(arguments) < 2:  # noqa: PLR2004  a file, and a program
        return MISUSE
    file, *program = arguments
    try:
        name, password = read_credentials()
        account = find(file, name)
    except TooLongError:
        return REFUSED
    except ValueError:
        return MISUSE
    except OSError:
        return TEMPORARY
    if account is None or not compare_digest(account.password.encode(), password):
        return REFUSED
    return start(account, program)


def read_credentials() -> tuple[str, bytes]:
    """Return name and password; ValueError if descriptor 3 does not hold them, TooLongError."""
    with open(3, "rb") as pipe:
        fields = pipe.read(MAX_CREDENTIALS + 1)
    if len(fields) > MAX_CREDENTIALS:
        raise TooLongError
    name, password, *_timestamp = fields.split(b"\0")
    return name.decode("utf-8", "surrogateescape"), password


def find(file: str, name: str) -> Account | None:
    """Return the account of that name; lines without seven fields are ignored."""
    with open(file, encoding="utf-8", errors="surrogateescape") as lines:
        rows = (line.rstrip("\n").split(":") for line in lines)
        accounts = (Account(*row) for row in rows if len(row) == len(Account._fields))
        return next((account for account in accounts if account.name == name), None)


def start(account: Account, program: list[str]) -> int:
    """Become the user and execute the program; return the status if either fails."""
    try:
        become(int(account.uid), int(account.gid))
        os.chdir(account.home)
        environ = {**os.environ, "USER": account.name, "HOME": account.home, "SHELL": account.shell}
        os.execvpe(program[0], program, environ)  # noqa: S606  what a checker does
    except (OSError, ValueError):
        return TEMPORARY


def become(uid: int, gid: int) -> None:
    """Switch to this user and group, without other groups; works only as root or as that user already."""
    if os.geteuid() == 0:
        os.setgroups([gid])
    os.setgid(gid)
    os.setuid(uid)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
