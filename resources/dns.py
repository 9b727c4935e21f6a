"""DNS names and record data as a user may write them, and their one canonical form. No I/O.

Friendlier than a zone file, and as exact: a name with a dot in it is absolute whether or not it
ends with one, a single label or `@` is within the zone, and a TXT value is the text itself.
dnspython checks and normalises the data; it is imported where it is used, as few processes need it.
"""

import re
import threading
from functools import lru_cache
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator

from resources.text import Matches

RecordType = Literal[
    "A",
    "AAAA",
    "ALIAS",
    "CAA",
    "CNAME",
    "DS",
    "HTTPS",
    "LOC",
    "MX",
    "NAPTR",
    "NS",
    "OPENPGPKEY",
    "PTR",
    "SMIMEA",
    "SRV",
    "SSHFP",
    "SVCB",
    "TLSA",
    "TXT",
    "URI",
]
ALIAS_NUMBER: Final = 65401
"""PowerDNS' own type: https://doc.powerdns.com/authoritative/guides/alias.html"""
_TXT_CHUNK: Final = 255
"""Bytes in one string of a TXT record (RFC 1035, 3.3.14)."""
MAX_NAME: Final = 254
"""Characters of an absolute name, with the dot at its end."""
MAX_VALUE: Final = 8192
"""Characters of one value: twice the largest DKIM key there is in practice."""

SLOW_BYTES: Final = 2 * 1024
"""KindInfo.slow_bytes of what holds values: so much of a zone file takes 7 ms."""
REMEMBERED: Final = 512
"""Values up to this length are remembered, 8192 of them: each pass asks for all of a zone again.
The longest take 8 MiB (measured)."""

_LABEL: Final = "[a-z0-9_](?:[-a-z0-9_]{0,61}[a-z0-9_])?"

_FOR_ALL: Final = frozenset({"home.arpa"})
"""Public suffixes that nobody registers names under: home networks' own (RFC 8375)."""


@lru_cache(maxsize=1)
def _suffixes() -> Any:
    # Imported where it is used: 3 MiB and a tenth of a second, once a process that sees a Zone or
    # an App.
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList(only_icann=True)


def load_suffixes() -> None:
    """What judging the first domain loads: 0.08 s of CPU, which is better spent on a thread."""
    _suffixes()


def load() -> None:
    """As well what judging the first value loads: 0.12 s with both."""
    load_suffixes()
    _checked("HTTPS", "1 .")  # 30 ms more than any other type


def registrable(domain: str) -> str:
    """Who had `co.uk` would have every name below it (https://publicsuffix.org)."""
    if domain not in _FOR_ALL and _suffixes().privatesuffix(domain) is None:
        raise ValueError(
            f"{domain!r} is a public suffix, under which others register names; write the domain "
            f"that is yours, such as 'shop.{domain}'"
        )
    return domain


DomainName = Annotated[
    str,
    Matches(
        rf"(?:{_LABEL}[.])+{_LABEL}",
        "a domain: use lower case letters, digits and '-' in at least two labels, without a dot at "
        "the end, such as 'shop.example.org' (an international name in its 'xn--' form)",
    ),
    AfterValidator(registrable),
]
"""A zone's name. A single label would be a top-level domain."""

_PLAIN: Final = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"

HostName = Annotated[
    str,
    Matches(
        rf"(?:{_PLAIN}[.])*{_PLAIN}[.]?",
        "a host name: use lower case letters, digits, '-' and '.', such as 'ns1.example.org'",
        254,
    ),
]
"""A server's name; a single label is within the zone."""

RecordName = Annotated[
    str,
    Matches(
        rf"@|(?:[*]|{_LABEL})(?:[.]{_LABEL})*[.]?",
        "a name within the zone: use lower case letters, digits, '-', '_' and '.', '@' for the "
        "zone itself or '*' as its first label for every other name, such as 'www' or '*.apps'",
        254,
    ),
]
"""Whose records they are."""

