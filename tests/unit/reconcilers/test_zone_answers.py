"""Zone and RecordSet: what is answered, by whose wish, and what is told of it."""

from dataclasses import replace
from typing import Any

import pytest

from controlplane.plan import Dependent, Plan, Resolved
from drivers.powerdns import RRset, ServerState
from resources.recordset import RecordSetStatus
from tests.unit.reconcilers.zones import (
    DOMAIN,
    WWW,
    ZoneWorld,
    complete,
    recordset,
    source,
    told,
    zone,
)


@pytest.fixture
def world() -> ZoneWorld:
    return ZoneWorld()


# -- what it answers


def sets(*given: dict[str, Any]) -> list[dict[str, Any]]:
    return list(given)


async def test_names_and_values_become_absolute(world: ZoneWorld) -> None:
    wanted = zone(
        nameservers=["ns1", "ns2.example.net"],
        recordSets=sets(
            {"name": "@", "type": "MX", "records": ["10 mail", "20 mx.example.net."]},
            {"name": "a.shop.example.org", "type": "CNAME", "records": ["@"]},
            {"name": "b.shop.example.org.", "type": "ALIAS", "records": ["www.example.net"]},
            {"name": "@", "type": "TXT", "records": ['say "hi"', "x" * 300]},
        ),
    )
    report = await world.settle(wanted)
    assert world.answer("", "NS") == (f"ns1.{DOMAIN}", "ns2.example.net.")
    assert world.answer("", "MX") == (f"10 mail.{DOMAIN}", "20 mx.example.net.")
    assert world.answer("a", "CNAME") == (DOMAIN,)
    assert world.answer("b", "ALIAS") == ("www.example.net.",)
    assert world.answer("", "TXT") == ('"say \\"hi\\""', f'"{"x" * 255}" "{"x" * 45}"')
    assert told(report).nameservers == ("ns1.shop.example.org", "ns2.example.net")


async def test_the_platform_names_the_nameservers_of_zones_that_name_none(
    world: ZoneWorld,
) -> None:
    endpoints = {"api": "10.200.0.3:8081", "dns": "10.200.0.3:53"}
    world.serve(endpoints, nameservers="ns1.cloud.test,ns2.cloud.test")
    await world.settle(zone())
    assert world.answer("", "NS") == ("ns1.cloud.test.", "ns2.cloud.test.")
    assert world.found.soa is not None
    assert world.found.soa.primary == "ns1.cloud.test."


GEO = {
    "name": "www",
    "type": "A",
    "records": ["192.0.2.1"],
    "geo": [
        {"networks": ["10.0.0.0/8"], "records": ["192.0.2.2"]},
        {"countries": ["DE", "AT"], "continents": ["SA"], "records": ["192.0.2.3"]},
    ],
}


async def test_answers_by_place_and_weight_are_computed_by_the_server(world: ZoneWorld) -> None:
    weighted = [{"record": "2001:db8::1", "weight": 9}, {"record": "2001:db8::2", "weight": 1}]
    report = await world.settle(
        zone(recordSets=sets(GEO, {"name": "www", "type": "AAAA", "weighted": weighted}))
    )
    assert world.answer("www", "LUA") == (
        "A \";if netmask({'10.0.0.0/8'}) then return {'192.0.2.2'} "
        "elseif country({'DE','AT'}) or continent({'SA'}) then return {'192.0.2.3'} "
        "else return {'192.0.2.1'} end\"",
        "AAAA \"pickwrandom({{9,'2001:db8::1'},{1,'2001:db8::2'}})\"",
    )
    assert complete(report).status == "True"


async def test_a_network_is_told_to_the_server_by_its_prefix(world: ZoneWorld) -> None:
    geo = [{"networks": ["10.0.0.0/255.0.0.0"], "records": ["192.0.2.2"]}]
    await world.settle(zone(recordSets=[{**GEO, "geo": geo}]))
    (code,) = world.answer("www", "LUA")
    assert "netmask({'10.0.0.0/8'})" in code


async def test_a_server_without_countries_tells_networks_apart_and_says_so(
    world: ZoneWorld,
) -> None:
    world.server.state = replace(world.server.state, countries=False)
    report = await world.settle(zone(recordSets=sets(GEO)))
    (code,) = world.answer("www", "LUA")
    assert "netmask" in code
    assert "country" not in code
    assert report.ready
    assert (complete(report).status, complete(report).reason) == ("False", "LeftOut")
    assert "no database of countries" in complete(report).message


async def test_a_server_that_computes_nothing_gives_everybody_the_same(world: ZoneWorld) -> None:
    world.server.state = ServerState("4.7.3", computed=False, alias=False, countries=False)
    alias = {"name": "@", "type": "ALIAS", "records": ["www.example.net"]}
    report = await world.settle(zone(recordSets=sets(GEO, alias)))
    assert world.answer("www", "A") == ("192.0.2.1",)
    assert world.answer("", "ALIAS") == ()
    assert len(told(report).left_out) == 2


