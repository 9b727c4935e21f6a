"""References, secrets that are read, children, and who is woken when they change."""

import base64

from controlplane.records import Key
from tests.support.bench import Bench, box_key, space_key
from tests.support.running import USER
from tests.support.virtual import in_virtual_time

A = box_key("a")
B = box_key("b")


@in_virtual_time
async def test_reference_holds_back_a_first_start_and_its_readiness_wakes() -> None:
    async with Bench().shop("a", boxRef={"name": "b"}, cpu="1") as bench:
        assert bench.condition(A, "Ready")["reason"] == "ReferenceNotFound"
        assert bench.thing(A) is None
        assert "allocation" not in bench.status(A)
        await bench.box("b")
        await bench.settle(2)
        assert bench.ready(A)


@in_virtual_time
async def test_reference_that_is_lost_later_stops_nothing() -> None:
    async with Bench().running() as bench:
        await bench.namespace()
        await bench.box("b")
        await bench.box("a", boxRef={"name": "b"})
        await bench.settle()
        await bench.delete(B)
        await bench.settle(2000)
        assert bench.find(B) is None
        assert bench.ready(A)
        await bench.edit(A, size=5)
        await bench.settle()
        assert bench.status(A)["size"] == 5


@in_virtual_time
async def test_references_in_a_circle_say_so() -> None:
    async with Bench().running() as bench:
        await bench.namespace()
        await bench.box("a", boxRef={"name": "b"})
        await bench.box("b", boxRef={"name": "a"})
        await bench.settle(700)
        ready = bench.condition(A, "Ready")
        assert ready["reason"] == "ReferenceCycle"
        assert "Box 'b'" in ready["message"]


@in_virtual_time
async def test_binding_follows_the_secrets_content() -> None:
    async with Bench().running() as bench:
        await bench.namespace()
        await bench.box("b", secret=True)
        await bench.box("a", boxRef={"name": "b"})
        await bench.settle()
        before = bench.status(A)["uses"]
        stored = bench.get(Key("Secret", "shop", "b-key"))
        opened = await bench.records.read(stored)
        opened["data"]["password"] = base64.b64encode(b"another").decode()
        await bench.records.update(stored, opened, actor=USER)
        await bench.settle(2)
        assert bench.status(A)["uses"] not in (None, before)


@in_virtual_time
async def test_secret_that_is_read_wakes_its_reader() -> None:
    async with Bench().shop("a", reads="Secret/s", cpu="1") as bench:
        assert bench.condition(A, "Ready")["reason"] == "SecretMissing"
        assert bench.ledger.totals().allocated.cpu_millicores == 0
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "s", "namespace": "shop"},
        }
        await bench.records.create("Secret", secret, actor=USER)
        await bench.settle(2)
        assert bench.ready(A)


@in_virtual_time
async def test_generated_secret_is_made_once_and_completed() -> None:
    async with Bench().shop("a", secret=True) as bench:
        stored = bench.get(Key("Secret", "shop", "a-key"))
        data = (await bench.records.read(stored))["data"]
        values = {key: base64.b64decode(value).decode() for key, value in data.items()}
        assert values["uri"] == f"box://a:{values['password']}@here"
        assert len(values["password"]) == 24
        assert values["password"] not in stored.body.decode()
        assert stored.meta["ownerReferences"][0]["uid"] == bench.get(A).uid
        await bench.edit(A, size=4)
        await bench.settle()
        again = (await bench.records.read(bench.get(stored.key)))["data"]
        assert again == data


@in_virtual_time
async def test_namespace_must_be_ready_before_a_first_start() -> None:
    bench = Bench()
    bench.world.latency_s = 3.0
    async with bench.running():
        await bench.namespace()
        await bench.box("a")
        await bench.settle(1)
        assert bench.condition(A, "Ready")["reason"] == "NamespaceNotReady"
        await bench.settle(20)
        assert bench.ready(A)


@in_virtual_time
async def test_retained_child_outlives_its_owner_and_is_adopted_with_its_secret() -> None:
    bench = Bench()
    depot = Key("Depot", "", "depot-shop-a")
    key = Key("Secret", "shop", "a-key")
    async with bench.running():
        await bench.namespace()
        await bench.box("a", data="Retain", secret=True)
        await bench.settle()
        uid = bench.get(depot).uid
        password = (await bench.records.read(bench.get(key)))["data"]["password"]
        await bench.delete(A)
        await bench.settle(1300)
        assert bench.find(A) is None
        assert bench.get(depot).owner_uids == ()
        assert bench.get(key).owner_uids == ()
        await bench.box("a", data="Retain", secret=True)
        await bench.settle()
        assert bench.get(depot).uid == uid
        assert bench.get(depot).owner_uids == (bench.get(A).uid,)
        assert (await bench.records.read(bench.get(key)))["data"]["password"] == password
        assert "Adopted" in bench.reasons()