RULES: Final[dict[str, str]] = {
    "A": "an IPv4 address, such as '192.0.2.10'",
    "AAAA": "an IPv6 address, such as '2001:db8::10'",
    "ALIAS": "a host name, such as 'shop.apps.example.org'",
    "CAA": "'<flags> <tag> \"<value>\"', such as '0 issue \"letsencrypt.org\"'",
    "CNAME": "a host name, such as 'shop.apps.example.org'",
    "DS": "'<key tag> <algorithm> <digest type> <digest in hex>', such as '60485 13 2 2bb1...'",
    "HTTPS": "'<priority> <target> <parameters>', such as '1 . alpn=h2,h3'",
    "LOC": "a place, such as '52 22 23.000 N 4 53 32.000 E -2.00m 1m 10000m 10m'",
    "MX": "'<preference> <host>', such as '10 mail.example.org'",
    "NAPTR": '\'<order> <preference> "<flags>" "<service>" "<regexp>" <replacement>\'',
    "NS": "a host name, such as 'ns1.example.org'",
    "OPENPGPKEY": "a key in base64",
    "PTR": "a host name, such as 'mail.example.org'",
    "SMIMEA": "'<usage> <selector> <matching> <data in hex>', such as '3 1 1 0b9f...'",
    "SRV": "'<priority> <weight> <port> <host>', such as '10 60 5060 sip.example.org'",
    "SSHFP": "'<algorithm> <hash type> <fingerprint in hex>', such as '4 2 1234...'",
    "SVCB": "'<priority> <target> <parameters>', such as '1 dns.example.org alpn=dot port=853'",
    "TLSA": "'<usage> <selector> <matching> <data in hex>', such as '3 1 1 0b9f...'",
    "TXT": "text; write it as it is, without quotes",
    "URI": "'<priority> <weight> \"<target>\"', such as '10 1 \"https://example.org/\"'",
}
"""What a value of each type is: completes "'x' is not ..."."""

_HOST_AT: Final[dict[str, int]] = {
    "ALIAS": 0,
    "CNAME": 0,
    "HTTPS": 1,
    "MX": 1,
    "NAPTR": 5,
    "NS": 0,
    "PTR": 0,
    "SRV": 3,
    "SVCB": 1,
}
"""Where among its words a type has a host name."""
_SERVERS: Final = ("MX", "NS", "SRV")
"""Types whose host is one that addresses are looked up of (RFC 1123, 2.1)."""
_QUOTED: Final = r'"(?:[^"\\]|\\.?)*+(?:"|\Z)'
"""To the end, where the other quote is missing: looked for from each quote on, that took 0.5 s for
one of the longest values, in which Python runs nothing else."""
_WORD: Final = re.compile(rf'{_QUOTED}|[^\s"]++(?:{_QUOTED}[^\s"]*+)*+')


def full_name(name: str, domain: str) -> str:
    """The absolute form, with its dot, of a record's name in a zone."""
    if name == "@":
        return f"{domain}."
    if name.endswith("."):
        return name
    if name == domain or name.endswith(f".{domain}"):
        return f"{name}."
    return f"{name}.{domain}."


def too_long(name: str) -> bool:
    """Whether an absolute name is longer than DNS' 255 bytes (RFC 1035, 2.3.4), of which the dots
    are all but one."""
    return len(name) > MAX_NAME


def within(name: str, domain: str) -> bool:
    """Whether an absolute name is in the zone."""
    return name == f"{domain}." or name.endswith(f".{domain}.")


def host_name(host: str, domain: str) -> str:
    """The absolute form of a name in a record's data: what has a dot is absolute already."""
    if host == "@":
        return f"{domain}."
    if host.endswith("."):
        return host
    return f"{host}." if "." in host else f"{host}.{domain}."


def mailbox_name(address: str) -> str:
    """`dns.admin@example.org` as the name that an SOA has for it (RFC 1035, 8)."""
    local, _, domain = address.rpartition("@")
    return local.replace(".", "\\.") + f".{domain}."


def content(rdtype: str, value: str, domain: str) -> str:
    """Presentation format of one value: names absolute, what can be is in lower case.

    Raises ValueError that names the value and how to write it.
    """
    if len(value) <= REMEMBERED:
        return _remembered(rdtype, value, domain)
    return _content(rdtype, value, domain)


@lru_cache(maxsize=8192)
def _remembered(rdtype: str, value: str, domain: str) -> str:
    return _content(rdtype, value, domain)


def _content(rdtype: str, value: str, domain: str) -> str:
    if len(value) > MAX_VALUE:
        raise ValueError(f"{value[:32]!r}... is {len(value)} characters long; at most {MAX_VALUE}")
    try:
        written = _txt(value) if rdtype == "TXT" else _absolute(rdtype, value, domain)
        return _checked(rdtype, written)
    except ValueError as exc:
        detail = f" ({exc})" if str(exc) else ""
        raise ValueError(f"{_short(value)} is not {RULES[rdtype]}{detail}") from exc


def _short(value: str) -> str:
    return repr(value) if len(value) <= 80 else f"{value[:77]!r}..."


