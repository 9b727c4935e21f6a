"""What a zone shall answer: its own records, its zone file's and its RecordSets', merged by owner.

Pure. Who comes first has a name and type: the Zone's spec, then its file, then RecordSets by age.
TXT is the exception that DNS itself makes: values of several owners stand beside each other, unless
they say the same thing twice (two `v=spf1`). Also here: how a server's zone differs from that.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from ipaddress import ip_network
from typing import Final

import orjson
from pydantic import ValidationError

from controlplane.plan import Dependent
from drivers.powerdns import RRset, ServerState, Soa
from drivers.powerdns_text import server_text
from reconcilers._zonekept import COMPUTED, Kept, kept_of, plain, says, text_digest, thing
from resources.answers import Answers
from resources.dns import MAX_NAME, clash, content, host_name, mailbox_name, too_long, within
from resources.recordset import RecordSetSpec
from resources.zone import Source, Zone
from resources.zonefile import ZoneText

RECORD_SET: Final = "RecordSet"
NO_FILE: Final = ZoneText((), (), ())
REMEMBERED: Final = 1024
"""Bytes of a RecordSet's spec that is remembered parsed; 2048 of the longest take 10 MiB."""
DEFAULT_NAMESERVER: Final = "ns1"
SHOWN: Final = 50
"""So many left out records are told in the status."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A record set that somebody asks for."""

    name: str
    """Absolute."""
    type: str
    ttl: int
    contents: tuple[str, ...]
    """Presentation format; for everybody who is in none of `places`."""
    holder: str
    """Who asks for it, for a person."""
    answers: Answers | None = None
    """How it is computed, if it is."""
    source: str = ""
    """Name of the RecordSet that asks for it, if one does."""
    held: bool = False
    """Its RecordSet is paused: what it has stays (_zonekept.py), and nobody else gets it."""

    @property
    def marks(self) -> frozenset[str]:
        """What nobody else may have: the type, or each thing that a TXT says."""
        if self.type != "TXT":
            return frozenset({self.type})
        return frozenset(f"TXT {says(each)}" for each in self.contents)


@dataclass(frozen=True, slots=True)
class Merged:
    """All that a zone shall answer."""

    soa: Soa
    rrsets: tuple[RRset, ...]
    nameservers: tuple[str, ...]
    sources: tuple[Source, ...] = ()
    left_out: tuple[str, ...] = ()
    places: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """RecordSet -> name and type that it is served under."""
    kept: tuple[Kept, ...] = ()
    """What is left as it is."""


def merged(
    record: Zone,
    file: ZoneText,
    dependents: Iterable[Dependent],
    able: ServerState | None,
    nameservers: tuple[str, ...],
) -> Merged:
    """Put it together. `able` is what the server can do (None: everything); `nameservers` are the
    platform's, for a zone that names none."""
    table = _Table(record.spec.domain, {each.name: each for each in record.status.sources})
    for each in record.spec.record_sets:
        table.add(_entry(record, each, f"Zone '{record.metadata.name}'"))
    for found in file.sets:
        table.add_from_file(
            Entry(found.name, found.type, found.ttl, found.contents, "its zone file")
        )
    # asked in the order of their age, told in that of their names
    asked = [table.add_source(record, each) for each in _in_order(dependents)]
    sources = tuple(sorted(asked, key=lambda each: each.name))
    names = _nameservers(record, file, nameservers)
    rrsets, unable, places = _rendered(table.entries(), able)
    apex = f"{record.spec.domain}."
    return Merged(
        soa=_soa(record, names),
        rrsets=tuple(sorted((RRset(apex, "NS", record.spec.ttl, tuple(sorted(names))), *rrsets))),
        nameservers=names,
        sources=sources,
        left_out=tuple(sorted((*file.left_out, *table.left_out, *unable)))[:SHOWN],
        places=places,
        kept=tuple(table.kept),
    )


def digest_of(answers: Answers) -> str:
    """Which state of a record set is meant: equal for equal fields."""
    fields = answers.model_dump(include=set(Answers.model_fields))
    return hashlib.sha256(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]


def asks_for_more(record: Zone, file: ZoneText, dependents: Iterable[Dependent]) -> bool:
    """Whether anything asked for is beyond what every DNS server does."""
    if any(each.type == "ALIAS" for each in file.sets):
        return True
    bodies = (each.spec for each in dependents if each.kind == RECORD_SET)
    return any(
        each.geo or each.weighted or each.type == "ALIAS" for each in record.spec.record_sets
    ) or any(
        body.get("geo") or body.get("weighted") or body.get("type") == "ALIAS" for body in bodies
    )


# -- merging


