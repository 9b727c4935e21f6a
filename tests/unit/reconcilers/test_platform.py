"""Platform: what runs for a service of the cloud itself, how it is mended, and what it leaves."""

from dataclasses import replace
from typing import Any

import pytest

from controlplane.errors import RetryableError
from controlplane.plan import Plan, Wait
from drivers.containers import Limits
from resources._offers import OFFERS
from resources.meta import FINALIZER, Footprint
from tests.unit.reconcilers.platforms import NAME, VOLUME, platform, settled
from tests.unit.reconcilers.world import NETWORK, UID, World, names

# -- what runs


async def test_it_runs_as_its_definition_says() -> None:
    world = await settled()
    state = world.engine.by_name(NAME).state
    spec = world.engine.by_name(NAME).spec
    assert spec is not None
    offer = OFFERS["registry"]
    assert state.running
    assert state.limits == Limits(offer.resources.cpu, offer.resources.memory)
    assert [(mount.volume, mount.path) for mount in spec.volumes] == [
        (f"volume-{VOLUME}", "/var/lib/registry")
    ]
    assert state.aliases == {NETWORK: ("shop",)}
    assert spec.read_only_root
    assert not spec.capabilities
    assert spec.sysctls == {"net.ipv4.ip_forward": "0"}
    files = world.files.folders[UID].files
    password = world.values.data[("Secret", "shop-credentials")]["password"]
    assert password not in files["htpasswd"]
    assert files["htpasswd"].startswith(b"bunker:$2y$04$")
    assert b"{" + b"http-secret}" not in files["registry.yml"]
    assert b"storage:\n  filesystem: {rootdirectory: /var/lib/registry}" in files["registry.yml"]
    secret = world.values.data[("Secret", "shop-credentials")]
    assert {key: secret[key] for key in ("type", "host", "port", "username")} == {
        "type": b"registry",
        "host": b"shop",
        "port": b"5000",
        "username": b"bunker",
    }
    assert await world.look(platform()) == (Plan(), await world.settle(platform()))


async def test_its_status_says_where_it_is() -> None:
    world = await settled(platform(publish=[{"name": "api", "port": 5000}]))
    state = world.engine.by_name(NAME).state
    _, report = await world.look(platform(publish=[{"name": "api", "port": 5000}]))
    status = report.status
    address = state.networks[NETWORK]
    assert status.model_dump(exclude={"observed_generation", "conditions", "allocation"}) == {
        "endpoint": f"{address}:5000",
        "endpoints": {"api": f"{address}:5000"},
        "address": "shop:5000",
        "published": {"api": "127.0.0.1:30001"},
        "secretRef": {"name": "shop-credentials"},
        "volume": VOLUME,
        "container": NAME,
        "containerId": state.id,
        "image": "bunker.local/registry:2",
        "version": "2.8.2",
        "usedBy": (),
        "storage": "10Gi",
        "routes": {},
    }
    assert report.in_use == Footprint(state.limits.cpu_millicores, state.limits.memory_bytes)


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda world: world.engine.kill(NAME), id="killed"),
        pytest.param(lambda world: world.engine.remove(NAME), id="removed"),
        pytest.param(lambda world: world.engine.pause(NAME), id="paused"),
        pytest.param(lambda world: world.engine.rename(NAME, "x"), id="renamed"),
        pytest.param(lambda world: world.engine.update(NAME, Limits(1, 2, 3)), id="resized"),
        pytest.param(lambda world: world.engine.disconnect(NAME, NETWORK), id="disconnected"),
        pytest.param(
            lambda world: world.files.tamper(UID, "htpasswd", b"eve:x"), id="another password"
        ),
        pytest.param(lambda world: world.files.tamper(UID, "registry.yml", None), id="no file"),
        pytest.param(
            lambda world: world.values.data[("Secret", "shop-credentials")].update(host=b"eve"),
            id="a lie in its Secret",
        ),
        pytest.param(
            lambda world: world.values.data[("Secret", "shop-credentials")].pop("username"),
            id="a hole in its Secret",
        ),
    ],
)
async def test_harm_is_mended(harm: Any) -> None:
    world = await settled()
    harm(world)
    plan, _ = await world.look(platform())
    assert plan.steps
    report = await world.settle(platform())
    assert report.ready
    state = world.engine.by_name(NAME).state
    assert state.running
    assert not state.paused
    assert state.limits == Limits(50, 128 << 20)
    assert set(state.networks) == {NETWORK}
    assert world.values.data[("Secret", "shop-credentials")]["host"] == b"shop"
    assert world.files.folders[UID].files["htpasswd"].startswith(b"bunker:")
    assert len(world.engine.containers) == 1


async def test_two_containers_of_one_name_become_one() -> None:
    world = await settled()
    world.engine.rename(NAME, "x")
    first = world.engine.by_name("x").state
    spec = world.engine.by_name("x").spec
    assert spec is not None
    twin = replace(first, id="twin", name=NAME)
    world.engine.containers["twin"] = replace(world.engine.by_name("x"), state=twin)
    assert (await world.settle(platform())).ready
    assert [c.state.name for c in world.engine.containers.values()] == [NAME]


async def test_a_bigger_one_is_resized_without_a_restart() -> None:
    world = await settled()
    starts = world.engine.by_name(NAME).starts
    await world.settle(platform(resources={"cpu": "1", "memory": "1Gi"}))
    assert world.engine.by_name(NAME).state.limits == Limits(1000, 1 << 30)
    assert world.engine.by_name(NAME).starts == starts