def _checked(rdtype: str, written: str) -> str:
    """As dnspython writes it. Raises ValueError with the reason, where it gives one."""
    from dns import exception, rdata

    know_alias()
    try:
        return rdata.from_text("IN", rdtype, written).to_text()
    except exception.SyntaxError as exc:
        raise ValueError(_reason(exc)) from exc
    except exception.DNSException as exc:
        raise ValueError("") from exc


def _reason(exc: Exception) -> str:
    """The library's words, if they help a person; it knows no reason better than our rule."""
    words = str(exc)
    return words if words and "malformed" not in words and len(words) < 80 else ""


def _absolute(rdtype: str, value: str, domain: str) -> str:
    """Its host name absolute and in lower case, a hash or address in lower case."""
    if any(ord(sign) < 32 or ord(sign) > 126 for sign in value):
        raise ValueError("use ASCII letters only")
    at = _HOST_AT.get(rdtype)
    if at is None:
        return value.lower() if rdtype in ("A", "AAAA") else value
    words = _WORD.findall(value)
    if len(words) <= at:
        raise ValueError("a word is missing")
    if rdtype not in ("HTTPS", "SVCB") and len(words) > at + 1:
        raise ValueError("there are too many words")
    word = _host(words[at].lower())
    if rdtype in _SERVERS and ("_" in word or "*" in word or (rdtype == "NS" and word == ".")):
        raise ValueError(f"{_short(word)} is not a server's name: use letters, digits and '-'")
    words[at] = host_name(word, domain)
    return " ".join(words)


_IS_HOST: Final = re.compile(rf"@|[.]|(?:[*][.])?(?:{_LABEL}[.])*{_LABEL}[.]?")


def _host(word: str) -> str:
    if _IS_HOST.fullmatch(word) is None or len(word) > 254:
        raise ValueError(f"{_short(word)} is not a host name")
    return word


def _txt(value: str) -> str:
    """Quoted and cut in strings of 255 bytes. A value that is quoted already is taken as such."""
    if value.startswith('"') and value.endswith('"') and len(value) > 1:
        return value
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
        raise ValueError("take out the line breaks and control characters")
    data = value.encode()
    chunks = [data[at : at + _TXT_CHUNK] for at in range(0, len(data), _TXT_CHUNK)] or [b""]
    return " ".join(f'"{_escaped(chunk)}"' for chunk in chunks)


def _escaped(chunk: bytes) -> str:
    return "".join(
        f"\\{chr(byte)}" if byte in b'"\\' else chr(byte) if 32 <= byte < 127 else f"\\{byte:03d}"
        for byte in chunk
    )


_learning: Final = threading.Lock()
"""Values are judged on several threads, and dnspython refuses to be taught a type twice."""


@lru_cache(maxsize=1)
def know_alias() -> None:
    """Teach dnspython PowerDNS' ALIAS: it is written as a CNAME is."""
    with _learning:
        _learn_alias()


def _learn_alias() -> None:
    from dns import rdata, rdataclass, rdatatype
    from dns.rdtypes import nsbase
    from dns.rdtypes.ANY import CNAME

    class Alias(nsbase.NSBase):
        """A name, looked up by the server."""

    number = rdatatype.RdataType.make(ALIAS_NUMBER)
    known: Any = rdata.get_rdata_class
    if known(rdataclass.IN, number) is not rdata.GenericRdata:
        return
    module: Any = type("alias", (), {"ALIAS": Alias, "__name__": CNAME.__name__})
    rdata.register_type(module, ALIAS_NUMBER, "ALIAS")


_BESIDE_ALIAS: Final = ("A", "AAAA", "CNAME")


def clash(rdtype: str, others: frozenset[str] | set[str], *, apex: bool) -> str | None:
    """Why a set of this type can't be beside sets of `others` at one name, for a person."""
    if apex and rdtype == "CNAME":
        return "a CNAME can't be at the zone's own name; write an ALIAS"
    if apex and rdtype == "NS":
        return "the zone's own nameservers are spec.nameservers"
    if apex and rdtype == "DS":
        return "a DS belongs into the zone above"
    rest = sorted(others - {rdtype})
    if rdtype == "CNAME" and rest:
        return f"a CNAME can't be beside other records ({', '.join(rest)})"
    if "CNAME" in rest:
        return f"{rdtype} can't be beside a CNAME"
    if rdtype == "ALIAS" and (beside := [each for each in rest if each in _BESIDE_ALIAS]):
        return f"an ALIAS can't be beside {', '.join(beside)}"
    if "ALIAS" in rest and rdtype in _BESIDE_ALIAS:
        return f"{rdtype} can't be beside an ALIAS"
    return None
