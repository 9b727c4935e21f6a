"""What the platform's servers hold, asked of themselves and past our drivers.

Beside world.py, which looks at the engine. A server that doesn't answer holds what it held last.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.request import Request, urlopen

from controlplane.records import Key
from drivers.containers import ContainerState
from resources.meta import PLATFORM_NAMESPACE
from tests.sim.snapshot import opened
from tests.support.platform import Platform

TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class At:
    """One running server."""

    state: ContainerState
    address: str
    """In the platform's network."""
    login: Mapping[str, str]
    """What its Secret says."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What one server holds."""

    tree: Mapping[str, Any]
    """All that a user could mind, in words that two runs share."""
    things: frozenset[str]
    """Identities: another one of its name has another."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """What stands for words that are this run's alone."""


@dataclass(slots=True)
class Served:
    """The servers of one platform."""

    last: dict[str, Holding] = field(default_factory=dict)
    """By name of the Platform record, as it last answered."""

    def look(self, platform: Platform, states: Iterable[ContainerState]) -> Mapping[str, Holding]:
        """What `last` is then."""
        for state in states:
            owner = state.owner
            if owner is None or owner.kind != "Platform" or not state.running:
                continue
            if (ask := ASK.get(owner.name)) is None or not any(state.networks.values()):
                continue
            secret = platform.find(Key("Secret", PLATFORM_NAMESPACE, f"{owner.name}-credentials"))
            login = opened(secret.obj) if secret is not None else {}
            address = next(filter(None, state.networks.values()))
            try:
                found = ask(At(state, address, login))
            except OSError:
                continue
            self.last[owner.name] = found
            platform.aliases.update(found.aliases)
        return self.last


def zones(at: At) -> Holding:
    """Every zone of a PowerDNS: settings, records, and keys without their values."""
    tree: dict[str, Any] = {}
    things: set[str] = set()
    aliases: dict[str, str] = {}
    for head in _pdns(at, "/zones"):
        zone = _pdns(at, f"/zones/{head['id']}")
        keys = _pdns(at, f"/zones/{head['id']}/cryptokeys")
        name = zone["name"]
        tree[name] = {
            **{key: zone[key] for key in ZONE},
            "rrsets": {f"{each['name']} {each['type']}": _answers(each) for each in zone["rrsets"]},
            "keys": sorted([each["active"], each["published"], each["algorithm"]] for each in keys),
        }
        things |= {f"zone[{name}", *(f"rrset[{each}" for each in tree[name]["rrsets"])}
        things |= {f"key[{name} {each['dnskey']}" for each in keys}
        aliases |= {ds: f"<ds of {name}>" for each in keys for ds in each.get("ds") or ()}
    return Holding(tree, frozenset(things), aliases)


ZONE: Final = ("kind", "account", "soa_edit_api", "soa_edit", "api_rectify", "dnssec")


def _answers(rrset: Mapping[str, Any]) -> list[Any]:
    """Its time to live and values; of an SOA without the serial, which counts changes."""
    texts = [each["content"] for each in rrset["records"] if not each["disabled"]]
    if rrset["type"] == "SOA":
        texts = [" ".join([*words[:2], *words[3:]]) for words in map(str.split, texts)]
    return [rrset["ttl"], *sorted(texts)]


def _pdns(at: At, path: str) -> Any:
    url = f"http://{at.address}:8081/api/v1/servers/localhost{path}"
    headers = {"X-API-Key": at.login.get("api-key", "")}
    with urlopen(Request(url, headers=headers), timeout=TIMEOUT_S) as answer:
        return json.loads(answer.read())


ASK: Final[Mapping[str, Callable[[At], Holding]]] = {"dns": zones}
"""How to ask each service, by the name its record has."""
