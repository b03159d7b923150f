"""A fake Debian host for the setup scripts: little more than a shell, and installable packages.

apt-get, dpkg, update-rc.d and id are small scripts, because no test may install anything on the machine. They
log their arguments in the order of the calls.
"""

import shutil
import subprocess
from pathlib import Path

from tests.support.programs import need
from tests.support.waiting import TIMEOUT

SETUP = Path(__file__).resolve().parents[2] / "deploy" / "setup"
TOOLS = (
    "sh",
    "dirname",
    "cat",
    "chmod",
    "flock",
    "grep",
    "ln",
    "mv",
    "rm",
    "sed",
    "sleep",
    "sort",
    "tr",
    "touch",
)
TABLE = "# a comment\nzz-server zz-tcpserver run serves\nzz-daemon zz-daemond test watches, as a daemon\n"

# The environment controls its behaviour: SIMULATE, STALE, HANG and BREAK; that of update-rc.d: COMPLAINS; and
# that of apt-cache: UNKNOWN, a package missing from this release, and NO_LISTS.
APT_GET = """\
echo "apt-get $*" >>"$CALLS"
case " $* " in
*' --simulate '*) exit "${SIMULATE:-0}" ;;
*' update '*) touch "$BIN/updated"; exit 0 ;;
esac
"$POLICY_RC_D" service start; echo "policy says $?" >>"$CALLS"
[ -z "${STALE:-}" ] || [ -e "$BIN/updated" ] || exit 100
[ -z "${HANG:-}" ] || { echo hanging >>"$CALLS"; sleep 600; }
[ -z "${BREAK:-}" ] || exit 100
for program in zz-tcpserver zz-daemond; do echo >"$BIN/$program"; chmod 755 "$BIN/$program"; done
"""
APT_CACHE = """\
[ -z "${NO_LISTS:-}" ] || [ -e "$BIN/updated" ] || exit 0
shift
for package; do
    [ "$package" = "${UNKNOWN:-}" ] || echo " $package | 1.0 | a mirror"
done
"""
FAKES = {
    "apt-cache": APT_CACHE,
    "apt-get": APT_GET,
    "id": 'echo "${FAKE_UID:-0}"\n',
    "dpkg": "echo /etc/init.d/zz-old\necho /lib/systemd/system/zz-new.service\n"
    "echo /usr/lib/systemd/system/zz-each@.service\necho /usr/share/doc/zz/README\n",
    "update-rc.d": 'echo "update-rc.d $*" >>"$CALLS"; exit "${COMPLAINS:-0}"\n',
}


class Host:
    """A machine with little more than a shell, and the setup scripts with their own table of packages."""

    def __init__(self, root: Path) -> None:
        self.bin, self.calls, self.policy = root / "bin", root / "calls", root / "sbin" / "policy-rc.d"
        self.setup = root / "setup"
        for directory in (self.bin, self.setup, self.policy.parent):
            directory.mkdir()
        shutil.copy(SETUP / "packages.sh", self.setup)
        (self.setup / "packages").write_text(TABLE)
        for tool in need(*TOOLS):
            (self.bin / Path(tool).name).symlink_to(tool)
        for name, text in FAKES.items():
            self.program(name, text)

    def program(self, name: str, text: str = "") -> None:
        """Install a program."""
        (self.bin / name).write_text(f"#!/bin/sh\n{text}")
        (self.bin / name).chmod(0o755)

    def start(self, set_name: str, python: str = "/nonexistent", **environ: str) -> subprocess.Popen[str]:
        """Start the setup as the leader of a process group, as a terminal would."""
        paths = {"PATH": self.bin, "BIN": self.bin, "CALLS": self.calls, "POLICY_RC_D": self.policy}
        return subprocess.Popen(
            [self.setup / "packages.sh", set_name, python],
            env={**{name: str(path) for name, path in paths.items()}, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, set_name: str, **environ: str) -> tuple[int, str, str]:
        """Run the setup; return status, output, errors."""
        with self.start(set_name, **environ) as process:
            output, errors = process.communicate(timeout=TIMEOUT)
        return process.returncode, output, errors

    def called(self, needle: str = "") -> list[str]:
        """Return the logged calls that contain `needle`."""
        noted = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [line for line in noted if needle in line]
