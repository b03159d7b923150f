"""Runs a function in a forked child with exactly the descriptors that a test names.

The popup's modules change descriptors 0 and 1, signals and memory, which must not happen in the test process.
The function's result, or the text of its exception, is returned through a pipe.
"""

import fcntl
import os
import pickle
import select
import signal
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Generic, NoReturn, Self, TypeVar

from tests.support.waiting import TIMEOUT

_Result = TypeVar("_Result")
_PARKED = 200
_MOST = 1024


class Child(Generic[_Result]):
    """A function running in a child; leaving the context kills it if necessary."""

    def __init__(self, task: Callable[[], _Result], fds: Mapping[int, int] | None = None) -> None:
        """Start the child with only the descriptors `fds` (number there → number here)."""
        self._reader, writer = os.pipe()
        self._status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _live(task, fds or {}, writer)
        os.close(writer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)
            self._wait()
        os.close(self._reader)

    def result(self) -> _Result:
        """Wait for the child and return the function's result; AssertionError if it raised."""
        told = self._told()
        status = self._wait()
        if not told:
            raise AssertionError(f"the child ended with status {status} and said nothing")
        result, fault = pickle.loads(told)  # noqa: S301 - our own child's
        if fault:
            raise AssertionError(fault)
        returned: _Result = result
        return returned

    def status(self) -> int:
        """Wait for the child and return its exit status, negative for a signal."""
        self._told()
        return self._wait()

    def _told(self) -> bytes:
        told = b""
        while select.select([self._reader], [], [], TIMEOUT)[0]:
            chunk = os.read(self._reader, 65536)
            told += chunk
            if not chunk:
                return told
        raise TimeoutError(f"the child did not end within {TIMEOUT} seconds")

    def _wait(self) -> int:
        if self._status is None:
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._status


def run(task: Callable[[], _Result], fds: Mapping[int, int] | None = None) -> _Result:
    """Run `task` in a child; return its result."""
    with Child(task, fds) as child:
        return child.result()


def _live(task: Callable[[], object], fds: Mapping[int, int], writer: int) -> NoReturn:
    """Run as the child, which never returns into the copied test runner."""
    try:
        writer = _place(fds, writer)
        told = _outcome(task)
        with suppress(OSError):
            while told:
                told = told[os.write(writer, told) :]
    finally:
        os._exit(0)


def _outcome(task: Callable[[], object]) -> bytes:
    try:
        return pickle.dumps((task(), ""))
    except BaseException:  # noqa: BLE001 - the parent raises it
        return pickle.dumps((None, traceback.format_exc()))


def _place(fds: Mapping[int, int], writer: int) -> int:
    parked = {target: fcntl.fcntl(source, fcntl.F_DUPFD, _PARKED) for target, source in fds.items()}
    writer = fcntl.fcntl(writer, fcntl.F_DUPFD_CLOEXEC, _PARKED)
    os.closerange(0, _PARKED)
    for target, source in parked.items():
        os.dup2(source, target, inheritable=True)
        os.close(source)
    os.closerange(_PARKED, writer)
    os.closerange(writer + 1, _MOST)
    return writer
