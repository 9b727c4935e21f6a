"""MailDomain, Mailbox and MailAlias: without a server, with a silent one, with a Mailcow."""

from dataclasses import replace
from typing import Any

import pytest

from controlplane.errors import DriverUnavailableError
from controlplane.plan import Binding, Plan, Resolved
from drivers.fake.mail import FakeMailServer
from reconcilers._mail import Place, place_of
from tests.support.platform import Platform
from tests.support.virtual import in_virtual_time
from tests.unit.reconcilers.mail import (
    SERVICE,
    alias,
    at,
    domain,
    mailbox,
    world_with_domain,
    world_with_server,
)


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


@in_virtual_time
async def test_a_mailbox_that_no_server_ever_had_goes_at_once() -> None:
    async with Platform().running() as platform:
        await platform.settle(1)
        await platform.apply("MailDomain", "main", domain="example.org")
        spec: dict[str, Any] = {"domainRef": {"name": "main"}, "deletionPolicy": "Delete"}
        jane = await platform.apply("Mailbox", "jane", **spec)
        await platform.settle(30)
        assert platform.condition(jane)["reason"] == "ServiceNotReady"
        await platform.delete(jane)
        await platform.settle(5)
        assert platform.find(jane) is None
