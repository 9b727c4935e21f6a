"""Who may send as which address, and with which key a domain signs. Read-only questions."""

import re
import sqlite3
from dataclasses import dataclass
from email import errors
from email.headerregistry import AddressHeader, HeaderRegistry
from typing import Any

MOST_FROM = 8192
"""Bytes of a From or Sender that are read: 200 addresses. The parser takes the square of them in
time, of the longest that Postfix lets in a minute and a half."""
_registry = HeaderRegistry()
_DOMAIN = re.compile(r"@\s*([a-z0-9.-]+)")
# A display name with letters that ought to be encoded changes nothing about the address.
_HARMLESS = (errors.NonPrintableDefect, errors.ObsoleteHeaderDefect, errors.UndecodableBytesDefect)


@dataclass(frozen=True)
class Key:
    """What a domain signs with."""

    selector: str
    private: str


def from_addresses(values: list[bytes]) -> list[str]:
    """The addresses of a message's From, in lower case. Raises ValueError unless there is exactly
    one From header that every reader understands the same way (RFC 5322, 3.6.2)."""
    if len(values) != 1:
        raise ValueError("a message has exactly one From header")
    check_length(values)
    header: Any = _registry("from", " ".join(values[0].decode("utf-8", "replace").split()))
    if not isinstance(header, AddressHeader) or not header.addresses:
        raise ValueError("its From header can't be read")
    if any(not isinstance(each, _HARMLESS) for each in header.defects):
        raise ValueError("its From header can't be read")
    found = [address.addr_spec.lower() for address in header.addresses]
    if any("@" not in address or not address.isascii() for address in found):
        raise ValueError("its From header can't be read")
    return found


def check_length(values: list[bytes]) -> None:
    """Raises ValueError for a From too long to be read, of which Postfix may even have told only
    the beginning."""
    if any(len(each) > MOST_FROM for each in values):
        raise ValueError(f"its From header is longer than {MOST_FROM} bytes")


def claimed_domains(values: list[bytes]) -> set[str]:
    """Every domain in whose name a message from outside may be read: those of its From, and where
    that can't be read, any that looks like one."""
    try:
        return {address.rpartition("@")[2] for address in from_addresses(values)}
    except ValueError:
        text = b" ".join(values).decode("utf-8", "replace").lower()
        return {found.rstrip(".") for found in _DOMAIN.findall(text)}


def may_send(database: sqlite3.Connection, login: str, address: str) -> bool:
    """The same question that Postfix asks for the envelope (map `senders`)."""
    local, _, domain = address.rpartition("@")
    plain = f"{local.partition('+')[0]}@{domain}"
    for candidate in dict.fromkeys((address, plain, f"@{domain}")):
        rows = database.execute(
            "SELECT m.address FROM mailbox m JOIN domain d ON d.name=m.domain AND d.active=1 "
            "WHERE m.address=:a AND m.active=1 "
            "UNION SELECT m.address FROM alias a JOIN domain d ON d.name=a.domain AND d.active=1 "
            "JOIN mailbox m ON m.claim=a.claim AND m.active=1 "
            "AND instr(','||a.targets||',', ','||m.address||',')>0 "
            "WHERE a.address=:a AND a.active=1 "
            # one that is there, but switched off or leading elsewhere, is no catch-all's
            "UNION SELECT '-' FROM mailbox WHERE address=:a "
            "UNION SELECT '-' FROM alias WHERE address=:a",
            {"a": candidate},
        ).fetchall()
        if rows:
            return any(row[0] == login for row in rows)
    return False


def is_ours(database: sqlite3.Connection, domain: str) -> bool:
    """Whether mail of this domain is served here."""
    found = database.execute("SELECT 1 FROM domain WHERE name=?", (domain,)).fetchone()
    return found is not None


def key_of(database: sqlite3.Connection, domain: str) -> Key | None:
    """The key that a domain signs with; None: it doesn't."""
    row = database.execute(
        "SELECT selector, dkim_key FROM domain WHERE name=? AND active=1 AND dkim_key<>''",
        (domain,),
    ).fetchone()
    return Key(row["selector"], row["dkim_key"]) if row else None
