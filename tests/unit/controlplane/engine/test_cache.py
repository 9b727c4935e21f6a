"""The watch cache: order, indexes, the ring, watchers that are slow, and listing again."""

import asyncio
from dataclasses import replace

import orjson
import pytest

from controlplane.engine.cache import STRETCH_CHANGES, Cache
from controlplane.errors import CompactedError, SlowReaderError
from controlplane.records import Change, Key, Stored, Verb


def stored(
    name: str, revision: int, *, kind: str = "App", ns: str = "shop", uid: str = "", owner: str = ""
) -> Stored:
    meta: dict[str, object] = {"name": name, "namespace": ns}
    if owner:
        meta["ownerReferences"] = [{"uid": owner}]
    body = orjson.dumps({"metadata": meta, "text": str(revision)})
    return Stored(Key(kind, ns, name), uid or f"uid-{name}", revision, 1, body)


def fill(cache: Cache, *names: str) -> None:
    for name in names:
        cache.apply([("create", stored(name, cache.revision + 1))])


def take(cache: Cache, verb: Verb, name: str) -> None:
    cache.apply([(verb, stored(name, cache.revision + 1))])


@pytest.fixture
def cache() -> Cache:
    made = Cache(ring_changes=8, pending_changes=4)
    made.reset([], 999)
    return made


def test_lists_are_sorted_by_namespace_and_name(cache: Cache) -> None:
    for ns, name in (("b", "x"), ("a", "z"), ("a", "y"), ("b", "a")):
        cache.apply([("create", stored(name, cache.revision + 1, ns=ns))])
    assert [(s.key.namespace, s.key.name) for s in cache.list("App")] == [
        *(("a", "y"), ("a", "z"), ("b", "a"), ("b", "x"))
    ]
    assert [s.key.name for s in cache.list("App", "b")] == ["a", "x"]
    assert cache.list("App", "none") == []
    assert cache.list("None") == []


def test_a_name_that_comes_back_is_listed_once(cache: Cache) -> None:
    fill(cache, "a", "b")
    take(cache, "delete", "a")
    take(cache, "create", "a")
    assert [s.key.name for s in cache.list("App")] == ["a", "b"]
    take(cache, "delete", "a")
    take(cache, "delete", "b")
    assert cache.list("App") == []
    assert len(cache) == 0


def test_owners_are_indexed_and_forgotten(cache: Cache) -> None:
    cache.apply([("create", stored("a", 1000, owner="o"))])
    assert [s.key.name for s in cache.owned_by("o")] == ["a"]
    cache.apply([("update", stored("a", 1001))])
    assert cache.owned_by("o") == []


def test_a_missing_revision_is_refused(cache: Cache) -> None:
    with pytest.raises(AssertionError):
        cache.apply([("create", stored("a", 1001))])


async def test_a_watch_gets_what_was_and_what_comes(cache: Cache) -> None:
    fill(cache, "a", "b")
    watcher = cache.watch(frozenset({"App"}), 1000)
    take(cache, "update", "a")
    cache.apply([("create", stored("other", 1003, kind="Zone"))])
    got = [await anext(watcher), await anext(watcher)]
    assert [(c.revision, c.verb) for c in got] == [(1001, "create"), (1002, "update")]
    assert got[1].before is not None
    assert got[1].before.revision == 1000
    assert watcher.position == 1003
    watcher.close()
    assert cache.watchers == 0
    with pytest.raises(StopAsyncIteration):
        await anext(watcher)


async def test_position_stays_before_a_relist_until_it_is_handed_out(cache: Cache) -> None:
    fill(cache, "a")
    watcher = cache.watch(None, 1000)
    # of a all between is unknown: its changes at 1001 to 1007, say
    cache.reset([stored("a", 1008)], 1010)
    assert watcher.position == 1000
    assert (await anext(watcher)).synthetic
    assert watcher.position == 1010


def test_position_stops_before_what_was_not_handed_out(cache: Cache) -> None:
    watcher = cache.watch(None, 999)
    fill(cache, "a", "b")
    assert watcher.position == 999


def test_a_watch_from_before_the_ring_is_refused(cache: Cache) -> None:
    fill(cache, *(f"n{i}" for i in range(12)))
    with pytest.raises(CompactedError):
        cache.watch(None, 1000)
    assert cache.watch(None, 1003).position == 1003


async def test_a_slow_watcher_is_cut_off_alone(cache: Cache) -> None:
    slow, quick = cache.watch(None, 999), cache.watch(None, 999)
    for n in range(6):
        fill(cache, f"n{n}")
        assert (await anext(quick)).revision == 1000 + n
    with pytest.raises(SlowReaderError):
        await anext(slow)
    assert cache.watchers == 1


async def test_a_cancelled_read_loses_nothing(cache: Cache) -> None:
    watcher = cache.watch(None, 999)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(watcher), 0.001)
    fill(cache, "a")
    assert (await anext(watcher)).revision == 1000


async def test_waiting_for_a_revision(cache: Cache) -> None:
    await cache.wait_for(999, timeout_s=0)
    with pytest.raises(TimeoutError):
        await cache.wait_for(1001, timeout_s=0.001)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(cache.wait_for(1001, timeout_s=1))
        tasks.create_task(cache.wait_for(1000, timeout_s=1))
        await asyncio.sleep(0)
        fill(cache, "a", "b")


