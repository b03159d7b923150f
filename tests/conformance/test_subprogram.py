"""How the subprogram is found and started, with real files in the way."""

import os
from pathlib import Path

import pytest

from tests.support.descriptors import CHECKOUT
from tests.support.popup import LOGIN, Popup

_REPLIES = b"+OK\r\n+OK \r\n"
_TEMPORARY = b"-ERR [SYS/TEMP] authorization failed\r\n"
_SPEAKS = "#!/bin/sh\necho here: $0\n"


def _file(directory: Path, text: str, mode: int, name: str = "checker") -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text(text)
    path.chmod(mode)
    return path


def _said(
    popup: list[str], subprogram: str, env: dict[str, str], cwd: Path = CHECKOUT, why: str = ""
) -> bytes:
    """Return what the client gets behind the replies to its login; the operator gets `why` it cannot run."""
    with Popup(popup, (subprogram,), env={"QMAIL_POPUP_RESP_CODES": "1", **env}, cwd=cwd) as running:
        said = running.talk(LOGIN)
        line = f"qmail-popup: cannot run {subprogram}: {why}\n" if why else ""
        assert line.encode() == running.errors()
    assert said.startswith(_REPLIES)
    return said.removeprefix(_REPLIES)


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        ("echo no shell may run this\n", 0o755, "Exec format error"),
        ("", 0o755, "Exec format error"),
        ("#!/nonexistent/interpreter\n", 0o755, "No such file or directory"),
        (_SPEAKS, 0o644, "Permission denied"),
    ],
    ids=["no #!", "empty", "interpreter missing", "not executable"],
)
@pytest.mark.parametrize("by_path", [False, True], ids=["by name", "by PATH"])
def test_a_file_that_the_system_cannot_execute_counts_as_111(  # noqa: PLR0913 - pytest's parameters
    popup: list[str], tmp_path: Path, text: str, mode: int, why: str, *, by_path: bool
) -> None:
    """It is not handed to a shell; the client is told that the trouble is ours, and the operator why."""
    path = _file(tmp_path / "bin", text, mode)
    name, env = (path.name, {"PATH": str(path.parent)}) if by_path else (str(path), {"PATH": "/bin"})
    assert _TEMPORARY == _said(popup, name, env, why=why)


def test_the_first_in_path_wins(popup: list[str], tmp_path: Path) -> None:
    """PATH is searched from the left."""
    first, second = (_file(tmp_path / name, _SPEAKS, 0o755) for name in ("a", "b"))
    assert f"here: {first}\n".encode() == _said(popup, "checker", {"PATH": f"{first.parent}:{second.parent}"})


def test_the_search_goes_on_behind_a_file_that_may_not_be_executed(popup: list[str], tmp_path: Path) -> None:
    """As execvp(3) has it: what is forbidden or missing in one directory may be found in the next."""
    first, second = _file(tmp_path / "a", _SPEAKS, 0o644), _file(tmp_path / "b", _SPEAKS, 0o755)
    path = f"/nonexistent:{first}:{first.parent}:{second.parent}"
    assert f"here: {second}\n".encode() == _said(popup, "checker", {"PATH": path})


def test_a_name_with_a_slash_is_not_searched_for(popup: list[str], tmp_path: Path) -> None:
    """`./checker` is a path, whatever PATH holds."""
    found = _file(tmp_path / "bin", _SPEAKS, 0o755)
    why = "No such file or directory"
    assert _TEMPORARY == _said(popup, "./checker", {"PATH": str(found.parent)}, why=why)


def test_an_empty_entry_of_path_is_the_working_directory(installed: Path, tmp_path: Path) -> None:
    """As in every other program; the installed popup is the one that may be started anywhere."""
    _file(tmp_path, _SPEAKS, 0o755)
    popup = [str(installed / "bin/qmail-popup")]
    said = _said(popup, "checker", {"PATH": "/nonexistent::/bin"}, tmp_path)
    assert said in (b"here: checker\n", b"here: ./checker\n", b"here: /checker\n")


def test_a_symbolic_link_is_started_by_its_own_name(popup: list[str], tmp_path: Path) -> None:
    """A program that goes by its name, as busybox does, must see the one that was given."""
    target = _file(tmp_path, _SPEAKS, 0o755, "target")
    link = tmp_path / "link"
    link.symlink_to(target)
    assert f"here: {link}\n".encode() == _said(popup, str(link), {"PATH": os.environ["PATH"]})
