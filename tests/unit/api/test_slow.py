"""Work that takes long leaves the loop to others."""

import asyncio
import threading
from typing import ClassVar

from api.documents import Once
from api.served import Catalogue, serve
from api.slow import SLOW_BYTES, in_turns, judged_in_turns
from resources.core import ConfigMap
from resources.kinds import KINDS
from resources.zone import Zone


class Slow(ConfigMap):
    """Remembers which threads it was prepared on."""

    prepared_on: ClassVar[list[int]] = []

    @classmethod
    def prepare(cls) -> None:
        cls.prepared_on.append(threading.get_ident())
        super().prepare()


async def test_others_get_their_turns_while_large_things_are_worked_on() -> None:
    others = threading.Event()

    async def other() -> None:
        others.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(other())
        assert await in_turns(SLOW_BYTES, lambda: others.wait(30))


async def test_small_things_are_done_at_once() -> None:
    assert await in_turns(SLOW_BYTES - 1, threading.get_ident) == threading.get_ident()


async def test_the_first_record_of_a_kind_is_prepared_for_on_a_thread_once() -> None:
    served, here = serve(Slow), threading.get_ident()
    Slow.prepared_on.clear()
    for _ in range(2):
        assert await judged_in_turns(served, 1, threading.get_ident) == here
    assert len(Slow.prepared_on) == 1
    assert here not in Slow.prepared_on


async def test_what_is_judged_slowly_is_judged_on_a_thread_when_it_is_small() -> None:
    zone, size = serve(Zone), Zone.info.slow_bytes
    assert size < SLOW_BYTES
    assert await judged_in_turns(zone, size - 1, threading.get_ident) == threading.get_ident()
    assert await judged_in_turns(zone, size, threading.get_ident) != threading.get_ident()


async def test_what_is_fixed_is_made_on_a_thread_once_a_catalogue() -> None:
    made_on: list[int] = []

    def make(catalogue: Catalogue) -> list[str]:
        made_on.append(threading.get_ident())
        return [served.info.kind for served in catalogue]

    once, catalogue, other = Once(make), Catalogue(KINDS), Catalogue(KINDS[:1])
    found = await asyncio.gather(*(once.of(catalogue) for _ in range(8)))
    assert all(each is found[0] for each in found)
    assert await once.of(other) == [KINDS[0].info.kind]
    assert len(made_on) == 2
    assert threading.get_ident() not in made_on