async def test_listing_again_tells_every_difference(cache: Cache) -> None:
    fill(cache, "kept", "changed", "gone", "replaced")
    watcher = cache.watch(None, cache.revision)
    snapshot = [
        *(stored("kept", 1000), stored("changed", 1005), stored("new", 1006)),
        stored("replaced", 1008, uid="another"),
    ]
    cache.reset(snapshot, 1010)
    told: list[Change] = [await anext(watcher) for _ in range(5)]
    assert [(c.verb, c.after.key.name, c.revision) for c in told] == [
        ("update", "changed", 1005),
        ("create", "new", 1006),
        *(("delete", "replaced", 1008), ("create", "replaced", 1008)),
        ("delete", "gone", 1010),
    ]
    assert all(change.synthetic for change in told)
    assert told[0].before == stored("changed", 1001)
    assert cache.list("App") == sorted(snapshot, key=lambda s: s.key.name)
    assert cache.revision == 1010
    with pytest.raises(CompactedError):
        cache.watch(None, 1009)


async def test_a_relist_that_goes_back_hides_nothing_that_follows(cache: Cache) -> None:
    """A backup was restored: 1001 is another change than the one that was known, and so will
    1002 be."""
    fill(cache, "same", "other", "later")
    watcher = cache.watch(None, cache.revision)
    other = replace(stored("other", 1001), body=stored("other", 7).body)
    cache.reset([stored("same", 1000), other], 1001)
    assert cache.get(other.key) == other
    fill(cache, "next")
    told = [await anext(watcher) for _ in range(3)]
    assert [(c.verb, c.after.key.name, c.synthetic) for c in told] == [
        ("update", "other", True),
        ("delete", "later", True),
        ("create", "next", False),
    ]


def test_old_changes_lose_their_encodings() -> None:
    cache = Cache()
    cache.reset([], 999)
    watcher = cache.watch(None, 999)
    fill(cache, "a")
    change = watcher._pending[0]  # the shared one: what the API would have encoded into
    change.memo["json"] = b"x"
    fill(cache, *(f"n{i}" for i in range(600)))
    assert change.memo == {}


def test_the_ring_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.engine.cache.RING_BYTES", 200)
    cache = Cache()
    cache.reset([], 999)
    fill(cache, "a", "b", "c", "d", "e", "f")
    with pytest.raises(CompactedError):
        cache.watch(None, 999)


def test_ownership_counts_among_the_bytes_of_the_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may write a record may write as much as they like in there."""
    monkeypatch.setattr("controlplane.engine.cache.RING_BYTES", 20_000)
    cache = Cache()
    cache.reset([], 999)
    for revision in range(1000, 1010):
        cache.apply([("update", replace(stored("a", revision), managed_fields=b"x" * 5_000))])
    watcher = cache.watch(None, 1007)
    assert sum(each.after.size_bytes for each in watcher._pending) < 20_000
    with pytest.raises(CompactedError):
        cache.watch(None, 1004)


async def test_a_watcher_is_cut_off_by_what_waits_for_it(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that takes a change now and then."""
    monkeypatch.setattr("controlplane.engine.cache.PENDING_BYTES", 20_000)
    slow = cache.watch(None, cache.revision)

    async def take_one_in_four() -> None:
        for number in range(20):
            large = stored("a", cache.revision + 1)
            cache.apply([("update", replace(large, managed_fields=b"x" * 5_000))])
            if number % 4 == 0:
                await anext(slow)

    with pytest.raises(SlowReaderError, match="MiB"):
        await take_one_in_four()
    assert not slow._pending


def test_what_a_namespace_holds_follows_every_change(cache: Cache) -> None:
    def now() -> tuple[dict[str, int], int]:
        held = cache.held("shop")
        stored_ = [each for kind in ("App", "Event") for each in cache.list(kind, "shop")]
        assert held.bytes == sum(each.size_bytes for each in stored_)
        return dict(held.records), len(stored_)

    assert now() == ({}, 0)
    fill(cache, "a", "b")
    cache.apply([("create", stored("e", cache.revision + 1, kind="Event"))])
    cache.apply([("create", stored("x", cache.revision + 1, ns="other"))])
    assert now() == ({"App": 2, "Event": 1}, 3)
    cache.apply([("update", stored("a", cache.revision + 1, owner="a-longer-body"))])
    take(cache, "delete", "b")
    assert now() == ({"App": 1, "Event": 1}, 2)
    cache.reset([stored("c", 2000)], 2000)
    assert now() == ({"App": 1}, 1)
    cache.apply([("delete", stored("c", 2001))])
    assert now() == ({}, 0)
    assert cache.held("other").bytes == 0


async def test_changes_that_wait_are_handed_out_with_turns_for_others_in_between() -> None:
    cache, turns, stretches = Cache(), 0, 5
    watcher = cache.watch(None, 0)
    fill(cache, *(f"n{number}" for number in range(stretches * STRETCH_CHANGES)))

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        other = tasks.create_task(others())
        for number in range(stretches * STRETCH_CHANGES):
            assert (await anext(watcher)).after.key.name == f"n{number}"
        assert turns == stretches
        other.cancel()
