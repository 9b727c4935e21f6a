"""What is remembered of the engine is never older than what was told."""

from dataclasses import replace

from drivers.containers import LABEL_CONTAINER, Owner
from drivers.docker_cache import InspectCache
from drivers.fake.engine import BLANK

OWNER = Owner("u1", "App", "ns", "shop")
STATE = replace(BLANK, id="c1", name="shop", owner=OWNER, labels={LABEL_CONTAINER: "shop"})


def live_cache() -> InspectCache:
    cache = InspectCache()
    cache.connected()
    return cache


def test_nothing_is_remembered_without_an_event_stream() -> None:
    cache = InspectCache()
    cache.remember(STATE, cache.containers.stamp())
    assert cache.find("u1", "shop") is None


def test_remembered_container_is_found_by_owner_and_name_it_was_made_under() -> None:
    cache = live_cache()
    cache.remember(STATE, cache.containers.stamp())
    assert cache.find("u1", "shop") == STATE
    assert cache.find("u1", "other") is None
    assert cache.find("u2", "shop") is None


def test_answer_overtaken_by_a_change_is_not_remembered() -> None:
    cache = live_cache()
    stamp = cache.containers.stamp()
    cache.containers.invalidate("c1")
    cache.remember(STATE, stamp)
    assert cache.find("u1", "shop") is None


def test_answer_overtaken_by_a_reconnect_is_not_remembered() -> None:
    cache = live_cache()
    stamp = cache.containers.stamp()
    cache.disconnected()
    cache.connected()
    cache.remember(STATE, stamp)
    assert cache.find("u1", "shop") is None


def test_overtaken_answer_is_not_remembered_after_very_many_changes() -> None:
    cache = live_cache()
    stamp = cache.containers.stamp()
    cache.containers.invalidate("c1")
    for index in range(10_001):
        cache.containers.invalidate(f"other{index}")
    cache.remember(STATE, stamp)
    assert cache.find("u1", "shop") is None


def test_lost_connection_forgets_all() -> None:
    cache = live_cache()
    cache.known.complete = True
    cache.remember(STATE, cache.containers.stamp())
    cache.disconnected()
    assert cache.containers.peek("c1") is None
    assert not cache.known.complete


def test_second_stream_keeps_it_alive() -> None:
    cache = live_cache()
    cache.connected()
    cache.disconnected()
    cache.remember(STATE, cache.containers.stamp())
    assert cache.containers.get("c1") == STATE
    assert (cache.containers.hits, cache.containers.misses) == (1, 0)


def test_forgotten_container_is_nobodys() -> None:
    cache = live_cache()
    cache.remember(STATE, cache.containers.stamp())
    assert cache.known.owner_of("c1") == OWNER
    cache.forget("c1")
    assert cache.known.owner_of("c1") is None
    assert cache.known.of_owner("u1") == {}
