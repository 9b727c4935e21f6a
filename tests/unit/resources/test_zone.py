"""Zone and RecordSet: what is refused at the edge, and how the message names the fix."""

from typing import Any

import pytest
from pydantic import ValidationError

from tests.unit.reconcilers.zones import WWW, recordset, zone

REFUSED = {
    "no address": ({"name": "x", "type": "A", "records": ["1.2.3"]}, "records[0]: '1.2.3' is not"),
    "twice": ({"name": "x", "type": "A", "records": ["192.0.2.1", "192.0.2.1"]}, "there twice"),
    "twice, spelled differently": (
        {"name": "x", "type": "AAAA", "records": ["2001:db8::1", "2001:DB8:0::1"]},
        "there twice",
    ),
    "no values": ({"name": "x", "type": "A"}, "set records"),
    "both": (
        {"name": "x", "type": "A", "records": ["192.0.2.1"],
         "weighted": [{"record": "192.0.2.1", "weight": 1}]},
        "set records",
    ),
    "weights of names": (
        {"name": "x", "type": "MX", "weighted": [{"record": "10 a.b", "weight": 1}]},
        "A and AAAA only",
    ),
    "a place nowhere": (
        {"name": "x", "type": "A", "records": ["192.0.2.1"], "geo": [{"records": ["192.0.2.2"]}]},
        "names no place",
    ),
    "an odd country": (
        {"name": "x", "type": "A", "records": ["192.0.2.1"],
         "geo": [{"countries": ["de"], "records": ["192.0.2.2"]}]},
        "ISO 3166",
    ),
    "code for a network": (
        {"name": "x", "type": "A", "records": ["192.0.2.1"],
         "geo": [{"networks": ["::%'}) or os.exit() --/128"], "records": ["192.0.2.2"]}]},
        "is not a network",
    ),
    "a network of one host's own": (
        {"name": "x", "type": "A", "records": ["192.0.2.1"],
         "geo": [{"networks": ["fe80::%eth0/64"], "records": ["192.0.2.2"]}]},
        "is not a network",
    ),
    "an MX without preference": ({"name": "x", "type": "MX", "records": ["a.b"]}, "preference"),
    "two CNAMEs": ({"name": "x", "type": "CNAME", "records": ["a.b", "c.d"]}, "one record only"),
    "an odd name": ({"name": "a b", "type": "A", "records": ["192.0.2.1"]}, "a name within"),
    "LUA": ({"name": "x", "type": "LUA", "records": ['A "os.exit()"']}, "type"),
    "a CNAME at the apex": ({"name": "@", "type": "CNAME", "records": ["a.b"]}, "write an ALIAS"),
    "NS at the apex": ({"name": "@", "type": "NS", "records": ["a.b"]}, "spec.nameservers"),
    "control characters": ({"name": "x", "type": "TXT", "records": ["a\nb"]}, "line breaks"),
}  # fmt: skip


@pytest.mark.parametrize(("spec", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_a_wrong_record_is_refused_with_the_fix(spec: dict[str, Any], says: str) -> None:
    for make in (lambda: zone(recordSets=[spec]), lambda: recordset(**spec)):
        with pytest.raises(ValidationError) as refused:
            make()
        assert says in str(refused.value)


REFUSED_ZONES = {
    "a top-level domain": ({"domain": "org"}, "at least two labels"),
    "a public suffix": ({"domain": "co.uk"}, "'co.uk' is a public suffix"),
    "capitals": ({"domain": "Shop.example.org"}, "lower case"),
    "a dot at the end": ({"domain": "shop.example.org."}, "without a dot"),
    "a name too long": (
        {"recordSets": [{**WWW, "name": ".".join(["a" * 60] * 4)}]},
        "at most 253 characters",
    ),
    "a set twice": ({"recordSets": [WWW, {**WWW, "name": "www.shop.example.org"}]}, "there twice"),
    "a CNAME beside others": (
        {"recordSets": [WWW, {"name": "www", "type": "CNAME", "records": ["a.b"]}]},
        "can't be beside",
    ),
    "out of the zone": ({"recordSets": [{**WWW, "name": "www.example.net."}]}, "not in the zone"),
    "an include": ({"zoneFile": {"text": "$INCLUDE /etc/passwd\n"}}, "$INCLUDE"),
    "a bomb": ({"zoneFile": {"text": "$GENERATE 1-9999999 a$ A 192.0.2.1\n"}}, "$GENERATE"),
    "a broken file": ({"zoneFile": {"text": "x A nonsense\n"}}, "in or before line 2"),
    "two files": (
        {"zoneFile": {"text": "", "configMapRef": {"name": "a"}}}, "set text, or configMapRef",
    ),
    "no mail address": ({"soa": {"email": "hostmaster"}}, "a mail address"),
    "an empty label": ({"soa": {"email": "a@b..org"}}, "a mail address"),
    "a long label": ({"soa": {"email": f"{'a' * 64}@b.org"}}, "a mail address"),
}  # fmt: skip


@pytest.mark.parametrize(("spec", "says"), REFUSED_ZONES.values(), ids=REFUSED_ZONES.keys())
def test_a_wrong_zone_is_refused_with_the_fix(spec: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as refused:
        zone(**spec)
    assert says in str(refused.value)


@pytest.mark.parametrize("domain", ["2.0.192.in-addr.arpa", "home.arpa", "shop.lan", "a.co.uk"])
def test_domains_of_ones_own_are_taken(domain: str) -> None:
    assert zone(domain=domain).spec.domain == domain


def test_its_domain_and_server_may_not_change() -> None:
    errors = zone(domain="other.example.org", service="dns2").check_update(zone())
    assert [each.field for each in errors] == ["spec.domain", "spec.service"]


def test_it_claims_its_domain_with_all_below() -> None:
    (claim,) = zone().claims
    assert (claim.scope, claim.name, claim.subtree) == ("zone", "shop.example.org", True)
    assert zone(service="dns2").services == ("dns2",)
