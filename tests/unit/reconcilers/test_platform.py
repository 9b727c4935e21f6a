"""Platform: what is planned for a service of the cloud itself, and where the plans lead.

Over 400 lines, because one kind is asked in one place.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from controlplane.errors import RetryableError, TerminalError
from controlplane.plan import Dependent, Generated, Plan
from drivers.containers import Limits, NetworkSpec, Owner
from reconcilers import _services
from reconcilers._service import Facts, Health, ServiceContainer, ServiceDef, ServiceFile
from reconcilers._services import SERVICES
from resources._offers import OFFERS
from resources.meta import Footprint
from resources.platform import Platform
from tests.unit.reconcilers.world import NETWORK, UID, World, record

NAME = f"platform-platform-shop-{UID[:8]}"
VOLUME = "platform-platform-shop-registry-nnnnnnnn"


def platform(
    service: str = "registry",
    *,
    namespace: str = "platform",
    deleting: bool = False,
    **spec: Any,
) -> Platform:
    found = record("Platform", {"service": service, **spec}, deleting=deleting)
    assert isinstance(found, Platform)
    meta = found.metadata.model_copy(update={"namespace": namespace})
    return found.model_copy(update={"metadata": meta})


async def settled(spec: Platform | None = None) -> World:
    world = World()
    await world.network()
    report = await world.settle(spec or platform())
    assert report.ready, report
    return world


def user(namespace: str, **changes: Any) -> Dependent:
    """A Bucket of some namespace that uses the service."""
    made = Dependent(
        "Bucket", namespace, "assets", "u", "", {}, {}, False, f"namespace-{namespace}", True
    )
    return replace(made, **changes)


async def network_of(world: World, namespace: str, subnet: str) -> None:
    owner = Owner(f"uid-{namespace}", "Namespace", "", namespace)
    await world.containers.ensure_network(NetworkSpec(f"namespace-{namespace}", owner, subnet))


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


# -- where it may be, and what it may say


async def test_it_runs_in_the_namespace_of_the_platform_alone() -> None:
    world = World()
    await world.network()
    stray = platform(namespace="shop", publish=[{"name": "api"}])
    with pytest.raises(TerminalError) as caught:
        await world.look(stray)
    assert caught.value.reason == "WrongNamespace"
    assert "metadata.namespace must be 'platform'" in str(caught.value)
    assert stray.footprint == Footprint()
    assert stray.host_ports == ()
    plan, _ = await world.look(platform(namespace="shop", deleting=True))
    assert plan == Plan()


async def test_a_service_that_this_release_has_not_says_so(monkeypatch: Any) -> None:
    monkeypatch.setattr(_services, "SERVICES", {})
    monkeypatch.setattr("reconcilers._running.SERVICES", {})
    world = World()
    await world.network()
    with pytest.raises(TerminalError) as caught:
        await world.look(platform())
    assert caught.value.reason == "ServiceUnknown"


@pytest.mark.parametrize(
    ("service", "spec", "said"),
    [
        ("registry", {"settings": {"colour": "red"}}, "settings 'colour'"),
        ("metrics", {"settings": {"retentionDays": "a"}}, "settings 'retentionDays'"),
        ("registry", {"publish": [{"name": "web"}]}, "publish 'web'"),
        ("registry", {"publish": [{"name": "api"}, {"name": "api"}]}, "twice"),
        ("ingress", {"settings": {"acmeEmail": "ops"}}, "mail address"),
        ("registry", {"storage": "1Mi"}, "too little"),
        ("registry", {"external": {"endpoint": "registry"}}, "host:port"),
    ],
)
def test_a_spec_that_does_not_fit_is_refused(service: str, spec: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        platform(service, **spec)


def test_its_service_never_changes_and_its_storage_never_shrinks() -> None:
    old = platform(storage="20Gi")
    assert [e.field for e in platform("s3", storage="20Gi").check_update(old)] == ["spec.service"]
    assert [e.field for e in platform(storage="10Gi").check_update(old)] == ["spec.storage"]
    assert platform(storage="30Gi").check_update(old) == ()


# -- a server of somebody else


async def test_an_external_server_is_asked_and_nothing_runs() -> None:
    world = World()
    external = platform(
        external={"endpoint": "https://r.example.org:443", "secretRef": {"name": "theirs"}}
    )
    report = await world.settle(external)
    assert report.ready
    assert not world.engine.containers
    assert not world.children
    status = report.status.model_dump(exclude_defaults=True)
    assert status["endpoints"] == {"api": "https://r.example.org:443"}
    assert status["secretRef"] == {"name": "theirs"}
    assert external.footprint == Footprint()
    world.probe.everything = False
    report = await world.settle(external)
    assert (report.ready, report.reason) == (False, "Unreachable")
    world.probe.listening[("r.example.org", 443)] = None
    assert (await world.settle(external)).ready


async def test_one_can_move_out_and_back_in() -> None:
    world = await settled()
    digest = world.engine.by_name(NAME).state.digest
    await world.settle(platform(external={"endpoint": "10.0.0.1:5000"}))
    assert not world.engine.containers
    assert not world.files.folders
    assert ("Volume", VOLUME) in world.children
    assert (await world.settle(platform())).ready
    assert world.engine.by_name(NAME).state.digest == digest


# -- who uses it


async def test_it_is_in_the_networks_of_those_who_use_it() -> None:
    world = await settled()
    await network_of(world, "a", "10.202.0.0/24")
    await network_of(world, "b", "10.203.0.0/24")
    starts = world.engine.by_name(NAME).starts
    world.dependents = (user("a"), user("a", name="more"), user("b"), user("c"))
    report = await world.settle(platform())
    state = world.engine.by_name(NAME).state
    assert state.aliases == {
        NETWORK: ("shop",),
        "namespace-a": ("shop",),
        "namespace-b": ("shop",),
    }
    assert world.engine.by_name(NAME).starts == starts
    assert report.status.model_dump()["usedBy"] == ("a", "b", "c")
    assert (await world.look(platform()))[0] == Plan()
    world.dependents = (user("b"),)
    await world.settle(platform())
    assert set(world.engine.by_name(NAME).state.networks) == {NETWORK, "namespace-b"}
    world.dependents = ()
    await world.settle(platform())
    assert set(world.engine.by_name(NAME).state.networks) == {NETWORK}


async def test_a_network_made_again_is_joined_again() -> None:
    world = await settled()
    await network_of(world, "a", "10.202.0.0/24")
    world.dependents = (user("a"),)
    await world.settle(platform())
    world.engine.remove_network("namespace-a")
    await network_of(world, "a", "10.202.0.0/24")
    await world.settle(platform())
    state = world.engine.by_name(NAME).state
    network = world.engine.network_named("namespace-a")
    assert network is not None
    assert state.network_ids["namespace-a"] == network.id


async def test_a_namespace_that_is_not_ready_for_a_moment_stays_joined() -> None:
    world = await settled()
    await network_of(world, "a", "10.202.0.0/24")
    world.dependents = (user("a", network_ready=False),)
    await world.settle(platform())
    assert set(world.engine.by_name(NAME).state.networks) == {NETWORK}
    world.dependents = (user("a"),)
    await world.settle(platform())
    world.dependents = (user("a", network_ready=False),)
    await world.settle(platform())
    assert set(world.engine.by_name(NAME).state.networks) == {NETWORK, "namespace-a"}
    world.dependents = (user("a", network_ready=False, deleting=True),)
    await world.settle(platform())
    assert set(world.engine.by_name(NAME).state.networks) == {NETWORK}


# -- several containers


def _pair(facts: Facts) -> tuple[ServiceContainer, ...]:
    return (
        ServiceContainer(
            "registry",
            Health(5000),
            ports=(),
            files=(ServiceFile("a", facts.settings.get("retentionDays", "-")),),
        ),
        ServiceContainer("registry", None, name="second", share=300, shared=False, ports=()),
    )


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service of two containers, in the place of metrics."""
    monkeypatch.setattr("reconcilers._running.SERVICES", {"metrics": ServiceDef(_pair)})


