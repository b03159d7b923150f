"""deploy/OPERATIONS.md: the command that removes a retired host from a real gateway."""

import shlex
import subprocess
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

from tests.support.descriptors import CHECKOUT
from tests.support.documents import commands
from tests.support.gateway import Pushgateway
from tests.support.keeper import COMMAND
from tests.support.waiting import TIMEOUT

HOSTS = ("mx1", "mx2")


def test_a_retired_host_is_removed_from_the_gateway(tmp_path: Path) -> None:
    """By the command of the page, with this gateway and these credentials; the other host stays."""
    credentials = tmp_path / "push"
    credentials.write_text("user:password\n")
    (block,) = commands(CHECKOUT / "deploy/OPERATIONS.md", "Retire a host")
    with Pushgateway(tmp_path) as gateway:
        for host in HOSTS:
            _push(gateway.address, host)
        here = block.replace("https://push.example.org", gateway.url)
        program, *options = shlex.split(here.replace("/etc/qmail-popup/push", str(credentials)))
        assert "qmail-popup-sidecar" == program
        subprocess.run([*COMMAND, *options], cwd=CHECKOUT, check=True, timeout=TIMEOUT)
        assert [False, True] == ["pushed" in gateway.families(host) for host in HOSTS]


def _push(address: str, host: str) -> None:
    with closing(HTTPConnection(address, timeout=TIMEOUT)) as connection:
        connection.request("POST", f"/metrics/job/qmail-popup/instance/{host}", b"pushed 1\n")
        assert 200 == connection.getresponse().status
