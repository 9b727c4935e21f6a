"""The real PowerDNS driver: its HTTP API, measured on 4.7 (docs/drivers.md).

No retries and no state but a connection pool. A call that was sent may have taken effect though its
answer was lost; the next ensure_x finds what it made.
"""

import asyncio
from io import BytesIO
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import orjson

from controlplane.errors import (
    ConflictError,
    DriverUnavailableError,
    RetryableError,
    TerminalError,
)
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
from drivers.powerdns_query import ask_serial

TIMEOUT_S: Final = 20.0
"""Measured at a tenth of a core: one record set changed in 2 ms, 10,000 in 1.9 s; a zone of 11,000
read in 0.9 s (our image, 2 busy cores)."""
SENT_BYTES_PER_S: Final = 100_000
"""How much longer what is sent may take: a zone of 40,000 is 5 MB, made in 18 s at a tenth of a
core."""
CONNECT_S: Final = 3.0
AT_ONCE: Final = 8
MAX_ANSWER_BYTES: Final = 64 << 20
"""Ten times a zone of 100,000 records: a server that sends more sends something else."""
WORDS: Final = 300
"""So much of a server's own words is told."""


class HttpPowerDns:
    """PowerDNS servers, by address."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        """`timeout_s` bounds each request, with some more for a large one."""
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def observe_server(self, server: DnsServer, /) -> ServerState:
        what = f"observe the DNS server at {server.url}"
        _, about = await self._call(server, "GET", "", what)
        _, config = await self._call(server, "GET", "/config", what)
        with _Reading(what):
            settings = {each["name"]: str(each["value"]) for each in config}
            return ServerState(
                version=str(about["version"]),
                computed=settings.get("enable-lua-records") not in (None, "no", "off"),
                alias=settings.get("expand-alias") == "yes",
                countries=bool(settings.get("geoip-database-files")),
            )

    async def observe_zone(self, server: DnsServer, name: str, /) -> ZoneState | None:
        what = f"observe zone '{name}'"
        code, zone = await self._call(server, "GET", _path(name), what, absent_ok=True)
        if code == 404:
            return None
        code, keys = await self._call(
            server, "GET", f"{_path(name)}/cryptokeys", what, absent_ok=True
        )
        if code == 404:
            return None
        with _Reading(what):
            return _zone(zone, keys)

    async def list_zones(self, server: DnsServer, /) -> tuple[ZoneHead, ...]:
        what = "list zones"
        _, zones = await self._call(server, "GET", "/zones?dnssec=false", what)
        with _Reading(what):
            found = (ZoneHead(each["name"], each.get("account") or "") for each in zones)
            return tuple(sorted(found, key=lambda head: head.name))

    async def ensure_zone(
        self, server: DnsServer, name: str, account: str, soa: Soa, rrsets: tuple[RRset, ...], /
    ) -> None:
        what = f"ensure zone '{name}'"
        settings = {
            "kind": "Native",
            "account": account,
            "soa_edit_api": SERIAL_RULE,
            "soa_edit": "",
            "api_rectify": True,
        }
        code, found = await self._call(
            server, "GET", f"{_path(name)}?rrsets=false", what, absent_ok=True
        )
        if code == 404:
            sets = [_set(rrset) for rrset in rrsets] + [_soa_set(name, soa, 0)]
            body = {"name": name, "nameservers": [], "rrsets": sets, **settings}
            await self._call(server, "POST", "/zones", what, body)
            return
        _check_owner(what, found, account)
        await self._call(server, "PUT", _path(name), what, settings)

    async def ensure_rrsets(
        self, server: DnsServer, name: str, changes: tuple[RRset, ...], soa: Soa | None = None, /
    ) -> None:
        what = f"ensure records of zone '{name}'"
        # a CNAME takes the place of others in one change only if those go first
        gone = [_change(rrset) for rrset in changes if not rrset.records]
        made = [_change(rrset) for rrset in changes if rrset.records]
        if soa is not None:
            # An SOA is stored with the serial after the given one: from an old one it goes back.
            _, zone = await self._call(server, "GET", f"{_path(name)}?rrsets=false", what)
            with _Reading(what):
                made.append({**_soa_set(name, soa, int(zone["serial"])), "changetype": "REPLACE"})
        if gone or made:
            await self._call(server, "PATCH", _path(name), what, {"rrsets": gone + made})

    async def ensure_signed(self, server: DnsServer, name: str, signed: bool, /) -> None:
        what = f"{'sign' if signed else 'stop signing'} zone '{name}'"
        path = _path(name)
        _, keys = await self._call(server, "GET", f"{path}/cryptokeys", what)
        with _Reading(what):
            ids = [int(key["id"]) for key in keys]
        for each in ids:
            body = {"active": signed, "published": True}
            await self._call(server, "PUT", f"{path}/cryptokeys/{each}", what, body)
        if signed and not ids:
            await self._call(server, "PUT", path, what, {"dnssec": True, "api_rectify": True})
        if signed:
            await self._call(server, "PUT", f"{path}/rectify", what)

    async def ensure_account(self, server: DnsServer, name: str, account: str, was: str, /) -> None:
        what = f"hand over zone '{name}'"
        code, found = await self._call(
            server, "GET", f"{_path(name)}?rrsets=false", what, absent_ok=True
        )
        if code == 404 or found.get("account") == account:
            return
        _check_owner(what, found, was)
        await self._call(server, "PUT", _path(name), what, {"account": account})

    async def delete_zone(self, server: DnsServer, name: str, account: str, /) -> None:
        what = f"delete zone '{name}'"
        code, found = await self._call(
            server, "GET", f"{_path(name)}?rrsets=false", what, absent_ok=True
        )
        if code != 404:
            _check_owner(what, found, account)
            await self._call(server, "DELETE", _path(name), what, absent_ok=True)

    async def observe_answer(self, address: str, name: str, /) -> int | None:
        return await ask_serial(address, name)

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _call(
        self,
        server: DnsServer,
        method: str,
        path: str,
        what: str,
        body: object = None,
        *,
        absent_ok: bool = False,
    ) -> tuple[int, Any]:
        """Status code and decoded body. 404 is an answer only where `absent_ok`."""
        url = f"{server.url}/api/v1/servers/localhost{path}"
        if self._session is None:
            # a redirect would carry the key elsewhere, and a proxy is not between host and bridge
            self._session = aiohttp.ClientSession(trust_env=False)
        sent = None if body is None else orjson.dumps(body)
        total_s = self._timeout_s + len(sent or b"") / SENT_BYTES_PER_S
        try:
            async with (
                self._turns,
                self._session.request(
                    method,
                    url,
                    data=None if sent is None else BytesIO(sent),
                    headers={"X-API-Key": server.api_key, "Content-Type": "application/json"},
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=total_s, connect=CONNECT_S),
                ) as response,
            ):
                raw = await response.content.read(MAX_ANSWER_BYTES + 1)
                while len(raw) <= MAX_ANSWER_BYTES and not response.content.at_eof():
                    raw += await response.content.read(MAX_ANSWER_BYTES + 1 - len(raw))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
            reason = "no answer in time" if isinstance(exc, TimeoutError) else "no connection"
            message = f"cannot {what}: {reason} from the DNS server at {server.url}"
            raise DriverUnavailableError(DRIVER, message) from exc
        if response.status == 404 and absent_ok:
            return 404, None
        _check_status(what, response.status, raw)
        return response.status, _decoded(what, raw) if response.status != 204 else None


class _Reading:
    """Turns what is missing in, or odd about, an answer into an error of ours."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        if isinstance(exc, (KeyError, TypeError, ValueError, AttributeError, IndexError)):
            raise _unexpected(self._what) from exc


