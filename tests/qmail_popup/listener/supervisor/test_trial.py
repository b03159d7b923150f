"""The check before a reload."""

import os

import pytest

from qmail_popup.listener.supervisor.trial import Trial


def test_it_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left of it: a reload may be asked for again and again."""

    def fail(*_arguments: object, **_options: object) -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "posix_spawn", fail)
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(BlockingIOError):
        Trial()
    assert before == sorted(os.listdir("/proc/self/fd"))
