"""Mailbox: what is planned, and where the plans lead."""

from dataclasses import replace
from typing import Any

import pytest

from controlplane.plan import Resolved
from drivers.mail import MailboxSpec
from resources.mailbox import Mailbox
from resources.meta import STORED
from tests.unit.reconcilers.mail import (
    DOMAIN,
    SERVICE,
    alias,
    at,
    mailbox,
    reason,
    silent,
    steps,
    world_with_domain,
)
from tests.unit.reconcilers.world import NS_UID, UID


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


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_mail_that_is_to_go_goes_though_its_server_was_away(policy: str) -> None:
    """Its Platform record was deleted, and the Volume with the mail kept: the next one has it."""
    world = world_with_domain()
    wanted: dict[str, Any] = {"deletionPolicy": policy}
    await world.settle(mailbox(**wanted))
    at(world).mailboxes["shop@example.org"].mail.append("hello")
    world.services["mail"] = Resolved("Platform", "mail", None, False, "it does not exist")
    plan, report = await world.look(mailbox(deleting=True, **wanted))
    assert (plan.converged, report.ready) == (policy == "Retain", False)
    if policy == "Delete":
        assert plan.wait is not None
        assert plan.wait.reason == "ServiceNotReady"
        assert "Retain" in plan.wait.message
    world.services["mail"] = SERVICE
    await world.settle(mailbox(deleting=True, **wanted))
    await world.settle(mailbox())
    kept = at(world).mailboxes["shop@example.org"].mail
    assert kept == (["hello"] if policy == "Retain" else [])


async def test_a_mailbox_that_never_had_an_address_goes_without_a_server() -> None:
    world = world_with_domain()
    world.services["mail"] = Resolved("Platform", "mail", None, False, "it does not exist")
    world.refs["spec.domainRef"] = Resolved("MailDomain", "shop", None, False, "no such")
    plan, _ = await world.look(mailbox(deleting=True, deletionPolicy="Delete"))
    assert plan.converged


async def test_a_mailbox_stored_with_itself_as_an_alias_is_no_alias_of_itself() -> None:
    """A copy would stay, whatever it says; a Mailcow refuses it as taken."""
    world = world_with_domain()
    meta = {"name": "shop", "namespace": "shop", "uid": UID}
    spec = {"domainRef": {"name": "shop"}, "aliases": ["s", "shop"]}
    stored = Mailbox.model_validate({"metadata": meta, "spec": spec}, context=STORED)
    assert (await world.settle(stored)).ready
    assert at(world).mailboxes["shop@example.org"].spec.aliases == ("s@example.org",)
    assert await silent(world, stored)


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
