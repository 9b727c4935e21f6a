"""MailAlias: what is planned, and where the plans lead."""

from dataclasses import replace
from typing import Any

import pytest

from drivers.mail import AliasSpec
from tests.unit.reconcilers.mail import alias, at, reason, silent, world_with_domain
from tests.unit.reconcilers.world import NS_UID, UID


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
