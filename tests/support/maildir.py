"""A mailbox with messages, and password files of third-party checkers."""

import os
from dataclasses import dataclass
from pathlib import Path

from tests.support.subprogram import HAS_MAILFRONT

MESSAGES = (
    b"From: a@example.org\nTo: bob@example.org\nSubject: first\n\nOne line.\n",
    b"From: b@example.org\nTo: bob@example.org\nSubject: second\n\n.A dot before, and two lines.\n",
)
SERVED = tuple(message + b"\n" * HAS_MAILFRONT for message in MESSAGES)
"""The messages as the POP3 server sends them: pop3front-maildir appends an empty line to each."""


@dataclass(frozen=True)
class Account:
    """A user with a maildir, `home`/Maildir, that contains MESSAGES."""

    name: str
    password: str
    home: Path


def account(directory: Path, name: str = "bob") -> Account:
    """Create an account with its home in `directory`."""
    made = Account(name, "secret", directory / name)
    for part in ("cur", "new", "tmp"):
        (made.home / "Maildir" / part).mkdir(parents=True)
    for number, message in enumerate(MESSAGES):
        (made.home / "Maildir/new" / f"100000000{number}.{number}.test").write_bytes(message)
    return made


def pwfile(path: Path, owner: Account) -> Path:
    """Write the checker's file: a plain password, and a user that this process can switch to."""
    ids = f"{os.getuid()}:{os.getgid()}"
    path.write_text(f"{owner.name}:{owner.password}:{ids}:Test:{owner.home}:/bin/false\n")
    path.chmod(0o600)
    return path


def password_file(owner: Account, uid: int) -> None:
    """Write the file for checkpw and checkapoppw, which read it as user `uid`; make the mail that user's."""
    path = owner.home / "Maildir/.password"
    path.write_text(owner.password + "\n")
    path.chmod(0o600)
    for below in (owner.home, *owner.home.rglob("*")):
        os.chown(below, uid, uid)
