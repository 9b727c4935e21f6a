"""Mailcow as a mail server: the same Protocol as the built-in one, over its HTTP API.

What Mailcow has no field for is in its notes (drivers/mailcow_notes.py). Kept mail is a mailbox
that is switched off, because a deleted one loses its mail.
"""

from collections.abc import Mapping
from typing import Any, Final

from controlplane.errors import RetryableError
from drivers import mailcow_api as api
from drivers.mail import (
    AliasSpec,
    AliasState,
    DomainSpec,
    DomainState,
    MailboxSpec,
    MailboxState,
    MailServer,
    OwnedThing,
    Password,
    ServerState,
)
from drivers.mailcow_notes import (
    CLAIM,
    FORWARD,
    KEPT,
    OWNER,
    PASSWORD,
    Notes,
    by_address,
    comment,
    comment_of,
    forwards_of,
    is_on,
    named,
    notes_of,
    script_of,
    targets_of,
)

MIB: Final = 1 << 20

NAMELESS: Final = " "
"""Stands for no display name: an edit with an empty one leaves the one before."""

# A domain's own limits, which Mailcow insists on: who gets how much is decided per mailbox.
_LIMITS: Final = {
    "aliases": 100_000,
    "mailboxes": 100_000,
    "defquota": 1024,
    "maxquota": 16 * 1024 * 1024,
    "quota": 1024 * 1024 * 1024,
}


