"""Domains and their keys, on each mail server."""

import pytest

from controlplane.errors import RetryableError, TerminalError
from drivers.mail import DomainState
from drivers.mail_keys import public_key
from tests.contract.mail.asked import alias, domain, mailbox, put
from tests.contract.mail.worlds import World
from tests.support.keys import rsa_key


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
