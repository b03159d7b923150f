"""A file system that hangs: FUSE, with nobody behind it who answers.

The kernel asks whoever holds /dev/fuse, who never reads. So each call that touches the place waits, as with a
file server that is gone; once the device is closed they all fail, and what was there before is back.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.programs import need_root, unavailable

_DEVICE = "/dev/fuse"
_DETACH = 2  # MNT_DETACH


@contextmanager
def hanging(directory: Path) -> Iterator[None]:
    """Have everything at and below directory hang; OSError where it cannot be mounted."""
    need_root()
    if not os.path.exists(_DEVICE):
        unavailable(f"there is no {_DEVICE}")
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    try:
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        if libc.mount(b"hanging", os.fsencode(directory), b"fuse", 0, options):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(directory))
        yield
    finally:
        os.close(device)
        libc.umount2(os.fsencode(directory), _DETACH)
