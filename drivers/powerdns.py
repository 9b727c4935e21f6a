"""PowerDNS' authoritative server over its HTTP API: value types and the Protocol.

drivers/powerdns_http.py is the real one (https://doc.powerdns.com/authoritative/http-api/). Names
are absolute, lower case and end with a dot; contents are presentation format as the server itself
writes it (drivers/powerdns_text.py). It knows zones and record sets, and not who wants them.
"""

from dataclasses import dataclass, field
from typing import Final, Protocol

DRIVER: Final = "powerdns"
SERIAL_RULE: Final = "DEFAULT"
"""soa_edit_api: the server moves the serial (YYYYMMDDnn) with each change through the API. With
an empty rule or OFF it stays 0 for ever, and secondaries never learn of a change."""


@dataclass(frozen=True, slots=True)
class DnsServer:
    """Where a server is, and the key to its API."""

    url: str
    """Of the API, without a path, e.g. `http://10.201.0.5:8081`."""
    api_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ServerState:
    """What a server is able to do."""

    version: str
    computed: bool
    """Answers by weight and place (LUA records) are on."""
    alias: bool
    """ALIAS records are resolved."""
    countries: bool
    """It has a database of which address is in which country."""


@dataclass(frozen=True, slots=True, order=True)
class RRset:
    """All records of one name and type. No records: there shall be no such set."""

    name: str
    type: str
    ttl: int = 0
    """In seconds."""
    records: tuple[str, ...] = ()
    """Contents, sorted."""
    disabled: bool = False
    """Somebody has switched one of its records off; never wanted."""


@dataclass(frozen=True, slots=True)
class Soa:
    """The SOA record, but for its serial, which is the server's own."""

    ttl: int
    primary: str
    """Name of the first nameserver."""
    mailbox: str
    """Who is responsible, as a name: `hostmaster.example.org.`"""
    refresh: int
    retry: int
    expire: int
    minimum: int
    """Seconds that resolvers remember that a name doesn't exist."""


@dataclass(frozen=True, slots=True)
class ZoneHead:
    """A zone in the list of all."""

    name: str
    account: str
    """Whose it is; free text of at most 40 characters."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs a zone, or did."""

    id: int
    active: bool
    published: bool
    algorithm: str
    """E.g. `ECDSAP256SHA256`."""
    dnskey: str
    ds: tuple[str, ...] = ()
    """What the zone above has to publish, one for each digest type."""


@dataclass(frozen=True, slots=True)
class ZoneState:
    """A zone as the server has it."""

    name: str
    account: str
    kind: str
    """Native, Master (Primary) or Slave (Secondary)."""
    serial: int
    serial_rule: str
    rectified: bool
    """Whether changes through the API keep what DNSSEC needs in order."""
    signed: bool
    """It has an active key."""
    soa: Soa | None
    rrsets: tuple[RRset, ...] = ()
    """All but the SOA, sorted."""
    keys: tuple[SigningKey, ...] = ()

    def settled(self, account: str) -> bool:
        """Whether all but its records and keys is as `ensure_zone` makes it."""
        found = (self.kind, self.account, self.serial_rule, self.rectified)
        return found == ("Native", account, SERIAL_RULE, True)


class PowerDns(Protocol):
    """PowerDNS servers. Each call has a timeout; errors: DriverUnavailableError (no answer),
    RetryableError (`AccessDenied`, `NotOurs`, `ServerFailed`, `UnexpectedAnswer`), ConflictError
    (what was observed is gone), TerminalError (`SpecRefused`: the server's words say why)."""

    async def observe_server(self, server: DnsServer, /) -> ServerState: ...

    async def observe_zone(self, server: DnsServer, name: str, /) -> ZoneState | None:
        """A zone with all its records and keys."""
        ...

    async def list_zones(self, server: DnsServer, /) -> tuple[ZoneHead, ...]:
        """Every zone there is, sorted by name."""
        ...

    async def ensure_zone(
        self, server: DnsServer, name: str, account: str, soa: Soa, rrsets: tuple[RRset, ...], /
    ) -> None:
        """Make it with these records, all at once. One that is there keeps its records and keys:
        only its settings are corrected. RetryableError NotOurs if another account has it."""
        ...

    async def ensure_rrsets(
        self, server: DnsServer, name: str, changes: tuple[RRset, ...], soa: Soa | None = None, /
    ) -> None:
        """Replace these record sets (and the SOA), remove those without records; the others stay
        as they are. All of it or nothing."""
        ...

    async def ensure_signed(self, server: DnsServer, name: str, signed: bool, /) -> None:
        """Sign with the keys there are, or make one; or stop signing and keep the keys, so that
        signing again needs no new DS above."""
        ...

    async def ensure_account(self, server: DnsServer, name: str, account: str, was: str, /) -> None:
        """Give a zone of the account `was` to another one. An absent one is left so; RetryableError
        NotOurs if neither has it."""
        ...

    async def delete_zone(self, server: DnsServer, name: str, account: str, /) -> None:
        """Remove it with its keys; RetryableError NotOurs if another account has it."""
        ...

    async def observe_answer(self, address: str, name: str, /) -> int | None:
        """Ask for the SOA at `ip:port` as a resolver does, over UDP: the serial it answers with
        authority, None if there is no such answer within 2 s."""
        ...

    async def aclose(self) -> None: ...
