"""Third-party mail clients, as commands."""

import subprocess
from pathlib import Path

from tests.support.maildir import MESSAGES, Account
from tests.support.programs import need, unavailable
from tests.support.server import HOST, Server


def curl(
    server: Server, user: str, path: str = "", *options: str, scheme: str = "pop3"
) -> subprocess.CompletedProcess[bytes]:
    """Retrieve the list, or the message named by `path`; `user` is name:password."""
    (program,) = need("curl")
    url = f"{scheme}://{HOST}:{server.port}/{path}"
    argv = [program, "-q", "-sS", "--max-time", "60", "-u", user, *options, url]
    return subprocess.run(argv, capture_output=True, check=False)


def mpop(server: Server, owner: Account, mbox: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Fetch all mail into `mbox`, leaving it on the server."""
    (program,) = need("mpop")
    where = [f"--host={HOST}", f"--port={server.port}", f"--user={owner.name}", "--timeout=60", "--keep=on"]
    what = [f"--passwordeval=echo {owner.password}", f"--delivery=mbox,{mbox}", "--received-header=off"]
    files = ["--file=/dev/null", f"--uidls-file={mbox}.uidls"]
    env = {"PATH": "/usr/bin:/bin", "HOME": str(mbox.parent)}
    argv = [program, *files, *where, *what, *options]
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False)


def delivered(mbox: Path) -> bool:
    """Return whether all messages are in `mbox` (none of their lines needs quoting in mbox)."""
    text = mbox.read_bytes()
    return all(message in text for message in MESSAGES)


def fetchmail(
    port: int, tls: str, owner: Account, directory: Path, ca: Path
) -> subprocess.CompletedProcess[str]:
    """Fetch all mail over TLS into `directory`/mbox; tls: the option of fetchmailrc that selects how."""
    (program,) = need("fetchmail")
    mbox, settings = directory / "mbox", directory / "fetchmailrc"
    user = f'user "{owner.name}" there with password "{owner.password}" is "root" here fetchall keep'
    trust = f'sslcertck sslcertfile "{ca}" {tls} mda "cat >>{mbox}"'
    settings.write_text(f"poll localhost service {port} protocol pop3\n {user} {trust}\n")
    settings.chmod(0o600)
    files = ["--fetchmailrc", str(settings), "--pidfile", str(directory / "pid")]
    env = {"PATH": "/usr/bin:/bin", "HOME": str(directory), "LC_ALL": "C"}
    argv = [program, "--nosyslog", "--timeout", "60", *files]
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False)


def getmail(port: int, owner: Account, directory: Path, ca: Path) -> subprocess.CompletedProcess[str]:
    """Fetch all mail over POP3S into `directory`/mbox; getmail6 does not support STLS."""
    (program,) = need("getmail")
    settings = directory / "getmailrc"
    settings.write_text(_GETMAIL.format(port=port, owner=owner, ca=ca, mbox=directory / "mbox"))
    argv = [program, f"--getmaildir={directory}", f"--rcfile={settings}"]
    env = {"PATH": "/usr/bin:/bin", "HOME": str(directory)}
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False)


_GETMAIL = """[retriever]
type=SimplePOP3SSLRetriever
server=localhost
port={port}
username={owner.name}
password={owner.password}
ca_certs={ca}
[destination]
type=MDA_external
path=/bin/sh
arguments=("-c", "cat >>{mbox}")
unixfrom=true
allow_root_commands=true
[options]
delivered_to=false
received=false
"""
_PERL = """
use Net::POP3;
my ($port, $ca, $name, $password, $tls) = @ARGV;
my %trust = (SSL_ca_file => $ca, SSL_verifycn_name => 'localhost');
my @tls = $tls eq 'pop3s' ? (SSL => 1, %trust) : ();
my $pop = Net::POP3->new('127.0.0.1', Port => $port, Timeout => 60, @tls);
die "cannot connect: $@" unless $pop;
$tls eq 'pop3s' or $pop->starttls(%trust) or die "no STLS: " . $pop->message;
my $count = $pop->login($name, $password);
defined $count or die "no login: " . $pop->message;
print @{$pop->get($_)} for 1 .. $count;
$pop->quit or die "no end";
"""


def net_pop3(port: int, owner: Account, tls: str, ca: Path) -> subprocess.CompletedProcess[str]:
    """Print all mail by Perl's Net::POP3; tls: "pop3s" or "stls"."""
    (perl,) = need("perl")
    if subprocess.run([perl, "-MIO::Socket::SSL", "-e", "1"], capture_output=True, check=False).returncode:
        unavailable("not installed: Perl's IO::Socket::SSL")
    argv = [perl, "-e", _PERL, str(port), str(ca), owner.name, owner.password, tls]
    return subprocess.run(argv, capture_output=True, text=True, check=False)
