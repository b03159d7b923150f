"""`make rules`: the rules where Prometheus reads them, and an address at which each runbook is found."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.descriptors import CHECKOUT
from tests.support.promtool import RULES, run

RUNBOOKS = "https://wiki.example.org/mail/runbooks"
FILES = ("alerts.yml", "recording.yml")


def _made(directory: Path, runbooks: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "-s", "-C", str(CHECKOUT), "rules", f"RULES={directory}", f"RUNBOOKS={runbooks}"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _addresses(file: Path) -> list[str]:
    return re.findall(r"runbook_url: (.*)", file.read_text(encoding="utf-8"))


def test_each_alert_has_the_address_of_its_runbook(tmp_path: Path) -> None:
    """Each had a path; it has the address that was given, and the section stays."""
    made = _made(tmp_path / "rules", RUNBOOKS)
    assert "" == made.stderr
    paths = _addresses(RULES / "alerts.yml")
    assert paths
    assert [path.replace("dashboards/runbooks.md", RUNBOOKS) for path in paths] == _addresses(
        tmp_path / "rules/alerts.yml"
    )


def test_prometheus_takes_what_is_installed(tmp_path: Path) -> None:
    """Both files, which other users may read, and nothing beside them; a second time as well."""
    for _ in range(2):
        _made(tmp_path / "rules", RUNBOOKS)
    installed = sorted((tmp_path / "rules").iterdir())
    assert [(name, 0o644) for name in FILES] == [
        (file.name, file.stat().st_mode & 0o777) for file in installed
    ]
    assert "" == run("check", "rules", *installed)


@pytest.mark.parametrize(
    "runbooks", ["", "runbooks.md", "ftp://wiki.example.org/r", "https://", "https://w/{{x}}", "https://w/#r"]
)
def test_what_is_no_address_is_refused(tmp_path: Path, runbooks: str) -> None:
    """In one line that names the variable, and nothing is written."""
    made = _made(tmp_path / "rules", runbooks)
    assert 0 != made.returncode
    assert "RUNBOOKS= must be the address" in made.stderr
    assert not (tmp_path / "rules").exists()


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """In one line, too."""
    (tmp_path / "rules").touch()
    made = _made(tmp_path / "rules", RUNBOOKS)
    assert 0 != made.returncode
    assert f"rules: [Errno 17] File exists: '{tmp_path}/rules'" in made.stderr
