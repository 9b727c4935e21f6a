"""What is planned for a Namespace, a Volume, a Host and a Quota."""

from dataclasses import replace
from typing import Any

import pytest

from controlplane.plan import Plan, Wait
from drivers.containers import NetworkSpec, NetworkState, Owner, VolumeSpec, VolumeState
from drivers.fake.containers import FakeContainers
from drivers.fake.host import FakeHost
from drivers.host import HostCapacity
from reconcilers.namespace import EnsureNetwork, NamespaceReconciler, RemoveNetwork
from reconcilers.volume import EnsureVolume, RemoveVolume, VolumeReconciler
from resources.core import Namespace
from resources.meta import Footprint
from tests.unit.reconcilers.world import UID, FixedUsage, World, record

NAME = "namespace-shop-uuuuuuuu"
OWNER = Owner(UID, "Namespace", "", "shop")
SPEC = NetworkSpec(NAME, OWNER, "10.201.0.0/24")
THERE = NetworkState("1", NAME, OWNER, "10.201.0.0/24")
MOVED = replace(THERE, subnet="10.9.0.0/24")
FOREIGN = replace(THERE, owner=replace(OWNER, uid="other"))
USED = ("c1",)


@pytest.mark.parametrize(
    ("deleting", "seen", "subnet", "expected"),
    [
        pytest.param(False, None, SPEC.subnet, (EnsureNetwork(SPEC),), id="absent → ensure"),
        pytest.param(False, THERE, SPEC.subnet, (), id="there → converged"),
        pytest.param(False, None, None, "SubnetPending", id="no subnet → wait"),
        pytest.param(False, FOREIGN, SPEC.subnet, "NameTaken", id="foreign → wait"),
        pytest.param(
            False,
            MOVED,
            SPEC.subnet,
            (RemoveNetwork(NAME), EnsureNetwork(SPEC)),
            id="other subnet → made anew",
        ),
        pytest.param(
            False,
            replace(MOVED, container_ids=USED),
            SPEC.subnet,
            "SubnetDiffers",
            id="other subnet, in use → wait",
        ),
        pytest.param(True, THERE, SPEC.subnet, (RemoveNetwork(NAME),), id="deleting → remove"),
        pytest.param(
            True, replace(THERE, container_ids=USED), None, "NetworkInUse", id="in use → wait"
        ),
        pytest.param(True, None, None, (), id="deleting, absent → done"),
        pytest.param(True, FOREIGN, None, (), id="deleting, foreign → left alone"),
    ],
)
def test_a_namespace_plans(deleting: bool, seen: Any, subnet: str | None, expected: Any) -> None:
    made = World()
    want = replace(made.want(record("Namespace", {}, deleting=deleting)), subnet=subnet)
    plan = NamespaceReconciler(made.containers).plan(want, seen)
    if isinstance(expected, str):
        assert plan.wait is not None
        assert plan.wait.reason == expected
    else:
        assert plan == Plan(expected)


async def test_a_namespace_gets_its_network_and_loses_it() -> None:
    made = World()
    report = await made.settle(record("Namespace", {}))
    assert report.ready
    assert report.status.model_dump()["subnet"] == "10.201.0.0/24"
    assert [n.name for n in made.engine.networks.values()] == [NAME]
    made.engine.remove_network(NAME)
    assert not (await made.look(record("Namespace", {})))[1].ready
    assert (await made.settle(record("Namespace", {}))).ready
    report = await made.settle(record("Namespace", {}, deleting=True))
    assert report.reason == "Terminating"
    assert not made.engine.networks


def platform_namespace(**status: str) -> Namespace:
    meta = {"name": "platform", "uid": UID}
    return Namespace.model_validate({"metadata": meta, "status": status})


def test_the_platforms_own_network_comes_before_all_tenants_by_name() -> None:
    meta = {"name": "a", "uid": UID}
    first = Namespace.model_validate({"metadata": meta}).owned_name
    assert platform_namespace().owned_name == "home-platform-uuuuuuuu" < first


