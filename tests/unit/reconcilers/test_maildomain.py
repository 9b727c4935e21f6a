"""MailDomain: how it is served, signed and published, and what it waits for."""

from dataclasses import replace
from typing import Any

import pytest

from controlplane.plan import Dependent, EnsureChild, RemoveChild
from drivers.mail import DomainSpec
from drivers.mail_keys import public_key
from tests.support.keys import rsa_key, short_rsa_key
from tests.unit.reconcilers.mail import (
    SERVICE,
    at,
    domain,
    reason,
    silent,
    steps,
    world_with_server,
)
from tests.unit.reconcilers.world import NS_UID, UID


async def test_a_domain_is_served_with_a_key_of_its_own() -> None:
    world = world_with_server()
    report = await world.settle(domain())
    key = world.values.data["Secret", "shop-dkim"]["private-key"].decode()
    found = at(world).domains["example.org"]
    assert report.ready
    assert found.spec == DomainSpec("example.org", UID, NS_UID, True, "bunker")
    assert found.key == key
    assert await silent(world, domain())


async def test_a_domain_tells_what_dns_has_to_say() -> None:
    world = world_with_server()
    spec: dict[str, Any] = {
        "host": "mx.example.org",
        "addresses": ["192.0.2.25", "2001:db8::25"],
        "spf": "soft",
        "dmarc": {"policy": "reject", "reportTo": "d@example.org"},
        "dkim": {"selector": "s1"},
    }
    report = await world.settle(domain(**spec))
    key = public_key(world.values.data["Secret", "shop-dkim"]["private-key"].decode())
    status: Any = report.status
    assert [(r.name, r.type, r.value) for r in status.records] == [
        ("example.org", "MX", "10 mx.example.org."),
        ("example.org", "TXT", "v=spf1 mx ~all"),
        ("s1._domainkey.example.org", "TXT", f"v=DKIM1; k=rsa; p={key}"),
        ("_dmarc.example.org", "TXT", "v=DMARC1; p=reject; rua=mailto:d@example.org"),
        ("mx.example.org", "A", "192.0.2.25"),
        ("mx.example.org", "AAAA", "2001:db8::25"),
    ]


@pytest.mark.parametrize(
    ("settings", "spec", "host"),
    [
        pytest.param({}, {}, "mail.example.org", id="nobody says"),
        pytest.param({"host": "mx.net.test"}, {}, "mx.net.test", id="the service says"),
        pytest.param({"host": "a.b"}, {"host": "mx.own.test"}, "mx.own.test", id="the record says"),
    ],
)
async def test_mx_leads_to_the_mail_server(
    settings: dict[str, str], spec: dict[str, Any], host: str
) -> None:
    world = world_with_server()
    world.services["mail"] = replace(SERVICE, spec={"settings": settings})
    status: Any = (await world.settle(domain(**spec))).status
    assert status.host == host


async def test_records_are_published_into_the_zone_and_taken_out_again() -> None:
    world = world_with_server()
    published = domain(zoneRef={"name": "z"}, addresses=["192.0.2.25"])
    report = await world.settle(published)
    sets = {name: c.spec for (kind, name), c in world.children.items() if kind == "RecordSet"}
    assert set(sets) == {f"shop-mail-{each}" for each in ("mx", "spf", "dkim", "dmarc", "a")}
    assert sets["shop-mail-mx"] == {
        "zoneRef": {"name": "z"},
        "name": "example.org.",
        "type": "MX",
        "records": ["10 mail.example.org."],
    }
    assert [(c.type, c.status) for c in report.conditions] == [("Published", "True")]
    without = await steps(world, domain(zoneRef={"name": "z"}))
    assert without == (RemoveChild("RecordSet", "shop-mail-a"),)


async def test_a_record_set_that_somebody_changed_is_set_right() -> None:
    world = world_with_server()
    wanted = domain(zoneRef={"name": "z"})
    await world.settle(wanted)
    name = ("RecordSet", "shop-mail-spf")
    right = world.children[name]
    world.children[name] = replace(right, spec={**right.spec, "records": ["v=spf1 +all"]})
    assert await steps(world, wanted) == (EnsureChild(*name, right.spec),)


