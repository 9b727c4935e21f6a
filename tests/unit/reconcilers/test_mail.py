"""MailDomain, Mailbox and MailAlias: what is planned, and where the plans lead."""

from dataclasses import replace
from typing import Any

import pytest

from controlplane.errors import DriverUnavailableError
from controlplane.plan import (
    Binding,
    Dependent,
    EnsureChild,
    Plan,
    RemoveChild,
    Resolved,
)
from drivers.fake.mail import FakeDomain, FakeMailServer
from drivers.mail import AliasSpec, DomainSpec, MailboxSpec
from drivers.mail_keys import public_key
from reconcilers._mail import Place, place_of
from resources.meta import Record
from tests.support.keys import rsa_key
from tests.unit.reconcilers.world import NS_UID, UID, World, record

SERVICE = Resolved("Platform", "mail", "uid-mail", True, "", spec={}, status={"containerId": "c1"})
DOMAIN = Resolved("MailDomain", "shop", "uid-d", True, "", spec={"domain": "example.org"})


def world_with_server() -> World:
    world = World()
    world.mail.servers["c1"] = FakeMailServer()
    world.services["mail"] = SERVICE
    return world


def world_with_domain() -> World:
    world = world_with_server()
    at(world).domains["example.org"] = FakeDomain(DomainSpec("example.org", "uid-d", NS_UID))
    world.refs["spec.domainRef"] = DOMAIN
    return world


def at(world: World) -> FakeMailServer:
    return world.mail.servers["c1"]


def domain(*, deleting: bool = False, **spec: Any) -> Record:
    made: Record = record("MailDomain", {"domain": "example.org", **spec}, deleting=deleting)
    return made


def mailbox(*, deleting: bool = False, **spec: Any) -> Record:
    given = {"domainRef": {"name": "shop"}, **spec}
    made: Record = record("Mailbox", given, deleting=deleting)
    return made


def alias(*, deleting: bool = False, **spec: Any) -> Record:
    given = {"domainRef": {"name": "shop"}, "targets": ["x@out.test", "a@out.test"], **spec}
    made: Record = record("MailAlias", given, deleting=deleting)
    return made


async def steps(world: World, wanted: Record) -> tuple[Any, ...]:
    plan, _ = await world.look(wanted)
    return plan.steps


async def silent(world: World, wanted: Record) -> bool:
    """Whether a settled record plans nothing and writes nothing."""
    before = world.mail.writes
    await world.settle(wanted)
    plan, _ = await world.look(wanted)
    return plan == Plan() and world.mail.writes == before


async def reason(world: World, wanted: Record) -> str:
    plan, report = await world.look(wanted)
    assert plan.wait is None or plan.wait.reason == report.reason
    return report.reason


# --- MailDomain ---


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


# --- the service ---


@pytest.mark.parametrize("make", [domain, mailbox, alias], ids=["domain", "mailbox", "alias"])
async def test_without_a_server_it_waits_and_says_so(make: Any) -> None:
    world = world_with_domain()
    world.services["mail"] = replace(SERVICE, status={}, ready=False, message="it starts")
    plan, report = await world.look(make())
    assert plan.wait is not None
    assert (plan.wait.reason, report.reason) == ("ServiceNotReady", "ServiceNotReady")
    assert "it starts" in plan.wait.message
    plan, _ = await world.look(make(deleting=True))
    assert plan.wait is not None
    world.services["mail"] = Resolved("Platform", "mail", None, False, "there is none")
    plan, _ = await world.look(make(deleting=True))
    assert plan == Plan()


@pytest.mark.parametrize("make", [domain, mailbox, alias], ids=["domain", "mailbox", "alias"])
async def test_a_silent_server_is_an_error_that_passes(make: Any) -> None:
    world = world_with_domain()
    at(world).domains.clear()
    del world.mail.servers["c1"]
    with pytest.raises(DriverUnavailableError):
        await world.look(make())


