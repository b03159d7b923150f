"""`make run`: starts everything with a demo account, for one person to try, and cleans up at the end.

qmail-popup-listener → checkpassword.py → pop3.py on 127.0.0.1, and the sidecar beside them. The listener is
qmail-popup with its own server, which also does TLS, with a certificate made for this run. Checker and POP3
server are in this directory, so a demo needs openssl but no mail software. Everything is written to one
private directory, removed at the end. Every server leads its own process group: Ctrl-C at the terminal
reaches only this program, which then ends the groups.
"""

import argparse
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"  # a demo with a well-known password must not be reachable from elsewhere
USER, PASSWORD = "demo", "demo"
OPENSSL = "openssl"
CHECKER, POP3_SERVER = (str(Path(__file__).with_name(name)) for name in ("checkpassword.py", "pop3.py"))
PYTHON = (sys.executable, "-IS")

# Ctrl-C, kill, and a terminal that hangs up. Blocked and waited for, so that none arrives between the start
# of a server and the registration of its cleanup.
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

LOOK_SECONDS = 0.5  # between checks that everything still runs
START_SECONDS = 20  # for a server to listen; on an idle machine it takes less than one
STOP_SECONDS = 5  # from SIGTERM to SIGKILL; the sidecar's own limit is shorter

# The records go to our output by way of descriptor 2.
TO_OUTPUT = ("sh", "-c", 'exec "$@" 5>&2', "sh")

# For a name and an address, because clients may use either.
CERTIFICATE = (
    *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"),
    *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
)

MESSAGE = "From: postmaster@localhost\nTo: demo@localhost\nSubject: {}\n\n{}\n"
MESSAGES = (
    MESSAGE.format("Welcome", "You read this through qmail-popup."),
    MESSAGE.format("What to try next", "Log in with a wrong password, and the record says Reject."),
)

READY = """\
A POP3 server is on {host}:{port}, with two messages for {user}. In another terminal:

  curl --silent --user {user}:{password} pop3://{host}:{port}/1
  curl --silent --ssl-reqd --cacert {certificate} --user {user}:{password} pop3://{host}:{port}/2
  curl --silent http://{host}:{metrics_port}/metrics | grep auth_attempts

The second line starts TLS (STLS) with a certificate that this demo has made for itself.
Any other mail client works too: user {user}, password {password}, with STLS or without encryption.
Each login's record appears below. Ctrl-C stops everything.
"""


Server = subprocess.Popen[bytes]


class DemoError(Exception):
    """The demo cannot continue; the message says why in one line."""


def main(arguments: list[str]) -> int:
    """Run the demo until it is told to end; return the exit status."""
    options = parse(arguments)
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    try:
        with ExitStack() as running:
            wait_for_end(start(running, options.port, options.metrics_port))
    except DemoError as error:
        print(f"qmail-popup demo: {error}", file=sys.stderr)
        return 1
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse the two ports on the command line."""
    parser = argparse.ArgumentParser(description="Run a POP3 server with a demo account until Ctrl-C.")
    parser.add_argument("--port", type=int, default=1110, help="of the POP3 server (default: 1110)")
    parser.add_argument("--metrics-port", type=int, default=9110, help="of /metrics (default: 9110)")
    return parser.parse_args(arguments)


def start(running: ExitStack, port: int, metrics_port: int) -> list[Server]:
    """Start all servers on `running`, which ends them in reverse order, and print how to use them."""
    environ = {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}
    openssl = find_program(environ["PATH"])
    check_free(port, "PORT")
    check_free(metrics_port, "METRICS_PORT")
    scratch = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="qmail-popup-demo-")))
    environ |= make_spool(scratch)
    servers = [
        running.enter_context(sidecar(scratch, metrics_port, environ)),
        running.enter_context(pop3_server(port, scratch, make_certificate(openssl, scratch), environ)),
    ]
    ready = READY.format(
        host=HOST,
        port=port,
        metrics_port=metrics_port,
        user=USER,
        password=PASSWORD,
        certificate=scratch / "certificate.pem",
    )
    print(ready, flush=True)
    return servers


def wait_for_end(servers: list[Server]) -> None:
    """Wait for a signal to end the demo; a server that exits by itself is an error."""
    # Signals ignored at the start stay ignored: nohup keeps the demo running without its terminal.
    wanted = {number for number in ENDS if signal.getsignal(number) is not signal.SIG_IGN}
    while signal.sigtimedwait(wanted, LOOK_SECONDS) is None:
        if any(server.poll() is not None for server in servers):
            raise DemoError("a server exited unexpectedly")
        if nobody_watches():
            return


def nobody_watches() -> bool:
    """Whether our output is a terminal that hung up, or a pipe without a reader."""
    # A hang-up is signalled only to the terminal's session leader, which may be make.
    output = select.poll()
    output.register(sys.stdout, 0)
    return bool(output.poll(0))


def find_program(path: str) -> str:
    """Return the path of openssl, the only program not ours; fail if it is not in `path`."""
    found = shutil.which(OPENSSL, path=path)
    if found is None:
        raise DemoError(f"not installed: {OPENSSL}; `make run` installs it")
    return found


def check_free(port: int, variable: str) -> None:
    """Fail if the port cannot be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no such port"
            raise DemoError(
                f"cannot listen on {HOST}:{port}: {reason}; choose another with {variable}="
            ) from error


