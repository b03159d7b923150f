"""A mailbox with messages, and the password files of the checkers that were not written here."""

import os
from dataclasses import dataclass
from pathlib import Path

from tests.support.subprogram import HAS_MAILFRONT

MESSAGES = (
    b"From: a@example.org\nTo: bob@example.org\nSubject: first\n\nOne line.\n",
    b"From: b@example.org\nTo: bob@example.org\nSubject: second\n\n.A dot before, and two lines.\n",
)
SERVED = tuple(message + b"\n" * HAS_MAILFRONT for message in MESSAGES)
"""The same as the POP3 server serves them: pop3front-maildir puts an empty line behind each."""


@dataclass(frozen=True)
class Account:
    """A user with a maildir, `home`/Maildir, that holds MESSAGES."""

    name: str
    password: str
    home: Path


def account(directory: Path, name: str = "bob") -> Account:
    """Make an account with its home below `directory`."""
    made = Account(name, "secret", directory / name)
    for part in ("cur", "new", "tmp"):
        (made.home / "Maildir" / part).mkdir(parents=True)
    for number, message in enumerate(MESSAGES):
        (made.home / "Maildir/new" / f"100000000{number}.{number}.test").write_bytes(message)
    return made


def pwfile(path: Path, owner: Account) -> Path:
    """Write the file that the checker reads: plain passwords, and a user that this process can become."""
    ids = f"{os.getuid()}:{os.getgid()}"
    path.write_text(f"{owner.name}:{owner.password}:{ids}:Test:{owner.home}:/bin/false\n")
    path.chmod(0o600)
    return path


def password_file(owner: Account, uid: int) -> None:
    """Write the file that checkpw and checkapoppw read as the user `uid`, to whom the mail is given."""
    path = owner.home / "Maildir/.password"
    path.write_text(owner.password + "\n")
    path.chmod(0o600)
    for below in (owner.home, *owner.home.rglob("*")):
        os.chown(below, uid, uid)
