"""A checker to try qmail-popup with, and for nothing else: `checkpassword.py FILE PROGRAM [ARGUMENT...]`.

It speaks the checkpassword interface: name, password and timestamp come on descriptor 3, each with a NUL
behind it. If they are right, it becomes the user, in the user's home, and executes PROGRAM. A refusal is
status 1, also if they are longer than the interface allows; misuse is 2, and anything that may be better
later 111. FILE has passwd(5)'s seven fields a line, with the password in clear: that is why no mail host
should run it.
"""

import os
import sys
from hmac import compare_digest
from typing import NamedTuple

MAX_CREDENTIALS = 512  # what the interface allows on descriptor 3
REFUSED, MISUSE, TEMPORARY = 1, 2, 111


class TooLongError(Exception):
    """A client sent a name or a password that is longer than the interface allows."""


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
    """Check what descriptor 3 holds, then execute the program; an exit status where that is not done."""
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
    """Return name and password; ValueError where descriptor 3 does not hold them, TooLongError."""
    with open(3, "rb") as pipe:
        fields = pipe.read(MAX_CREDENTIALS + 1)
    if len(fields) > MAX_CREDENTIALS:
        raise TooLongError
    name, password, *_timestamp = fields.split(b"\0")
    return name.decode("utf-8", "surrogateescape"), password


def find(file: str, name: str) -> Account | None:
    """Return the account of that name; a line without seven fields is no account."""
    with open(file, encoding="utf-8", errors="surrogateescape") as lines:
        rows = (line.rstrip("\n").split(":") for line in lines)
        accounts = (Account(*row) for row in rows if len(row) == len(Account._fields))
        return next((account for account in accounts if account.name == name), None)


def start(account: Account, program: list[str]) -> int:
    """Become the user and execute the program; the status where either cannot be done."""
    try:
        become(int(account.uid), int(account.gid))
        os.chdir(account.home)
        environ = {**os.environ, "USER": account.name, "HOME": account.home, "SHELL": account.shell}
        os.execvpe(program[0], program, environ)  # noqa: S606  it is what a checker does
    except (OSError, ValueError):
        return TEMPORARY


def become(uid: int, gid: int) -> None:
    """Take on that user and group, and no other groups; who is not root can only stay what they are."""
    if os.geteuid() == 0:
        os.setgroups([gid])
    os.setgid(gid)
    os.setuid(uid)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
