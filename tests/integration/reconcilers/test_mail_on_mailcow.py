"""The mail kinds on a Mailcow: made, edited, healed and gone, over its real HTTP API."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiohttp import web

from controlplane.errors import DriverUnavailableError, TerminalError
from controlplane.plan import Binding, Plan, Resolved
from drivers.mail_keys import public_key
from drivers.mailcow import MailcowMail
from reconcilers.registry import Drivers
from resources.meta import Record
from tests.support.mailcow import KEY, Mailcow, server_of
from tests.unit.reconcilers.world import World, record


@dataclass(slots=True)
class MailcowWorld(World):
    """The small engine of the unit tests, with the real driver."""

    @property
    def drivers(self) -> Drivers:
        fakes: Drivers = World.drivers.__get__(self)
        return replace(fakes, mailcow=MailcowMail())


@dataclass
class Scene:
    world: MailcowWorld
    mailcow: Mailcow


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    mailcow, world = Mailcow(), MailcowWorld()
    imap = await asyncio.start_server(mailcow.imap, "127.0.0.1", 0)
    port = imap.sockets[0].getsockname()[1]
    async with server_of(mailcow) as http, imap:
        spec = {
            "external": {"endpoint": str(http.make_url("")), "secretRef": {"name": "cow"}},
            "settings": {"imap": f"imap://127.0.0.1:{port}"},
        }
        world.values.data["Secret", "cow"] = {"api-key": KEY.encode()}
        world.services["mail"] = Resolved(
            "Platform", "mail", "m", True, "", Binding("cow", "x"), spec, {}
        )
        world.refs["spec.domainRef"] = Resolved(
            "MailDomain", "shop", "d", True, "", spec={"domain": "example.org"}
        )
        yield Scene(world, mailcow)


def domain(*, deleting: bool = False, **spec: Any) -> Record:
    made: Record = record("MailDomain", {"domain": "example.org", **spec}, deleting=deleting)
    return made


def mailbox(*, deleting: bool = False, **spec: Any) -> Record:
    made: Record = record("Mailbox", {"domainRef": {"name": "shop"}, **spec}, deleting=deleting)
    return made


def alias(*, deleting: bool = False, **spec: Any) -> Record:
    given = {"domainRef": {"name": "shop"}, "localPart": "info", "targets": ["x@out.test"], **spec}
    made: Record = record("MailAlias", given, deleting=deleting)
    return made


async def settled(scene: Scene, *records: Record) -> None:
    """Ready, and then silent."""
    for each in records:
        assert (await scene.world.settle(each)).ready
    before = scene.mailcow.changes
    for each in records:
        plan, _ = await scene.world.look(each)
        assert plan == Plan()
    assert scene.mailcow.changes == before


async def test_a_domain_with_its_addresses_comes_and_goes(scene: Scene) -> None:
    rich = mailbox(forward={"to": ["x@out.test"], "keepCopy": False}, aliases=["s"], quota="3Mi")
    await settled(scene, domain(), rich, alias())
    key = scene.world.values.data["Secret", "shop-dkim"]["private-key"].decode()
    assert scene.mailcow.get("dkim", "example.org", "")["pubkey"] == public_key(key)
    box = scene.mailcow.mailboxes["shop@example.org"]
    assert (box["quota"], box["active"]) == (3 << 20, 1)
    password = scene.world.values.data["Secret", "shop-mailbox"]["password"].decode()
    assert scene.mailcow.passwords["shop@example.org"] == password
    (script,) = scene.mailcow.filters.values()
    assert script["script_data"] == 'redirect "x@out.test";\n'
    goto = {each["address"]: each["goto"] for each in scene.mailcow.aliases.values()}
    assert goto == {"s@example.org": "shop@example.org", "info@example.org": "x@out.test"}
    gone = mailbox(deleting=True, deletionPolicy="Delete")
    for each in (gone, alias(deleting=True), domain(deleting=True)):
        await scene.world.settle(each)
    left = (scene.mailcow.domains, scene.mailcow.mailboxes, scene.mailcow.aliases)
    assert left == ({}, {}, {})
    assert not scene.mailcow.keys


async def test_edits_there_and_back_leave_it_as_it_was(scene: Scene) -> None:
    await settled(scene, domain(), mailbox(), alias())
    fresh = repr((scene.mailcow.domains, scene.mailcow.mailboxes, scene.mailcow.passwords))
    await settled(
        scene,
        domain(enabled=False, dkim={"selector": "s2"}),
        mailbox(enabled=False, quota="5Mi", forward={"to": ["y@out.test"]}, aliases=["a"]),
        alias(enabled=False, targets=["z@out.test"]),
    )
    await settled(scene, domain(), mailbox(), alias())
    now = repr((scene.mailcow.domains, scene.mailcow.mailboxes, scene.mailcow.passwords))
    assert now == fresh
    assert not scene.mailcow.filters


async def test_drift_is_healed(scene: Scene) -> None:
    await settled(scene, domain(), mailbox(), alias())
    cow = scene.mailcow
    password = cow.passwords["shop@example.org"]
    cow.passwords["shop@example.org"] = "somebody's own"
    cow.mailboxes["shop@example.org"]["quota"] = 7
    del cow.keys["example.org"]
    next(iter(cow.aliases.values()))["goto"] = "thief@out.test"
    await settled(scene, domain(), mailbox(), alias())
    assert cow.passwords["shop@example.org"] == password
    assert cow.mailboxes["shop@example.org"]["quota"] == 1 << 30
    assert "example.org" in cow.keys
    assert next(iter(cow.aliases.values()))["goto"] == "x@out.test"


async def test_a_refused_key_stops_it_and_an_outage_passes(scene: Scene) -> None:
    await settled(scene, domain())
    scene.world.values.data["Secret", "cow"] = {"api-key": b"revoked"}
    with pytest.raises(TerminalError) as caught:
        await scene.world.look(domain())
    assert caught.value.reason == "AccessDenied"
    assert "revoked" not in str(caught.value)
    scene.world.values.data["Secret", "cow"] = {"api-key": KEY.encode()}
    scene.mailcow.fail = web.Response(text="<html>", status=503)
    with pytest.raises(DriverUnavailableError):
        await scene.world.look(domain())
    await settled(scene, domain())
