"""The engine's events as OwnerChanged."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from controlplane.clock import SystemClock
from controlplane.errors import RetryableError
from drivers.containers import (
    LABEL_CONTAINER,
    LABEL_INSTANCE,
    LABEL_KIND,
    LABEL_NAME,
    LABEL_NAMESPACE,
    LABEL_UID,
    EngineInfo,
    NetworkState,
    Owner,
    OwnerChanged,
)
from drivers.docker_cache import InspectCache, Known
from drivers.docker_events import DOUBT_TURNS, Inbox, Snapshot, Watch
from drivers.docker_inspect import Listed
from drivers.docker_told import Event, read_event
from drivers.fake.engine import BLANK

OWNER = Owner("u1", "App", "ns", "shop")
LABELS = {
    LABEL_INSTANCE: "me",
    LABEL_UID: "u1",
    LABEL_KIND: "App",
    LABEL_NAMESPACE: "ns",
    LABEL_NAME: "shop",
    LABEL_CONTAINER: "shop",
}


def event(kind: str, action: str, thing: str = "c1", **attributes: str) -> Event:
    return {"Type": kind, "Action": action, "Actor": {"ID": thing, "Attributes": attributes}}


def known() -> Known:
    filled = Known()
    filled.add("c1", OWNER, "shop")
    filled.networks["net"] = OWNER
    filled.volumes["data"] = OWNER
    return filled


@pytest.mark.parametrize(
    ("given", "thing", "what"),
    [
        (event("container", "die", **LABELS), "container:c1", "container die"),
        (event("container", "destroy", **LABELS), "container:c1", "container destroy"),
        (
            event("network", "disconnect", "n1", name="net", container="c1"),
            "container:c1",
            "network disconnect",
        ),
        (event("network", "destroy", "n1", name="net"), "network:net", "network destroy"),
        (event("volume", "destroy", "data"), "volume:data", "volume destroy"),
    ],
)
def test_read_event_tells_the_owner(given: Event, thing: str, what: str) -> None:
    told = read_event(given, known(), "me")
    assert told is not None
    assert (told.thing, told.owner, told.what, told.wakes) == (thing, OWNER, what, True)


@pytest.mark.parametrize(
    "given",
    [
        event("container", "die", name="stranger"),
        event("container", "die", **{**LABELS, LABEL_INSTANCE: "other"}),
        event("network", "disconnect", "n1", name="net", container="unknown"),
        event("network", "create", "n1", name="net"),
        event("volume", "mount", "data"),
        event("image", "delete", "sha256:x"),
        {},
    ],
)
def test_read_event_is_none_for_what_is_not_ours(given: Event) -> None:
    assert read_event(given, known(), "me") is None


def test_read_event_learns_from_a_creation_without_waking() -> None:
    learning = Known()
    told = read_event(event("container", "create", **LABELS), learning, "me")
    assert told is not None
    assert not told.wakes
    assert learning.of_owner("u1") == {"c1": "shop"}
    read_event(event("container", "destroy", **LABELS), learning, "me")
    assert learning.of_owner("u1") == {}


def test_a_start_of_our_own_wakes_nobody_before_it_has_ended() -> None:
    connect = event("network", "connect", "n1", name="net", container="c1")
    told = read_event(connect, known(), "me", {"c1"})
    assert told is not None
    assert not told.wakes
    for given, starting in (
        (connect, {"c2"}),
        (event("network", "disconnect", "n1", name="net", container="c1"), {"c1"}),
        (event("container", "start", **LABELS), {"c1"}),
    ):
        told = read_event(given, known(), "me", starting)
        assert told is not None
        assert told.wakes


def test_inbox_tells_each_owner_once() -> None:
    inbox = Inbox()
    inbox.put(OWNER, "container kill")
    inbox.put(OWNER, "container die")
    assert inbox.take() == OwnerChanged(OWNER, "container kill")
    assert inbox.take() is None


def test_inbox_overflow_becomes_everything() -> None:
    inbox = Inbox(limit=2)
    for index in range(5):
        inbox.put(Owner(str(index), "App", "ns", "x"), "container die")
    assert inbox.take() == OwnerChanged(None, "overflow")
    assert inbox.take() is None
    inbox.put(OWNER, "container die")
    assert inbox.take() == OwnerChanged(OWNER, "container die")


class Wire:
    """An engine's event stream in the test's hands."""

    def __init__(self) -> None:
        self.connect: Callable[[], None] = lambda: None
        self.disconnect: Callable[[], None] = lambda: None
        self.tell: Callable[[Event], None] = lambda _: None
        self.lists: list[Snapshot | RetryableError] = []

    def reader(self, **callbacks: Any) -> "Wire":
        self.connect = callbacks["on_connect"]
        self.tell = callbacks["on_event"]
        self.disconnect = callbacks["on_disconnect"]
        return self

    async def snapshot(self) -> Snapshot:
        listed = self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]
        if isinstance(listed, RetryableError):
            raise listed
        return listed

    def start(self) -> None: ...
    def stop(self) -> None: ...


def watch_of(
    wire: Wire, verify_s: float = 60.0, cache: InspectCache | None = None
) -> tuple[Watch, InspectCache]:
    cache = cache or InspectCache()
    watch = Watch(
        wire.reader,
        SystemClock(),
        cache,
        wire.snapshot,
        instance="me",
        verify_s=verify_s,
    )
    return watch, cache


async def soon(watch: Watch) -> OwnerChanged | None:
    try:
        async with asyncio.timeout(0.02):
            return await watch.next()
    except TimeoutError:
        return None


async def test_watch_begins_with_everything_and_goes_on_with_owners() -> None:
    wire = Wire()
    wire.lists = [{}]
    watch, _ = watch_of(wire)
    wire.connect()
    assert await soon(watch) == OwnerChanged(None, "connected")
    assert await soon(watch) is None
    wire.tell(event("container", "die", **LABELS))
    assert await soon(watch) == OwnerChanged(OWNER, "container die")


async def test_watch_tells_everything_again_after_a_reconnect() -> None:
    wire = Wire()
    wire.lists = [{}]
    watch, cache = watch_of(wire)
    wire.connect()
    await soon(watch)
    wire.disconnect()
    assert not cache.containers.live
    assert await soon(watch) is None
    wire.connect()
    assert await soon(watch) == OwnerChanged(None, "connected")


async def test_watch_tells_owners_whose_event_was_missed() -> None:
    wire = Wire()
    before: Snapshot = {"container:c1": (OWNER, "running"), "volume:data": (OWNER, "x")}
    wire.lists = [before, {"volume:data": (OWNER, "x")}]
    watch, _ = watch_of(wire, verify_s=0.0)
    wire.connect()
    assert await soon(watch) == OwnerChanged(None, "connected")
    assert await soon(watch) == OwnerChanged(OWNER, "missed event")


async def test_watch_tells_nobody_when_the_lists_agree_or_the_event_came() -> None:
    wire = Wire()
    before: Snapshot = {"container:c1": (OWNER, "running")}
    wire.lists = [before]
    watch, _ = watch_of(wire, verify_s=0.005)
    wire.connect()
    await soon(watch)
    assert await soon(watch) is None
    wire.lists = [{"container:c1": (OWNER, "exited")}]
    wire.tell(event("container", "die", **LABELS))
    assert await soon(watch) == OwnerChanged(OWNER, "container die")
    assert await soon(watch) is None


@pytest.mark.parametrize(
    "listed",
    [
        pytest.param({"container:c1": (OWNER, Listed(("/shop",), "exited"))}, id="died"),
        pytest.param({"container:c1": (OWNER, Listed(("/other",), "running"))}, id="renamed"),
        pytest.param({}, id="removed"),
    ],
)
async def test_watch_tells_owners_whose_last_event_was_missed(listed: Snapshot) -> None:
    """Many events at once are when the engine loses some: its start is told, its end is not."""
    running = {"container:c1": (OWNER, Listed(("/shop",), "running"))}
    wire = Wire()
    wire.lists = [{}, running, listed]
    watch, cache = watch_of(wire)
    wire.connect()
    assert await soon(watch) == OwnerChanged(None, "connected")
    assert await soon(watch) is None
    for _ in range(2):
        wire.tell(event("container", "start", **LABELS))
        assert await soon(watch) == OwnerChanged(OWNER, "container start")
        looked = replace(BLANK, id="c1", name="shop", owner=OWNER)
        cache.containers.put("c1", looked, cache.containers.stamp())
        await watch._verify()
    assert await soon(watch) == OwnerChanged(OWNER, "missed event")
    assert cache.containers.peek("c1") is None
    watch.stop()


async def test_watch_lives_through_a_list_that_fails() -> None:
    wire = Wire()
    wire.lists = [RetryableError("engine away")]
    watch, _ = watch_of(wire)
    wire.connect()
    assert await soon(watch) == OwnerChanged(None, "connected")
    assert await soon(watch) is None


async def test_strangers_events_drop_what_they_touch() -> None:
    wire = Wire()
    wire.lists = [{}]
    watch, cache = watch_of(wire)
    wire.connect()
    stamp = cache.networks.stamp()
    wire.tell(event("network", "connect", "n1", name="net", container="stranger"))
    wire.tell(event("image", "delete", "sha256:x"))
    assert cache.networks.stamp() > stamp
    await soon(watch)
    assert await soon(watch) is None


async def test_what_another_stream_has_told_is_dropped_once() -> None:
    wire, other = Wire(), Wire()
    wire.lists = other.lists = [{}]
    watch, cache = watch_of(wire)
    second, _ = watch_of(other, cache=cache)
    wire.connect()
    other.connect()
    assert await soon(second) == OwnerChanged(None, "connected")
    started = {**event("container", "start", **LABELS), "timeNano": 1}
    stamp = cache.containers.stamp()
    wire.tell(started)
    assert cache.containers.overtaken("c1", stamp)
    stamp = cache.containers.stamp()
    other.tell(started)
    assert not cache.containers.overtaken("c1", stamp)
    assert await soon(second) == OwnerChanged(OWNER, "container start")
    other.tell({**started, "timeNano": 2})
    assert cache.containers.overtaken("c1", stamp)
    watch.stop()
    second.stop()


NETWORK = NetworkState("n1", "net", OWNER, "10.0.0.0/24", ("c1",))


@pytest.mark.parametrize(
    ("given", "inside"),
    [
        (event("network", "connect", "n1", name="net", container="c2"), ("c1", "c2")),
        (event("network", "connect", "n1", name="net", container="c1"), ("c1",)),
        (event("network", "disconnect", "n1", name="net", container="c1"), ()),
        (event("network", "connect", "n1", name="other", container="c2"), ("c1",)),
        (event("network", "connect", "n2", name="net", container="c2"), None),
        (event("network", "destroy", "n1", name="net"), None),
    ],
)
async def test_events_say_who_is_in_a_network(given: Event, inside: tuple[str, ...] | None) -> None:
    """What is remembered of a network outlives fifty containers that join it."""
    wire = Wire()
    wire.lists = [{}]
    watch, cache = watch_of(wire)
    wire.connect()
    cache.networks.put("net", NETWORK, cache.networks.stamp())
    stamp = cache.networks.stamp()
    wire.tell(given)
    found = cache.networks.get("net")
    assert (found and found.container_ids) == inside
    if given["Actor"]["Attributes"]["name"] == "net":
        cache.networks.put("net", replace(NETWORK, container_ids=("late",)), stamp)
        assert cache.networks.get("net") == found, "an answer from before the event"
    watch.stop()


async def test_verify_asks_for_the_engine_and_images_anew() -> None:
    wire = Wire()
    wire.lists = [{}]
    watch, cache = watch_of(wire)
    wire.connect()
    cache.engine.put("", EngineInfo("1", 1, 1, "/"), cache.engine.stamp())
    cache.images.put("shop:1", (), cache.images.stamp())
    await watch._verify()
    assert cache.engine.get("") is None
    assert cache.images.get("shop:1") is None
    watch.stop()


async def test_verify_doubts_everything_in_turn() -> None:
    """Limits show in no list: what a lost event hid is looked at anew within ten verifies."""
    wire = Wire()
    things = [*(f"container:c{n}" for n in range(25)), *(f"network:n{n}" for n in range(3))]
    wire.lists = [dict.fromkeys(things, (OWNER, "as it was"))]
    watch, cache = watch_of(wire, verify_s=0.0)
    watch.start()
    wire.connect()
    before = (cache.containers.stamp(), cache.networks.stamp())
    for _ in range(DOUBT_TURNS):
        await watch._verify()
    assert cache.containers.stamp() - before[0] == 25, "each of them once"
    assert cache.networks.stamp() - before[1] == 3, "each of them once"
    watch.stop()