def _unexpected(what: str) -> RetryableError:
    message = f"cannot {what}: what answered does not speak PowerDNS' API; see its address"
    return RetryableError(message, reason="UnexpectedAnswer")


def _decoded(what: str, raw: bytes) -> Any:
    if len(raw) > MAX_ANSWER_BYTES:
        raise _unexpected(what)
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise _unexpected(what) from exc


def _check_status(what: str, code: int, raw: bytes) -> None:
    if 200 <= code < 300:
        return
    if code in (401, 403):
        text = f"cannot {what}: the DNS server refuses the key of its API; see the Secret it is in"
        raise RetryableError(text, reason="AccessDenied")
    if code in (404, 409):
        raise ConflictError(f"cannot {what}: it has changed meanwhile")
    if code in (400, 422):
        raise TerminalError(f"cannot {what}: {_words(raw)}", reason="SpecRefused")
    if code >= 500:
        text = f"cannot {what}: the DNS server failed ({code}: {_words(raw)})"
        raise RetryableError(text, reason="ServerFailed")
    raise _unexpected(what)


def _words(raw: bytes) -> str:
    """What the server says of a refusal: {"error": "..."}, or a plain word."""
    try:
        said = orjson.loads(raw)
        text = str(said["error"]) if isinstance(said, dict) else str(said)
    except (orjson.JSONDecodeError, KeyError):
        text = raw[:WORDS].decode(errors="replace")
    return " ".join(text.split())[:WORDS]


