"""The mail server's image, started as the platform starts it: what it keeps, and how it ends."""

import json
import smtplib
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.containers import Bench, Running, bench, docker, wait_until
from tests.contract.mail.worlds import start_server
from tests.support.keys import rsa_key

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]
PASSWORD = "a long password"
INBOX = "cat /data/mail/*/*/*/mail/new/* 2>/dev/null || true"


@pytest.fixture
def made() -> Iterator[Bench]:
    with bench() as found:
        yield found


def mailctl(server: Running, verb: str, **given: Any) -> Any:
    answer = json.loads(server.exec("mailctl", verb, stdin=json.dumps(given), check=False))
    assert answer["ok"], answer
    return answer["result"]


def furnished(made: Bench, key: str = "") -> Running:
    """A server with a domain and a mailbox."""
    server = start_server(made)
    mailctl(
        server, "ensure-domain",
        name="a.test", owner="o", claim="c", active=True, selector="s1", dkim_key=key or rsa_key(),
    )  # fmt: skip
    mailctl(
        server, "ensure-mailbox",
        address="alice@a.test", owner="o", claim="c", quota_bytes=1 << 30, active=True,
        display_name="", forward=[], keep_copy=True, aliases=[], password=PASSWORD,
    )  # fmt: skip
    return server


@contextmanager
def logged_in(server: Running) -> Iterator[smtplib.SMTP]:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with smtplib.SMTP(server.address, 587, timeout=60) as client:
        client.starttls(context=context)
        client.login("alice@a.test", PASSWORD)
        yield client


def send(server: Running, *, headers: str = "From: alice@a.test") -> str:
    text = f"{headers}\r\nTo: alice@a.test\r\nSubject: hello\r\n\r\nhello\r\n"
    try:
        with logged_in(server) as client:
            client.sendmail("alice@a.test", ["alice@a.test"], text)
    except smtplib.SMTPException as exc:
        return str(exc)
    return "sent"


def used(server: Running) -> int:
    found = mailctl(server, "observe-mailbox", address="alice@a.test", password=PASSWORD)
    return int(found["used_bytes"])


BLANKS = (" " * 900 + "x\r\n") * 22_000

HEADERS = {
    "From alone": ("From: alice@a.test", "sent"),
    "another's From": ("From: boss@a.test", "5.7.1"),
    "space before the colon": ("From : boss@a.test", "5."),
    "a second From": ("From: alice@a.test\r\nFrom : boss@a.test", "5.6.0"),
    "another's Sender": ("From: alice@a.test\r\nSender: boss@a.test", "5.7.1"),
    "two addresses": ("From: alice@a.test, boss@a.test", "5.7.1"),
    "an encoded address": ("From: =?utf-8?q?boss=40a.test?=", "5.6.0"),
    "no From": ("X-Nothing: here", "5.6.0"),
}


def test_nobody_writes_as_somebody_else_however_it_is_written(made: Bench) -> None:
    server = furnished(made)
    for name, (headers, wanted) in HEADERS.items():
        assert wanted in send(server, headers=headers), name


def test_a_message_ends_where_the_protocol_says(made: Bench) -> None:
    """What looks like an end to careless servers smuggles no second message past the guard
    (https://www.postfix.org/smtp-smuggling.html)."""
    server = furnished(made)
    second = "MAIL FROM:<boss@a.test>\r\nRCPT TO:<alice@a.test>\r\nDATA\r\nFrom: boss@a.test"
    for end in ("\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r"):
        raw = f"From: alice@a.test\r\n\r\nhello{end}{second}\r\n\r\nforged\r\n.\r\n"
        with logged_in(server) as client:
            client.mail("alice@a.test")
            client.rcpt("alice@a.test")
            client.docmd("DATA")
            client.send(raw.encode())
            client.getreply()
    told = server.exec("sh", "-c", INBOX)
    assert "Return-Path: <boss@a.test>" not in told


def from_outside(server: Running, recipient: str, text: str) -> str:
    try:
        with smtplib.SMTP(server.address, 25, timeout=60) as client:
            client.sendmail("victim@elsewhere.test", [recipient], text)
    except smtplib.SMTPException as exc:
        return str(exc)
    return "sent"


def test_nobody_is_local_so_that_nothing_is_sent_back_to_who_was_forged(made: Bench) -> None:
    server = furnished(made)
    for name in ("nosuch", "root", "alice", "x%a.test"):
        for host in ("127.0.0.1", server.address):
            told = from_outside(server, f"{name}@[{host}]", "From: a@elsewhere.test\r\n\r\nx\r\n")
            assert "5.1.1" in told or "5.7.1" in told, f"{name}@[{host}]"
    assert "empty" in server.exec("postqueue", "-p")


def test_a_stranger_has_nobody_told_that_mail_arrived(made: Bench) -> None:
    """The report would go to whomever the sender was forged as; who has logged in may ask."""
    server = furnished(made)
    with smtplib.SMTP(server.address, 25, timeout=60) as client:
        client.ehlo()
        assert not client.has_extn("dsn")
        client.mail("victim@elsewhere.test")
        code, told = client.rcpt("alice@a.test", ["NOTIFY=SUCCESS"])
        assert (code, told[:5]) == (501, b"5.7.1")
        client.rset()
        code, told = client.mail("victim@elsewhere.test", ["RET=FULL"])
        assert (code, told[:5]) == (501, b"5.7.1")
    with logged_in(server) as client:
        assert client.has_extn("dsn")
        client.mail("alice@a.test", ["RET=HDRS"])
        assert client.rcpt("alice@a.test", ["NOTIFY=SUCCESS"])[0] == 250
        client.rset()
    assert "empty" in server.exec("postqueue", "-p")