async def test_a_waiting_zone_is_told_and_mail_goes_on() -> None:
    world = world_with_server()
    wanted = domain(zoneRef={"name": "z"})
    await world.settle(wanted)
    name = ("RecordSet", "shop-mail-dkim")
    world.children[name] = replace(world.children[name], ready=False)
    _, report = await world.look(wanted)
    assert report.ready
    assert [(c.status, c.reason) for c in report.conditions] == [("False", "Pending")]
    assert "shop-mail-dkim" in report.conditions[0].message


@pytest.mark.parametrize("harm", ["gone", "key gone", "key changed", "selector", "switched off"])
async def test_drift_of_a_domain_is_healed(harm: str) -> None:
    world = world_with_server()
    await world.settle(domain())
    found = at(world).domains["example.org"]
    right = replace(found)
    match harm:
        case "gone":
            del at(world).domains["example.org"]
        case "key gone":
            found.key = ""
        case "key changed":
            found.key = rsa_key(1)
        case "selector":
            found.spec = replace(found.spec, selector="other")
        case _:
            found.spec = replace(found.spec, active=False)
    assert (await world.settle(domain())).ready
    assert at(world).domains["example.org"] == right
    assert await silent(world, domain())


async def test_edits_of_a_domain_lead_where_a_fresh_one_is() -> None:
    world = world_with_server()
    await world.settle(domain())
    fresh = replace(at(world).domains["example.org"])
    await world.settle(domain(enabled=False, dkim={"selector": "s2"}))
    assert at(world).domains["example.org"].spec.selector == "s2"
    assert not at(world).domains["example.org"].spec.active
    await world.settle(domain())
    assert at(world).domains["example.org"] == fresh


async def test_a_deleted_key_is_made_anew_and_used() -> None:
    world = world_with_server()
    await world.settle(domain())
    del world.children["Secret", "shop-dkim"]
    world.values.data["Secret", "shop-dkim"] = {"private-key": rsa_key(1).encode()}
    assert (await world.settle(domain())).ready
    key = world.values.data["Secret", "shop-dkim"]["private-key"].decode()
    assert at(world).domains["example.org"].key == key


async def test_a_key_of_ones_own_is_used_and_waited_for() -> None:
    world = world_with_server()
    wanted = domain(dkim={"secretRef": {"name": "mine"}})
    assert await reason(world, wanted) == "SecretMissing"
    world.values.data["Secret", "mine"] = {"private-key": b"no key"}
    assert await reason(world, wanted) == "KeyInvalid"
    key = rsa_key(1)
    world.values.data["Secret", "mine"] = {"private-key": key.encode()}
    assert (await world.settle(wanted)).ready
    assert at(world).domains["example.org"].key == key


async def test_a_key_that_no_verifier_takes_is_told_and_changes_nothing() -> None:
    world = world_with_server()
    await world.settle(domain())
    before = replace(at(world).domains["example.org"])
    world.values.data["Secret", "mine"] = {"private-key": short_rsa_key(512).encode()}
    wanted = domain(dkim={"secretRef": {"name": "mine"}})
    assert await reason(world, wanted) == "KeyInvalid"
    _, report = await world.look(wanted)
    assert "1024 bits" in report.message
    assert at(world).domains["example.org"] == before


async def test_a_domain_waits_for_who_is_in_it() -> None:
    world = world_with_server()
    await world.settle(domain())
    inside = Dependent("Mailbox", "shop", "jane", "u", "", {}, {}, False, "", True)
    world.dependents = (inside,)
    plan, report = await world.look(domain(deleting=True))
    assert plan.wait is not None
    assert (plan.wait.reason, report.ready) == ("InUse", False)
    assert "Mailbox 'jane'" in plan.wait.message
    world.dependents = ()
    await world.settle(domain(deleting=True))
    assert not at(world).domains
    assert await steps(world, domain(deleting=True)) == ()


async def test_a_domain_of_somebody_else_is_left_alone() -> None:
    world = world_with_server()
    await world.settle(domain())
    theirs = replace(at(world).domains["example.org"].spec, owner="other")
    at(world).domains["example.org"].spec = theirs
    assert await reason(world, domain()) == "NotOurs"
    await world.settle(domain(deleting=True))
    assert at(world).domains["example.org"].spec == theirs