async def test_a_network_that_an_earlier_release_named_keeps_its_name() -> None:
    made = World()
    name = "namespace-platform-uuuuuuuu"
    await made.containers.ensure_network(replace(SPEC, name=name))
    before = made.engine.networks.copy()
    report = await made.settle(platform_namespace(network=name))
    assert report.ready
    assert report.status.model_dump()["network"] == name
    assert made.engine.networks == before
    made.engine.remove_network(name)
    _, gone = await made.look(platform_namespace(network=name))
    assert gone.status.model_dump()["network"] == name  # it is made anew under this one


CLAIM = {"namespace": "shop", "namespaceUid": "n", "name": "db", "engine": "postgres"}
VOLUME = "volume-shop-uuuuuuuu"
V_OWNER = Owner(UID, "Volume", "", "shop")
V_THERE = VolumeState(VOLUME, V_OWNER)


def volume(*, deleting: bool = False, known: bool = False, **spec: Any) -> Any:
    body = {"claim": CLAIM, "size": "1Gi", **spec}
    status = {"dockerName": VOLUME} if known else {}
    return record("Volume", body, deleting=deleting, status=status)


@pytest.mark.parametrize(
    ("wanted", "seen", "expected"),
    [
        pytest.param(
            volume(), None, Plan((EnsureVolume(VolumeSpec(VOLUME, V_OWNER)),)), id="absent → ensure"
        ),
        pytest.param(volume(), V_THERE, Plan(), id="there → converged"),
        pytest.param(volume(known=True), None, "DataMissing", id="lost → never made anew"),
        pytest.param(volume(dockerName="x"), None, "DataMissing", id="no such → wait"),
        pytest.param(
            volume(dockerName="x"), VolumeState("x", None), Plan(), id="made by hand → taken"
        ),
        pytest.param(
            volume(known=True), VolumeState(VOLUME, None), Plan(), id="restored by hand → taken"
        ),
        pytest.param(
            volume(),
            VolumeState(VOLUME, None),
            Plan((EnsureVolume(VolumeSpec(VOLUME, V_OWNER)),)),
            id="a stranger's under its name → refused by ensure",
        ),
        pytest.param(
            volume(deleting=True), V_THERE, Plan((RemoveVolume(VOLUME),)), id="deleting → remove"
        ),
        pytest.param(volume(deleting=True), None, Plan(), id="deleting, absent → done"),
        pytest.param(
            volume(deleting=True),
            VolumeState(VOLUME, replace(V_OWNER, uid="other")),
            Plan(),
            id="deleting, another's → left alone",
        ),
        pytest.param(
            volume(deleting=True), VolumeState(VOLUME, None), Plan(), id="deleting, foreign → left"
        ),
    ],
)
def test_a_volume_plans(wanted: Any, seen: VolumeState | None, expected: Any) -> None:
    made = World()
    plan = VolumeReconciler(made.containers).plan(made.want(wanted), seen)
    if isinstance(expected, str):
        assert isinstance(plan.wait, Wait)
        assert plan.wait.reason == expected
    else:
        assert plan == expected


async def test_a_volume_is_made_and_its_data_goes_only_with_it() -> None:
    made = World()
    report = await made.settle(volume())
    assert report.ready
    assert report.reason == "Retained"
    assert report.in_use == Footprint(disk_bytes=2**30)
    made.engine.remove_volume(VOLUME)
    report = await made.settle(volume(known=True))
    assert report.reason == "DataMissing"
    assert not made.engine.volumes
    assert (await made.look(volume()))[1].reason == "Pending"
    await made.settle(volume())
    await made.settle(volume(deleting=True))
    assert not made.engine.volumes


async def test_a_volume_that_is_overlooked_once_goes_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = World()
    await made.settle(volume())
    look, answers = FakeContainers.observe_volume, [None]

    async def overlooked(containers: FakeContainers, name: str, /) -> VolumeState | None:
        return answers.pop() if answers else await look(containers, name)

    monkeypatch.setattr(FakeContainers, "observe_volume", overlooked)
    await made.settle(volume(known=True, deleting=True))
    assert not made.engine.volumes


