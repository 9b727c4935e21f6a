"""Zones and their signing keys, on a real PowerDNS and on its fake."""

from dataclasses import replace

import pytest

from controlplane.errors import RetryableError
from tests.contract.powerdns.worlds import (
    ACCOUNT,
    OTHER,
    World,
    a,
    change,
    ensure,
    ns_of,
    observe,
    soa_of,
)

# -- servers and zones


async def test_a_server_tells_what_it_can(world: World) -> None:
    state = await world.driver.observe_server(world.server)
    assert state.version.startswith("4.7")
    assert (state.computed, state.alias, state.countries) == (True, True, True)


async def test_a_zone_that_is_not_there_is_none(world: World) -> None:
    assert await world.driver.observe_zone(world.server, world.zone) is None
    assert await world.driver.observe_answer(world.address, world.zone) is None


async def test_a_made_zone_has_what_it_was_made_with_and_answers(world: World) -> None:
    www = a(world, "www", "192.0.2.1", "192.0.2.2")
    zone = await ensure(world, www)
    assert zone.settled(ACCOUNT)
    assert not zone.settled(OTHER)
    assert (zone.signed, zone.keys, zone.soa) == (False, (), soa_of(world.zone))
    assert zone.rrsets == tuple(sorted((ns_of(world.zone), www)))
    assert zone.serial > 0
    assert await world.driver.observe_answer(world.address, world.zone) == zone.serial
    assert world.ask(www.name, "A") == www.records


async def test_a_zone_as_large_as_a_file_may_be_goes_in_one_request(world: World) -> None:
    sets = [a(world, f"host-{n}", f"10.0.{n >> 8}.{n & 255}") for n in range(30_000)]
    zone = await ensure(world, *sets)
    assert len(zone.rrsets) == len(sets) + 1
    after = await change(world, *(replace(each, ttl=120) for each in sets))
    assert after.serial == zone.serial + 1
    assert world.ask(sets[-1].name, "A") == sets[-1].records


async def test_making_it_twice_is_once_and_keeps_its_records(world: World) -> None:
    first = await ensure(world, a(world, "www", "192.0.2.1"))
    again = await ensure(world)
    assert again == first


async def test_settings_changed_by_others_are_corrected(world: World) -> None:
    await ensure(world)
    world.spoil()
    assert not (await observe(world)).settled(ACCOUNT)
    assert (await ensure(world)).settled(ACCOUNT)


async def test_another_accounts_zone_is_never_touched(world: World) -> None:
    before = await ensure(world)
    with pytest.raises(RetryableError) as refused:
        await ensure(world, account=OTHER)
    assert refused.value.reason == "NotOurs"
    with pytest.raises(RetryableError) as kept:
        await world.driver.delete_zone(world.server, world.zone, OTHER)
    assert kept.value.reason == "NotOurs"
    assert await observe(world) == before


async def test_a_zone_is_handed_over_by_who_has_it_alone(world: World) -> None:
    before = await ensure(world)
    hand = world.driver.ensure_account
    with pytest.raises(RetryableError) as refused:
        await hand(world.server, world.zone, OTHER, "33333333-third")
    assert refused.value.reason == "NotOurs"
    for _ in range(2):
        await hand(world.server, world.zone, OTHER, ACCOUNT)
    after = await observe(world)
    assert (after.account, after.rrsets, after.keys) == (OTHER, before.rrsets, before.keys)
    await hand(world.server, f"absent.{world.zone}", OTHER, ACCOUNT)


async def test_all_zones_are_listed_with_their_accounts(world: World) -> None:
    await ensure(world)
    heads = await world.driver.list_zones(world.server)
    assert [h.account for h in heads if h.name == world.zone] == [ACCOUNT]
    assert list(heads) == sorted(heads, key=lambda head: head.name)


async def test_a_deleted_zone_is_gone_and_deleting_it_again_is_fine(world: World) -> None:
    await ensure(world)
    for _ in range(2):
        await world.driver.delete_zone(world.server, world.zone, ACCOUNT)
        assert await world.driver.observe_zone(world.server, world.zone) is None


# -- signing


async def test_signing_makes_a_key_and_signing_again_keeps_it(world: World) -> None:
    await ensure(world)
    for _ in range(2):
        await world.driver.ensure_signed(world.server, world.zone, True)
    zone = await observe(world)
    assert zone.signed
    (key,) = zone.keys
    assert (key.active, key.published, key.algorithm) == (True, True, "ECDSAP256SHA256")
    assert len(key.ds) == 3
    assert zone.settled(ACCOUNT)


async def test_signing_off_and_on_again_needs_no_new_ds(world: World) -> None:
    await ensure(world)
    await world.driver.ensure_signed(world.server, world.zone, True)
    first = await observe(world)
    await world.driver.ensure_signed(world.server, world.zone, False)
    off = await observe(world)
    assert (off.signed, [key.active for key in off.keys]) == (False, [False])
    await world.driver.ensure_signed(world.server, world.zone, True)
    assert (await observe(world)).keys == first.keys


async def test_not_signing_what_never_was_changes_nothing(world: World) -> None:
    before = await ensure(world)
    await world.driver.ensure_signed(world.server, world.zone, False)
    assert await observe(world) == before
