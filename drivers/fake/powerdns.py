"""PowerDNS servers that exist only in dicts, with the refusals of the real one."""

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

from dns import exception, rdata

from controlplane.errors import (
    ConflictError,
    ControlPlaneError,
    DriverUnavailableError,
    RetryableError,
    TerminalError,
)
from drivers.fake.engine import CrashError
from drivers.powerdns import (
    DRIVER,
    SERIAL_RULE,
    DnsServer,
    RRset,
    ServerState,
    SigningKey,
    Soa,
    ZoneHead,
    ZoneState,
)
from drivers.powerdns_text import server_text

FIRST_SERIAL: Final = 2026010101
_OWN_TYPES: Final = ("ALIAS", "LUA")
_ALONE: Final = ("CNAME",)
_ANGLE: Final = r"\d+ \d+ \d+\.\d{3}"
_LOC: Final = re.compile(rf"{_ANGLE} [NS] {_ANGLE} [EW] -?\d+\.\d\dm( \d+\.\d\dm){{3}}")


@dataclass(slots=True)
class FakeDnsServer:
    """One server: its zones, and what keeps it from serving."""

    api_key: str = "key"
    answers_at: str = ""
    """`ip:port` where it answers DNS."""
    state: ServerState = field(default_factory=lambda: ServerState("4.7.3", True, True, True))
    zones: dict[str, ZoneState] = field(default_factory=dict)
    away: bool = False
    garbage: bool = False
    """Something else answers at its address."""
    mute: bool = False
    """The API works, DNS does not answer."""
    keys_made: int = 0

    def lookup(self, name: str, rdtype: str) -> tuple[str, ...]:
        """What it answers for an exact name."""
        for zone in self.zones.values():
            for rrset in zone.rrsets:
                if (rrset.name, rrset.type) == (name, rdtype):
                    return rrset.records
        return ()

    # -- what outsiders do, straight on the server

    def put(self, zone: str, rrset: RRset) -> None:
        """Add or change a record set; without records: remove it."""
        found = self.zones[zone]
        self.zones[zone] = replace(
            found, rrsets=_merged(found.rrsets, (rrset,)), serial=found.serial + 1
        )

    def edit(self, zone: str, **changes: object) -> None:
        """Change anything of a zone."""
        self.zones[zone] = replace(self.zones[zone], **changes)  # type: ignore[arg-type]  # any field


class FakePowerDns:
    """`servers` maps an API's URL to what answers there; `writes` counts changes by verb."""

    def __init__(
        self,
        servers: dict[str, FakeDnsServer] | None = None,
        *,
        anywhere: FakeDnsServer | None = None,
    ) -> None:
        """`anywhere` answers at every address, and takes every key: a server whose container
        comes and goes while its data stays."""
        self.servers = {} if servers is None else servers
        self.anywhere = anywhere
        self.writes: Counter[str] = Counter()
        self._failures: dict[str, list[tuple[ControlPlaneError, bool]]] = {}
        self._crash_in: int | None = None

    def fail_next(self, verb: str, error: ControlPlaneError, *, reply_lost: bool = False) -> None:
        """The next call of `verb` raises `error`, before it does anything or (reply_lost) after
        its effect."""
        self._failures.setdefault(verb, []).append((error, reply_lost))

    def crash_after(self, changes: int) -> None:
        """CrashError instead of the change after so many."""
        self._crash_in = changes

    async def observe_server(self, server: DnsServer, /) -> ServerState:
        return self._at(server, "observe_server").state

    async def observe_zone(self, server: DnsServer, name: str, /) -> ZoneState | None:
        return self._at(server, "observe_zone").zones.get(name)

    async def list_zones(self, server: DnsServer, /) -> tuple[ZoneHead, ...]:
        zones = self._at(server, "list_zones").zones.values()
        return tuple(sorted((ZoneHead(z.name, z.account) for z in zones), key=lambda z: z.name))

    async def ensure_zone(
        self, server: DnsServer, name: str, account: str, soa: Soa, rrsets: tuple[RRset, ...], /
    ) -> None:
        at, what = self._at(server, "ensure_zone"), f"ensure zone '{name}'"
        found = at.zones.get(name)
        if found is None:
            _check(what, name, rrsets)
            fresh = ZoneState(
                name, account, "Native", FIRST_SERIAL, SERIAL_RULE, True, False, soa, ()
            )
            made = replace(fresh, rrsets=_merged((), rrsets))
        else:
            _check_owner(what, found, account)
            made = replace(found, kind="Native", serial_rule=SERIAL_RULE, rectified=True)
        if made != found:
            self._change("ensure_zone")
            at.zones[name] = made
        self._reply("ensure_zone")

    async def ensure_rrsets(
        self, server: DnsServer, name: str, changes: tuple[RRset, ...], soa: Soa | None = None, /
    ) -> None:
        at, what = self._at(server, "ensure_rrsets"), f"ensure records of zone '{name}'"
        found = _existing(what, at, name)
        if changes or soa is not None:
            rrsets = _merged(found.rrsets, changes)
            _check(what, name, rrsets, changed=changes)
            self._change("ensure_rrsets")
            at.zones[name] = replace(
                found, rrsets=rrsets, soa=soa or found.soa, serial=found.serial + 1
            )
        self._reply("ensure_rrsets")

    async def ensure_signed(self, server: DnsServer, name: str, signed: bool, /) -> None:
        at, what = self._at(server, "ensure_signed"), f"sign zone '{name}'"
        found = _existing(what, at, name)
        keys = tuple(replace(key, active=signed, published=True) for key in found.keys)
        if signed and not keys:
            at.keys_made += 1
            keys = (_key(at.keys_made),)
        made = replace(found, keys=keys, signed=signed and bool(keys))
        if made != found:
            self._change("ensure_signed")
            at.zones[name] = made
        self._reply("ensure_signed")

    async def ensure_account(self, server: DnsServer, name: str, account: str, was: str, /) -> None:
        at = self._at(server, "ensure_account")
        found = at.zones.get(name)
        if found is not None and found.account != account:
            _check_owner(f"hand over zone '{name}'", found, was)
            self._change("ensure_account")
            at.zones[name] = replace(found, account=account)
        self._reply("ensure_account")

    async def delete_zone(self, server: DnsServer, name: str, account: str, /) -> None:
        at = self._at(server, "delete_zone")
        found = at.zones.get(name)
        if found is not None:
            _check_owner(f"delete zone '{name}'", found, account)
            self._change("delete_zone")
            del at.zones[name]
        self._reply("delete_zone")

    async def observe_answer(self, address: str, name: str, /) -> int | None:
        answering = [each for each in self.servers.values() if each.answers_at == address]
        answering += [] if self.anywhere is None else [self.anywhere]
        for server in answering:
            if not server.away and not server.mute:
                zone = server.zones.get(name)
                return zone.serial if zone and zone.soa else None
        return None

    async def aclose(self) -> None:
        pass

    def _at(self, server: DnsServer, verb: str) -> FakeDnsServer:
        due = self._failures.get(verb)
        if due and not due[0][1]:
            raise due.pop(0)[0]
        found = self.servers.get(server.url, self.anywhere)
        if found is None or found.away:
            text = f"cannot call {verb}: no connection from the DNS server at {server.url}"
            raise DriverUnavailableError(DRIVER, text)
        if found.garbage:
            raise RetryableError(f"cannot call {verb}: odd answer", reason="UnexpectedAnswer")
        if found is not self.anywhere and found.api_key != server.api_key:
            raise RetryableError(f"cannot call {verb}: the key is refused", reason="AccessDenied")
        return found

    def _change(self, verb: str) -> None:
        if self._crash_in is not None:
            if self._crash_in == 0:
                self._crash_in = None
                raise CrashError(verb)
            self._crash_in -= 1
        self.writes[verb] += 1

    def _reply(self, verb: str) -> None:
        due = self._failures.get(verb)
        if due:
            raise due.pop(0)[0]


