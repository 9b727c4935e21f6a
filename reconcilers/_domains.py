"""The names of an App in its namespace's Zones, as RecordSets that come and go with it. Pure."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from controlplane.plan import ChildRef, EnsureChild, RecordStep, RemoveChild, Want
from resources.app import App
from resources.meta import Condition

RECORD_SET = "RecordSet"
MAX_NAME: Final = 253
"""Characters in the name of a record."""


def children_of(record: App) -> tuple[ChildRef, ...]:
    """Those it has now, and those it had before: a name that was dropped has to go."""
    hosts = [domain.host for domain in record.spec.domains if domain.zone_ref is not None]
    named = {name for host in hosts for name in (_plain(record, host), _hashed(record, host))}
    return tuple(ChildRef(RECORD_SET, name) for name in sorted(named | set(record.status.names)))


def names_of(want: Want[App]) -> tuple[str, ...]:
    """Names of the RecordSets it has."""
    return tuple(
        sorted(name for (kind, name), child in want.children.items() if _is_ours(kind, child))
    )


def name_steps(want: Want[App]) -> tuple[RecordStep, ...]:
    """From the RecordSets there are to those that its domains ask for."""
    wanted = _wanted(want)
    steps: list[RecordStep] = []
    for name, spec in sorted(wanted.items()):
        child = want.children.get((RECORD_SET, name))
        if child is None or not child.owned or not spec.items() <= child.spec.items():
            steps.append(EnsureChild(RECORD_SET, name, spec))
    for (kind, name), child in sorted(want.children.items()):
        if _is_ours(kind, child) and name not in wanted and not child.deleting:
            steps.append(RemoveChild(RECORD_SET, name))
    return tuple(steps)


def published(want: Want[App]) -> tuple[Condition, ...]:
    """Whether DNS says where the names are, as far as that is ours to do."""
    zones = [domain for domain in want.record.spec.domains if domain.zone_ref is not None]
    if not zones or want.deleting:
        return ()
    if not _address(want):
        message = (
            f"Platform '{want.record.spec.ingress}' says no public address: set its "
            "spec.settings.address"
        )
        return (_pending("AddressUnknown", message),)
    for name in _wanted(want):
        child = want.children.get((RECORD_SET, name))
        if child is None or not child.ready:
            return (_pending("Pending", f"waiting for the Zone to serve RecordSet '{name}'"),)
    return (Condition(type="Published", status="True", reason="Served"),)


def _pending(reason: str, message: str) -> Condition:
    return Condition(type="Published", status="False", reason=reason, message=message)


def _is_ours(kind: str, child: Any) -> bool:
    return kind == RECORD_SET and bool(child.owned)


def _name(want: Want[App], host: str) -> str:
    """The plain one, unless it is too long or another's: App `a-b` may have `c.org`, and `a` have
    `b-c.org`."""
    plain, hashed = _plain(want.record, host), _hashed(want.record, host)
    there, other = (want.children.get((RECORD_SET, name)) for name in (plain, hashed))
    taken = there is not None and not there.owned
    stays = other is not None and other.owned
    return hashed if taken or stays or len(plain) > MAX_NAME else plain


def _plain(record: App, host: str) -> str:
    return f"{record.metadata.name}-{host}"


def _hashed(record: App, host: str) -> str:
    """Nobody's plain one, as it has no dot after the App's name."""
    whole = f"{record.metadata.name}/{host}".encode()
    return f"{record.metadata.name}-{hashlib.sha256(whole).hexdigest()[:16]}"


def _address(want: Want[App]) -> str:
    """The ingress' public address, as an administrator has said it."""
    ingress = want.services.get(want.record.spec.ingress)
    settings = (ingress.spec.get("settings") or {}) if ingress else {}
    return str(settings.get("address") or "")


def _wanted(want: Want[App]) -> Mapping[str, Mapping[str, Any]]:
    """RecordSet specs by name. Without an address nothing is said, and nothing taken back."""
    record = want.record
    address = _address(want)
    found: dict[str, Mapping[str, Any]] = {}
    for domain in record.spec.domains:
        if domain.zone_ref is None:
            continue
        name = _name(want, domain.host)
        known = want.children.get((RECORD_SET, name))
        if address:
            found[name] = {
                "zoneRef": {"name": domain.zone_ref.name},
                # with its dot: outside the Zone it is refused, and not taken to be within
                "name": f"{domain.host}.",
                "type": "A",
                "records": [address],
            }
        elif known is not None:
            found[name] = known.spec
    return found
