"""Zone: what paused RecordSets have on the server stays, and nothing else does."""

from dataclasses import replace
from typing import Any

import pytest

from controlplane.plan import Dependent, Plan, Report
from resources.zone import Zone
from tests.unit.reconcilers.zones import DOMAIN, ZoneWorld, source, zone


@pytest.fixture
def world() -> ZoneWorld:
    return ZoneWorld()


async def test_a_paused_record_set_is_left_as_it_is(world: ZoneWorld) -> None:
    api = source("api", name="api", type="A", records=["192.0.2.5"])
    world.dependents = (api,)
    await world.settle(zone())
    world.dependents = (replace(api, spec={**api.spec, "records": ["9.9.9.9"], "paused": True}),)
    await world.settle(zone())
    assert world.answer("api", "A") == ("192.0.2.5",)


def paused(dependent: Dependent, **edits: Any) -> Dependent:
    return replace(dependent, spec={**dependent.spec, **edits, "paused": True})


async def test_paused_answers_by_weight_stay(world: ZoneWorld) -> None:
    weighted = [{"record": "192.0.2.5", "weight": 1}]
    api = source("api", name="api", type="A", weighted=weighted)
    world.dependents = (api,)
    await world.settle(zone())
    before = world.answer("api", "LUA")
    world.dependents = (paused(api),)
    await world.settle(zone())
    assert world.answer("api", "LUA") == before != ()


async def test_texts_beside_a_paused_one_change_and_it_stays(world: ZoneWorld) -> None:
    verify = source("verify", name="@", type="TXT", records=["site-verification=1"], ttl=60)
    spf = source("spf", name="@", type="TXT", records=["v=spf1 -all"])
    world.dependents = (verify, spf)
    await world.settle(zone())
    edited = replace(spf, spec={**spf.spec, "records": ["v=spf1 mx -all"]})
    world.dependents = (paused(verify, records=["site-verification=2"]), edited)
    report = await world.settle(zone())
    assert world.answer("", "TXT") == ('"site-verification=1"', '"v=spf1 mx -all"')
    assert world.sources(report)["spf"] == (True, "")


async def test_the_name_of_a_paused_record_set_is_not_taken(world: ZoneWorld) -> None:
    api = source("api", name="api", type="A", records=["192.0.2.5"])
    world.dependents = (api,)
    await world.settle(zone())
    later = source("later", "2026-02-01T00:00:00Z", name="api", type="A", records=["9.9.9.9"])
    world.dependents = (paused(api), later)
    report = await world.settle(zone())
    assert world.answer("api", "A") == ("192.0.2.5",)
    assert "RecordSet 'api' already has" in world.sources(report)["later"][1]


def after(report: Report) -> Zone:
    """The Zone, as it was told last."""
    return zone().model_copy(update={"status": report.status})


async def test_a_paused_record_set_stays_where_it_was_served(world: ZoneWorld) -> None:
    api = source("api", name="api", type="A", records=["192.0.2.5"])
    later = source("later", "2026-02-01T00:00:00Z", name="api", type="A", records=["9.9.9.9"])
    world.dependents = (api,)
    report = await world.settle(zone())
    web = paused(api, name="web")
    six, text = paused(api, type="AAAA", records=["::"]), paused(web, type="TXT", records=["x"])
    for edited in (web, web, six, text):
        world.dependents = (edited, later)
        report = await world.settle(after(report))
        assert world.answer("api", "A") == ("192.0.2.5",)
        assert {each.name for each in world.found.rrsets} == {DOMAIN, f"api.{DOMAIN}"}
        assert "paused" in world.sources(report)["api"][1]
        assert "RecordSet 'api' already has" in world.sources(report)["later"][1]
    world.dependents = (replace(web, spec={**web.spec, "paused": False}), later)
    report = await world.settle(after(report))
    assert world.answer("web", "A") == ("192.0.2.5",)
    assert world.answer("api", "A") == ("9.9.9.9",)


async def test_what_is_deleted_beside_a_paused_record_set_goes(world: ZoneWorld) -> None:
    spf = source("spf", name="@", type="TXT", records=["v=spf1 -all", 'ä "b" \\'])
    verify = source("verify", name="@", type="TXT", records=["site-verification=1"])
    weighted = [[{"record": each, "weight": 1}] for each in ("192.0.2.5", "2001:db8::5")]
    four = source("four", name="api", type="A", weighted=weighted[0])
    six = source("six", name="api", type="AAAA", weighted=weighted[1])
    world.dependents = (spf, verify, four, six)
    report = await world.settle(zone())
    mine = tuple(each for each in world.answer("", "TXT") if "verification" not in each)
    code = tuple(each for each in world.answer("api", "LUA") if each.startswith("A "))
    assert (len(mine), len(code)) == (2, 1)
    world.dependents = (paused(spf), verify, paused(four), six)
    report = await world.settle(after(report))
    assert len(world.answer("", "TXT")) == 3
    assert len(world.answer("api", "LUA")) == 2
    world.dependents = (paused(spf, records=["v=spf1 mx -all"]), paused(four))
    report = await world.settle(after(report))
    assert world.answer("", "TXT") == mine
    assert world.answer("api", "LUA") == code
    assert (await world.look(after(report)))[0] == Plan()


async def test_where_a_paused_record_set_was_served_outlasts_a_server_without_address(
    world: ZoneWorld,
) -> None:
    api = source("api", name="api", type="A", records=["192.0.2.5"])
    world.dependents = (api,)
    report = await world.settle(zone())
    world.dependents = (paused(api, name="web"),)
    world.serve({})
    _, report = await world.look(after(report))
    assert not report.ready
    world.serve({"api": "10.200.0.3:8081", "dns": "10.200.0.3:53"})
    await world.settle(after(report))
    assert world.answer("api", "A") == ("192.0.2.5",)


async def test_what_is_switched_off_of_a_paused_record_set_is_left_so(world: ZoneWorld) -> None:
    api = source("api", name="api", type="A", records=["192.0.2.5"])
    world.dependents = (api,)
    report = await world.settle(zone())
    off = tuple(replace(each, disabled=each.type == "A") for each in world.found.rrsets)
    world.server.zones[DOMAIN] = replace(world.found, rrsets=off)
    world.dependents = (paused(api),)
    assert (await world.look(after(report)))[0] == Plan()
