"""Zone: how it is made, kept, signed and removed on its server."""

import threading
from dataclasses import replace
from typing import Any

import pytest

from controlplane.errors import DriverUnavailableError, RetryableError, TerminalError
from controlplane.plan import Plan, Resolved, Wait
from drivers.fake.powerdns import FakePowerDns
from drivers.powerdns import DnsServer, RRset, Soa
from reconcilers._zone import Merged, merged
from reconcilers.zone import MANY_SETS, ChangeRecords, MakeZone, RemoveZone, SignZone
from tests.unit.reconcilers.world import NS_UID, UID
from tests.unit.reconcilers.zones import AT, DOMAIN, WWW, ZoneWorld, complete, source, told, zone


@pytest.fixture
def world() -> ZoneWorld:
    return ZoneWorld()


# -- making and keeping it


async def test_it_is_made_with_all_its_records_at_once(world: ZoneWorld) -> None:
    plan, _ = await world.look(zone(recordSets=[WWW]))
    (step,) = plan.steps
    assert isinstance(step, MakeZone)
    assert (step.at, step.domain, step.account) == (AT, DOMAIN, UID)
    assert step.rrsets == (
        RRset(DOMAIN, "NS", 300, (f"ns1.{DOMAIN}",)),
        RRset(f"www.{DOMAIN}", "A", 300, ("192.0.2.1",)),
    )
    report = await world.settle(zone(recordSets=[WWW]))
    assert (report.ready, report.reason) == (True, "Serving")
    assert complete(report).status == "True"
    assert world.answer("www", "A") == ("192.0.2.1",)
    assert told(report).endpoint == "10.200.0.3:53"


async def test_many_records_are_put_together_on_a_thread(
    world: ZoneWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    on: list[int] = []

    def noted(*given: Any) -> Merged:
        on.append(threading.get_ident())
        return merged(*given)

    monkeypatch.setattr("reconcilers.zone.merged", noted)
    many = [{**WWW, "name": f"www{number}"} for number in range(MANY_SETS)]
    report = await world.settle(zone(recordSets=many))
    assert told(report).served == MANY_SETS + 1
    assert on
    assert threading.get_ident() not in on


async def test_settled_it_changes_nothing(world: ZoneWorld) -> None:
    wanted = zone(recordSets=[WWW], dnssec=True)
    await world.settle(wanted)
    writes = dict(world.dns.writes)
    plan, _ = await world.look(wanted)
    assert plan == Plan()
    assert dict(world.dns.writes) == writes


async def test_an_edit_is_a_difference_and_the_zone_stays(world: ZoneWorld) -> None:
    await world.settle(zone(recordSets=[WWW, {**WWW, "name": "old"}]))
    edited = zone(recordSets=[{**WWW, "records": ["192.0.2.2"]}], soa={"refresh": 7200})
    plan, _ = await world.look(edited)
    (step,) = plan.steps
    assert isinstance(step, ChangeRecords)
    assert step.changes == (
        RRset(f"old.{DOMAIN}", "A"),
        RRset(f"www.{DOMAIN}", "A", 300, ("192.0.2.2",)),
    )
    assert step.soa is not None
    assert step.soa.refresh == 7200
    await world.settle(edited)
    assert world.dns.writes["ensure_zone"] == 1
    assert world.answer("www", "A") == ("192.0.2.2",)


HARM = {
    "a record removed": lambda w: w.server.put(DOMAIN, RRset(f"www.{DOMAIN}", "A")),
    "a record changed": lambda w: w.server.put(
        DOMAIN, RRset(f"www.{DOMAIN}", "A", 300, ("9.9.9.9",))
    ),
    "a TTL changed": lambda w: w.server.put(DOMAIN, RRset(f"www.{DOMAIN}", "A", 1, ("192.0.2.1",))),
    "a record added": lambda w: w.server.put(DOMAIN, RRset(f"x.{DOMAIN}", "A", 1, ("9.9.9.9",))),
    "a record switched off": lambda w: w.server.put(
        DOMAIN, RRset(f"www.{DOMAIN}", "A", 300, (), disabled=True)
    ),
    "its nameservers changed": lambda w: w.server.put(DOMAIN, RRset(DOMAIN, "NS", 1, ("a.b.",))),
    "its SOA changed": lambda w: w.server.edit(DOMAIN, soa=replace(w.found.soa, expire=1)),
    "its SOA removed": lambda w: w.server.edit(DOMAIN, soa=None),
    "its settings changed": lambda w: w.server.edit(DOMAIN, kind="Master", serial_rule="OFF"),
    "its keys removed": lambda w: w.server.edit(DOMAIN, keys=(), signed=False),
    "itself removed": lambda w: w.server.zones.clear(),
}  # fmt: skip


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM.keys())
async def test_what_others_do_is_mended(world: ZoneWorld, harm: Any) -> None:
    wanted = zone(recordSets=[WWW], dnssec=True)
    await world.settle(wanted)
    before = world.found
    harm(world)
    assert world.server.zones.get(DOMAIN) != before
    assert (await world.settle(wanted)).ready
    after = world.found
    assert (after.rrsets, after.soa, after.settled(UID)) == (before.rrsets, before.soa, True)
    assert after.signed


