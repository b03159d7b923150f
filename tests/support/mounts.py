"""A test's own mount namespace, in which it may mount file systems that no other process sees."""

import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.programs import need, need_root, unavailable

# In a chroot the root is not a mount point, and its propagation cannot be changed: then it must be private
# already, or mounts inside would be visible outside.
_PROPAGATIONS = ("private", "unchanged")


def namespace() -> list[str]:
    """Return a command that runs another in a new mount namespace; ends the test if impossible."""
    need_root()
    unshare, _mount, umount = need("unshare", "mount", "umount")
    for propagation in _PROPAGATIONS:
        command = [unshare, "--mount", "--propagation", propagation]
        if _is_private(command, umount):
            return command
    unavailable("no mount namespace can be made here")
    return []


@contextmanager
def mounted(
    mount: str, enter: Sequence[str] = (), unmount: str = "true"
) -> Iterator[tuple[tuple[str, ...], Path]]:
    """Yield a command that enters a namespace in which a command has mounted something, and its root's path.

    enter: command that enters an existing namespace; unmount: command to run there at the end
    """
    (nsenter,) = need("nsenter")
    script = f"{mount} && echo mounted && cat && {unmount}"
    with subprocess.Popen(
        [*(enter or namespace()), "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdin
        assert holder.stdout
        if b"mounted\n" != holder.stdout.readline():
            unavailable(f"cannot be mounted here: {mount}")
        yield (nsenter, "-t", str(holder.pid), "-m", "-r"), Path(f"/proc/{holder.pid}/root")
        holder.stdin.close()


@contextmanager
def hanging(directory: Path, enter: Sequence[str] = ()) -> Iterator[tuple[str, ...]]:
    """Yield a command that enters a namespace in which every access to `directory` hangs until the end.

    It is a FUSE file system whose server does not read the kernel's requests. At the end all waiting calls
    fail, and the directory is as before. enter: as above
    """
    need_root()
    if not Path("/dev/fuse").exists():
        unavailable("there is no /dev/fuse")
    options = "fd=9,rootmode=40000,user_id=0,group_id=0,allow_other"
    path = shlex.quote(str(directory))
    mount = f"exec 9<>/dev/fuse && mount -i -t fuse -o {options} hangs {path}"
    with mounted(mount, enter, f"exec 9>&- && umount -l {path}") as (entering, _):
        yield entering


def is_chroot() -> bool:
    """Return whether our root is not that of a mount namespace: entering one changes the root then."""
    rows = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return "/" not in [row[4] for row in rows]


def _is_private(command: list[str], umount: str) -> bool:
    """Return whether the command works, and its mounts disappear with it."""
    with tempfile.TemporaryDirectory(prefix="mount-") as directory:
        tried = subprocess.run(
            [*command, "mount", "-t", "tmpfs", "none", directory], check=False, capture_output=True
        )
        if Path(directory).is_mount():
            subprocess.run([umount, directory], check=True)
            return False
        return tried.returncode == 0
