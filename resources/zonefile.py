"""Zone files (RFC 1035 master files), read into record sets. Pure: nothing is included from disk.

What a zone gives by other fields, or a server makes by itself, is left out and named: the SOA,
signatures and keys, and types that Zones don't have. Names outside the zone are skipped, as name
servers do.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, get_args

from resources.dns import ALIAS_NUMBER, RecordType, clash, content, know_alias

MAX_TEXT: Final = 1 << 20
"""Characters, as much as a ConfigMap holds: some 40,000 records, read in 2 s."""
SMALL: Final = 64 << 10
"""Characters of a file that a spec may hold itself."""
MAX_GENERATED: Final = 4096
"""Records that all `$GENERATE` lines of a file may make: a /20 of reverse names."""
_TYPES: Final[frozenset[str]] = frozenset(get_args(RecordType))
_BY_SERVER: Final = frozenset(
    {"SOA", "RRSIG", "NSEC", "NSEC3", "NSEC3PARAM", "DNSKEY", "CDS", "CDNSKEY"}
)
_GENERATES: Final = re.compile(r"(?:^|[\r\n])[ \t()\"]*(\$GENERATE[^\r\n]*)", re.I)
"""Whatever the reader could take for one."""
_GENERATE: Final = re.compile(r"\$GENERATE[ \t]+(\d{1,9})-(\d{1,9})(?:/(\d{1,9}))?[ \t].*", re.I)
_INCLUDE: Final = re.compile(r"^\$INCLUDE\b", re.MULTILINE | re.I)


@dataclass(frozen=True, slots=True)
class FileSet:
    """All records of one name and type in a file."""

    name: str
    """Absolute, with a dot at its end."""
    type: str
    ttl: int
    contents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ZoneText:
    """What is in a file."""

    sets: tuple[FileSet, ...]
    """Sorted; the zone's own NS not among them."""
    nameservers: tuple[str, ...]
    """The zone's own NS, absolute."""
    left_out: tuple[str, ...]
    """What is not served, each with the reason."""


def read_zone_file(text: str, domain: str, ttl: int) -> ZoneText:
    """Read a file. `ttl` is for records before any `$TTL`, in seconds.

    Raises ValueError that names the line and what is wrong.
    """
    read = _read_small if len(text) <= SMALL else _read_big
    return read(text, domain, ttl)


# A file is asked for in every pass of its Zone. What is read takes ten times the file and more: at
# most 7 MiB for these and 22 MiB for the big one, measured with files of A records.
@lru_cache(maxsize=8)
def _read_small(text: str, domain: str, ttl: int) -> ZoneText:
    return _read(text, domain, ttl)


@lru_cache(maxsize=1)
def _read_big(text: str, domain: str, ttl: int) -> ZoneText:
    return _read(text, domain, ttl)


def _read(text: str, domain: str, ttl: int) -> ZoneText:
    _check_directives(text)
    sets: list[FileSet] = []
    left_out: list[str] = []
    nameservers: tuple[str, ...] = ()
    for name, rdtype, set_ttl, texts in _rdatasets(text, domain, ttl):
        if rdtype in _BY_SERVER:
            continue
        if rdtype not in _TYPES:
            left_out.append(f"{name} {rdtype}: zones have no such type")
            continue
        contents = tuple(sorted(_written(name, rdtype, each, domain) for each in texts))
        if name == f"{domain}." and rdtype == "NS":
            nameservers = contents
        else:
            sets.append(FileSet(name, rdtype, set_ttl, contents))
    served, clashing = _agreeing(sets, domain)
    return ZoneText(served, nameservers, tuple(sorted((*left_out, *clashing))))


def _rdatasets(text: str, domain: str, ttl: int) -> Iterator[tuple[str, str, int, list[str]]]:
    """(name, type, ttl, contents) of each set, as the library reads them."""
    from dns import exception, rdatatype, zone

    know_alias()
    try:
        # one more line, so that line numbers in errors are one too high
        parsed = zone.from_text(
            f"$TTL {ttl}\n{text}",
            origin=f"{domain}.",
            relativize=False,
            check_origin=False,
            allow_include=False,
        )
    except (exception.DNSException, ValueError, KeyError) as exc:
        raise ValueError(_problem(exc)) from exc
    for owner, found in parsed.iterate_rdatasets():
        # the library reads a registered type by its name, and writes it as TYPE65401
        alias = found.rdtype == ALIAS_NUMBER
        rdtype = "ALIAS" if alias else rdatatype.to_text(found.rdtype)
        yield owner.to_text().lower(), rdtype, found.ttl, [each.to_text() for each in found]


def _check_directives(text: str) -> None:
    if len(text) > MAX_TEXT:
        raise ValueError(f"it is {len(text)} characters long; at most {MAX_TEXT} are allowed")
    if _INCLUDE.search(text):
        raise ValueError("$INCLUDE is not allowed: put everything into one file")
    total = 0
    for line in _GENERATES.findall(text):
        found = _GENERATE.fullmatch(line)
        if found is None:  # in parentheses or quotes, its range would not be counted
            raise ValueError("write $GENERATE on one line: '$GENERATE 1-20 host$ A 192.0.2.$'")
        first, last, step = (int(each or 1) for each in found.groups())
        total += max(0, last - first) // max(1, step) + 1
    if total > MAX_GENERATED:
        raise ValueError(f"$GENERATE makes {total} records; at most {MAX_GENERATED} are allowed")


def _written(name: str, rdtype: str, text: str, domain: str) -> str:
    try:
        return content(rdtype, text, domain)
    except ValueError as exc:
        raise ValueError(f"{name} {rdtype}: {exc}") from exc


def _agreeing(sets: list[FileSet], domain: str) -> tuple[tuple[FileSet, ...], tuple[str, ...]]:
    """Sets that can be beside each other, and the others."""
    types: dict[str, set[str]] = {}
    for each in sets:
        types.setdefault(each.name, set()).add(each.type)
    served, left_out = [], []
    for each in sorted(sets, key=lambda found: (found.name, found.type)):
        why = clash(each.type, types[each.name], apex=each.name == f"{domain}.")
        if why is None:
            served.append(each)
        else:
            left_out.append(f"{each.name} {each.type}: {why}")
    return tuple(served), tuple(left_out)


def _problem(exc: Exception) -> str:
    """`<string>:4: expected ...` -> `in or before line 3: expected ...`: the reader is a line ahead
    when it has seen the end of the one that is wrong."""
    words = " ".join(str(exc).split()) or type(exc).__name__
    found = re.search(r"<string>:(\d+):\s*(.*)", words)
    if found is None:
        return words[:300]
    return f"in or before line {max(1, int(found[1]) - 1)}: {found[2][:300]}"