@pytest.mark.parametrize("written", ["https://mail.example.net:443", "mail.example.net:443"])
async def test_an_external_server_is_a_mailcow(written: str) -> None:
    world = world_with_server()
    external = {"endpoint": written, "secretRef": {"name": "cow"}}
    binding = Binding("cow", "x")
    world.services["mail"] = replace(SERVICE, spec={"external": external}, binding=binding)
    found = place_of(world.want(domain()))
    endpoint = "https://mail.example.net:443"
    assert found == Place("mailcow", endpoint, "cow", "imaps://mail.example.net:993")
    world.mail.servers[endpoint] = FakeMailServer()
    world.values.data["Secret", "cow"] = {"api-key": b"k"}
    assert (await world.settle(domain())).ready
    assert "example.org" in world.mail.servers[endpoint].domains


# --- Mailbox ---


async def test_a_mailbox_is_as_its_spec_says() -> None:
    world = world_with_domain()
    wanted = mailbox(
        localPart="jane.doe",
        displayName="Jane",
        quota="3Mi",
        forward={"to": ["z@out.test", "b@out.test"], "keepCopy": False},
        aliases=["jd", "jane"],
    )
    report = await world.settle(wanted)
    found = at(world).mailboxes["jane.doe@example.org"]
    assert found.spec == MailboxSpec(
        "jane.doe@example.org", UID, NS_UID, 3 << 20, True, "Jane",
        ("b@out.test", "z@out.test"), False, ("jane@example.org", "jd@example.org"),
    )  # fmt: skip
    secret = world.values.data["Secret", "shop-mailbox"]
    assert found.password == secret["password"].decode()
    assert secret["username"] == b"jane.doe@example.org"
    assert secret["uri"].startswith(b"smtp://jane.doe%40example.org:")
    status: Any = report.status
    assert (report.ready, status.address, status.submission, status.used) == (
        True, "jane.doe@example.org", "mail:587", 0,
    )  # fmt: skip
    assert await silent(world, wanted)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"quota": "9Mi"}, id="quota"),
        pytest.param({"enabled": False}, id="disabled"),
        pytest.param({"displayName": "N"}, id="name"),
        pytest.param({"forward": {"to": ["x@out.test"]}}, id="forward"),
        pytest.param({"aliases": ["a"]}, id="aliases"),
        pytest.param({"passwordSecretRef": {"name": "mine"}}, id="password"),
    ],
)
async def test_edits_of_a_mailbox_lead_where_a_fresh_one_is(changes: dict[str, Any]) -> None:
    world = world_with_domain()
    world.values.data["Secret", "mine"] = {"password": b"one of my own"}
    await world.settle(mailbox())
    fresh = replace(at(world).mailboxes["shop@example.org"])
    assert (await world.settle(mailbox(**changes))).ready
    assert at(world).mailboxes["shop@example.org"] != fresh
    assert (await world.settle(mailbox())).ready
    assert at(world).mailboxes["shop@example.org"] == fresh


@pytest.mark.parametrize("harm", ["gone", "password", "quota", "forward", "off", "alias"])
async def test_drift_of_a_mailbox_is_healed(harm: str) -> None:
    world = world_with_domain()
    wanted = mailbox(aliases=["a"])
    await world.settle(wanted)
    right = replace(at(world).mailboxes["shop@example.org"])
    match harm:
        case "gone":
            del at(world).mailboxes["shop@example.org"]
        case "password":
            at(world).mailboxes["shop@example.org"].password = "theirs"
        case "quota":
            world.mail.edit_mailbox("c1", "shop@example.org", quota_bytes=1)
        case "forward":
            world.mail.edit_mailbox("c1", "shop@example.org", forward=("thief@out.test",))
        case "off":
            world.mail.edit_mailbox("c1", "shop@example.org", active=False)
        case _:
            world.mail.edit_mailbox("c1", "shop@example.org", aliases=())
    assert (await world.settle(wanted)).ready
    assert at(world).mailboxes["shop@example.org"] == right
    assert await silent(world, wanted)


async def test_a_rotated_password_is_set() -> None:
    world = world_with_domain()
    await world.settle(mailbox())
    world.values.data["Secret", "shop-mailbox"]["password"] = b"another secret"
    assert (await world.settle(mailbox())).ready
    assert at(world).mailboxes["shop@example.org"].password == "another secret"
    assert b"another%20secret" in world.values.data["Secret", "shop-mailbox"]["uri"]


