"""Aliases, on each mail server."""

from dataclasses import replace

import pytest

from controlplane.errors import RetryableError
from drivers.mail import AliasSpec, AliasState
from tests.contract.mail.asked import alias, mailbox, put
from tests.contract.mail.worlds import World


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