def make_account(scratch: Path) -> Path:
    """Make the account and its mail; return the file that the checker reads."""
    home = scratch / "home"
    for name in ("cur", "new", "tmp"):
        (home / "Maildir" / name).mkdir(parents=True)
    for number, message in enumerate(MESSAGES):
        (home / "Maildir" / "new" / f"{number}.demo.localhost").write_text(message)
    passwd = scratch / "passwd"
    passwd.write_text(f"{USER}:{PASSWORD}:{os.getuid()}:{os.getgid()}:Demo:{home}:/bin/false\n")
    return passwd


def make_certificate(openssl: str, scratch: Path) -> list[str]:
    """Make a certificate for this run; return the options that name it and its key."""
    certificate, key = scratch / "certificate.pem", scratch / "key.pem"
    done = subprocess.run(
        [openssl, *CERTIFICATE, "-out", str(certificate), "-keyout", str(key)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DemoError(f"openssl could not create a certificate: {done.stderr.strip()}")
    return ["--tls-certificate", str(certificate), "--tls-key", str(key)]


def make_spool(scratch: Path) -> dict[str, str]:
    """Make the spool directory; return the variables that tell the popup about sidecar and spool."""
    spool = scratch / "spool"
    spool.mkdir()
    spool.chmod(0o2770)
    return {"QMAIL_POPUP_SIDECAR": str(scratch / "sidecar.sock"), "QMAIL_POPUP_SPOOL": str(spool)}


@contextmanager
def sidecar(scratch: Path, port: int, environ: dict[str, str]) -> Iterator[Server]:
    """Run the sidecar; it has started once /metrics can be read."""
    command = [sys.executable, "-m", "observability", "--listen", f"{HOST}:{port}"]
    command += ["--socket", environ["QMAIL_POPUP_SIDECAR"], "--spool", environ["QMAIL_POPUP_SPOOL"]]
    command += ["--state", str(scratch / "state.sqlite")]
    with group(command, environ) as process:
        wait_until_it_answers(port, process, "the sidecar")
        yield process


def wait_until_it_answers(port: int, process: Server, name: str) -> None:
    """Wait until a server answers; fail if it exits first or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while not answers(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise DemoError(f"{name} did not start")
        time.sleep(0.05)


def answers(port: int) -> bool:
    """Whether the port accepts connections."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@contextmanager
def pop3_server(port: int, scratch: Path, pair: list[str], environ: dict[str, str]) -> Iterator[Server]:
    """Run the listener, with checker and POP3 server; it has started once it answers."""
    listener = [*TO_OUTPUT, sys.executable, "-m", "qmail_popup.listener", "--pop3", f"{HOST}:{port}", *pair]
    subprogram = [*PYTHON, CHECKER, str(make_account(scratch)), *PYTHON, POP3_SERVER, "Maildir"]
    with group([*listener, "localhost", *subprogram], environ) as process:
        wait_until_it_answers(port, process, "the listener")
        yield process


@contextmanager
def group(command: list[str], environ: dict[str, str]) -> Iterator[Server]:
    """Run a server in the checkout as the leader of a process group, and end the group afterwards."""
    process = subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=sys.stdout,
        start_new_session=True,
        preexec_fn=unblock,  # noqa: PLW1509  safe: there is only one thread
    )
    with process:
        try:
            yield process
        finally:
            end_group(process)


def unblock() -> None:
    """Unblock, in a child, the signals that we block."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)


def end_group(leader: Server) -> None:
    """End a server and all sessions that it started: with SIGTERM, then SIGKILL."""
    signal_group(leader, signal.SIGTERM)
    try:
        leader.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        signal_group(leader, signal.SIGKILL)


def signal_group(leader: Server, number: signal.Signals) -> None:
    """Signal the process group, if it still has processes."""
    try:
        os.killpg(leader.pid, number)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
