"""The subprogram of the vectors: it notes what it was started with, and not what its shells made of it."""

import os
import signal
import subprocess
from pathlib import Path

from tests.conformance.notes import read
from tests.conformance.stage import PROBE
from tests.support.child import run


def test_what_it_was_started_with(tmp_path: Path) -> None:
    """Arguments and environment byte by byte, all descriptors, and signals that are ignored or blocked."""
    (given := tmp_path / "given").write_bytes(b"bob\0x\0")
    fds = dict.fromkeys((0, 3, 10), os.open(given, os.O_RDONLY))
    env = {"PROBE_OUT": str(tmp_path / "notes"), "PROBE_DO": "exit:3", "A\udcff": "\n"}

    def task() -> int:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        return subprocess.run([PROBE, "", "a b"], env=env, close_fds=False, check=False).returncode

    assert 3 == run(task, fds)
    notes = read(tmp_path / "notes")
    assert notes
    assert (["", "a b"], "bob\0x\0", 1 << signal.SIGHUP - 1) == (notes.argv, notes.fd3, notes.blocked)
    assert notes.ignored & 1 << signal.SIGUSR1 - 1
    assert {0, 3, 10} <= set(notes.fds)
    assert "A\u00ff=\n" in notes.env
