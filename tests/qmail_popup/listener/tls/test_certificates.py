"""Certificates and keys: which a client gets, and what happens where they cannot be used."""

import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from qmail_popup.listener.options import Pair
from qmail_popup.listener.tls import certificates, x509
from tests.qmail_popup.listener.conftest import Certified
from tests.support import authority, descriptors, secure
from tests.support.issuer import ECDSA, RSA, Issuer
from tests.support.programs import need, need_root
from tests.support.resident import CHECKOUT_COMMAND, HOST, LOGIN, Listener, refused
from tests.support.secure import Client, talk
from tests.support.waiting import TIMEOUT


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Issuer, Listener]]:
    """Return a listener for several names: two kinds of key for one, a wildcard, and one without a name."""
    directory = tmp_path_factory.mktemp("many")
    issuer = Issuer(directory)
    options = [
        *issuer.issue("first", RSA, "pop.example.org", "mail.example.org"),
        *issuer.issue("second", ECDSA, "mail.example.org"),
        *issuer.issue("other", ECDSA, "pop.example.net"),
        *issuer.issue("wild", RSA, "*.example.com"),
        *issuer.issue("under", ECDSA, "pop.example.com"),
        *issuer.issue("late", ECDSA, "late.example.net", "pop.example.net"),
    ]
    with Listener(directory, "--pop3s", "127.0.0.1:0", *options) as running:
        yield issuer, running


