"""MailDomains, Mailboxes and MailAliases, the server they are on, and words to speak of them."""

from typing import Any

from controlplane.plan import Plan, Resolved
from drivers.fake.mail import FakeDomain, FakeMailServer
from drivers.mail import DomainSpec
from resources.meta import Record
from tests.unit.reconcilers.world import NS_UID, World, record

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
