"""A mail server as a whole: its version, all that is owned there, and when it is away."""

import pytest

from controlplane.errors import DriverUnavailableError
from drivers.mail import MailServer, OwnedThing
from tests.contract.mail.asked import alias, mailbox, put
from tests.contract.mail.worlds import World


async def test_a_server_tells_its_version(world: World) -> None:
    assert (await world.driver.observe_server(world.server)).version


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
