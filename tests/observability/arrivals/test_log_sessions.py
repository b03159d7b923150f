"""Sessions as a log tells of them: tcpserver's lines, sslserver's, and records alone."""

from observability.arrivals.log_lines import read
from observability.arrivals.log_sessions import SSLSERVER_SECONDS, Login, Session, Sessions


def told(sessions: Sessions, *lines: str, origin: str = "mail pop3") -> list[Login | Session]:
    """Have sessions take lines in, each "SECONDS TEXT"; return what came of them."""
    found: list[Login | Session] = []
    for line in lines:
        seconds, _, text = line.partition(" ")
        parsed = read(text.encode())
        assert parsed, text
        found += sessions.take(parsed._replace(time=float(seconds), origin=origin))
    return found


def record(pid: int = 7, *, verdict: str = "Reject::AUTH::User P:POP3") -> str:
    """Return a record of that pid."""
    return f"qmail-popup: pid {pid} {verdict} S:192.0.2.1:unknown ?~ 'bob'"


def test_a_session_from_begin_to_end() -> None:
    """Begin, record and end have one pid under tcpserver."""
    login, session = told(
        Sessions(),
        "10 tcpserver: pid 7 from 192.0.2.1",
        "10 tcpserver: ok 7 localhost:127.0.0.1:110 :192.0.2.1::40000",
        f"12 {record()}",
        "15 tcpserver: end 7 status 256",
    )
    assert isinstance(login, Login)
    assert isinstance(session, Session)
    assert ("rejected", 10.0) == (login.record.result, login.begun)
    assert (5.0, "POP3") == (session.seconds, session.protocol)
    assert ("rejected", "User", login.record) == (session.result, session.method, session.record)


def test_a_session_without_a_record() -> None:
    """Its protocol is what its port says."""
    sessions = Sessions()
    told(sessions, "10 tcpserver: pid 7 from ::1", "10 tcpserver: ok 7 h:::1:995 :::1::40000")
    assert 1 == sessions.active
    (session,) = told(sessions, "11 tcpserver: end 7 status 0")
    assert isinstance(session, Session)
    assert ("POP3S", "", 1.0, 0) == (session.protocol, session.result, session.seconds, sessions.active)


def test_an_end_without_a_begin() -> None:
    """It is a session, of which nobody knows how long it took."""
    (session,) = told(Sessions(), "11 tcpserver: end 7 status 0")
    assert isinstance(session, Session)
    assert session.seconds is None


def test_a_pid_that_is_used_again() -> None:
    """The end of the first one was not seen: it is a session without a duration."""
    sessions = Sessions()
    (first,) = told(sessions, "10 tcpserver: pid 7 from ::1", "20 tcpserver: pid 7 from ::1")
    assert isinstance(first, Session)
    assert (None, 1) == (first.seconds, sessions.active)
    (second,) = told(sessions, "25 tcpserver: end 7 status 0")
    assert isinstance(second, Session)
    assert 5.0 == second.seconds


def test_no_process_is_left() -> None:
    """`status: 0/N` ends all of that server's, and nobody else's."""
    sessions = Sessions()
    told(
        sessions, "10 tcpserver: pid 7 from ::1", "10 tcpserver: pid 8 from ::1", "10 tcpserver: status: 2/40"
    )
    told(sessions, "10 tcpserver: pid 7 from ::1", origin="other pop3")
    assert 3 == sessions.active
    assert 2 == len(told(sessions, "11 tcpserver: status: 0/40"))
    assert 1 == sessions.active


def test_pids_of_two_hosts() -> None:
    """In a syslog of several hosts a pid belongs to its host and program."""
    sessions = Sessions()
    told(sessions, "10 tcpserver: pid 7 from ::1", origin="one pop3")
    (login,) = told(sessions, f"12 {record()}", origin="two pop3")
    assert isinstance(login, Login)
    assert login.begun is None


def test_sslserver_ends_with_its_record() -> None:
    """Its `end` bears another pid, so that how many are open is not known."""
    sessions = Sessions()
    _login, session = told(
        sessions, "10 sslserver: pid 7 from ::1", f"12 {record()}", "13 sslserver: end 6 status 0"
    )
    assert isinstance(session, Session)
    assert (2.0, None) == (session.seconds, sessions.active)
    assert [] == sessions.opened()


def test_sslserver_without_a_record_is_forgotten() -> None:
    """After a while nobody waits for a record any more."""
    sessions = Sessions()
    told(sessions, "10 sslserver: pid 7 from ::1")
    told(sessions, f"{11 + SSLSERVER_SECONDS} sslserver: pid 8 from ::1")
    assert [8] == [session.pid for session in sessions.opened()]


def test_reasons() -> None:
    """A refusal long after the connection began is no wrong password; before TLS it is what it says."""
    sessions = Sessions()
    found = told(
        sessions,
        "10 tcpserver: pid 7 from ::1",
        f"21 {record()}",
        f"21 {record(8)}",
        f"21 {record(9, verdict='Reject::STLS::Any P:POP3')}",
    )
    reasons = [login.reason(10.0) for login in found if isinstance(login, Login)]
    assert ["session", "credentials", "tls_required"] == reasons


def test_the_next_one_goes_on() -> None:
    """What was open is written down, and known to the sidecar that comes after."""
    sessions = Sessions()
    told(sessions, "10 tcpserver: pid 7 from ::1")
    told(sessions, f"12 {record()}")
    assert "bob" not in str(sessions.opened())
    (session,) = told(Sessions(sessions.opened()), "15 tcpserver: end 7 status 0")
    assert isinstance(session, Session)
    assert 5.0 == session.seconds