class MailcowMail:
    """`server.endpoint` is the base URL, `server.api_key` a read-write key."""

    async def observe_server(self, server: MailServer, /) -> ServerState:
        found = await api.get(server, "status/version")
        return ServerState(str((found or {}).get("version", "")))

    async def list_owned(self, server: MailServer, /) -> tuple[OwnedThing, ...]:
        domains = await api.items(server, "domain/all")
        mailboxes = await api.items(server, "mailbox/all")
        aliases = await api.items(server, "alias/all")
        found = [
            *(OwnedThing("domain", each["domain_name"], notes_of(each).owner) for each in domains
              if not notes_of(each).kept),
            *(OwnedThing("mailbox", each["username"], notes_of(each).owner) for each in mailboxes
              if not notes_of(each).kept),
            *(OwnedThing("alias", each["address"], comment_of(each)[0]) for each in aliases
              if not comment_of(each)[1]),
        ]  # fmt: skip
        owned = [each for each in found if each.owner]
        return tuple(sorted(owned, key=lambda each: (each.what, each.name)))

    # --- domains ---

    async def observe_domain(self, server: MailServer, name: str, /) -> DomainState | None:
        found = await api.get(server, f"domain/{name}")
        if found is None or notes_of(found).kept:
            return None
        key = await api.get(server, f"dkim/{name}") or {}
        return DomainState(
            name,
            notes_of(found).owner,
            is_on(found),
            str(key.get("dkim_selector", "")),
            str(key.get("pubkey", "")),
        )

    async def ensure_domain(
        self, server: MailServer, spec: DomainSpec, /, *, dkim_key: str = ""
    ) -> None:
        found = await api.get(server, f"domain/{spec.name}")
        _check(found, spec.owner, spec.claim, f"domain {spec.name}")
        notes = Notes(spec.owner, spec.claim)
        wanted: dict[str, Any] = {"active": _flag(spec.active), **_LIMITS}
        if found is None:
            # an empty selector: else it makes a key of its own
            wanted |= {"domain": spec.name, "tags": notes.words(), "dkim_selector": ""}
            await api.add(server, "domain", wanted)
        else:
            await api.edit(server, "domain", [spec.name], wanted)
            await _tag(server, "domain", spec.name, found, notes)
        await self._ensure_key(server, spec, dkim_key)

    async def _ensure_key(self, server: MailServer, spec: DomainSpec, dkim_key: str) -> None:
        if not dkim_key:
            if await api.get(server, f"dkim/{spec.name}"):
                await api.delete(server, "dkim", [spec.name])
            return
        wanted = {
            "domain": spec.name,
            "dkim_selector": spec.selector,
            "private_key_file": dkim_key,
            "overwrite_existing": "1",
        }
        await api.add(server, "dkim_import", wanted)

    async def delete_domain(self, server: MailServer, name: str, /, *, owner: str) -> None:
        """A domain that still has kept mail is switched off and kept too."""
        found = await api.get(server, f"domain/{name}")
        notes = notes_of(found or {})
        if found is None or notes.kept:
            return
        _check_owner(notes, owner, f"domain {name}")
        mailboxes = await api.items(server, f"mailbox/all/{name}")
        aliases = [each for each in await api.items(server, "alias/all") if each["domain"] == name]
        live = [each for each in mailboxes if not notes_of(each).kept]
        if live or aliases:
            what = "a mailbox" if live else "an alias"
            raise RetryableError(
                f"cannot delete domain {name}: it still has {what}", reason="InUse"
            )
        if await api.get(server, f"dkim/{name}"):
            await api.delete(server, "dkim", [name])
        if mailboxes:
            await api.edit(server, "domain", [name], {"active": "0"})
            await _tag(server, "domain", name, found, Notes(claim=notes.claim, kept=True))
        else:
            await api.delete(server, "domain", [name])

    # --- mailboxes ---

    async def observe_mailbox(
        self, server: MailServer, address: str, password: Password, /
    ) -> MailboxState | None:
        found = await api.get(server, f"mailbox/{address}")
        if found is None or notes_of(found).kept:
            return None
        notes = notes_of(found)
        active = is_on(found)
        forward, keep_copy = forwards_of(await _filters(server, address))
        aliases = await _own_aliases(server, address, notes.owner)
        known = notes.password == password.version
        if known and active and server.imap:
            known = await api.opens(server.imap, address, password.value) is not False
        return MailboxState(
            address,
            notes.owner,
            int(found["quota"]),
            active,
            _name(found),
            forward,
            keep_copy,
            tuple(sorted(each["address"] for each in aliases if is_on(each) == active)),
            int(found.get("quota_used") or 0),
            known,
        )

    async def ensure_mailbox(
        self, server: MailServer, spec: MailboxSpec, password: Password, /
    ) -> None:
        address = spec.address
        local, _, domain = address.rpartition("@")
        found = await api.get(server, f"mailbox/{address}")
        _check(found, spec.owner, spec.claim, f"mailbox {address}")
        await _check_domain(server, domain, spec.claim)
        notes = Notes(spec.owner, spec.claim, password.version)
        wanted: dict[str, Any] = {
            "name": spec.display_name or NAMELESS,
            "quota": spec.quota_bytes // MIB,
            "active": _flag(spec.active),
            "force_pw_update": "0",
        }
        secret = {"password": password.value, "password2": password.value}
        if found is None:
            wanted |= {"local_part": local, "domain": domain, "tags": notes.words(), **secret}
            await api.add(server, "mailbox", wanted)
        else:
            await api.edit(server, "mailbox", [address], {**wanted, **secret})
            await _tag(server, "mailbox", address, found, notes)
        await self._ensure_forward(server, spec)
        await self._ensure_own_aliases(server, spec)

    async def _ensure_forward(self, server: MailServer, spec: MailboxSpec) -> None:
        """A Sieve script (RFC 5228, `:copy` of RFC 3894) runs before the user's own."""
        ours = await _filters(server, spec.address)
        if not spec.forward:
            if ours:
                await api.delete(server, "filter", [str(each["id"]) for each in ours])
            return
        wanted = {
            "username": spec.address,
            "filter_type": "prefilter",
            "script_desc": FORWARD,
            "script_data": script_of(spec.forward, spec.keep_copy),
            "active": "1",
        }
        if ours:
            await api.edit(server, "filter", [str(ours[0]["id"])], wanted)
            if more := [str(each["id"]) for each in ours[1:]]:
                await api.delete(server, "filter", more)
        else:
            await api.add(server, "filter", wanted)

    async def _ensure_own_aliases(self, server: MailServer, spec: MailboxSpec) -> None:
        everything = await api.items(server, "alias/all")
        for each in everything:
            ours, mailbox = comment_of(each)
            of_ours = ours == spec.owner and mailbox == named(spec.address)
            if of_ours and each["address"] not in spec.aliases:
                await api.delete(server, "alias", [str(each["id"])])
        for address in spec.aliases:
            await _put_alias(
                server,
                everything,
                AliasSpec(address, spec.owner, spec.claim, (spec.address,), spec.active),
                mailbox=spec.address,
            )

    async def delete_mailbox(
        self, server: MailServer, address: str, /, *, owner: str, keep_mail: bool
    ) -> None:
        found = await api.get(server, f"mailbox/{address}")
        notes = notes_of(found or {})
        if found is None or notes.kept:
            return
        _check_owner(notes, owner, f"mailbox {address}")
        aliases = [str(each["id"]) for each in await _own_aliases(server, address, owner)]
        if aliases:
            await api.delete(server, "alias", aliases)
        if filters := [str(each["id"]) for each in await _filters(server, address)]:
            await api.delete(server, "filter", filters)
        if not keep_mail:
            await api.delete(server, "mailbox", [address])
            return
        await api.edit(server, "mailbox", [address], {"active": "0"})
        await _tag(server, "mailbox", address, found, Notes(claim=notes.claim, kept=True))

    # --- aliases ---

    async def observe_alias(self, server: MailServer, address: str, /) -> AliasState | None:
        found = by_address(await api.items(server, "alias/all"), address)
        if found is None:
            return None
        return AliasState(address, comment_of(found)[0], targets_of(found), is_on(found))

    async def ensure_alias(self, server: MailServer, spec: AliasSpec, /) -> None:
        domain = spec.address.rpartition("@")[2]
        await _check_domain(server, domain, spec.claim)
        await _put_alias(server, await api.items(server, "alias/all"), spec)

    async def delete_alias(self, server: MailServer, address: str, /, *, owner: str) -> None:
        found = by_address(await api.items(server, "alias/all"), address)
        if found is None:
            return
        _check_owner(Notes(comment_of(found)[0]), owner, address)
        await api.delete(server, "alias", [str(found["id"])])