def _check_owner(what: str, found: Any, account: str) -> None:
    with _Reading(what):
        holder = str(found["account"] or "")
    if holder != account:
        whose = "belongs to somebody else" if holder else "was made by hand"
        text = (
            f"cannot {what}: the zone on the server {whose}; an administrator removes it there, or "
            f"sets its account to '{account}'"
        )
        raise RetryableError(text, reason="NotOurs")


def _path(name: str) -> str:
    """A zone's id in a URL: `/` in a name (RFC 2317) is written `=2F`."""
    return "/zones/" + quote(name.replace("/", "=2F"), safe="=")


def _set(rrset: RRset) -> dict[str, Any]:
    records = [{"content": content, "disabled": False} for content in rrset.records]
    return {"name": rrset.name, "type": rrset.type, "ttl": rrset.ttl, "records": records}


def _change(rrset: RRset) -> dict[str, Any]:
    if rrset.records:
        return {**_set(rrset), "changetype": "REPLACE"}
    return {"name": rrset.name, "type": rrset.type, "changetype": "DELETE"}


def _soa_set(name: str, soa: Soa, serial: int) -> dict[str, Any]:
    content = (
        f"{soa.primary} {soa.mailbox} {serial} {soa.refresh} {soa.retry} {soa.expire} {soa.minimum}"
    )
    return _set(RRset(name, "SOA", soa.ttl, (content,)))


def _zone(zone: Any, keys: Any) -> ZoneState:
    sets = {(each["name"], each["type"]): each for each in zone["rrsets"]}
    soa = sets.pop((zone["name"], "SOA"), None)
    return ZoneState(
        name=str(zone["name"]),
        account=str(zone["account"] or ""),
        kind=str(zone["kind"]),
        serial=int(zone["serial"]),
        serial_rule=str(zone["soa_edit_api"]),
        rectified=bool(zone["api_rectify"]),
        signed=bool(zone["dnssec"]),
        soa=None if soa is None else _soa(soa),
        rrsets=tuple(sorted(_rrset(each) for each in sets.values())),
        keys=tuple(sorted((_key(each) for each in keys), key=lambda key: key.id)),
    )


def _rrset(raw: Any) -> RRset:
    records = [each for each in raw["records"] if not each["disabled"]]
    return RRset(
        str(raw["name"]),
        str(raw["type"]),
        int(raw["ttl"]),
        tuple(sorted(str(each["content"]) for each in records)),
        disabled=len(records) < len(raw["records"]),
    )


def _soa(raw: Any) -> Soa | None:
    records = [each for each in raw["records"] if not each["disabled"]]
    if len(records) != 1:
        return None
    primary, mailbox, _, refresh, retry, expire, minimum = str(records[0]["content"]).split()
    return Soa(
        int(raw["ttl"]), primary, mailbox, int(refresh), int(retry), int(expire), int(minimum)
    )


def _key(raw: Any) -> SigningKey:
    return SigningKey(
        id=int(raw["id"]),
        active=bool(raw["active"]),
        published=bool(raw["published"]),
        algorithm=str(raw["algorithm"]),
        dnskey=str(raw["dnskey"]),
        ds=tuple(sorted(str(each) for each in raw.get("ds") or ())),
    )