def _served(
    listener: Listener, issuer: Issuer, asked: str | None, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> str:
    """Return whose certificate a client gets: the first of its names."""
    context = issuer.trusted()
    context.check_hostname, context.maximum_version = False, newest
    with Client(secure.bare(listener), context, asked) as client:
        certificate = client.tls.getpeercert(binary_form=True)
    assert certificate
    return x509.read(certificate).names[0]


@pytest.mark.parametrize(
    ("asked", "subject"),
    [
        ("pop.example.org", "pop.example.org"),
        ("pop.example.net", "pop.example.net"),
        ("any.example.com", "*.example.com"),
        ("pop.example.com", "pop.example.com"),
        ("a.b.example.com", "pop.example.org"),
        ("example.com", "pop.example.org"),
        ("unknown.example", "pop.example.org"),
        ("localhost", "pop.example.org"),
    ],
)
def test_the_name_that_is_asked_for(many: tuple[Issuer, Listener], asked: str, subject: str) -> None:
    """It chooses the certificate; where nobody has it, the first one serves."""
    issuer, listener = many
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        assert subject == _served(listener, issuer, asked, version)


def test_the_case_of_a_name(many: tuple[Issuer, Listener]) -> None:
    """It counts for nothing; a client of Python never sends a capital letter."""
    _issuer, listener = many
    (openssl,) = need("openssl")
    argv = [
        openssl,
        "s_client",
        "-connect",
        f"{HOST}:{secure.port(listener)}",
        "-servername",
        "POP.Example.NET",
    ]
    done = subprocess.run(argv, input="QUIT\n", capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert "subject=CN=pop.example.net" in done.stdout.replace(" ", "")  # OpenSSL 3.0 writes CN = ...


def test_no_name(many: tuple[Issuer, Listener]) -> None:
    """A client that asks for none gets the first one."""
    issuer, listener = many
    assert "pop.example.org" == _served(listener, issuer, None)


@pytest.mark.parametrize("kind", ["RSA", "ECDSA"])
@pytest.mark.parametrize("asked", ["mail.example.org", "pop.example.com"])
def test_two_kinds_of_key_for_one_name(many: tuple[Issuer, Listener], kind: str, asked: str) -> None:
    """A client gets the one that it can use, also where a wildcard covers the name."""
    issuer, listener = many
    context = issuer.trusted()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"ECDHE-{kind}-AES256-GCM-SHA384")
    with Client(secure.bare(listener), context, asked) as client:
        assert client.tls.version()


def test_stls_asks_for_a_name_too(many: tuple[Issuer, Listener]) -> None:
    """The choice does not hang on the port."""
    issuer, listener = many
    with Client(secure.asking(listener), issuer.trusted(), "pop.example.net") as client:
        assert client.tls.version()


def _refusal(*options: str) -> str:
    """Return the one line that a listener ends with, which has status 2."""
    need_root()  # or a line says that it is not root
    done = refused("--pop3", "127.0.0.1:0", *options, "pop.example.org", "/bin/true")
    assert (2, 1, "") == (done.returncode, done.stderr.count("\n"), done.stdout)
    return done.stderr.removeprefix("qmail-popup-listener: ").rstrip()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return files of all kinds, by what is wrong with them; making a key takes longer than a test."""
    tmp_path = tmp_path_factory.mktemp("files")
    issuer = Issuer(tmp_path)
    issuer.issue("one", RSA, "localhost")
    issuer.issue("two", RSA, "localhost")
    issuer.issue("three", ECDSA, "localhost")
    (openssl,) = need("openssl")
    encrypted, empty = tmp_path / "encrypted.key", tmp_path / "empty.pem"
    encrypt = ["-topk8", "-in", str(tmp_path / "one.key"), "-passout", "pass:x", "-out", str(encrypted)]
    subprocess.run([openssl, "pkcs8", *encrypt], check=True, capture_output=True)
    empty.touch()
    return {path.name: str(path) for path in tmp_path.iterdir()} | {"missing": str(tmp_path / "missing")}


@pytest.mark.parametrize(
    ("certificate", "key", "line"),
    [
        ("one.pem", "two.key", "the key in {two.key} is not that of the certificate in {one.pem}"),
        ("one.pem", "three.key", "the key in {three.key} is not that of the certificate in {one.pem}"),
        ("one.pem", "encrypted.key", "the key in {encrypted.key} is encrypted"),
        ("one.pem", "one.pem", "cannot use {one.pem} with the key in {one.pem}: no key of a known form"),
        ("one.pem", "missing", "cannot read {missing}: No such file or directory"),
        ("missing", "one.key", "cannot read {missing}: No such file or directory"),
        ("empty.pem", "one.key", "no certificate in {empty.pem}"),
        ("one.key", "one.key", "no certificate in {one.key}"),
    ],
)
def test_what_cannot_be_used(files: dict[str, str], certificate: str, key: str, line: str) -> None:
    """It is one line, which names the file, and status 2; so it is for the second pair."""
    expected = line
    for name, path in files.items():
        expected = expected.replace(f"{{{name}}}", path)
    pair = ["--tls-certificate", files[certificate], "--tls-key", files[key]]
    good = ["--tls-certificate", files["three.pem"], "--tls-key", files["three.key"]]
    assert expected == _refusal(*pair)
    assert expected == _refusal(*good, *pair)


class _Replaced(list[Pair]):
    """A pair whose key is replaced right after it has been checked."""

    def __init__(self, pair: Pair, by: str) -> None:
        super().__init__([pair])
        self._by = by

    def __iter__(self) -> Iterator[Pair]:
        yield from super().__iter__()
        Path(self[0].key).unlink()
        with suppress(FileNotFoundError):
            shutil.copy(self._by, self[0].key)


@pytest.mark.parametrize(
    ("by", "line"),
    [
        ("two.key", "the key in .* is not that of the certificate in "),
        ("encrypted.key", "the key in .* is encrypted"),
        ("missing", "cannot read .*: No such file or directory"),
    ],
)
def test_a_key_that_is_replaced_meanwhile(files: dict[str, str], tmp_path: Path, by: str, line: str) -> None:
    """It is an error like one that was found at once: any other would end a listener that reloads."""
    key = str(tmp_path / "key")
    shutil.copy(files["one.key"], key)
    with pytest.raises(certificates.UnusableError, match=line):
        certificates.load(_Replaced(Pair(files["one.pem"], key), files[by]), "TLSv1.2")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--pop3s", "127.0.0.1:0"], "--pop3s needs a --tls-certificate"),
        (["--tls-key", "x"], "--tls-key must be given as often as --tls-certificate"),
        (
            ["--tls-certificate", "x", "--tls-certificate", "y", "--tls-key", "z"],
            "--tls-key must be given as often as --tls-certificate",
        ),
        (["--tls-minimum", "1.1"], "argument --tls-minimum: neither 1.2 nor 1.3: '1.1'"),
    ],
)
def test_options_that_make_no_sense(options: list[str], line: str) -> None:
    """They are one line and status 2, too."""
    assert line == _refusal(*options)


def test_one_that_has_expired(tmp_path: Path) -> None:
    """One line says so, and it serves: who is in clear is not to pay for it."""
    made = authority.make(tmp_path)
    authority.expire(made)
    pair = ["--tls-certificate", str(made.certificate), "--tls-key", str(made.key)]
    with Listener(tmp_path, "--pop3s", "127.0.0.1:0", *pair) as listener:
        assert 1 == listener.errors().count(f"the certificate in {made.certificate} expired on 20")
        assert b"+OK\r\n+OK \r\n" == listener.talk(LOGIN)
        careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
        assert b"+OK \r\n" == talk(secure.pop3s(listener, careless), LOGIN)


def test_a_file_with_both(tmp_path: Path, certified: Certified) -> None:
    """Without --tls-key the key is in the certificate's file."""
    both = tmp_path / "both.pem"
    files = [value for value in certified.options if value.endswith((".pem", ".key"))][:2]
    both.write_text("".join(Path(file).read_text() for file in files))
    with Listener(tmp_path, "--pop3s", "127.0.0.1:0", "--tls-certificate", str(both)) as listener:
        assert b"+OK \r\n" == talk(secure.pop3s(listener, certified.issuer.trusted()), LOGIN)


def test_pop3s_that_is_handed_in(tmp_path: Path) -> None:
    """Without a certificate it cannot be served, and that is one line and status 2."""
    need_root()
    argv = [
        "/bin/sh",
        "-c",
        'LISTEN_PID=$$ exec "$@"',
        "sh",
        *CHECKOUT_COMMAND,
        "pop.example.org",
        "/bin/true",
    ]
    env = {"PATH": os.environ["PATH"], "LISTEN_FDS": "1", "LISTEN_FDNAMES": "pop3s"}
    with socket.create_server(("127.0.0.1", 0)) as server, (tmp_path / "errors").open("w+") as errors:
        process = descriptors.start(argv, {2: errors.fileno(), 3: server.fileno()}, env=env)
        assert 2 == process.wait(TIMEOUT)
        errors.seek(0)
        expected = "a socket was passed in as pop3s, but there is no --tls-certificate"
        assert f"qmail-popup-listener: {expected}\n" == errors.read()


def test_names_and_times_of_a_certificate(tmp_path: Path) -> None:
    """They are read from the alternative names, or else from the subject, as OpenSSL shows them."""
    issuer = Issuer(tmp_path)
    issuer.issue("many", RSA, "Pop.Example.org", "*.example.org")
    issuer.issue("none", ECDSA)
    many, none = (x509.read(_der(tmp_path / f"{name}.pem")) for name in ("many", "none"))
    assert (["pop.example.org", "*.example.org"], ["nobody"]) == (many.names, none.names)
    (openssl,) = need("openssl")
    argv = [openssl, "x509", "-in", str(tmp_path / "many.pem"), "-noout", "-dates"]
    shown = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert shown == "".join(
        f"{name}={moment:%b} {moment.day:2} {moment:%H:%M:%S %Y} GMT\n"
        for name, moment in (("notBefore", many.begins), ("notAfter", many.ends))
    )


def _der(path: Path) -> bytes:
    text = path.read_text()
    return ssl.PEM_cert_to_DER_cert(text[: text.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)])


def test_what_is_no_certificate(tmp_path: Path) -> None:
    """Whatever is cut off or changed, it is an error of a known kind."""
    Issuer(tmp_path).issue("one", ECDSA, "localhost")
    der = _der(tmp_path / "one.pem")
    for size in range(len(der)):
        with pytest.raises((ValueError, IndexError, KeyError)):
            x509.read(der[:size])
