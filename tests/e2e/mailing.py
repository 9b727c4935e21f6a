"""Mail as people send and read it, and a check of DKIM signatures that shares nothing with ours."""

import base64
import hashlib
import imaplib
import re
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key


@dataclass(frozen=True)
class Login:
    """Where, and as whom."""

    host: str
    user: str
    password: str

    def send(
        self, to: str, subject: str, *, sender: str = "", header: str = "", size: int = 0
    ) -> str:
        """Submit on port 587; "sent", or what the server says."""
        message = EmailMessage()
        message["From"] = header or sender or self.user
        message["To"] = to
        message["Subject"] = subject
        message.set_content("Hello,  there.\n\n.dots and \ttabs \n" + "x" * 70 * (size // 70))
        try:
            with smtplib.SMTP(self.host, 587, timeout=20) as server:
                server.starttls(context=_trusting())
                server.login(self.user, self.password)
                server.sendmail(sender or self.user, [to], message.as_bytes())
        except smtplib.SMTPRecipientsRefused as exc:
            return str(next(iter(exc.recipients.values())))
        except smtplib.SMTPException as exc:
            return str(exc)
        return "sent"

    @contextmanager
    def inbox(self) -> Iterator[imaplib.IMAP4]:
        with imaplib.IMAP4_SSL(self.host, 993, ssl_context=_trusting(), timeout=20) as server:
            server.login(self.user, self.password)
            server.select("INBOX")
            yield server

    def subjects(self) -> list[str]:
        """Of all that is in the inbox, oldest first."""
        return [_subject(raw) for raw in self.messages()]

    def messages(self) -> list[bytes]:
        found = []
        with self.inbox() as server:
            _, numbers = server.search(None, "ALL")
            for number in numbers[0].split():
                _, parts = server.fetch(number, "(RFC822)")
                part = parts[0]
                assert isinstance(part, tuple)
                found.append(part[1])
        return found

    def opens(self) -> bool:
        try:
            with self.inbox():
                return True
        except imaplib.IMAP4.error:
            return False


def _trusting() -> ssl.SSLContext:
    """The server's certificate is its own."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _subject(raw: bytes) -> str:
    found = re.search(rb"^Subject: (.*?)\r$", raw, re.MULTILINE)
    return found[1].decode() if found else ""


# --- DKIM: RFC 6376, relaxed/relaxed, rsa-sha256 ---


def signature_of(raw: bytes) -> dict[str, str]:
    """The tags of a message's first DKIM signature."""
    for name, value in _fields(raw):
        if name.lower() == b"dkim-signature":
            tags = (tag.partition("=") for tag in value.decode().split(";") if "=" in tag)
            return {key.strip(): re.sub(r"\s", "", text) for key, _, text in tags}
    return {}


def verifies(raw: bytes, published: str) -> bool:
    """Whether the first signature of a message holds, by the TXT record of its key."""
    tags = signature_of(raw)
    assert (tags["a"], tags["c"]) == ("rsa-sha256", "relaxed/relaxed")
    body = _relaxed_body(raw.partition(b"\r\n\r\n")[2])
    if base64.b64encode(hashlib.sha256(body).digest()).decode() != tags["bh"]:
        return False
    key = load_der_public_key(base64.b64decode(published.rpartition("p=")[2]))
    assert isinstance(key, RSAPublicKey)
    try:
        key.verify(base64.b64decode(tags["b"]), _signed(raw, tags), PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True


def _fields(raw: bytes) -> list[tuple[bytes, bytes]]:
    head = raw.partition(b"\r\n\r\n")[0] + b"\r\n"
    found = re.findall(rb"^([!-9;-~]+)[ \t]*:(.*?\r\n)(?![ \t])", head, re.MULTILINE | re.DOTALL)
    return [(name, value) for name, value in found]


def _relaxed(name: bytes, value: bytes) -> bytes:
    return name.lower() + b":" + re.sub(rb"[ \t\r\n]+", b" ", value).strip()


def _relaxed_body(body: bytes) -> bytes:
    lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


def _signed(raw: bytes, tags: dict[str, str]) -> bytes:
    """The headers that were signed, from the bottom up, and the signature itself without `b`."""
    left = _fields(raw)
    found = b""
    for wanted in tags["h"].split(":"):
        for at in reversed(range(len(left))):
            if left[at][0].lower() == wanted.lower().encode():
                found += _relaxed(*left.pop(at)) + b"\r\n"
                break
    own = next(value for name, value in _fields(raw) if name.lower() == b"dkim-signature")
    bare = re.sub(rb"(^|;)(\s*b=)[^;]*", rb"\1\2", own)
    return found + _relaxed(b"dkim-signature", bare)