@dataclass(slots=True)
class _Table:
    """Entries by name, as they are added."""

    domain: str
    before: Mapping[str, Source]
    """What was told of RecordSets last, by name."""
    names: dict[str, list[Entry]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)

    def entries(self) -> Iterator[Entry]:
        for name in sorted(self.names):
            yield from self.names[name]

    def add(self, entry: Entry) -> None:
        self.names.setdefault(entry.name, []).append(entry)

    def add_from_file(self, entry: Entry) -> None:
        """A set of the file yields to one of the spec without a word; only a clash is told."""
        if any(entry.marks & other.marks for other in self.names.get(entry.name, ())):
            return
        why = self._objection(entry)
        if why is None:
            self.add(entry)
        else:
            self.left_out.append(f"{entry.name} {entry.type}: {why}")

    def add_source(self, record: Zone, dependent: Dependent) -> Source:
        """A RecordSet, whole or not at all."""
        try:
            spec = _spec_of(dependent)
        except ValidationError:
            return Source(name=dependent.name, digest="", served=False, message="it is not valid")
        digest, holder = digest_of(spec), f"RecordSet '{dependent.name}'"
        try:
            entry = replace(_entry(record, spec, holder), source=dependent.name)
        except ValueError as exc:  # a name within this zone is too long
            return Source(name=dependent.name, digest=digest, served=False, message=str(exc))
        if spec.paused:
            return self._hold(entry, digest)
        why = self._objection(entry)
        if why is not None:
            return Source(name=dependent.name, digest=digest, served=False, message=why)
        self.add(entry)
        at, texts = f"{entry.name} {entry.type}", _texts(entry)
        return Source(name=dependent.name, digest=digest, served=True, at=at, texts=texts)

    def _hold(self, entry: Entry, digest: str) -> Source:
        """A paused one, where it was last served: it may ask for another name and type by now."""
        told = Source(name=entry.source, digest=digest, served=False)
        kept = Kept(entry.name, entry.type, None)
        had = self.before.get(entry.source, told)
        if had.at:
            name, _, rdtype = had.at.rpartition(" ")
            kept = Kept(name, rdtype, frozenset(had.texts))
            entry = replace(entry, name=name, type=rdtype)
        if why := self._objection(entry):
            return told.model_copy(update={"message": why})
        self.kept.append(kept)
        self.add(replace(entry, held=True))
        why = "it is paused, and left as it is"
        return told.model_copy(update={"message": why, "at": had.at, "texts": had.texts})

    def _objection(self, entry: Entry) -> str | None:
        """Why it can't be in the zone beside what is there already."""
        if not within(entry.name, self.domain):
            return f"'{entry.name}' is not in the zone '{self.domain}'; change spec.name"
        if too_long(entry.name):
            most = f"a name has at most {MAX_NAME - 1} characters, the zone's domain among them"
            return f"'{entry.name}' is too long: {most}; change spec.name"
        others = self.names.get(entry.name, ())
        for other in others:
            if both := entry.marks & other.marks:
                return (
                    f"{other.holder} already has '{entry.name} {min(both)}'; remove one of the two"
                )
        types = {other.type for other in others}
        why = clash(entry.type, types, apex=entry.name == f"{self.domain}.")
        if why is not None and others:
            return f"{why}, which {others[0].holder} has"
        return why


def _spec_of(dependent: Dependent) -> RecordSetSpec:
    """Raises ValidationError for one that this version can't read."""
    body = orjson.dumps(dependent.spec, option=orjson.OPT_SORT_KEYS)
    if len(body) <= REMEMBERED:
        return _parsed(body)
    return RecordSetSpec.model_validate(dependent.spec)


@lru_cache(maxsize=2048)
def _parsed(body: bytes) -> RecordSetSpec:
    return RecordSetSpec.model_validate(orjson.loads(body))


def _in_order(dependents: Iterable[Dependent]) -> list[Dependent]:
    """RecordSets that are there to stay, the oldest first."""
    found = [each for each in dependents if each.kind == RECORD_SET and not each.deleting]
    return sorted(found, key=lambda each: (each.created, each.uid))


def _entry(record: Zone, answers: Answers, holder: str) -> Entry:
    domain = record.spec.domain
    values = answers.records or tuple(each.record for each in answers.weighted)
    return Entry(
        answers.full_name(domain),
        answers.type,
        record.spec.ttl if answers.ttl is None else answers.ttl,
        tuple(content(answers.type, value, domain) for value in values),
        holder,
        answers if answers.geo or answers.weighted else None,
    )


def _texts(entry: Entry) -> tuple[str, ...]:
    """What tells its texts from others'."""
    return tuple(text_digest(each) for each in entry.contents) if entry.type == "TXT" else ()


def _nameservers(record: Zone, file: ZoneText, platform: tuple[str, ...]) -> tuple[str, ...]:
    domain = record.spec.domain
    own = tuple(host_name(each, domain) for each in record.spec.nameservers)
    given = tuple(host_name(each, domain) for each in platform)
    found = own or file.nameservers or given or (host_name(DEFAULT_NAMESERVER, domain),)
    return tuple(dict.fromkeys(found))


def _soa(record: Zone, nameservers: tuple[str, ...]) -> Soa:
    spec, domain = record.spec.soa, record.spec.domain
    primary = host_name(spec.primary, domain) if spec.primary else nameservers[0]
    return Soa(
        record.spec.ttl,
        primary,
        mailbox_name(spec.email or f"hostmaster@{domain}"),
        spec.refresh,
        spec.retry,
        spec.expire,
        spec.negative_ttl,
    )