def test_a_list_passes_on_what_we_signed_and_nothing_else(made: Bench) -> None:
    server = furnished(made)
    assert send(server) == "sent"
    wait_until(lambda: "Subject: hello" in server.exec("sh", "-c", INBOX), of=server)
    told = server.exec("sh", "-c", INBOX).replace("\r\n", "\n")
    signed = told[told.index("DKIM-Signature:") :].replace("\n", "\r\n") + "\r\n"
    assert from_outside(server, "alice@a.test", signed) == "sent"
    for forged in (
        signed.replace("\r\n\r\nhello", "\r\n\r\nanother"),
        signed.replace("Subject: hello", "Subject: another"),
        signed.replace("From: alice@", "From: boss@"),
    ):
        assert forged != signed
        assert "5.7.1" in from_outside(server, "alice@a.test", forged)


def test_a_key_written_on_windows_signs(made: Bench) -> None:
    """It is PEM all the same (RFC 7468), and the library that signs doesn't read it so."""
    server = furnished(made, rsa_key().replace("\n", "\r\n"))
    assert send(server) == "sent"
    wait_until(lambda: "Subject: hello" in server.exec("sh", "-c", INBOX), of=server)
    assert "DKIM-Signature:" in server.exec("sh", "-c", INBOX)


NASTY = {
    "a From of quotes": ('From: "' + '\\"' * 45_000 + '" <x@a.test>', "hello"),
    "a From of blanks": ("From: " + " " * 70_000 + "x@a.test", "hello"),
    "short lines": ("From: x@a.test\r\nDKIM-Signature: v=1; d=a.test; s=s1", "ab\r\n" * 5_000_000),
    "long blanks": ("From: x@a.test\r\nDKIM-Signature: v=1; d=a.test; s=s1", BLANKS),
}


def test_a_stranger_keeps_nobody_else_waiting(made: Bench) -> None:
    """Neither by what is slow to read, nor by what takes much memory: it is refused unread."""
    server = furnished(made)
    docker("update", "--memory=512m", "--memory-swap=512m", server.id)
    for name, (headers, body) in NASTY.items():
        told = from_outside(server, "alice@a.test", f"{headers}\r\n\r\n{body}\r\n")
        assert "5.7.1" in told or "5.6.0" in told, f"{name}: {told}"
        assert send(server) == "sent", name
    assert server.running


def test_what_is_slow_to_sign_is_signed(made: Bench) -> None:
    server = furnished(made)
    docker("update", "--memory=512m", "--memory-swap=512m", server.id)
    for name in ("short lines", "long blanks"):
        with logged_in(server) as client:
            text = f"From: alice@a.test\r\nSubject: x\r\n\r\n{NASTY[name][1]}\r\n"
            client.sendmail("alice@a.test", ["alice@a.test"], text)


def test_mail_and_accounts_outlive_the_container(made: Bench) -> None:
    server = furnished(made)
    assert send(server) == "sent"
    wait_until(lambda: used(server) > 0, of=server)
    docker("restart", "--time", "20", server.id)
    wait_until(lambda: server.logs().count("daemon started") == 2, of=server, timeout_s=60)
    assert used(server) > 0
    assert send(server) == "sent"


def test_it_ends_in_order_and_soon(made: Bench) -> None:
    server = furnished(made)
    docker("stop", "--time", "20", server.id)
    assert server.exit_code == 0


@pytest.mark.parametrize("part", ["guard.py", "dovecot", "master"])
def test_when_a_part_dies_the_container_ends_to_be_started_again(made: Bench, part: str) -> None:
    server = start_server(made)
    server.exec("sh", "-c", _kill(part, "KILL"))
    subprocess.run(["docker", "wait", server.id], timeout=60, check=True, capture_output=True)
    assert server.exit_code == 1


def test_mail_is_deferred_while_the_guard_does_not_answer(made: Bench) -> None:
    server = furnished(made)
    server.exec("sh", "-c", _kill("guard.py", "STOP"))
    assert "4.7.1" in send(server) or "4.3.0" in send(server)
    server.exec("sh", "-c", _kill("guard.py", "CONT"))
    assert send(server) == "sent"


def test_what_strangers_speak_to_is_not_root_and_has_no_power(made: Bench) -> None:
    server = furnished(made)
    assert send(server) == "sent"
    told = server.exec("sh", "-c", _WHO)
    found = [
        line for line in told.splitlines() if line.startswith(("smtpd", "python3", "dovecot/a"))
    ]
    assert len(found) >= 3
    for line in found:
        assert "Uid: 0 " not in line, line
        assert "CapEff: 0000000000000000" in line, line


_WHO = (
    "for p in /proc/[0-9]*; do echo \"$(tr '\\0' ' ' <$p/cmdline)"
    "$(grep -h -E '^(Uid|CapEff)' $p/status | tr -s '\\t\\n' ' ')\"; done"
)


def test_secrets_are_in_no_argument(made: Bench) -> None:
    server = furnished(made)
    assert PASSWORD not in server.inspect("{{json .}}")
    assert PASSWORD not in server.logs()


def _kill(part: str, signal: str) -> str:
    return (
        f"for p in /proc/[0-9]*; do if tr '\\0' ' ' <$p/cmdline | grep -q {part!r} && "
        f"[ ${{p#/proc/}} != $$ ]; then kill -{signal} ${{p#/proc/}}; break; fi; done"
    )
