"""Platform: where it may be, what it may say, and a server of somebody else in its place."""

from typing import Any

import pytest
from pydantic import ValidationError

from controlplane.errors import TerminalError
from controlplane.plan import Plan
from reconcilers import _services
from resources.meta import ANY_FREE, STORED, Allocation, Footprint
from resources.platform import Platform, PlatformStatus
from tests.unit.reconcilers.platforms import NAME, VOLUME, platform, settled
from tests.unit.reconcilers.world import UID, World

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


@pytest.mark.parametrize(
    ("told", "held", "publish", "wanted"),
    [
        pytest.param(None, (25, 30000), [25, None], (25, None), id="not told of any yet"),
        pytest.param([25, 30000], (25, 30000), [25, None], (25, 30000), id="as it was"),
        pytest.param([25, 30000], (25, 30000), [None, None], (25, 30000), id="a number left out"),
        pytest.param([25], (25,), [25, None], (25, ANY_FREE), id="one more"),
        pytest.param([], (), [None], (ANY_FREE,), id="the first"),
        pytest.param([25, 30000], (25,), [25, None], (25, ANY_FREE), id="held no more"),
        pytest.param([25, 30000], (25, 30000), [30000, None], (30000, ANY_FREE), id="another's"),
    ],
)
def test_a_published_port_keeps_its_number_by_its_name(
    told: list[int] | None,
    held: tuple[int, ...],
    publish: list[int | None],
    wanted: tuple[int | None, ...],
) -> None:
    names = ("smtp", "submission")
    spec = [{"name": n, "port": port} for n, port in zip(names, publish, strict=False)]
    published = {n: f"0.0.0.0:{port}" for n, port in zip(names, told or [], strict=False)}
    address = None if told is None else "mail:25"
    status = PlatformStatus(address=address, published=published, allocation=Allocation(ports=held))
    found = platform("mail", publish=spec).model_copy(update={"status": status})
    assert found.host_ports == wanted
    other = platform("mail", publish=[{"name": "imaps"}]).model_copy(update={"status": status})
    assert other.host_ports == ((None,) if told is None else (ANY_FREE,))


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
        ("registry", {"external": {"endpoint": "1.2.3.4:99999"}}, "host:port"),
        ("registry", {"external": {"endpoint": "1.2.3.4:0"}}, "host:port"),
        ("registry", {"external": {"endpoint": "a..b:80"}}, "host:port"),
        ("metrics", {"settings": {"scrapeSeconds": "61"}}, "1 to 60"),
        ("ingress", {"settings": {"address": "300.1.1.1"}}, "an IPv4 address"),
        ("dns", {"settings": {"resolver": "192.0.2.256"}}, "an IPv4 address"),
        ("models", {"settings": {"registries": "hf.co:70000"}}, "hosts"),
    ],
)
def test_a_spec_that_does_not_fit_is_refused(service: str, spec: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        platform(service, **spec)


@pytest.mark.parametrize(
    ("service", "spec"),
    [
        ("metrics", {"settings": {"scrapeSeconds": "120"}}),
        ("ingress", {"settings": {"address": "10.0.0.05"}}),
        ("registry", {"external": {"endpoint": "r.example.org:0443"}}),
    ],
)
async def test_what_an_earlier_release_took_runs_on_and_goes(
    service: str, spec: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError):
        platform(service, **spec)
    meta = {"name": "shop", "namespace": "platform", "uid": UID}
    body = {"metadata": meta, "spec": {"service": service, **spec}}
    stored = Platform.model_validate(body, context=STORED)
    world = await settled(stored)
    if service == "metrics":
        told = world.files.folders[UID].files["prometheus.yml"]
        assert b"scrape_interval: 60s" in told
    meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    await world.settle(Platform.model_validate(body, context=STORED))
    assert not world.engine.containers


@pytest.mark.parametrize(
    ("service", "spec"),
    [
        ("registry", {"external": {"endpoint": "https://r.example.org:65535"}}),
        ("registry", {"external": {"endpoint": "192.0.2.1:1"}}),
        ("registry", {"external": {"endpoint": "localhost:5000"}}),
        ("metrics", {"settings": {"scrapeSeconds": "60"}}),
        ("metrics", {"settings": {"scrapeSeconds": "9"}}),
        ("ingress", {"settings": {"address": "255.250.199.0"}}),
        ("models", {"settings": {"registries": "hf.co,registry:5000"}}),
    ],
)
def test_a_spec_at_the_bounds_is_taken(service: str, spec: dict[str, Any]) -> None:
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