async def test_the_same_data_written_differently_is_left(world: ZoneWorld) -> None:
    mx = {"name": "@", "type": "MX", "records": ["10 mail.example.org"]}
    await world.settle(zone(recordSets=[mx]))
    world.server.put(DOMAIN, RRset(DOMAIN, "MX", 300, ("10 MAIL.Example.ORG.",)))
    plan, _ = await world.look(zone(recordSets=[mx]))
    assert plan == Plan()


class Picky(FakePowerDns):
    """Takes no record set named `odd`."""

    async def ensure_rrsets(
        self, server: DnsServer, name: str, changes: tuple[RRset, ...], soa: Soa | None = None, /
    ) -> None:
        if any(each.name == f"odd.{DOMAIN}" for each in changes):
            raise TerminalError("cannot ensure records: odd", reason="SpecRefused")
        await super().ensure_rrsets(server, name, changes, soa)

    async def ensure_zone(
        self, server: DnsServer, name: str, account: str, soa: Soa, rrsets: tuple[RRset, ...], /
    ) -> None:
        if any(each.name == f"odd.{DOMAIN}" for each in rrsets):
            raise TerminalError("cannot ensure the zone: odd", reason="SpecRefused")
        await super().ensure_zone(server, name, account, soa, rrsets)


async def test_one_refused_record_set_keeps_no_other_from_being_served(world: ZoneWorld) -> None:
    await world.settle(zone(recordSets=[{**WWW, "name": "old"}]))
    world.dns = Picky(anywhere=world.server)
    odd = source("odd", name="odd", type="A", records=["192.0.2.3"])
    world.dependents = (odd, source("even", name="even", type="A", records=["192.0.2.4"]))
    wanted = zone(recordSets=[WWW], soa={"refresh": 7200})
    with pytest.raises(TerminalError) as refused:
        await world.settle(wanted)
    assert refused.value.reason == "SpecRefused"
    assert world.answer("www", "A")
    assert world.answer("even", "A")
    assert not world.answer("old", "A")
    assert world.found.soa is not None
    assert world.found.soa.refresh == 7200
    _, report = await world.look(wanted)
    assert report.ready
    served, message = world.sources(report)["odd"]
    assert not served
    assert "not on the server yet" in message
    assert world.sources(report)["even"] == (True, "")


async def test_one_refused_record_set_keeps_no_new_zone_from_being_made(world: ZoneWorld) -> None:
    world.dns = Picky(anywhere=world.server)
    odd = source("odd", name="odd", type="A", records=["192.0.2.3"])
    world.dependents = (odd, source("even", name="even", type="A", records=["192.0.2.4"]))
    wanted = zone(recordSets=[WWW])
    with pytest.raises(TerminalError):
        await world.settle(wanted)
    assert world.answer("www", "A")
    assert world.answer("even", "A")
    _, report = await world.look(wanted)
    assert report.ready
    assert not world.sources(report)["odd"][0]


# -- DNSSEC


async def test_it_is_signed_and_tells_the_ds(world: ZoneWorld) -> None:
    await world.settle(zone())
    plan, _ = await world.look(zone(dnssec=True))
    assert plan.steps == (SignZone(AT, DOMAIN, True),)
    report = await world.settle(zone(dnssec=True))
    assert told(report).signed
    assert told(report).ds == world.found.keys[0].ds


async def test_signing_off_and_on_again_keeps_the_ds(world: ZoneWorld) -> None:
    first = await world.settle(zone(dnssec=True))
    off = await world.settle(zone())
    assert (told(off).signed, told(off).ds) == (False, ())
    again = await world.settle(zone(dnssec=True))
    assert told(again).ds == told(first).ds


# -- whose it is