async def test_a_host_tells_what_is_free() -> None:
    made = World(
        meter=FakeHost(HostCapacity(4000, 8 * 2**30, 100, 10)),
        usage=FixedUsage(Footprint(1000, 2**30, 10), Footprint(400, 2**30, 0)),
    )
    report = await made.settle(record("Host", {}))
    status = report.status.model_dump(by_alias=True)
    assert status["free"] == {"cpu": "2600m", "memory": "6Gi", "disk": "90"}
    assert status["capacity"]["cpu"] == "4"
    assert report.ready
    made.usage.used = Footprint(5000, 0, 0)
    report = await made.settle(record("Host", {}))
    assert report.reason == "Overcommitted"
    stated = record("Host", {"capacity": {"cpu": "16", "memory": "30Gi", "disk": "1Ti"}})
    report = await made.settle(stated)
    assert report.status.model_dump(by_alias=True)["capacity"]["cpu"] == "16"
    assert report.reason == "Measured"
    more_cpu = record("Host", {"capacity": {"cpu": "16"}, "reserved": {"memory": "1Gi"}})
    status = (await made.settle(more_cpu)).status.model_dump(by_alias=True)
    assert status["capacity"] == {"cpu": "16", "memory": "8Gi", "disk": "100"}


async def test_a_host_of_which_more_is_kept_back_than_it_has_says_what_to_lower() -> None:
    meter = FakeHost(HostCapacity(4000, 30 * 2**30, 100, 10))
    made = World(meter=meter, usage=FixedUsage(kept=Footprint(1000, 64 * 2**30, 0)))
    kept = {"cpu": "1", "memory": "64Gi"}
    report = await made.settle(record("Host", {"reserved": kept}))
    assert report.reason == "ReservedTooLarge", "nothing is promised, and no record is in the way"
    assert "64Gi of 30Gi memory" in report.message
    assert "CPU" not in report.message
    assert report.ready
    made.usage.used = Footprint(5000, 0, 0)
    assert (await made.settle(record("Host", {"reserved": kept}))).reason == "ReservedTooLarge"
    meter.capacity = HostCapacity(500, 30 * 2**30, 100, 10)
    report = await made.settle(record("Host", {"reserved": kept}))
    assert "1 of 500m CPU and 64Gi of 30Gi memory" in report.message
    made.usage.used = made.usage.kept = Footprint()
    lowered = record("Host", {"reserved": {"cpu": "500m", "memory": "30Gi"}})
    assert (await made.settle(lowered)).reason == "Measured"


async def test_a_host_tells_when_its_disk_fills_whoever_fills_it() -> None:
    meter = FakeHost(HostCapacity(4000, 8 * 2**30, 1000, 100))
    made = World(meter=meter)
    assert [each.status for each in (await made.settle(record("Host", {}))).conditions] == ["False"]
    assert meter.engine_root == (await made.containers.observe_engine()).root_dir
    meter.capacity = HostCapacity(4000, 8 * 2**30, 1000, 99)
    report = await made.settle(record("Host", {}))
    (pressure,) = report.conditions
    assert (pressure.type, pressure.status) == ("DiskPressure", "True")
    assert report.ready, "it still answers"


async def test_a_quota_tells_what_is_used() -> None:
    made = World(usage=FixedUsage(Footprint(1000, 2**30, 10), count=7))
    report = await made.settle(record("Quota", {"cpu": "2", "records": 7}))
    assert report.reason == "Enforced"
    used = report.status.model_dump(by_alias=True)["used"]
    assert used == {"cpu": "1", "memory": "1Gi", "disk": "10", "records": 7}
    report = await made.settle(record("Quota", {"cpu": "500m", "memory": "1Mi"}))
    assert report.reason == "Exceeded"
    assert "cpu and memory" in report.message
    assert report.ready
