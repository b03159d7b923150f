"""A mount namespace of a test's own, in which it may mount what nobody else sees."""

import subprocess
import tempfile
from pathlib import Path

from tests.support.programs import need, need_root, unavailable

# In a chroot the root is no mount point, and its propagation cannot be changed: there it has to be private
# already, or what is mounted inside would be seen outside.
_PROPAGATIONS = ("private", "unchanged")


def namespace() -> list[str]:
    """Return the command that runs another in a mount namespace, or end the test where there can be none."""
    need_root()
    unshare, _mount, umount = need("unshare", "mount", "umount")
    for propagation in _PROPAGATIONS:
        command = [unshare, "--mount", "--propagation", propagation]
        if _is_private(command, umount):
            return command
    unavailable("no mount namespace can be made here")
    return []


def is_chroot() -> bool:
    """Whether our root is none of a mount namespace: who enters one made here comes out at another root."""
    rows = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return "/" not in [row[4] for row in rows]


def _is_private(command: list[str], umount: str) -> bool:
    """Whether the command works, and what is mounted behind it goes with it."""
    with tempfile.TemporaryDirectory(prefix="mount-") as directory:
        tried = subprocess.run(
            [*command, "mount", "-t", "tmpfs", "none", directory], check=False, capture_output=True
        )
        if Path(directory).is_mount():
            subprocess.run([umount, directory], check=True)
            return False
        return tried.returncode == 0