@pytest.mark.usefixtures("pair")
async def test_several_containers_share_the_footprint_without_a_rest() -> None:
    spec = platform("metrics", resources={"cpu": "101m", "memory": "100000001"})
    world = await settled(spec)
    first, second = (
        world.engine.by_name(NAME).state,
        world.engine.by_name(f"{NAME}-second").state,
    )
    assert first.limits == Limits(71, 70_000_001)
    assert second.limits == Limits(30, 30_000_000)
    assert second.aliases == {NETWORK: ("shop-second",)}
    world.engine.kill(f"{NAME}-second")
    await world.settle(spec)
    assert world.engine.by_name(f"{NAME}-second").state.running
    assert world.engine.by_name(NAME).starts == 1
    assert ("Secret", "shop-credentials") not in world.children
    assert (await world.look(spec))[0] == Plan()


@pytest.mark.usefixtures("pair")
async def test_a_setting_changes_the_files_and_then_the_containers() -> None:
    world = await settled(platform("metrics"))
    before = {c.state.id for c in world.engine.containers.values()}
    await world.settle(platform("metrics", settings={"retentionDays": "3"}))
    assert world.files.folders[UID].files == {"a": b"3"}
    assert not before & {c.state.id for c in world.engine.containers.values()}


async def test_a_secret_variable_that_changes_makes_its_container_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = ServiceContainer("registry", None, variables=(("key", "KEY"),))
    definition = ServiceDef(lambda _: (made,), lambda _: {"key": Generated()})
    monkeypatch.setattr("reconcilers._running.SERVICES", {"registry": definition})
    world = await settled()
    assert world.engine.by_name(NAME).secret_env == {"KEY": "generated-shop-credentials"}
    world.values.data[("Secret", "shop-credentials")]["key"] = b"another"
    await world.settle(platform())
    assert world.engine.by_name(NAME).secret_env == {"KEY": "another"}