async def test_an_upgrade_replaces_the_container_and_keeps_the_data_and_password() -> None:
    world = await settled()
    before = world.engine.by_name(NAME)
    password = world.values.data[("Secret", "shop-credentials")]["password"]
    await world.settle(platform(image="registry:3.0.0"))
    after = world.engine.by_name(NAME)
    assert after.state.id != before.state.id
    assert after.state.image == "registry:3.0.0"
    assert before.spec is not None
    assert after.spec is not None
    assert after.spec.volumes == before.spec.volumes
    assert world.values.data[("Secret", "shop-credentials")]["password"] == password
    await world.settle(platform())
    assert world.engine.by_name(NAME).state.digest == before.state.digest


async def test_a_new_password_makes_the_container_anew() -> None:
    world = await settled()
    before = world.engine.by_name(NAME).state.id
    world.values.data[("Secret", "shop-credentials")]["password"] = b"another"
    await world.settle(platform())
    assert world.engine.by_name(NAME).state.id != before


async def test_it_is_not_ready_until_it_answers() -> None:
    world = World()
    world.probe.everything = False
    await world.network()
    report = await world.settle(platform())
    assert (report.ready, report.reason) == (False, "Starting")
    assert NAME in report.message
    plan, _ = await world.look(platform())
    assert plan.wait is not None
    assert plan.wait.recheck_after_s is not None
    address = world.engine.by_name(NAME).state.networks[NETWORK]
    world.probe.listening[(address, 5000)] = 200
    assert (await world.settle(platform())).ready


async def test_one_that_keeps_dying_says_so() -> None:
    world = await settled()
    world.engine.restart_loop(NAME, 3)
    report = await world.settle(platform())
    assert (report.ready, report.reason) == (False, "CrashLooping")


# -- leaving


async def test_deleting_keeps_or_destroys_the_data_as_the_spec_says() -> None:
    for policy, left in (("Retain", True), ("Delete", False)):
        world = await settled(platform(deletionPolicy=policy))
        await world.settle(platform(deletionPolicy=policy, deleting=True))
        assert not world.engine.containers
        assert not world.files.folders
        assert (("Volume", VOLUME) in world.children) is left
        assert (("Secret", "shop-credentials") in world.children) is left


async def test_deleting_keeps_the_data_where_orphans_are_asked_for() -> None:
    world = await settled(platform(deletionPolicy="Delete"))
    gone = platform(deletionPolicy="Delete", deleting=True)
    meta = gone.metadata.model_copy(update={"finalizers": (FINALIZER, "orphan")})
    await world.settle(gone.model_copy(update={"metadata": meta}))
    assert not world.engine.containers
    for child in (("Volume", VOLUME), ("Secret", "shop-credentials")):
        assert not world.children[child].owned


async def test_it_tells_why_its_volume_may_not_grow() -> None:
    world = await settled()
    child = world.children[("Volume", VOLUME)]
    refused = {"type": "Admitted", "status": "False", "reason": "QuotaExceeded", "message": "full"}
    status = {**child.status, "conditions": [refused]}
    world.children[("Volume", VOLUME)] = replace(child, status=status)
    plan, report = await world.look(platform())
    assert report.ready
    assert plan.wait == Wait("QuotaExceeded", f"Volume '{VOLUME}' has no room: full")


async def test_a_server_is_told_of_no_storage_that_its_volume_was_refused() -> None:
    """Prometheus would fill the host's disk."""
    world = await settled(platform("metrics", storage="5Gi"))
    before = world.engine.by_name(NAME).state.id
    name = ("Volume", "platform-platform-shop-metrics-nnnnnnnn")
    child = world.children[name]
    refused = {"type": "Admitted", "status": "False", "reason": "QuotaExceeded", "message": "full"}
    held = {"cpu": "0", "memory": "0", "disk": "5Gi"}
    status = {**child.status, "allocation": held, "conditions": [refused]}
    grown = {**child.spec, "size": "50Gi"}
    world.children[name] = replace(child, spec=grown, status=status)
    wanted = platform("metrics", storage="50Gi")
    plan, report = await world.look(wanted)
    assert (plan.steps, report.ready) == ((), True)
    assert plan.wait is not None
    assert plan.wait.reason == "QuotaExceeded"

    world.children[name] = replace(child, spec=grown, status={**status, "allocation": {
        **held, "disk": "50Gi"
    }, "conditions": []})  # fmt: skip
    await world.settle(wanted)
    found = world.engine.by_name(NAME)
    assert found.state.id != before
    assert found.spec is not None
    assert f"--storage.tsdb.retention.size={(50 << 30) * 3 // 4 // 10**6}MB" in found.spec.command


async def test_it_serves_on_while_the_image_it_runs_from_has_lost_its_name() -> None:
    world = await settled()
    world.engine.images.clear()
    world.containers = type(world.containers)(world.engine, images="local")
    assert (await world.look(platform()))[0] == Plan()
    wanted = platform(publish=[{"name": "api", "port": 5000}])
    plan, _ = await world.look(wanted)
    assert names(plan) == ["EnsureImage", "RemoveContainer", "RunContainer"]
    with pytest.raises(AssertionError):
        await world.settle(wanted, most=3)
    assert world.engine.by_name(NAME).state.running
    assert (await world.look(platform()))[1].ready


async def test_a_failed_pull_leaves_what_runs() -> None:
    world = await settled()
    world.engine.fail_next("ensure_container", RetryableError("no"))
    with pytest.raises(AssertionError):
        await world.settle(platform(image="registry:9"), most=1)
    assert (await world.settle(platform(image="registry:9"))).ready
