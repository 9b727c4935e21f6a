"""What the tests of mail servers ask for, and what they see."""

from dataclasses import replace
from typing import Any

from drivers.mail import AliasSpec, DomainSpec, MailboxSpec, MailboxState, Password
from tests.contract.mail.worlds import World

PASSWORD = Password("correct horse", "v1")
QUOTA = 10 << 20


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