@pytest.mark.parametrize("password", [b"short", b"with\nnewline", b"\xff\xfe not text", b""])
async def test_a_password_that_cannot_be_used_is_told(password: bytes) -> None:
    world = world_with_domain()
    wanted = mailbox(passwordSecretRef={"name": "mine"})
    assert await reason(world, wanted) == "SecretMissing"
    world.values.data["Secret", "mine"] = {"password": password}
    assert await reason(world, wanted) == "PasswordInvalid"
    assert not at(world).mailboxes


async def test_no_secret_value_is_in_a_plan_or_report() -> None:
    world = world_with_domain()
    world.values.data["Secret", "mine"] = {"password": b"hunter2-canary"}
    plan, report = await world.look(mailbox(passwordSecretRef={"name": "mine"}))
    assert plan.steps
    assert "canary" not in f"{plan!r}{report!r}"


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_deleting_a_mailbox_keeps_its_mail_unless_told_otherwise(policy: str) -> None:
    world = world_with_domain()
    wanted: dict[str, Any] = {"deletionPolicy": policy}
    await world.settle(mailbox(**wanted))
    at(world).mailboxes["shop@example.org"].mail.append("hello")
    await world.settle(mailbox(deleting=True, **wanted))
    assert not at(world).mailboxes
    assert await steps(world, mailbox(deleting=True, **wanted)) == ()
    await world.settle(mailbox())
    kept = at(world).mailboxes["shop@example.org"].mail
    assert kept == (["hello"] if policy == "Retain" else [])


async def test_a_mailbox_of_somebody_else_is_left_alone() -> None:
    world = world_with_domain()
    await world.settle(mailbox())
    world.mail.edit_mailbox("c1", "shop@example.org", owner="other")
    assert await reason(world, mailbox()) == "NotOurs"
    await world.settle(mailbox(deleting=True))
    assert "shop@example.org" in at(world).mailboxes


@pytest.mark.parametrize("make", [mailbox, alias], ids=["mailbox", "alias"])
async def test_an_address_without_its_domain_waits(make: Any) -> None:
    world = world_with_domain()
    world.refs["spec.domainRef"] = Resolved("MailDomain", "shop", None, False, "no such")
    assert await reason(world, make()) == "DomainMissing"
    assert await steps(world, make(deleting=True)) == ()


@pytest.mark.parametrize("make", [mailbox, alias], ids=["mailbox", "alias"])
async def test_an_address_is_on_the_server_of_its_domain(make: Any) -> None:
    world = world_with_domain()
    spec = {"domain": "example.org", "service": "other"}
    world.refs["spec.domainRef"] = replace(DOMAIN, spec=spec)
    assert await reason(world, make()) == "ServiceDiffers"


# --- MailAlias ---


@pytest.mark.parametrize(
    ("spec", "address"),
    [
        pytest.param({}, "shop@example.org", id="by name"),
        pytest.param({"localPart": "info"}, "info@example.org", id="by local part"),
        pytest.param({"catchAll": True}, "@example.org", id="catch-all"),
    ],
)
async def test_an_alias_is_as_its_spec_says(spec: dict[str, Any], address: str) -> None:
    world = world_with_domain()
    report = await world.settle(alias(**spec))
    targets = ("a@out.test", "x@out.test")
    assert at(world).aliases == {address: AliasSpec(address, UID, NS_UID, targets)}
    assert report.ready
    assert await silent(world, alias(**spec))
    await world.settle(alias(**spec, enabled=False))
    assert not at(world).aliases[address].active
    await world.settle(alias(**spec))
    at(world).aliases[address] = AliasSpec(address, UID, NS_UID, ("thief@out.test",))
    await world.settle(alias(**spec))
    assert at(world).aliases[address].targets == targets
    await world.settle(alias(**spec, deleting=True))
    assert not at(world).aliases


async def test_an_alias_of_somebody_else_is_left_alone() -> None:
    world = world_with_domain()
    await world.settle(alias())
    theirs = replace(at(world).aliases["shop@example.org"], owner="other")
    at(world).aliases["shop@example.org"] = theirs
    assert await reason(world, alias()) == "NotOurs"
    await world.settle(alias(deleting=True))
    assert at(world).aliases == {"shop@example.org": theirs}