@pytest.mark.usefixtures("pair")
async def test_a_container_that_is_no_longer_part_of_it_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await settled(platform("metrics"))
    one = ServiceDef(lambda facts: _pair(facts)[:1])
    monkeypatch.setattr("reconcilers._running.SERVICES", {"metrics": one})
    await world.settle(platform("metrics"))
    assert [c.state.name for c in world.engine.containers.values()] == [NAME]


# -- leaving


async def test_deleting_keeps_or_destroys_the_data_as_the_spec_says() -> None:
    for policy, left in (("Retain", True), ("Delete", False)):
        world = await settled(platform(deletionPolicy=policy))
        await world.settle(platform(deletionPolicy=policy, deleting=True))
        assert not world.engine.containers
        assert not world.files.folders
        assert (("Volume", VOLUME) in world.children) is left
        assert (("Secret", "shop-credentials") in world.children) is left


async def test_a_failed_pull_leaves_what_runs() -> None:
    world = await settled()
    world.engine.fail_next("ensure_container", RetryableError("no"))
    with pytest.raises(AssertionError):
        await world.settle(platform(image="registry:9"), most=1)
    assert (await world.settle(platform(image="registry:9"))).ready


# -- all services of this release


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_every_service_keeps_the_rules(service: str) -> None:
    spec = platform(service)
    made = SERVICES[spec.spec.service]
    facts = Facts("shop", {}, spec.spec.limits, spec.spec.storage_bytes)
    containers = made.containers(facts)
    assert containers == made.containers(facts)
    assert not containers[0].name
    assert len({each.name for each in containers}) == len(containers)
    assert sum(each.share for each in containers[1:]) < 1000
    names = [file.path for each in containers for file in each.files]
    assert len(set(names)) == len(names)
    listened = [port for each in containers for port in (each.ports or spec.spec.offer.ports)]
    assert sorted(listened) == sorted(spec.spec.offer.ports)
    assert all(key.replace("-", "a").isalnum() for key in made.secret(facts))


@pytest.mark.parametrize("service", sorted(SERVICES))
async def test_every_service_settles_and_leaves_nothing(service: str) -> None:
    spec = platform(service, deletionPolicy="Delete")
    world = await settled(spec)
    plan, report = await world.look(spec)
    assert plan == Plan()
    assert report.in_use == spec.footprint
    await world.settle(platform(service, deletionPolicy="Delete", deleting=True))
    assert not world.engine.containers
    assert not world.children


def test_the_docs_name_every_service_port_setting_and_key() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs/platform.md").read_text()
    for service, offer in OFFERS.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{service}` |"))
        assert ", ".join(offer.ports) in row
        keys = SERVICES[service].secret(Facts(service, {}, offer.resources, offer.storage_bytes))
        assert [key for key in keys if key not in row] == []
        for setting in offer.settings:
            assert f"| `{service}` | `{setting}` |" in page


def test_prometheus_asks_nobody_whose_password_it_does_not_have() -> None:
    """Such a target answers 401, and counts as down for ever."""
    offer = OFFERS["metrics"]
    facts = Facts("metrics", {}, offer.resources, offer.storage_bytes)
    files = {f.path: f.template for c in SERVICES["metrics"].containers(facts) for f in c.files}
    jobs = yaml.safe_load(files["prometheus.yml"])["scrape_configs"]
    targets = [t for job in jobs for each in job["static_configs"] for t in each["targets"]]
    assert {target.partition(":")[0] for target in targets} == {
        "127.0.0.1",
        "metrics-alertmanager",
        "metrics-pushgateway",
    }
    assert all(job["basic_auth"]["password_file"].endswith("/password") for job in jobs)
