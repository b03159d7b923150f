"""Mail clients that were not written here, as commands: curl and mpop."""

import subprocess
from pathlib import Path

from tests.support.maildir import MESSAGES, Account
from tests.support.programs import need
from tests.support.server import HOST, Server


def curl(
    server: Server, user: str, path: str = "", *options: str, scheme: str = "pop3"
) -> subprocess.CompletedProcess[bytes]:
    """Read the list, or the message that `path` names; `user` is name:password."""
    (program,) = need("curl")
    url = f"{scheme}://{HOST}:{server.port}/{path}"
    argv = [program, "-q", "-sS", "--max-time", "60", "-u", user, *options, url]
    return subprocess.run(argv, capture_output=True, check=False)


def mpop(server: Server, owner: Account, mbox: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Fetch all mail into `mbox`, leaving it on the server."""
    (program,) = need("mpop")
    where = [f"--host={HOST}", f"--port={server.port}", f"--user={owner.name}", "--timeout=60", "--keep=on"]
    what = [f"--passwordeval=echo {owner.password}", f"--delivery=mbox,{mbox}", "--received-header=off"]
    files = ["--file=/dev/null", f"--uidls-file={mbox}.uidls"]
    env = {"PATH": "/usr/bin:/bin", "HOME": str(mbox.parent)}
    argv = [program, *files, *where, *what, *options]
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False)


def delivered(mbox: Path) -> bool:
    """Tell whether all messages are in `mbox` (none of their lines is one that mbox would quote)."""
    text = mbox.read_bytes()
    return all(message in text for message in MESSAGES)
