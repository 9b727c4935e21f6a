"""Zones and RecordSets under the real engine on a fake DNS server."""

from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest

from controlplane.records import Key
from drivers.fake.powerdns import FakeDnsServer
from drivers.powerdns import ZoneState
from tests.support.platform import Platform
from tests.support.running import USER
from tests.support.virtual import in_virtual_time

ZONE = Key("Zone", "shop", "shop")
DOMAIN = "shop.example.org."
DNS = Key("Platform", "platform", "dns")
DEAD = "00000000-0000-4000-8000-000000000000"


def server(platform: Platform) -> FakeDnsServer:
    assert platform.dns.anywhere is not None
    return platform.dns.anywhere


async def dns_service(platform: Platform) -> None:
    """The platform's DNS, serving."""
    await platform.records.create("Namespace", {
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "platform"}
    }, actor=USER)  # fmt: skip
    await dns_record(platform)


async def dns_record(platform: Platform) -> None:
    await platform.records.create("Platform", {
        "apiVersion": "bunker.cloud/v1", "kind": "Platform",
        "metadata": {"name": "dns", "namespace": "platform"}, "spec": {"service": "dns"},
    }, actor=USER)  # fmt: skip
    await platform.settle(30)


async def zone(platform: Platform, **spec: Any) -> None:
    await platform.apply("Zone", "shop", domain="shop.example.org", **spec)


async def record_set(platform: Platform, name: str, address: str) -> Key:
    return await platform.apply(
        "RecordSet", name, zoneRef={"name": "shop"}, name=name, type="A", records=[address]
    )


@in_virtual_time
async def test_record_sets_and_their_zone_find_each_other_in_any_order() -> None:
    async with Platform().running() as platform:
        await platform.settle(1)
        first = await record_set(platform, "first", "192.0.2.1")
        await platform.settle(5)
        assert platform.condition(first)["reason"] == "ReferenceNotFound"
        await zone(platform)
        await platform.settle(5)
        assert not platform.ready(ZONE)
        await dns_service(platform)
        assert platform.ready(ZONE)
        second = await record_set(platform, "second", "192.0.2.2")
        await platform.settle(3)
        assert [platform.ready(key) for key in (ZONE, first, second)] == [True] * 3
        assert server(platform).lookup(f"second.{DOMAIN}", "A") == ("192.0.2.2",)
        for key in (first, second):
            assert "finalizers" not in platform.get(key).meta
        await platform.delete(first)
        await platform.settle(3)
        assert server(platform).lookup(f"first.{DOMAIN}", "A") == ()
        await platform.delete(ZONE)
        await platform.settle(5)
        assert not server(platform).zones
        assert not platform.ready(second)


@in_virtual_time
async def test_a_record_set_that_is_paused_and_renamed_at_once_stays_where_it_was() -> None:
    async with Platform().running() as platform:
        await platform.settle(1)
        await dns_service(platform)
        await zone(platform)
        first = await record_set(platform, "first", "192.0.2.1")
        await platform.settle(5)
        await platform.apply("RecordSet", "first", paused=True, name="other")
        await platform.settle(60)
        assert server(platform).lookup(f"first.{DOMAIN}", "A") == ("192.0.2.1",)
        assert server(platform).lookup(f"other.{DOMAIN}", "A") == ()
        await platform.apply("RecordSet", "first", paused=False)
        await platform.settle(5)
        assert server(platform).lookup(f"first.{DOMAIN}", "A") == ()
        assert server(platform).lookup(f"other.{DOMAIN}", "A") == ("192.0.2.1",)
        assert platform.ready(first)


@in_virtual_time
async def test_a_zone_whose_record_was_lost_is_swept_and_nothing_else_is() -> None:
    async with Platform().running() as platform:
        await platform.settle(1)
        await dns_service(platform)
        await zone(platform)
        await platform.settle(5)
        zones = server(platform).zones
        accounts = {"dead": DEAD, "kept": f"~{DEAD}", "hand": "", "other": "somebody"}
        for name, account in accounts.items():
            zones[f"{name}.test."] = other(zones[DOMAIN], f"{name}.test.", account)
        await platform.settle(1300)
        assert sorted(zones) == ["hand.test.", "kept.test.", "other.test.", DOMAIN]


@in_virtual_time
@pytest.mark.parametrize("waits", [{"paused": True}, {"resources": {"cpu": "999"}}])
async def test_a_server_of_somebody_else_is_not_swept_before_ours_is_there(
    waits: dict[str, Any],
) -> None:
    """Its address and login are in the status until then."""
    async with Platform().running() as platform:
        await platform.settle(1)
        await dns_service(platform)
        await platform.records.create("Secret", {
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": "theirs", "namespace": "platform"},
            "data": {"api-key": b64encode(b"of theirs").decode()},
        }, actor=USER)  # fmt: skip
        away = {"endpoint": "dns.test:8081", "secretRef": {"name": "theirs"}}
        await platform.apply("Platform", "dns", within="platform", external=away)
        await platform.settle(30)
        await zone(platform)
        await platform.settle(5)
        zones = server(platform).zones
        zones["dead.test."] = other(zones[DOMAIN], "dead.test.", DEAD)
        await platform.settle(1300)
        assert "dead.test." in zones
        await platform.apply("Platform", "dns", within="platform", external=None, **waits)
        await platform.settle(1300)
        assert platform.status(DNS)["secretRef"] == {"name": "theirs"}
        assert "dead.test." in zones


@in_virtual_time
@pytest.mark.parametrize(("policy", "left"), [("Retain", [DOMAIN]), ("Delete", [])])
async def test_a_zone_whose_record_went_while_its_server_was_away(
    policy: str, left: list[str]
) -> None:
    async with Platform().running() as platform:
        await platform.settle(1)
        await dns_service(platform)
        await zone(platform, deletionPolicy=policy)
        await platform.settle(5)
        zones = dict(server(platform).zones)
        assert list(zones) == [DOMAIN]
        for gone in (DNS, ZONE):
            await platform.delete(gone)
            await platform.settle(5)
            assert platform.find(gone) is None
        await dns_record(platform)
        await platform.settle(1300)
        found = server(platform).zones
        assert list(found) == left
        assert all(each.account.startswith("~") for each in found.values()), "set apart"


def other(like: ZoneState, name: str, account: str) -> ZoneState:
    return replace(like, name=name, account=account)


@in_virtual_time
async def test_a_stored_zone_file_that_can_not_be_read_is_told_by_whoever_reads_it() -> None:
    async with Platform().running() as platform:
        await dns_service(platform)
        await zone(platform, zoneFile={"text": "x A nonsense\n"})
        await platform.settle(5)
        assert server(platform).zones == {}
        told = platform.condition(ZONE)["message"]
        assert told.startswith("cannot read spec.zoneFile.text: in or before line 2")


@in_virtual_time
async def test_a_zone_with_what_is_not_taken_any_more_can_still_be_deleted() -> None:
    async with Platform().running() as platform:
        await dns_service(platform)
        await zone(platform)
        await platform.settle(5)
        assert list(server(platform).zones) == [DOMAIN]
        await zone(platform, recordSets=[{"name": "x", "type": "A", "records": ["no address"]}])
        await platform.settle(5)
        assert platform.condition(ZONE, "Stalled")["reason"] == "InvalidRecord"
        await platform.delete(ZONE)
        await platform.settle(5)
        assert platform.find(ZONE) is None
        assert not server(platform).zones
