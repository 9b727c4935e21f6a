"""What a PowerDNS holds: every zone with its settings, records, and signing keys."""

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.request import Request, urlopen

from tests.integration.crashes.holding import At, Holding

TIMEOUT_S: Final = 5.0
ZONE: Final = ("kind", "account", "soa_edit_api", "soa_edit", "api_rectify", "dnssec")


def zones(at: At) -> Holding:
    """Raises OSError where it doesn't answer. Of keys the tree has no values."""
    tree: dict[str, Any] = {}
    things: set[str] = set()
    aliases: dict[str, str] = {}
    for head in _ask(at, "/zones"):
        zone = _ask(at, f"/zones/{head['id']}")
        keys = _ask(at, f"/zones/{head['id']}/cryptokeys")
        name = zone["name"]
        tree[name] = {
            **{key: zone[key] for key in ZONE},
            "rrsets": {f"{each['name']} {each['type']}": _answers(each) for each in zone["rrsets"]},
            "keys": sorted([each["active"], each["published"], each["algorithm"]] for each in keys),
        }
        things |= {f"zone[{name}", *(f"rrset[{each}" for each in tree[name]["rrsets"])}
        things |= {f"key[{name} {each['dnskey']}" for each in keys}
        aliases |= {ds: f"<ds of {name}>" for each in keys for ds in each.get("ds") or ()}
    return Holding(frozenset(things), lambda: tree, aliases)


def _answers(rrset: Mapping[str, Any]) -> list[Any]:
    """Its time to live and values; of an SOA without the serial, which counts changes."""
    texts = [each["content"] for each in rrset["records"] if not each["disabled"]]
    if rrset["type"] == "SOA":
        texts = [" ".join([*words[:2], *words[3:]]) for words in map(str.split, texts)]
    return [rrset["ttl"], *sorted(texts)]


def _ask(at: At, path: str) -> Any:
    url = f"http://{at.address}:8081/api/v1/servers/localhost{path}"
    headers = {"X-API-Key": at.login.get("api-key", "")}
    with urlopen(Request(url, headers=headers), timeout=TIMEOUT_S) as answer:
        return json.loads(answer.read())