# -- its zone file

FILE = """\
$TTL 1h
@ IN SOA ns.example.net. admin 1 2h 1h 2w 5m
@ NS ns.example.net.
www A 192.0.2.99
ftp CNAME www
old HINFO "PC" "DOS"
"""


async def test_a_zone_file_is_served_under_its_own_records(world: ZoneWorld) -> None:
    report = await world.settle(zone(zoneFile={"text": FILE}, recordSets=[WWW]))
    assert world.answer("", "NS") == ("ns.example.net.",)
    assert world.answer("www", "A") == ("192.0.2.1",)
    assert world.answer("ftp", "CNAME") == (f"www.{DOMAIN}",)
    assert world.answer("old", "HINFO") == ()
    assert told(report).left_out == (f"old.{DOMAIN} HINFO: zones have no such type",)


async def test_an_alias_in_a_file_is_told_where_the_server_resolves_none(world: ZoneWorld) -> None:
    wanted = zone(zoneFile={"text": f"{FILE}@ ALIAS www.example.net.\n"})
    report = await world.settle(wanted)
    assert world.answer("", "ALIAS") == ("www.example.net.",)
    assert len(told(report).left_out) == 1
    world.server.state = replace(world.server.state, alias=False)
    report = await world.settle(wanted)
    assert world.answer("", "ALIAS") == ()
    assert complete(report).status == "False"
    assert any("ALIAS" in each for each in told(report).left_out)


async def test_a_zone_file_in_a_config_map_is_read_and_followed(world: ZoneWorld) -> None:
    wanted = zone(zoneFile={"configMapRef": {"name": "file"}})
    world.values.data[("ConfigMap", "file")] = {"zone": FILE.encode()}
    await world.settle(wanted)
    assert world.answer("www", "A") == ("192.0.2.99",)
    world.values.data[("ConfigMap", "file")] = {"zone": b"www A 192.0.2.98\n"}
    await world.settle(wanted)
    assert world.answer("www", "A") == ("192.0.2.98",)
    assert world.answer("ftp", "CNAME") == ()


@pytest.mark.parametrize("broken", [None, {}, {"zone": b"www A 1.2.3.400\n"}])
async def test_a_broken_file_changes_nothing_and_the_zone_goes_on(
    world: ZoneWorld, broken: dict[str, bytes] | None
) -> None:
    wanted = zone(zoneFile={"configMapRef": {"name": "file"}})
    world.values.data[("ConfigMap", "file")] = {"zone": FILE.encode()}
    await world.settle(wanted)
    before = world.found
    if broken is None:
        del world.values.data[("ConfigMap", "file")]
    else:
        world.values.data[("ConfigMap", "file")] = broken
    plan, report = await world.look(wanted)
    assert plan.wait is not None
    assert plan.wait.reason == "ZoneFileInvalid"
    assert "configMapRef" in plan.wait.message
    assert (report.ready, world.found) == (True, before)
    assert (complete(report).status, complete(report).reason) == ("False", "ZoneFileInvalid")


# -- RecordSets


async def test_record_sets_are_served_with_it_and_go_with_theirs(world: ZoneWorld) -> None:
    api = source("api", name="api", type="A", records=["192.0.2.5"], ttl=60)
    world.dependents = (api,)
    report = await world.settle(zone(recordSets=[WWW]))
    assert world.answer("api", "A") == ("192.0.2.5",)
    assert world.sources(report) == {"api": (True, "")}
    world.dependents = (replace(api, deleting=True),)
    report = await world.settle(zone(recordSets=[WWW]))
    assert world.answer("api", "A") == ()
    assert world.answer("www", "A")


async def test_of_two_owners_the_older_wins_and_the_other_says_who_has_it(
    world: ZoneWorld,
) -> None:
    young = source("young", "2026-01-02T00:00:00Z", name="x", type="A", records=["192.0.2.1"])
    old = source("zz-old", "2026-01-01T00:00:00Z", name="x", type="A", records=["192.0.2.2"])
    mine = source("mine", "2025-01-01T00:00:00Z", name="www", type="A", records=["192.0.2.3"])
    world.dependents = (mine, young, old)
    report = await world.settle(zone(recordSets=[WWW]))
    assert world.answer("x", "A") == ("192.0.2.2",)
    assert world.answer("www", "A") == ("192.0.2.1",)
    found = world.sources(report)
    assert found["zz-old"] == (True, "")
    assert "RecordSet 'zz-old' already has" in found["young"][1]
    assert "Zone 'shop' already has" in found["mine"][1]
    assert complete(report).status == "False"
    world.dependents = (young,)
    await world.settle(zone())
    assert world.answer("x", "A") == ("192.0.2.1",)