async def test_a_zone_of_others_is_never_touched(world: ZoneWorld) -> None:
    await world.settle(zone())
    for account in ("somebody-else", ""):
        world.server.edit(DOMAIN, account=account)
        before = world.found
        plan, report = await world.look(zone(recordSets=[WWW]))
        assert plan.wait is not None
        assert (plan.wait.reason, report.ready) == ("NameTaken", False)
        assert "somebody-else" not in plan.wait.message
        assert (await world.look(zone(deleting=True)))[0] == Plan()
        assert world.found == before


@pytest.mark.parametrize("name", ["example.org.", f"sub.{DOMAIN}"])
async def test_a_name_beside_what_is_kept_for_others_is_not_taken(
    world: ZoneWorld, name: str
) -> None:
    await world.settle(zone())
    world.server.zones = {name: replace(world.found, name=name, account="~other")}
    plan, _ = await world.look(zone())
    assert plan.wait is not None
    assert plan.wait.reason == "NameTaken"


async def test_deleting_removes_it_or_leaves_it_for_the_next(world: ZoneWorld) -> None:
    first = await world.settle(zone(recordSets=[WWW], dnssec=True))
    await world.settle(zone(deleting=True, deletionPolicy="Retain"))
    assert world.found.account == f"~{NS_UID}"
    assert (await world.look(zone(deleting=True)))[0] == Plan()
    again = await world.settle(zone(recordSets=[WWW], dnssec=True))
    assert told(again).ds == told(first).ds
    plan, _ = await world.look(zone(deleting=True))
    assert plan.steps == (RemoveZone(AT, DOMAIN, UID),)
    await world.settle(zone(deleting=True))
    assert not world.server.zones


async def test_what_is_to_be_kept_says_so_while_it_is_served(world: ZoneWorld) -> None:
    """Its record may go while the server is away, and then no sweep may take it."""
    await world.settle(zone(deletionPolicy="Retain"))
    assert world.found.account == f"{UID}~"
    assert (await world.look(zone(deletionPolicy="Retain")))[0] == Plan()
    await world.settle(zone())
    assert world.found.account == UID
    await world.settle(zone(deletionPolicy="Retain"))
    await world.settle(zone(deleting=True))
    assert not world.server.zones


async def test_one_that_was_left_there_is_told_as_that(world: ZoneWorld) -> None:
    await world.settle(zone())
    for account in ("dead~", "~dead"):
        world.server.edit(DOMAIN, account=account)
        plan, _ = await world.look(zone())
        assert plan.wait is not None
        assert "that is kept" in plan.wait.message


# -- its server


async def test_it_waits_for_a_server_and_says_for_which(world: ZoneWorld) -> None:
    world.serve({})
    plan, report = await world.look(zone())
    assert plan.wait == Wait("ServiceNotReady", "Platform 'dns' is not ready: it starts", 5.0)
    assert (report.ready, report.reason) == (False, "ServiceNotReady")


async def test_a_server_of_others_without_a_key_is_told(world: ZoneWorld) -> None:
    served = world.services["dns"]
    world.services["dns"] = replace(served, binding=None)
    plan, _ = await world.look(zone())
    assert plan.wait is not None
    assert "spec.external.secretRef" in plan.wait.message


async def test_deleting_waits_for_its_server_but_not_for_one_that_is_gone(
    world: ZoneWorld,
) -> None:
    await world.settle(zone())
    world.serve({})
    plan, _ = await world.look(zone(deleting=True))
    assert plan.wait is not None
    assert plan.wait.reason == "ServiceNotReady"
    world.services["dns"] = Resolved("Platform", "dns", None, False, "does not exist")
    assert (await world.look(zone(deleting=True)))[0] == Plan()


async def test_a_server_that_is_away_or_odd_is_an_error_of_the_driver(world: ZoneWorld) -> None:
    await world.settle(zone())
    world.server.away = True
    with pytest.raises(DriverUnavailableError):
        await world.look(zone())
    world.server.away, world.server.garbage = False, True
    with pytest.raises(RetryableError):
        await world.look(zone())


async def test_without_a_key_it_says_which_secret_is_missing(world: ZoneWorld) -> None:
    world.values.data.clear()
    with pytest.raises(RetryableError) as missing:
        await world.look(zone())
    assert missing.value.reason == "SecretMissing"
    assert "dns-credentials" in str(missing.value)


async def test_it_is_ready_when_dns_answers_not_when_the_api_does(world: ZoneWorld) -> None:
    await world.settle(zone())
    world.server.mute = True
    plan, report = await world.look(zone())
    assert plan.wait is not None
    assert (plan.wait.reason, report.ready) == ("NotAnswering", False)
