"""The bundle: what is in it, and what a session of an installed copy imports."""

import shutil
import subprocess
from collections.abc import Iterator
from marshal import loads
from pathlib import Path
from types import CodeType

import pytest

from tests.support.descriptors import CHECKOUT
from tests.support.installed import LIB, PYTHON, STARTER
from tests.support.mounts import namespace
from tests.support.popup import ACCEPTS, LOGIN, Popup

NOW = [
    "qmail_popup",
    *(
        f"qmail_popup.{name}"
        for name in ("descriptors", "settings", "wire", "protocol", "session", "__main__")
    ),
]


def codes(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object and all within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def test_what_is_in_it(installed: Path) -> None:
    """Each function says which source it is from; none is for a type checker, and none carries lines."""
    (file,) = (installed / LIB).glob("popup.*")
    bundle = file.read_bytes()
    boot, now, later = loads(bundle)  # noqa: S302 - our own
    assert NOW == [name for name, _ in now]
    groups = [loads(bundle[offset:]) for offset in set(later.values())]  # noqa: S302
    assert sorted(later) == sorted(name for group in groups for name, _ in group)
    for name, code in [("deploy.boot", boot), *now, *(module for group in groups for module in group)]:
        path = name.replace(".", "/")
        source = f"{path}/__init__.py" if (CHECKOUT / path).is_dir() else f"{path}.py"
        assert ({source}, {b""}) == (
            {inner.co_filename for inner in codes(code)},
            {inner.co_linetable for inner in codes(code)},
        )
        used = {name for inner in codes(code) for name in inner.co_names}
        assert set() == used & {"typing", "__annotations__"}


def test_where_processes_cannot_share_memory(installed: Path, tmp_path: Path) -> None:
    """A container may have no /dev/shm that can be written to: the byte code is the same."""
    for package in ("qmail_popup", "observability"):
        shutil.copytree(CHECKOUT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    script = 'mount -t tmpfs -o ro none /dev/shm && exec "$@"'
    compile_it = [PYTHON, str(CHECKOUT / "deploy/bytecode.py"), str(tmp_path)]
    subprocess.run([*namespace(), "sh", "-c", script, "sh", *compile_it], check=True)
    (made,), (expected,) = tmp_path.glob("popup.*"), (installed / LIB).glob("popup.*")
    assert expected.read_bytes() == made.read_bytes()


# What each session imports besides what every interpreter does: the promise of a fast start. What is run at
# once of the bundle is not imported; it is the list above.
QUIT: tuple[str, ...] = ("gc", "select")
DONE = ("errno", "qmail_popup.login")


def imports(popup: Popup) -> list[str]:
    """Return what was imported, in the words of -X importtime, less what every interpreter imports."""
    bare = subprocess.run(
        [PYTHON, "-IS", "-X", "importtime", "-c", "pass"], capture_output=True, check=True
    ).stderr
    named = [
        {line.split(b"|")[-1].strip().decode() for line in text.splitlines()}
        for text in (popup.errors(), bare)
    ]
    return sorted(named[0] - named[1])


@pytest.mark.parametrize(
    ("said", "env", "more"),
    [
        (b"", {}, ()),
        (b"USER bob\r\nQUIT\r\n", {}, ()),
        (b"CAPA\r\nAPOP\r\nQUIT\r\n", {"POP3AUTH": "apop"}, ()),
        (LOGIN, {}, DONE),
        (b"APOP b d\r\n", {"POP3AUTH": "apop"}, DONE),
        (LOGIN, {"UCSPITLS": "!"}, ("errno", "qmail_popup.record")),
        (b"QUIT\r\n", {"SSLCTLFD": "5", "UCSPITLS": ""}, ("qmail_popup.tls",)),
        (
            b"QUIT\r\n",
            {"QMAIL_POPUP_SIDECAR": "", "QMAIL_POPUP_SPOOL": "", "QMAIL_POPUP_PUSHGATEWAY": ""},
            (),
        ),
    ],
)
def test_what_a_session_imports(
    installed: Path, said: bytes, env: dict[str, str], more: tuple[str, ...]
) -> None:
    """It imports exactly what it uses."""
    command = [PYTHON, "-IS", "-X", "importtime", str(installed / STARTER)]
    with Popup(command, ACCEPTS, env={"PATH": "/bin", **env}) as popup:
        popup.talk(said)
        popup.status()
        assert sorted([*QUIT, *more]) == imports(popup)
