"""The guard: nobody sends as somebody else, and what is sent is signed.

A milter (https://www.postfix.org/MILTER_README.html) behind every SMTP port. Postfix checks the
envelope; people read the header, so that is checked here:

- who has logged in may write as themselves only (From is their address or an alias of theirs), and
  the message is signed with the key of that domain (RFC 6376, relaxed/relaxed);
- who hasn't may not use the name of a domain served here, unless the message still carries that
  domain's own valid signature: a mailing list that passes it on.

If this program is away, Postfix defers mail instead of letting it pass unchecked.
"""

import base64
import re
import subprocess
from functools import lru_cache

import dkim
import dkim.canonicalization
import maildb
import Milter
import senders

SOCKET = "/run/guard/socket"
TIMEOUT_S = 120
MOST_SIGNATURES = 8
"""A message with more is somebody's attempt to keep us busy."""
SIGNED = [
    b"from", b"sender", b"reply-to", b"subject", b"date", b"message-id", b"to", b"cc",
    b"mime-version", b"content-type", b"content-transfer-encoding", b"in-reply-to", b"references",
    b"list-id", b"list-unsubscribe",
]  # fmt: skip
"""RFC 6376, 5.4.1. From is signed twice over, so that no second one can be added."""


def strip_trailing_whitespace(content):
    """As the library's own, which begins anew at each blank of a run: the square of it in time."""
    return re.sub(rb"(?<![\t ])[\t ]+\r\n", b"\r\n", content)


dkim.canonicalization.strip_trailing_whitespace = strip_trailing_whitespace


def holds(verifier, index, domain, published):
    """Whether a signature is that domain's own, and good; without a body that of the header."""
    try:
        fields, names, headers = verifier.verify_headerprep(index) or ({}, (), ())
        if not fields or verifier.domain != domain:
            return False
        if verifier.body is None:
            # a signature that names no hash of the body is held to none
            fields = {tag: value for tag, value in fields.items() if tag != b"bh"}
        return verifier.verify_sig(fields, names, headers[index], published)
    except dkim.DKIMException:
        return False


@lru_cache(maxsize=256)
def public_part(private: str) -> bytes:
    """The TXT record that belongs to a private key."""
    argv = ["openssl", "pkey", "-pubout", "-outform", "DER"]
    done = subprocess.run(  # noqa: S603  # a fixed command; the key is its input
        argv, input=private.encode(), capture_output=True, check=True, timeout=10
    )
    return b"v=DKIM1; k=rsa; p=" + base64.b64encode(done.stdout)


class Guard(Milter.Base):
    """One connection; a message's state begins anew at each MAIL FROM."""

    def __init__(self):
        self.id = Milter.uniqueID()
        self.begin("")

    def begin(self, login):
        """Forget the message before."""
        self.login = login
        self.fields = []
        self.chunks = []
        self.domain = ""
        self.ours = []

    def envfrom(self, address, *params):
        self.begin((self.getsymval("{auth_authen}") or "").lower())
        return Milter.CONTINUE

    @Milter.decode("bytes")
    def header(self, name, value):
        plain = name.encode() if isinstance(name, str) else name
        # `From : x` is a From header, too (RFC 5322, 4.5)
        self.fields.append((plain.strip(), value))
        return Milter.CONTINUE

    def eoh(self):
        """Who writes as whom is known before the body: most mail needs no look at that."""
        with maildb.closing() as database:
            if self.login:
                return self.outgoing(database)
            return self.incoming(database)

    def body(self, chunk):
        self.chunks.append(chunk)
        return Milter.CONTINUE

    def eom(self):
        with maildb.closing() as database:
            if self.login:
                key = senders.key_of(database, self.domain)
                if key is not None:
                    self.sign(self.domain, key)
                return Milter.CONTINUE
            return self.checked(database, b"".join(self.chunks))
        return Milter.CONTINUE

    def outgoing(self, database):
        """Only as oneself."""
        try:
            found = senders.from_addresses(self.values(b"from"))
            sender = self.values(b"sender")
            more = senders.from_addresses(sender) if sender else []
        except ValueError as error:
            return self.refuse("5.6.0", str(error))
        for address in (*found, *more):
            if not senders.may_send(database, self.login, address):
                return self.refuse("5.7.1", f"{self.login} may not send as {address}")
        self.domain = found[0].rpartition("@")[2]
        return Milter.CONTINUE

    def incoming(self, database):
        """Not in our name, unless we signed it. That its header is signed is seen at once, so that
        nobody without such a message has us keep and read a body; that the body is, at the end."""
        try:
            senders.check_length(self.values(b"from"))
        except ValueError as error:
            return self.refuse("5.6.0", str(error))
        claimed = senders.claimed_domains(self.values(b"from"))
        self.ours = sorted(each for each in claimed if senders.is_ours(database, each))
        if not self.ours:
            return Milter.ACCEPT
        return self.checked(database, None)

    def checked(self, database, body):
        """None for a body that isn't here yet."""
        for domain in self.ours:
            if not self.signed_by(database, domain, body):
                return self.refuse("5.7.1", f"log in on port 587 to send as {domain}")
        return Milter.CONTINUE

    def values(self, name):
        return [value for field, value in self.fields if field.lower() == name]

    def refuse(self, code, text):
        self.setreply("550", code, text)
        return Milter.REJECT

    # -- signatures

    def parsed(self, body):
        """For the library, whose own parser takes forty times a body of short lines in memory."""
        lines = [name + b": " + value.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") + b"\r\n"
                 for name, value in self.fields]  # fmt: skip
        read = dkim.DKIM(b"".join(lines) + b"\r\n")
        read.body = body
        return read

    def sign(self, domain, key):
        """Raises on a key that can't sign: Postfix then defers the message."""
        present = {name.lower() for name, _ in self.fields}
        names = [name for name in SIGNED if name in present]
        signature = self.parsed(b"".join(self.chunks)).sign(
            key.selector.encode(), domain.encode(), key.private.encode(),
            canonicalize=(b"relaxed", b"relaxed"), include_headers=[*names, b"from"],
        )  # fmt: skip
        value = signature.partition(b":")[2].strip().replace(b"\r\n", b"\n")
        self.addheader("DKIM-Signature", value.decode(), 0)

    def signed_by(self, database, domain, body):
        """Whether one of its signatures is that domain's own, and holds; of the header alone where
        the body is None."""
        key = senders.key_of(database, domain)
        if key is None:
            return False
        name = f"{key.selector}._domainkey.{domain}.".encode()

        def published(asked, timeout=5):
            return public_part(key.private) if asked == name else None

        signatures = self.values(b"dkim-signature")
        try:
            verifier = self.parsed(body)
        except dkim.DKIMException:
            return False
        count = min(len(signatures), MOST_SIGNATURES)
        return any(holds(verifier, index, domain.encode(), published) for index in range(count))


if __name__ == "__main__":
    Milter.factory = Guard
    Milter.set_flags(Milter.ADDHDRS)
    Milter.runmilter("guard", SOCKET, TIMEOUT_S)