def _flag(value: bool) -> str:
    return "1" if value else "0"


def _name(found: Mapping[str, Any]) -> str:
    name = str(found.get("name") or "")
    return "" if name == NAMELESS else name


def _not_ours(what: str) -> RetryableError:
    return RetryableError(f"cannot change {what}: it belongs to another record", reason="NotOurs")


def _check_owner(notes: Notes, owner: str, what: str) -> None:
    if notes.owner != owner:
        raise _not_ours(what)


def _check(found: Mapping[str, Any] | None, owner: str, claim: str, what: str) -> None:
    """Nothing, ours, or kept from before under the same claim."""
    if found is None:
        return
    notes = notes_of(found)
    if notes.kept and notes.claim != claim:
        raise RetryableError(
            f"cannot use {what}: the server keeps mail of another namespace under that name",
            reason="NotOurs",
        )
    if not notes.kept:
        _check_owner(notes, owner, what)


async def _check_domain(server: MailServer, domain: str, claim: str) -> None:
    found = await api.get(server, f"domain/{domain}")
    if found is None or notes_of(found).kept:
        raise RetryableError(f"domain {domain} is not served", reason="DomainMissing")
    if notes_of(found).claim != claim:
        raise RetryableError(f"domain {domain} belongs to another namespace", reason="NotOurs")


async def _tag(
    server: MailServer, what: str, name: str, found: Mapping[str, Any], notes: Notes
) -> None:
    """Editing only adds tags, and not twice; they are taken away by a call of their own."""
    has = [str(tag) for tag in found.get("tags") or ()]
    wanted = notes.words()
    if new := [word for word in wanted if word not in has]:
        await api.edit(server, what, [name], {"tags": new})
    ours = (OWNER, CLAIM, PASSWORD, KEPT)
    if old := [tag for tag in has if tag.startswith(ours) and tag not in wanted]:
        await api.delete(server, f"{what}/tag/{name}", old)


async def _filters(server: MailServer, address: str) -> list[Mapping[str, Any]]:
    """Ours, of one mailbox."""
    found = await api.items(server, f"filters/{address}")
    ours = [each for each in found if each.get("script_desc") == FORWARD]
    return [each for each in ours if each.get("username", address) == address]


async def _own_aliases(server: MailServer, address: str, owner: str) -> list[Mapping[str, Any]]:
    found = await api.items(server, "alias/all")
    return [
        each
        for each in found
        if comment_of(each) == (owner, named(address)) and targets_of(each) == (address,)
    ]


async def _put_alias(
    server: MailServer, everything: list[Mapping[str, Any]], spec: AliasSpec, *, mailbox: str = ""
) -> None:
    wanted = {
        "address": spec.address,
        "goto": ",".join(spec.targets),
        "active": _flag(spec.active),
        "sogo_visible": "0",
        "private_comment": comment(spec.owner, mailbox),
    }
    found = by_address(everything, spec.address)
    if found is None:
        await api.add(server, "alias", wanted)
        return
    _check_owner(Notes(comment_of(found)[0]), spec.owner, spec.address)
    await api.edit(server, "alias", [str(found["id"])], wanted)
