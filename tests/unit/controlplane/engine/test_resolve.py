"""What is read of a record, and what of that is kept."""

import orjson
import pytest

from controlplane.engine import resolve
from controlplane.engine.resolve import allocation_of, former
from controlplane.records import Stored
from resources.meta import Allocation
from tests.support.bench import Bench, box_key
from tests.support.toys import Box
from tests.support.virtual import in_virtual_time

A = box_key("a")


def kept() -> int:
    return resolve._allocation.cache_info().currsize


@in_virtual_time
async def test_what_a_record_was_before_its_edits_is_not_kept() -> None:
    async with Bench().shop("a", cpu="1") as bench:
        before, specs = kept(), 0
        for size in range(2, 12):
            edited = await bench.edit(A, size=size)
            specs += (allocation_of(edited) or Allocation()).spec is not None
            await bench.settle(2)
            assert bench.status(A)["size"] == size
        assert specs == 10
        assert kept() == before


def test_a_record_is_read_by_the_spec_that_it_was_admitted_with() -> None:
    meta = {"name": "a", "namespace": "shop", "uid": "u", "resourceVersion": "1"}
    held = {"cpu": "1", "memory": "0", "disk": "0", "spec": {"cpu": "1"}}
    obj = {
        "apiVersion": "bunker.cloud/v1",
        "kind": "Box",
        "metadata": meta,
        "spec": {"cpu": "2"},
        "status": {"allocation": held},
    }
    stored = Stored(A, "u", 1, 1, orjson.dumps(obj))
    found = allocation_of(stored)
    assert found is not None
    assert (found.cpu, found.spec) == (1000, {"cpu": "1"})
    older = former(Box, stored)
    assert isinstance(older, Box)
    assert older.spec.cpu == 1000
    odd = {**obj, "status": {"allocation": {**held, "cpu": "many"}}}
    assert allocation_of(Stored(A, "u", 1, 1, orjson.dumps(odd))) is None


@pytest.mark.parametrize(("cpu", "goes_on"), [("1", True), ("2", False)])
def test_one_of_an_earlier_release_that_waits_to_grow_is_not_given_what_it_asks_for(
    cpu: str, goes_on: bool
) -> None:
    """It kept no spec with what it was given, so that what was admitted isn't known."""
    meta = {"name": "a", "namespace": "shop", "uid": "u", "resourceVersion": "1"}
    obj = {
        "apiVersion": "bunker.cloud/v1",
        "kind": "Box",
        "metadata": meta,
        "spec": {"cpu": cpu},
        "status": {"allocation": {"cpu": "1", "memory": "0", "disk": "0"}},
    }
    found = former(Box, Stored(A, "u", 1, 1, orjson.dumps(obj)))
    assert (found is not None) is goes_on
