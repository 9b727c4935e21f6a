"""One suite for mail servers: the fake, Postfix and Dovecot in their container, and Mailcow."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest

from controlplane.errors import DriverUnavailableError, RetryableError, TerminalError
from drivers.docker import DockerContainers
from drivers.docker_calls import DockerConfig
from drivers.mail import (
    AliasSpec,
    AliasState,
    DomainSpec,
    DomainState,
    MailboxSpec,
    MailboxState,
    MailServer,
    OwnedThing,
    Password,
)
from drivers.mail_keys import public_key
from tests.containers import INSTANCE, Running, bench
from tests.contract.mail_worlds import (
    FakeWorld,
    MailcowWorld,
    RealWorld,
    World,
    start_server,
)
from tests.support.keys import rsa_key
from tests.support.mailcow import Mailcow, server_of

PASSWORD = Password("correct horse", "v1")
QUOTA = 10 << 20


@pytest.fixture(scope="module")
def key() -> str:
    return rsa_key()


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with bench() as made:
        yield start_server(made)


@pytest.fixture(params=["fake", "mailcow", pytest.param("real", marks=pytest.mark.docker)])
async def world(request: Any) -> AsyncIterator[World]:
    if request.param == "fake":
        yield FakeWorld()
    elif request.param == "mailcow":
        mailcow = Mailcow()
        imap = await asyncio.start_server(mailcow.imap, "127.0.0.1", 0)
        port = imap.sockets[0].getsockname()[1]
        async with server_of(mailcow) as http, imap:
            yield MailcowWorld(mailcow, str(http.make_url("")), f"imap://127.0.0.1:{port}")
    else:
        containers = DockerContainers(DockerConfig(instance=INSTANCE, images="local"))
        yield RealWorld(request.getfixturevalue("running"), containers)
        await containers.aclose()


def domain(world: World, **changes: Any) -> DomainSpec:
    return replace(DomainSpec(world.domain, "owner-d", "claim-a", selector="s1"), **changes)


def mailbox(world: World, local: str = "alice", **changes: Any) -> MailboxSpec:
    blank = MailboxSpec(f"{local}@{world.domain}", f"owner-{local}", "claim-a", QUOTA)
    return replace(blank, **changes)


def alias(world: World, local: str = "info", **changes: Any) -> AliasSpec:
    targets = (f"alice@{world.domain}", "x@out.test")
    blank = AliasSpec(f"{local}@{world.domain}", "owner-i", "claim-a", targets)
    return replace(blank, **changes)


async def look(world: World, spec: MailboxSpec, password: Password = PASSWORD) -> MailboxState:
    found = await world.driver.observe_mailbox(world.server, spec.address, password)
    assert found is not None
    return found


async def put(world: World, spec: MailboxSpec, password: Password = PASSWORD) -> None:
    await world.driver.ensure_mailbox(world.server, spec, password)


def expected(spec: MailboxSpec, **changes: Any) -> MailboxState:
    state = MailboxState(
        spec.address,
        spec.owner,
        spec.quota_bytes,
        spec.active,
        spec.display_name,
        spec.forward,
        spec.keep_copy,
        spec.aliases,
        password_ok=True,
    )
    return replace(state, **changes)


async def test_a_server_tells_its_version(world: World) -> None:
    assert (await world.driver.observe_server(world.server)).version


# --- domains ---


async def test_a_domain_signs_with_the_key_it_is_given(world: World, key: str) -> None:
    for _ in range(2):
        await world.driver.ensure_domain(world.server, domain(world), dkim_key=key)
    found = await world.driver.observe_domain(world.server, world.domain)
    assert found == DomainState(world.domain, "owner-d", True, "s1", public_key(key))


async def test_a_domain_that_is_not_there_is_none(world: World) -> None:
    assert await world.driver.observe_domain(world.server, "nowhere.test") is None


async def test_a_new_domain_has_no_key_but_ours(world: World) -> None:
    await world.driver.ensure_domain(world.server, domain(world))
    found = await world.driver.observe_domain(world.server, world.domain)
    assert found is not None
    assert (found.selector, found.public_key) == ("", "")


async def test_key_selector_and_activity_change_and_change_back(world: World, key: str) -> None:
    first, second = domain(world), domain(world, active=False, selector="s2")
    seen = []
    for spec, given in ((first, key), (second, rsa_key(1)), (second, ""), (first, key)):
        await world.driver.ensure_domain(world.server, spec, dkim_key=given)
        seen.append(await world.driver.observe_domain(world.server, world.domain))
    assert seen[0] == seen[3]
    assert seen[2] == DomainState(world.domain, "owner-d", False)
    assert seen[1] is not None
    assert (seen[1].active, seen[1].selector) == (False, "s2")


async def test_a_lost_key_is_seen(world: World, key: str) -> None:
    await world.driver.ensure_domain(world.server, domain(world), dkim_key=key)
    world.drop_key(world.domain)
    found = await world.driver.observe_domain(world.server, world.domain)
    assert found is not None
    assert found.public_key == ""


async def test_what_is_no_key_is_refused(world: World) -> None:
    with pytest.raises(TerminalError):
        await world.driver.ensure_domain(world.server, domain(world), dkim_key="no key")


async def test_another_owners_domain_is_left_alone(world: World) -> None:
    await world.driver.ensure_domain(world.server, domain(world))
    with pytest.raises(RetryableError) as caught:
        await world.driver.ensure_domain(world.server, domain(world, owner="other", active=False))
    with pytest.raises(RetryableError) as again:
        await world.driver.delete_domain(world.server, world.domain, owner="other")
    assert [caught.value.reason, again.value.reason] == ["NotOurs", "NotOurs"]
    found = await world.driver.observe_domain(world.server, world.domain)
    assert found is not None
    assert found.active


async def test_a_domain_with_addresses_stays(world: World) -> None:
    await world.driver.ensure_domain(world.server, domain(world))
    await put(world, mailbox(world))
    with pytest.raises(RetryableError) as caught:
        await world.driver.delete_domain(world.server, world.domain, owner="owner-d")
    assert caught.value.reason == "InUse"
    await world.driver.delete_mailbox(
        world.server, mailbox(world).address, owner="owner-alice", keep_mail=False
    )
    await world.driver.ensure_alias(world.server, alias(world))
    with pytest.raises(RetryableError) as caught:
        await world.driver.delete_domain(world.server, world.domain, owner="owner-d")
    assert caught.value.reason == "InUse"


async def test_deleting_a_domain_twice_is_once(world: World, key: str) -> None:
    await world.driver.ensure_domain(world.server, domain(world), dkim_key=key)
    for _ in range(2):
        await world.driver.delete_domain(world.server, world.domain, owner="owner-d")
    assert await world.driver.observe_domain(world.server, world.domain) is None


# --- mailboxes ---


@pytest.fixture
async def served(world: World) -> World:
    await world.driver.ensure_domain(world.server, domain(world))
    return world


async def test_a_mailbox_is_as_asked_for_and_may_be_asked_for_twice(served: World) -> None:
    spec = mailbox(served, display_name="Alice Ä. 'Quoted'", aliases=(f"al@{served.domain}",))
    for _ in range(2):
        await put(served, spec)
    assert await look(served, spec) == expected(spec)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"quota_bytes": 20 << 20}, id="quota"),
        pytest.param({"active": False}, id="disabled"),
        pytest.param({"display_name": "Somebody"}, id="name"),
        pytest.param({"forward": ("x@out.test", "y@out.test")}, id="forward with copy"),
        pytest.param({"forward": ("x@out.test",), "keep_copy": False}, id="forward without copy"),
        pytest.param({"aliases": ("a", "b")}, id="aliases"),
    ],
)
async def test_each_field_changes_and_changes_back(served: World, changes: Any) -> None:
    if "aliases" in changes:
        changes = {"aliases": tuple(f"{each}@{served.domain}" for each in changes["aliases"])}
    plain = mailbox(served)
    changed = replace(plain, **changes)
    await put(served, plain)
    fresh = await look(served, plain)
    await put(served, changed)
    assert await look(served, changed) == expected(changed)
    await put(served, plain)
    assert await look(served, plain) == fresh


async def test_forwarding_may_go_elsewhere(served: World) -> None:
    for targets in (("x@out.test",), ("y@out.test", "z@out.test")):
        spec = mailbox(served, forward=targets)
        await put(served, spec)
        assert (await look(served, spec)).forward == targets


async def test_a_wrong_password_is_told(served: World) -> None:
    await put(served, mailbox(served))
    assert not (await look(served, mailbox(served), Password("wrong one", "v0"))).password_ok


@pytest.mark.parametrize("value", ["second secret", "with 'quotes' \" \\ $1 :colon", "päßwörd ½"])
async def test_after_a_change_only_the_new_password_opens(served: World, value: str) -> None:
    new = Password(value, "v2")
    await put(served, mailbox(served))
    for _ in range(2):
        await put(served, mailbox(served), new)
    assert (await look(served, mailbox(served), new)).password_ok
    assert not (await look(served, mailbox(served), PASSWORD)).password_ok


async def test_a_password_changed_behind_our_back_is_seen(served: World) -> None:
    await put(served, mailbox(served))
    served.set_password(mailbox(served).address, "somebody's own")
    assert not (await look(served, mailbox(served))).password_ok
    await put(served, mailbox(served))
    assert (await look(served, mailbox(served))).password_ok


async def test_a_removed_mailbox_is_made_again(served: World) -> None:
    await put(served, mailbox(served))
    served.remove_mailbox(mailbox(served).address)
    found = await served.driver.observe_mailbox(served.server, mailbox(served).address, PASSWORD)
    assert found is None
    await put(served, mailbox(served))
    assert await look(served, mailbox(served)) == expected(mailbox(served))


async def test_one_that_was_switched_off_is_seen(served: World) -> None:
    await put(served, mailbox(served))
    served.switch_off(mailbox(served).address)
    assert not (await look(served, mailbox(served))).active


async def test_mail_is_counted(served: World) -> None:
    await put(served, mailbox(served))
    served.deliver(mailbox(served).address)
    assert (await look(served, mailbox(served))).used_bytes > 0


async def test_kept_mail_is_found_again_by_the_same_claim(served: World) -> None:
    spec = mailbox(served)
    await put(served, spec)
    served.deliver(spec.address)
    for _ in range(2):
        await served.driver.delete_mailbox(
            served.server, spec.address, owner=spec.owner, keep_mail=True
        )
    assert await served.driver.observe_mailbox(served.server, spec.address, PASSWORD) is None
    again = replace(spec, owner="owner-2")
    await put(served, again, Password("another one", "v2"))
    found = await look(served, again, Password("another one", "v2"))
    assert found.used_bytes > 0
    assert found == expected(again, used_bytes=found.used_bytes)


async def test_mail_that_is_not_kept_is_gone(served: World) -> None:
    spec = mailbox(served, forward=("x@out.test",), aliases=(f"al@{served.domain}",))
    await put(served, spec)
    served.deliver(spec.address)
    await served.driver.delete_mailbox(
        served.server, spec.address, owner=spec.owner, keep_mail=False
    )
    await put(served, mailbox(served))
    assert await look(served, mailbox(served)) == expected(mailbox(served))


async def test_a_domain_is_deleted_though_mail_of_it_is_kept(served: World) -> None:
    spec = mailbox(served)
    await put(served, spec)
    served.deliver(spec.address)
    await served.driver.delete_mailbox(
        served.server, spec.address, owner=spec.owner, keep_mail=True
    )
    await served.driver.delete_domain(served.server, served.domain, owner="owner-d")
    assert await served.driver.observe_domain(served.server, served.domain) is None
    await served.driver.ensure_domain(served.server, domain(served, owner="owner-d2"))
    await put(served, spec)
    assert (await look(served, spec)).used_bytes > 0


async def test_another_owners_mailbox_is_left_alone(served: World) -> None:
    await put(served, mailbox(served))
    with pytest.raises(RetryableError) as caught:
        await put(served, mailbox(served, owner="other", quota_bytes=1 << 20))
    with pytest.raises(RetryableError) as again:
        await served.driver.delete_mailbox(
            served.server, mailbox(served).address, owner="other", keep_mail=False
        )
    assert [caught.value.reason, again.value.reason] == ["NotOurs", "NotOurs"]
    assert await look(served, mailbox(served)) == expected(mailbox(served))


async def test_an_address_needs_a_domain_of_its_own_namespace(served: World) -> None:
    with pytest.raises(RetryableError) as missing:
        await put(served, replace(mailbox(served), address="a@nowhere.test"))
    with pytest.raises(RetryableError) as foreign:
        await put(served, mailbox(served, "mallory", claim="claim-b"))
    with pytest.raises(RetryableError) as foreign_alias:
        await served.driver.ensure_alias(served.server, alias(served, claim="claim-b"))
    reasons = [each.value.reason for each in (missing, foreign, foreign_alias)]
    assert reasons == ["DomainMissing", "NotOurs", "NotOurs"]


# --- aliases ---


async def look_at_alias(world: World, spec: AliasSpec) -> AliasState | None:
    return await world.driver.observe_alias(world.server, spec.address)


@pytest.mark.parametrize("local", ["info", ""], ids=["plain", "catch-all"])
async def test_an_alias_changes_and_changes_back(served: World, local: str) -> None:
    first = alias(served, local)
    second = replace(first, targets=("z@out.test",), active=False)
    for spec in (first, second, first, first):
        await served.driver.ensure_alias(served.server, spec)
        wanted = AliasState(spec.address, spec.owner, spec.targets, spec.active)
        assert await look_at_alias(served, spec) == wanted
    served.redirect(first.address, "thief@out.test")
    found = await look_at_alias(served, first)
    assert found is not None
    assert found.targets == ("thief@out.test",)
    for _ in range(2):
        await served.driver.delete_alias(served.server, first.address, owner=first.owner)
    assert await look_at_alias(served, first) is None


async def test_an_address_is_a_mailbox_or_an_alias(served: World) -> None:
    await put(served, mailbox(served))
    await served.driver.ensure_alias(served.server, alias(served))
    with pytest.raises(RetryableError):
        await served.driver.ensure_alias(served.server, alias(served, "alice"))
    with pytest.raises(RetryableError):
        await put(served, mailbox(served, "info"))


async def test_another_owners_alias_is_left_alone(served: World) -> None:
    await served.driver.ensure_alias(served.server, alias(served))
    with pytest.raises(RetryableError) as caught:
        await served.driver.ensure_alias(served.server, alias(served, owner="other"))
    with pytest.raises(RetryableError) as again:
        await served.driver.delete_alias(served.server, alias(served).address, owner="other")
    assert [caught.value.reason, again.value.reason] == ["NotOurs", "NotOurs"]


# --- the server as a whole ---


async def test_everything_owned_is_listed(served: World) -> None:
    await put(served, mailbox(served, aliases=(f"al@{served.domain}",)))
    await served.driver.ensure_alias(served.server, alias(served))
    await served.driver.ensure_alias(served.server, alias(served, "by-hand", owner=""))
    found = await served.driver.list_owned(served.server)
    ours = [each for each in found if each.name.endswith(served.domain)]
    assert ours == [
        OwnedThing("alias", f"info@{served.domain}", "owner-i"),
        OwnedThing("domain", served.domain, "owner-d"),
        OwnedThing("mailbox", f"alice@{served.domain}", "owner-alice"),
    ]


async def test_a_server_that_is_away_is_told_as_such(world: World) -> None:
    away = MailServer("http://127.0.0.1:9", "key")
    with pytest.raises(DriverUnavailableError):
        await world.driver.observe_domain(away, world.domain)