async def test_texts_of_several_owners_stand_beside_each_other(world: ZoneWorld) -> None:
    spf = {"name": "@", "type": "TXT", "records": ["v=spf1 -all"]}
    world.dependents = (
        source("verify", name="@", type="TXT", records=["site-verification=1"], ttl=60),
        source("spf", "2026-02-01T00:00:00Z", name="@", type="TXT", records=["v=spf1 mx -all"]),
    )
    report = await world.settle(zone(recordSets=[spf]))
    assert world.answer("", "TXT") == ('"site-verification=1"', '"v=spf1 -all"')
    found = world.sources(report)
    assert found["verify"] == (True, "")
    assert "Zone 'shop' already has" in found["spf"][1]


CLASHES = {
    "a CNAME beside others": {"name": "www", "type": "CNAME", "records": ["a.b"]},
    "out of the zone": {"name": "www.example.net.", "type": "A", "records": ["192.0.2.1"]},
    "the zone's nameservers": {"name": "shop.example.org.", "type": "NS", "records": ["a.b"]},
    "not valid": {"name": "x", "type": "A", "records": ["nonsense"]},
    "longer than a name may be": {
        "name": ".".join(["a" * 60] * 4),
        "type": "A",
        "records": ["192.0.2.1"],
    },
}


@pytest.mark.parametrize("spec", CLASHES.values(), ids=CLASHES.keys())
async def test_what_cannot_be_in_the_zone_is_left_out_and_told(
    world: ZoneWorld, spec: dict[str, Any]
) -> None:
    good = source("good", name="good", type="A", records=["192.0.2.7"])
    world.dependents = (good, source("bad", **spec))
    report = await world.settle(zone(recordSets=[WWW]))
    served, message = world.sources(report)["bad"]
    assert not served
    assert message
    assert world.sources(report)["good"] == (True, "")
    assert report.ready


async def test_a_value_too_long_within_its_zone_is_left_out_and_told(world: ZoneWorld) -> None:
    long = zone(domain=".".join(["b" * 60] * 3) + ".example.org")
    world.dependents = (source("bad", name="x", type="MX", records=["10 " + "c" * 60]),)
    report = await world.settle(long)
    served, message = world.sources(report)["bad"]
    assert (served, report.ready) == (False, True)
    assert "is not '<preference> <host>'" in message


async def test_a_nameserver_written_in_two_ways_is_one(world: ZoneWorld) -> None:
    report = await world.settle(zone(nameservers=["ns1", "ns1.shop.example.org"]))
    assert report.ready
    assert told(report).nameservers == ("ns1.shop.example.org",)


# -- what a RecordSet tells

API = {"name": "api", "type": "A", "records": ["192.0.2.5"]}


async def served(world: ZoneWorld, *dependents: Dependent, ready: bool = True) -> None:
    """Settle the Zone, and show its status to RecordSets."""
    world.dependents = dependents
    report = await world.settle(zone(recordSets=[WWW]))
    status = report.status.model_dump(by_alias=True)
    message = "" if ready else "Zone 'shop' is not ready"
    world.refs["spec.zoneRef"] = Resolved(
        "Zone", "shop", "uid-z", ready, message, None, {"domain": "shop.example.org"}, status
    )


async def test_a_record_set_is_ready_when_its_zone_serves_it(world: ZoneWorld) -> None:
    await served(world)
    plan, report = await world.look(recordset(**API))
    assert plan.wait is not None
    assert (plan.wait.reason, report.ready) == ("Pending", False)
    await served(world, source("shop", **API))
    plan, report = await world.look(recordset(**API))
    assert (plan, report.ready) == (Plan(), True)
    assert report.status == RecordSetStatus(domain="api.shop.example.org")
    edited = {**API, "records": ["192.0.2.6"]}
    assert not (await world.look(recordset(**edited)))[1].ready


async def test_a_record_set_tells_what_keeps_it_from_being_served(world: ZoneWorld) -> None:
    world.refs["spec.zoneRef"] = Resolved("Zone", "shop", None, False, "Zone 'shop' does not exist")
    _, report = await world.look(recordset(**API))
    assert (report.reason, report.message) == ("ZoneMissing", "Zone 'shop' does not exist")
    await served(world, source("shop", **WWW))
    _, report = await world.look(recordset(**WWW))
    assert report.reason == "NotServed"
    assert "Zone 'shop' already has" in report.message
    await served(world, source("shop", **API), ready=False)
    _, report = await world.look(recordset(**API))
    assert (report.ready, report.reason) == (False, "ZoneNotReady")


async def test_a_record_set_that_is_not_on_the_server_is_not_served(world: ZoneWorld) -> None:
    await served(world, source("shop", **API))
    world.server.put(DOMAIN, RRset(f"api.{DOMAIN}", "A"))
    _, report = await world.look(zone(recordSets=[WWW]))
    assert world.sources(report)["shop"][0] is False
