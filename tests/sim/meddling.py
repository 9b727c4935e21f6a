"""What outsiders do on the servers of S3, DNS, mail, VPN and Redis and to secret files, behind our
back: every object of ours is taken away, and every setting of it is changed, read off its own
fields.
"""

from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any, Final

from tests.support.platform import Platform

LEFT_OUT: Final = {
    # whose it is and what it is called: changed, it is another thing, and not ours
    "name": "identity", "address": "identity", "owner": "identity", "claim": "identity",
    "account": "identity", "uid": "identity",
    # not a setting: what the server counts, holds or says of itself
    "serial": "counted", "mail": "content", "objects": "content", "uploads": "content",
    "lacks": "of the server", "closed": "of the quota", "due": "of the quota",
    "used_bytes": "counted",
    # found out by the gateway when it starts: which kind of WireGuard the host has
    "mode": "of the host",
    # the tag among them that says whose the bucket is
    "tags": "identity",
    # a signing key that is gone is gone: Zone tells so, and its DS changes
    "keys": "nobody has it any more", "signed": "has an active key",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Meddling:
    """One thing that somebody does."""

    what: str
    do: Callable[[], None]

    def __str__(self) -> str:
        return self.what


def meddlings(platform: Platform) -> list[Meddling]:
    """All that can be done to what there is now."""
    servers = [*_dns(platform), *_mail(platform), *_s3(platform), *_vpn(platform)]
    return [*servers, *_databases(platform), *_files(platform)]


def _dns(platform: Platform) -> Iterator[Meddling]:
    server = platform.dns.anywhere
    assert server is not None
    for name, zone in list(server.zones.items()):
        if zone.account:
            yield Meddling(f"remove zone {name}", partial(_remove, server.zones, name))
            yield from _changed(f"zone {name}", server.zones, name, zone)
            for rrset in zone.rrsets:
                without = partial(server.put, name, replace(rrset, records=()))
                yield Meddling(f"remove {rrset.type} of {rrset.name}", without)
                slower = partial(server.put, name, replace(rrset, ttl=rrset.ttl + 1))
                yield Meddling(f"change the TTL of {rrset.type} of {rrset.name}", slower)


def _mail(platform: Platform) -> Iterator[Meddling]:
    server = platform.mail.anywhere
    assert server is not None
    for name, domain in list(server.domains.items()):
        if domain.spec.owner:
            yield Meddling(f"remove mail domain {name}", partial(_remove, server.domains, name))
            yield from _set_each(f"mail domain {name}", domain, "spec")
            yield Meddling(f"another DKIM key for {name}", partial(setattr, domain, "key", ""))
    for name, mailbox in list(server.mailboxes.items()):
        if mailbox.spec.owner:
            yield Meddling(f"remove mailbox {name}", partial(_remove, server.mailboxes, name))
            yield from _set_each(f"mailbox {name}", mailbox, "spec")
            other = partial(setattr, mailbox, "password", "meddled")
            yield Meddling(f"another password for {name}", other)
    for name, alias in list(server.aliases.items()):
        if alias.owner:
            yield Meddling(f"remove alias {name}", partial(_remove, server.aliases, name))
            yield from _changed(f"alias {name}", server.aliases, name, alias)


def _s3(platform: Platform) -> Iterator[Meddling]:
    server = platform.s3.anywhere
    assert server is not None
    for name, bucket in list(server.buckets.items()):
        if any(key == "bunker.cloud/owner" for key, _ in bucket.state.tags):
            yield Meddling(f"remove bucket {name}", partial(_remove, server.buckets, name))
            yield from _set_each(f"bucket {name}", bucket, "state")
            yield from _set_each(f"bucket {name}", bucket, "quota")
    uids = {stored.uid for stored in platform.store.cache.list("Bucket")}
    for name, user in list(server.users.items()):
        if not any(uid in name for uid in uids):
            continue
        yield Meddling(f"remove user {name}", partial(_remove, server.users, name))
        yield Meddling(f"remove policies of {name}", user.policies.clear)
        yield Meddling(f"remove keys of {name}", user.keys.clear)
        for key in list(user.keys):
            yield Meddling(f"switch off a key of {name}", partial(_put, user.keys, key, False))
            other = partial(user.set_key, key, "meddled-" * 5)
            yield Meddling(f"another secret for a key of {name}", other)


def _vpn(platform: Platform) -> Iterator[Meddling]:
    engine, wireguard = platform.engine, platform.wireguard
    for container in list(engine.containers.values()):
        name, own = container.state.name, container.state.owner
        if own is None or own.kind != "VpnNetwork":
            continue
        if not container.state.running or container.state.paused:
            continue
        live = wireguard.live(container.state.id)
        if live is None:  # started, and not yet set up
            continue
        for field, value in _others(live):
            change = partial(wireguard.meddle, container.state.id, **{field: value})
            yield Meddling(f"change {field} of {name}", change)
        more = partial(wireguard.add_peer, container.state.id, "A" * 43 + "=", "10.0.0.9/32")
        yield Meddling(f"let another peer in at {name}", more)


def _databases(platform: Platform) -> Iterator[Meddling]:
    for container in list(platform.engine.containers.values()):
        for name, value in container.told.items():
            what = f"set {name} of {container.state.name} to"
            for other in (0, value - 1, value + 1):
                change = partial(_put, container.told, name, other)
                yield Meddling(f"{what} {other}", change)


def _files(platform: Platform) -> Iterator[Meddling]:
    for key, folder in list(platform.files.folders.items()):
        yield Meddling(f"remove folder {key}", partial(_remove, platform.files.folders, key))
        for name in folder.files:
            yield Meddling(f"remove {name}", partial(platform.files.tamper, key, name, None))
            yield Meddling(f"change {name}", partial(platform.files.tamper, key, name, b"meddled"))


def _changed(
    what: str, place: MutableMapping[str, Any], key: str, value: Any
) -> Iterator[Meddling]:
    """Each setting of a frozen value in a dictionary."""
    for field, other in _others(value):
        change = partial(_put, place, key, replace(value, **{field: other}))
        yield Meddling(f"change {field} of {what}", change)


def _set_each(what: str, holder: Any, attribute: str) -> Iterator[Meddling]:
    """Each setting of a frozen value that an object holds."""
    value = getattr(holder, attribute)
    for field, other in _others(value):
        change = partial(setattr, holder, attribute, replace(value, **{field: other}))
        yield Meddling(f"change {field} of {what}", change)


def _others(value: Any) -> Iterator[tuple[str, Any]]:
    """(field, another value of it) of a frozen dataclass, by type."""
    for each in fields(value):
        now = getattr(value, each.name)
        if each.name in LEFT_OUT:
            continue
        other = _other(now)
        if other != now:
            yield each.name, other


def _other(now: Any) -> Any:
    match now:
        case bool():
            return not now
        case int():
            return now + 2**20
        case str():
            return f"{now}x" if now else now
        case tuple() | frozenset():
            return type(now)()
        case _ if is_dataclass(now):
            return None
        case _:
            return now


def _remove(place: MutableMapping[str, Any], key: str) -> None:
    place.pop(key, None)


def _put(place: MutableMapping[str, Any], key: str, value: Any) -> None:
    place[key] = value
