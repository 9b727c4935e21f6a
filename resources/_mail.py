"""How mail domains, local parts and addresses are written; shared by the mail kinds. No I/O."""

from typing import Annotated, Final

from pydantic import AfterValidator

from resources.columns import Column, ready
from resources.meta import NameClaim
from resources.quantity import Bytes, format_bytes
from resources.text import Matches

MIB: Final = 2**20
LOCAL_PART_LENGTH: Final = 64
_LABEL: Final = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_DOMAIN: Final = rf"({_LABEL}[.])+[a-z]([-a-z0-9]{{0,61}}[a-z0-9])?"

MailDomainName = Annotated[
    str,
    Matches(
        _DOMAIN,
        "a mail domain: write it in lower case, with a dot in it and none at its end, such as "
        "'example.org'; one with other letters in its xn-- form",
    ),
]
"""RFC 5321 domain, as in DNS."""

LocalPart = Annotated[
    str,
    Matches(
        "[a-z0-9][a-z0-9_-]*([.][a-z0-9_-]+)*",
        "the part of an address before the @: use lower case letters, digits, '.', '_' and '-', "
        "starting with a letter or digit, such as 'jane.doe' ('+' is added by senders)",
        LOCAL_PART_LENGTH,
    ),
]
"""RFC 5321 local part without quoting; `+` is the delimiter of extensions, so no name has it."""

MailAddress = Annotated[
    str,
    Matches(
        rf"[a-z0-9_][a-z0-9_+-]*([.][a-z0-9_+-]+)*@{_DOMAIN}",
        "a mail address: write it in lower case, such as 'jane@example.org'",
        254,
    ),
]
"""Where mail is sent on to."""


def _quota(value: int) -> int:
    if value < MIB or value % MIB:
        raise ValueError(
            f"{format_bytes(value)} is no quota; write whole MiB, at least '1Mi', such as '2Gi'"
        )
    return value


def check_local_part(name: str) -> None:
    """Refuse a record's name that is to be a local part and can't be: RFC 5321 4.5.3.1.1."""
    if len(name) > LOCAL_PART_LENGTH:
        raise ValueError(
            f"metadata.name is longer than {LOCAL_PART_LENGTH} characters; set spec.localPart"
        )


def address_claim(local_part: str, domain_ref: str, namespace: str) -> NameClaim:
    """One address. A MailDomain is of one namespace, so its name stands for the domain."""
    return NameClaim(scope="mailaddress", name=f"{local_part}@{domain_ref} in {namespace}")


QuotaBytes = Annotated[Bytes, AfterValidator(_quota)]
"""Whole MiB: Mailcow knows nothing finer."""

READY: Final = ready("Whether it works")
SERVICE: Final = Column(
    "Service", ".spec.service", priority=1, description="Platform service that serves it"
)