# -- rendering


def _rendered(
    entries: Iterable[Entry], able: ServerState | None
) -> tuple[list[RRset], tuple[str, ...], dict[str, tuple[str, str]]]:
    """Record sets as the server takes them, what it can't do, and where RecordSets are."""
    sets: dict[tuple[str, str], RRset] = {}
    unable: list[str] = []
    places: dict[str, tuple[str, str]] = {}
    for entry in entries:
        if entry.held:
            continue
        rdtype, contents, why = _as_served(entry, able)
        if why:
            unable.append(f"{entry.name} {entry.type}: {why}")
        if entry.source:
            places[entry.source] = (entry.name, rdtype)
        if not contents:
            continue
        written = tuple(server_text(rdtype, each) for each in contents)
        found = sets.get((entry.name, rdtype))
        ttl = entry.ttl if found is None else min(found.ttl, entry.ttl)
        before = () if found is None else found.records
        records = tuple(sorted({*before, *written}))
        sets[(entry.name, rdtype)] = RRset(entry.name, rdtype, ttl, records)
    return list(sets.values()), tuple(unable), places


def _as_served(entry: Entry, able: ServerState | None) -> tuple[str, tuple[str, ...], str]:
    """(type, contents, what of it the server can't do)."""
    if entry.type == "ALIAS" and able is not None and not able.alias:
        return "ALIAS", (), "the server doesn't resolve ALIAS records (expand-alias)"
    if entry.answers is None:
        return entry.type, entry.contents, ""
    if able is not None and not able.computed:
        why = "the server computes no answers (enable-lua-records); everybody gets the same"
        return entry.type, entry.contents, why
    countries = able is None or able.countries
    code = _code(entry, entry.answers, countries=countries)
    why = "" if countries or not _needs_countries(entry.answers) else NO_COUNTRIES
    return COMPUTED, (f'{entry.type} "{code}"',), why


NO_COUNTRIES: Final = (
    "the server has no database of countries; only networks are told apart, everybody else gets "
    "spec.records"
)


def _needs_countries(answers: Answers) -> bool:
    return any(place.countries or place.continents for place in answers.geo)


def _code(entry: Entry, answers: Answers, *, countries: bool) -> str:
    """Lua from checked values alone: addresses, networks and two-letter codes need no escaping.
    https://doc.powerdns.com/authoritative/lua-records/functions.html"""
    if answers.weighted:
        pairs = ",".join(
            f"{{{each.weight},'{address}'}}"
            for each, address in zip(answers.weighted, entry.contents, strict=True)
        )
        return f"pickwrandom({{{pairs}}})"
    clauses = []
    for place in answers.geo:
        # the server reads a network by the length of its prefix alone
        tests = [("netmask", tuple(str(ip_network(each)) for each in place.networks))]
        if countries:
            tests += [("country", place.countries), ("continent", place.continents)]
        asked = " or ".join(f"{name}({_list(values)})" for name, values in tests if values)
        if asked:
            found = tuple(content(entry.type, each, "") for each in place.records)
            clauses.append(f"if {asked} then return {_list(found)} ")
    if not clauses:
        return f";return {_list(entry.contents)}"
    return f";{'else'.join(clauses)}else return {_list(entry.contents)} end"


def _list(values: Iterable[str]) -> str:
    return "{" + ",".join(f"'{each}'" for each in values) + "}"


# -- comparing


def changes(found: Iterable[RRset], wanted: Merged) -> tuple[RRset, ...]:
    """What makes a server's records those wanted: sets to write, and to remove (no records)."""
    there = {(each.name, each.type): each for each in found}
    here: dict[tuple[str, str], RRset] = {(each.name, each.type): each for each in wanted.rrsets}
    kept = kept_of(there.values(), wanted.kept)
    for key, each in kept.items():
        if key in here:
            here[key] = _beside(each, here[key])
        elif each != there[key]:
            here[key] = replace(each, disabled=False)
    write = [each for key, each in here.items() if not _same(there.get(key), each)]
    remove = [RRset(*key) for key in there if key not in here and key not in kept]
    return tuple(sorted((*remove, *write)))


def _beside(found: RRset, wanted: RRset) -> RRset:
    """`wanted`, and what is there of paused RecordSets: all that says something else."""
    said = {thing(wanted.type, each) for each in wanted.records}
    kept = {each for each in found.records if thing(found.type, each) not in said}
    if not kept:
        return wanted
    records = tuple(sorted({*wanted.records, *kept}))
    return replace(wanted, ttl=min(found.ttl, wanted.ttl), records=records)


def _same(found: RRset | None, wanted: RRset) -> bool:
    if found is None or found.disabled or found.ttl != wanted.ttl:
        return False
    if found.records == wanted.records:
        return True
    # Another release may write the same data differently.
    return {plain(found.type, each) for each in found.records} == {
        plain(wanted.type, each) for each in wanted.records
    }