def _key(number: int) -> SigningKey:
    ds = tuple(f"{number} 13 {digest} {number:08x}" for digest in (1, 2, 4))
    return SigningKey(number, True, True, "ECDSAP256SHA256", f"257 3 13 key{number}", ds)


def _existing(what: str, server: FakeDnsServer, name: str) -> ZoneState:
    found = server.zones.get(name)
    if found is None:
        raise ConflictError(f"cannot {what}: it has changed meanwhile")
    return found


def _check_owner(what: str, found: ZoneState, account: str) -> None:
    if found.account != account:
        raise RetryableError(f"cannot {what}: another account has it", reason="NotOurs")


def _merged(before: tuple[RRset, ...], changes: tuple[RRset, ...]) -> tuple[RRset, ...]:
    """Refuses a set named twice, as the server does."""
    names = [(rrset.name, rrset.type) for rrset in changes]
    if len(set(names)) != len(names):
        raise _refused("change records", "Duplicate RRset")
    sets = {(rrset.name, rrset.type): rrset for rrset in before}
    for rrset in changes:
        sets.pop((rrset.name, rrset.type), None)
        if rrset.records or rrset.disabled:
            sets[(rrset.name, rrset.type)] = replace(rrset, records=tuple(sorted(rrset.records)))
    return tuple(sorted(sets.values()))


def _check(
    what: str, zone: str, rrsets: tuple[RRset, ...], changed: tuple[RRset, ...] | None = None
) -> None:
    for rrset in rrsets if changed is None else changed:
        if rrset.name != zone and not rrset.name.endswith(f".{zone}"):
            raise _refused(what, f"RRset {rrset.name} IN {rrset.type}: Name is out of zone")
        if len(set(rrset.records)) != len(rrset.records):
            raise _refused(what, f"Duplicate record in RRset {rrset.name} IN {rrset.type}")
        for content in rrset.records:
            _check_content(what, rrset, content)
    alone = {rrset.name for rrset in rrsets if rrset.type in _ALONE and rrset.records}
    others = {rrset.name for rrset in rrsets if rrset.type not in _ALONE and rrset.records}
    if clash := alone & (others | {zone}):
        raise _refused(what, f"RRset {min(clash)}: Conflicts with pre-existing RRset")


def _check_content(what: str, rrset: RRset, content: str) -> None:
    """It takes what it would write itself, up to the case of letters."""
    if rrset.type in _OWN_TYPES:
        if rrset.type == "ALIAS" and not content.endswith("."):
            raise _refused(what, f"Record {rrset.name}/ALIAS '{content}': Not in canonical form")
        return
    # its own writing has minutes of 60 seconds, which no library reads
    if rrset.type == "LOC" and _LOC.fullmatch(content):
        return
    try:
        text = rdata.from_text("IN", rrset.type, content).to_text()
        form = server_text(rrset.type, text)
    except (exception.DNSException, ValueError) as exc:
        problem = f"Record {rrset.name}/{rrset.type} '{content}': unable to parse"
        raise _refused(what, problem) from exc
    if form.lower() != content.lower() and rrset.type != "TXT":
        problem = f"Record {rrset.name}/{rrset.type} '{content}': Not in expected format"
        raise _refused(what, problem)


def _refused(what: str, words: str) -> TerminalError:
    return TerminalError(f"cannot {what}: {words}", reason="SpecRefused")
