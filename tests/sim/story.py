"""The lifecycles of a record as stories: what leads to it, and the act in which things fail."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from controlplane.records import Key
from resources.kinds import KIND_INFOS
from tests.sim.stage import LATE_S, READY_S, Stage, candidates, gone, has_spec
from tests.sim.worlds import SPACE, WORLDS, example

TENANT = "tenant"
Act = Callable[[Stage, Key], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Story:
    """`before` has settled when `act` begins; crashes strike from then on."""

    kind: str
    name: str
    act: Act
    before: tuple[Act, ...] = ()
    of: str = ""
    """Name of the record, if it isn't the kind's example."""

    @property
    def key(self) -> Key:
        meta = example(self.kind)["metadata"]
        return Key(self.kind, meta.get("namespace", ""), self.of or meta["name"])

    def __str__(self) -> str:
        return f"{self.kind}-{self.name}"


async def create(stage: Stage, key: Key) -> None:
    await stage.make(key.kind)


async def provide(stage: Stage, key: Key) -> None:
    """All that it refers to, and not itself."""
    await stage.provide(example(key.kind))


async def delete(stage: Stage, key: Key) -> None:
    await stage.platform.delete(key)


async def delete_fully(stage: Stage, key: Key) -> None:
    await stage.platform.delete(key)
    assert await gone(stage, key, LATE_S), f"{key} is not deleted"


async def remake(stage: Stage, key: Key) -> None:
    """Another one of its name, the moment it is gone."""
    await delete_fully(stage, key)
    await create(stage, key)


async def fill(stage: Stage, key: Key) -> None:
    """One of each kind that lives in a tenant's namespace."""
    for kind, world in WORLDS.items():
        if KIND_INFOS[kind].namespaced and world.lives and world.namespace == SPACE:
            await stage.make(kind, namespace=key.name)


async def restart(stage: Stage, key: Key) -> None:
    """An upgrade of the control plane: another process finds what this one made."""
    del key
    stage.kill()


def editing(field: str, number: int) -> Act:
    """The n-th other value of a field."""

    async def edit(stage: Stage, key: Key) -> None:
        specs = [spec for name, spec in candidates(key.kind, stage.spec(key)) if name == field]
        await stage.edit(key, specs[number])

    return edit


async def create_redis(stage: Stage, key: Key) -> None:
    await stage.make(key.kind, {"engine": "redis", "plan": "basic"}, key.name)


def of_plan(plan: str) -> Act:
    """Another size."""

    async def edit(stage: Stage, key: Key) -> None:
        await stage.edit(key, {**stage.spec(key), "plan": plan})

    return edit


def stories(kind: str, edits: int = 1) -> Iterator[Story]:
    """Every lifecycle of a kind, with so many edits of each field."""
    if WORLDS[kind].lives:
        yield Story(kind, "create", create, (provide,))
        yield Story(kind, "delete", delete, (create,))
        yield Story(kind, "adopt", create, (create, delete_fully))
        yield Story(kind, "remake", remake, (create,))
    if kind == "Namespace":
        yield Story(kind, "delete-with-all-in-it", delete, (fill,), of=TENANT)
    if kind == "Database":  # the example is no redis, whose server has settings to follow
        for name, plan in (("grow", "pro"), ("shrink", "starter")):
            yield Story(kind, f"{name}-redis", of_plan(plan), (create_redis,), of="cache")
    if has_spec(kind):
        fields: dict[str, int] = {}
        for field, _ in candidates(kind, example(kind).get("spec") or {}):
            number = fields.get(field, 0)
            fields[field] = number + 1
            if number < edits:
                suffix = f"-{number + 1}" if number else ""
                yield Story(kind, f"edit-{field}{suffix}", editing(field, number), (create,))
    yield Story(kind, "restart", restart, (create,))


async def lead_up(stage: Stage, story: Story) -> None:
    """Everything before the act, each step settled."""
    await stage.platform.settle(2)
    for step in story.before:
        await step(stage, story.key)
        await stage.platform.settle(READY_S)
