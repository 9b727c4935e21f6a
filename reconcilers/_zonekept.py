"""What paused RecordSets have on a server: it stays there, whatever their specs say by now.

Pure. Where each was last served is noted in the Zone's status (`Source`), as its name and type may
have changed since, and several may have one set: texts of one name, and computed answers.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from drivers.powerdns import RRset
from resources.dns import content

COMPUTED: Final = "LUA"
"""Type that the server keeps answers by weight and place under, of A and AAAA alike."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What one paused RecordSet has there."""

    name: str
    type: str
    texts: frozenset[str] | None
    """Digests of its texts, if that is its type. None: nothing is noted of it, and so all that
    there is under its name and type may be its own."""

    def has(self, rdtype: str, written: str) -> bool:
        """Whether this record under its name is its own."""
        if self.texts is None:
            return rdtype in (self.type, COMPUTED)
        if rdtype == COMPUTED:
            return thing(rdtype, written) == self.type
        return rdtype == self.type and (rdtype != "TXT" or text_digest(written) in self.texts)


def kept_of(found: Iterable[RRset], kept: Iterable[Kept]) -> dict[tuple[str, str], RRset]:
    """By name and type: of what a server has, what is theirs."""
    by_name: dict[str, list[Kept]] = {}
    for each in kept:
        by_name.setdefault(each.name, []).append(each)
    theirs: dict[tuple[str, str], RRset] = {}
    for rrset in found:
        holders = by_name.get(rrset.name, ())
        records = tuple(
            each for each in rrset.records if any(one.has(rrset.type, each) for one in holders)
        )
        if records:
            theirs[(rrset.name, rrset.type)] = replace(rrset, records=records)
    return theirs


def text_digest(written: str) -> str:
    """Tells one text from another, however a release of the server writes it."""
    return hashlib.sha256(str(plain("TXT", written)).encode()).hexdigest()[:12]


def thing(rdtype: str, written: str) -> str:
    """What one record says, of those that several RecordSets may have under one name and type."""
    match rdtype:
        case "TXT":
            return says(written)
        case "LUA":
            return written.partition(" ")[0]
        case _:
            return ""


def says(written: str) -> str:
    """`"v=spf1 -all"` -> `v=spf1`: there is one of its kind. Any other text is itself."""
    text = written.strip('"')
    return text.split(" ", 1)[0].split(";", 1)[0] if text.startswith("v=") else written


def plain(rdtype: str, written: str) -> Any:
    """The same for the same data, however it is written."""
    try:
        return content(rdtype, written, "")
    except (ValueError, KeyError):
        return written