@in_virtual_time
async def test_deleted_child_goes_with_its_owner() -> None:
    async with Bench().shop("a", data="Delete", secret=True) as bench:
        await bench.delete(A)
        await bench.settle(10)
        assert bench.find(Key("Depot", "", "depot-shop-a")) is None
        assert bench.find(Key("Secret", "shop", "a-key")) is None
        assert [name for name in bench.world.things if "depot" in name] == []


@in_virtual_time
async def test_child_of_somebody_else_is_not_taken() -> None:
    async with Bench().running() as bench:
        await bench.namespace()
        depot = {
            "apiVersion": "bunker.cloud/v1",
            "kind": "Depot",
            "metadata": {"name": "depot-shop-a"},
            "spec": {"claim": "someone-else"},
        }
        await bench.records.create("Depot", depot, actor=USER)
        await bench.box("a", data="Retain")
        await bench.settle()
        assert bench.condition(A, "Stalled")["reason"] == "NotOwned"
        assert bench.get(Key("Depot", "", "depot-shop-a")).owner_uids == ()


@in_virtual_time
async def test_foreground_deletion_with_retained_data_keeps_it() -> None:
    async with Bench().shop("a", data="Retain") as bench:
        await bench.delete(A, "Foreground")
        await bench.settle(10)
        assert bench.find(A) is None
        assert bench.find(Key("Depot", "", "depot-shop-a")) is not None
        assert [name for name in bench.world.things if "depot" in name] != []


@in_virtual_time
async def test_orphan_deletion_leaves_dependents() -> None:
    async with Bench().shop("a", "b") as bench:
        await _own(bench)
        await bench.delete(A, "Orphan")
        await bench.settle(10)
        assert bench.find(A) is None
        assert bench.ready(B)
        assert bench.get(B).owner_uids == ()


@in_virtual_time
async def test_a_second_deletion_may_still_say_what_becomes_of_dependents() -> None:
    async with Bench().shop("a", "b") as bench:
        await _own(bench)
        await bench.put_finalizers(A, *bench.get(A).meta["finalizers"], "example.org/wait")
        for policy in ("Foreground", "Background", "Orphan", "Background"):
            await bench.delete(A, policy)
        assert "orphan" in bench.get(A).meta["finalizers"]
        assert "foregroundDeletion" not in bench.get(A).meta["finalizers"]
        await bench.settle(10)
        await bench.put_finalizers(A)
        await bench.settle(10)
        assert bench.find(A) is None
        assert bench.ready(B)


@in_virtual_time
async def test_dependents_go_with_a_gone_owner() -> None:
    async with Bench().shop("a", "b") as bench:
        await _own(bench)
        await bench.delete(A)
        await bench.settle(10)
        assert bench.find(A) is None
        assert bench.find(B) is None


@in_virtual_time
async def test_foreground_owner_waits_for_its_dependents() -> None:
    async with Bench().shop("a", "b") as bench:
        await _own(bench)
        bench.world.latency_s = 5.0
        await bench.delete(A, "Foreground")
        await bench.settle(7)
        assert bench.get(A).meta["finalizers"] == ["foregroundDeletion"]
        assert bench.get(B).deleting
        await bench.settle(20)
        assert bench.find(A) is None
        assert bench.find(B) is None


@in_virtual_time
async def test_namespace_goes_last_and_leaves_nothing_but_retained_data() -> None:
    async with Bench().running() as bench:
        await bench.namespace()
        await bench.box("b", secret=True)
        await bench.box("a", boxRef={"name": "b"}, data="Retain")
        await bench.box("waiting", boxRef={"name": "nobody"})
        await bench.settle()
        await bench.delete(space_key())
        await bench.settle(20)
        assert bench.find(space_key()) is None
        for kind in ("Box", "Secret", "Event"):
            assert bench.store.cache.list(kind, "shop") == []
        assert [name.split("-")[0] for name in bench.world.things] == ["depot"]
        assert bench.ledger.totals().allocated.cpu_millicores == 0
        await bench.namespace()
        await bench.settle()
        assert bench.ready(space_key())


async def _own(bench: Bench) -> None:
    """Make B a dependent of A."""
    owner = bench.get(A)
    ref = {
        "apiVersion": "bunker.cloud/v1",
        "kind": "Box",
        "name": "a",
        "uid": owner.uid,
        "blockOwnerDeletion": True,
    }
    await bench.change(
        B, lambda obj: {**obj, "metadata": {**obj["metadata"], "ownerReferences": [ref]}}
    )
    await bench.settle()
