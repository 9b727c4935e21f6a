"""Names for one record alone, platform services, and kinds that see who names them."""

from typing import Any

import orjson
import pytest

from controlplane.engine.cache import Cache
from controlplane.engine.referring import PLATFORM, Referring
from controlplane.engine.wakes import is_relevant
from controlplane.errors import RetryableError
from controlplane.records import Change, Key, Stored
from resources.meta import PLATFORM_NAMESPACE
from resources.platform import Platform
from resources.zone import Zone
from tests.support.bench import Bench, box_key, space_key
from tests.support.virtual import in_virtual_time

A = box_key("a")
B = box_key("b")
RIVAL = box_key("x", "rival")
HUB = Key(PLATFORM, PLATFORM_NAMESPACE, "s3")


@in_virtual_time
async def test_one_of_two_tenants_gets_a_name_and_the_other_starts_when_it_is_free() -> None:
    async with Bench().running() as bench:
        await bench.namespace()
        await bench.namespace("rival")
        await bench.box("a", site="example.com")
        await bench.settle()
        await bench.box("x", namespace="rival", site="www.example.com")
        await bench.settle()
        assert bench.ready(A)
        admitted = bench.condition(RIVAL, "Admitted")
        assert (admitted["status"], admitted["reason"]) == ("False", "NameTaken")
        assert "shop" not in admitted["message"]
        assert bench.thing(RIVAL) is None
        await bench.delete(A)
        await bench.settle(2)
        assert bench.ready(RIVAL)


@in_virtual_time
async def test_who_waits_for_a_name_is_looked_at_no_more_than_what_rests() -> None:
    async with Bench().shop("a", site="example.com") as bench:
        await bench.box("b", site="example.com")
        await bench.settle()
        before = waited(bench)
        await bench.settle(3600)
        # every ten minutes, as all
        assert 5 <= waited(bench) - before <= 8


def waited(bench: Bench) -> int:
    """Passes that ended waiting."""
    found = bench.metrics.reconciles.labels(B.kind, "waiting").collect()
    return int(next(s.value for each in found for s in each.samples if s.name.endswith("_total")))


@in_virtual_time
async def test_name_is_kept_over_a_restart() -> None:
    async with Bench().running() as bench:
        await bench.namespace()
        await bench.namespace("rival")
        await bench.box("x", namespace="rival", site="example.com")
        await bench.settle()
    await bench.box("a", site="example.com")
    async with bench.running():
        await bench.settle()
        assert bench.ready(RIVAL)
        assert bench.condition(A, "Admitted")["reason"] == "NameTaken"


@in_virtual_time
async def test_name_that_is_wanted_no_more_is_free_for_others() -> None:
    async with Bench().shop("a", site="example.com") as bench:
        await bench.box("b", site="example.com")
        await bench.settle()
        assert not bench.ready(B)
        await bench.edit(A, site="other.com")
        await bench.settle(2)
        assert bench.ready(A)
        assert bench.ready(B)


@in_virtual_time
async def test_service_holds_back_a_first_start_and_stops_nothing_later() -> None:
    async with Bench().running() as bench:
        await bench.namespace()
        await bench.namespace(PLATFORM_NAMESPACE)
        await bench.box("a", hub="s3", cpu="1")
        await bench.settle()
        ready = bench.condition(A, "Ready")
        assert ready["reason"] == "ServiceNotReady"
        assert "'s3'" in ready["message"]
        assert "allocation" not in bench.status(A)
        await bench.hub("s3")
        await bench.settle(2)
        assert bench.ready(A)
        await bench.delete(HUB)
        await bench.settle(2000)
        assert bench.ready(A)


@pytest.mark.parametrize(("of", "told"), [("Platform/s3", True), (None, False)])
def test_who_holds_the_name_of_a_service_is_seen_by_it_at_once(of: str | None, told: bool) -> None:
    """Else it would join their network only after they are Ready."""

    def stored(status: dict[str, Any]) -> Stored:
        return Stored(A, "u", 1, 1, orjson.dumps({"metadata": {"name": "a"}, "status": status}))

    names = [{"scope": "network", "name": "s3 in shop", "of": of}]
    admitted = stored({"allocation": {"names": names}})
    assert is_relevant(Change(2, "update", admitted, stored({}), {})) == told


@pytest.mark.parametrize(
    "changed",
    [
        {"names": [{"scope": "host", "name": "a.org"}, {"scope": "host", "name": "b.org"}]},
        {"names": [{"scope": "host", "name": "b.org"}]},
        {"names": [{"scope": "host", "name": "a.org"}], "spec": {}},
    ],
    ids=["one more", "another", "an edit waits"],
)
def test_which_hosts_are_an_apps_own_is_seen_by_the_ingress_at_once(
    changed: dict[str, Any],
) -> None:
    def stored(allocation: dict[str, Any]) -> Stored:
        status = {"allocation": allocation}
        return Stored(A, "u", 1, 1, orjson.dumps({"metadata": {"name": "a"}, "status": status}))

    before = stored({"names": [{"scope": "host", "name": "a.org"}]})
    assert is_relevant(Change(2, "update", stored(changed), before, {}))


@in_virtual_time
async def test_kind_that_sees_dependents_follows_them_across_namespaces() -> None:
    async with Bench().running() as bench:
        await bench.namespace()
        await bench.namespace(PLATFORM_NAMESPACE)
        await bench.hub("s3")
        await bench.hub("dns")
        await bench.settle()
        assert bench.status(HUB).get("users", []) == []
        bench.world.errors = [RetryableError("cannot make the network: busy")]
        await bench.namespace("rival")
        await bench.box("x", namespace="rival", hub="s3")
        await bench.box("a", hub="s3")
        await bench.box("b")
        await bench.settle(0.1)
        assert bench.status(HUB)["users"] == ["rival/x False", "shop/a True"]
        await bench.settle()
        assert bench.status(HUB)["users"] == ["rival/x True", "shop/a True"]
        await bench.edit(A, hub="dns")
        await bench.settle(2)
        assert bench.status(HUB)["users"] == ["rival/x True"]
        await bench.delete(RIVAL)
        await bench.settle(2)
        assert bench.status(HUB).get("users", []) == []


@in_virtual_time
async def test_dependents_are_complete_from_the_first_pass_of_a_new_term() -> None:
    """A pass that missed some would take what stands for them outside for orphans."""
    async with Bench().running() as bench:
        await bench.namespace()
        await bench.namespace(PLATFORM_NAMESPACE)
        await bench.hub("s3")
        for number in range(20):
            await bench.box(f"b{number:02}", hub="s3")
        await bench.settle()
        before = bench.get(HUB)
        assert len(bench.status(HUB)["users"]) == 20
    async with bench.running():
        await bench.settle()
        assert bench.get(HUB).revision == before.revision
        assert bench.get(space_key()).obj["status"]


def test_what_a_zone_works_on_is_read_without_its_records() -> None:
    spec = {"domain": "shop.example.org", "recordSets": [{"name": "x", "type": "A"}] * 2}
    body = {"kind": "Zone", "metadata": {"name": "shop", "namespace": "shop"}, "spec": spec}
    stored = Stored(Key("Zone", "shop", "shop"), "uid", 1, 1, orjson.dumps(body))
    models = {model.info.kind: model for model in (Zone, Platform)}
    assert Referring(Cache(), models).targets(stored) == (Key(PLATFORM, PLATFORM_NAMESPACE, "dns"),)
