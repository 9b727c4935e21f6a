"""An App whose port or health check changes along with its image: what runs is not given up."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from controlplane.errors import RetryableError
from controlplane.plan import Plan, Resolved
from drivers.fake.containers import FakeContainers
from drivers.probe import Target
from reconcilers._container import RunContainer
from reconcilers._reach import LABEL_REACH
from resources.app import App, AppStatus
from tests.unit.reconcilers.apps import NAME, slots
from tests.unit.reconcilers.world import NETWORK, UID, World, app, names, world

Ways = Mapping[str, tuple[int, int, str | None]]
"""Image -> the port it serves on, the one it is asked on, and the path it knows there."""
MOVED = [
    pytest.param({"shop:1": (80, 80, "/old"), "shop:2": (80, 80, "/new")}, id="path"),
    pytest.param({"shop:1": (80, 80, None), "shop:2": (8080, 8080, None)}, id="port"),
    pytest.param({"shop:1": (80, 9000, "/"), "shop:2": (80, 9001, "/")}, id="probe port"),
    pytest.param({"shop:1": (80, 80, "/a"), "shop:2": (8080, 9001, "/b")}, id="all"),
]


def serving(image: str, ways: Ways, **spec: Any) -> App:
    port, asked, path = ways[image]
    check = {"port": asked, "path": path}
    domains = [{"host": "shop.example.org"}]
    return app(image=image, port=port, healthCheck=check, domains=domains, **spec)


def image_at(made: World, address: str) -> str:
    (found,) = (c for c in slots(made).values() if c.state.networks[NETWORK] == address)
    return found.state.image


async def running(ways: Ways, **spec: Any) -> tuple[World, tuple[str, ...]]:
    """A world where `shop:1` serves and is routed to, and its backends."""
    made = await world()
    made.engine.add_image("shop:1")

    def refuses(target: Target) -> bool:
        return (target.port, target.path) != ways[image_at(made, target.address)][1:]

    made.probe.refuses = refuses
    report = await made.settle(serving("shop:1", ways, **spec))
    assert report.ready
    backends = report.status.model_dump()["backends"]
    route(made, backends)
    return made, backends


def route(made: World, backends: tuple[str, ...]) -> None:
    status = {"routes": {UID: list(backends)}}
    made.services = {"ingress": Resolved("Platform", "ingress", "i", True, "", None, {}, status)}


@pytest.mark.parametrize("ways", MOVED)
async def test_the_new_one_comes_first_and_the_old_one_is_routed_to_meanwhile(ways: Ways) -> None:
    made, backends = await running(ways, surge=1)
    changed = serving("shop:2", ways, surge=1)
    plan, report = await made.look(changed)
    (step,) = plan.steps
    assert isinstance(step, RunContainer)
    assert step.spec.name == f"{NAME}-1"
    assert report.ready
    assert report.status.model_dump()["backends"] == backends


@pytest.mark.parametrize("ways", MOVED)
@pytest.mark.parametrize("shape", [{"replicas": 3}, {"surge": 1}], ids=["in turn", "surge"])
async def test_they_are_exchanged_one_at_a_time_each_routed_to_where_it_listens(
    shape: dict[str, int], ways: Ways
) -> None:
    made, backends = await running(ways, **shape)
    changed = serving("shop:2", ways, **shape)
    routes = backends
    for _ in range(30):
        plan, report = await made.look(changed)
        assert report.ready
        routes = report.status.model_dump()["backends"]
        assert len(routes) >= max(1, len(backends) - 1)
        for address, _, port in (each.partition(":") for each in routes):
            assert int(port) == ways[image_at(made, address)][0]
        route(made, routes)
        for step in plan.steps:
            await made.reconciler("App").apply(step)
        if plan == Plan():
            break
    assert {c.state.image for c in slots(made).values()} == {"shop:2"}
    assert len(routes) == len(backends)


@pytest.mark.parametrize("ways", MOVED)
async def test_the_old_one_stays_routed_to_while_there_is_no_image_for_the_new(ways: Ways) -> None:
    made, backends = await running(ways)
    made.containers = FakeContainers(made.engine, images="local")
    changed = serving("shop:2", ways)
    for _ in range(3):
        plan, report = await made.look(changed)
        assert names(plan)[0] == "EnsureImage"
        assert report.ready
        assert report.status.model_dump()["backends"] == backends
        with pytest.raises(RetryableError):
            await made.reconciler("App").apply(plan.steps[0])


async def test_one_that_stays_is_judged_by_the_spec_alone() -> None:
    ways: Ways = {"shop:1": (80, 80, "/old")}
    made, _ = await running(ways)
    plan, report = await made.look(serving("shop:1", {"shop:1": (80, 80, "/typo")}))
    assert not plan.steps
    assert not report.ready
    assert report.status.model_dump()["backends"] == ()


async def test_what_was_corrected_while_it_ran_counts_when_it_is_exchanged() -> None:
    """What its container notes was never true."""
    ways: Ways = {"shop:1": (80, 80, "/healthz"), "shop:2": (80, 80, "/healthz")}
    made, backends = await running(ways, surge=1)
    edited(made, '{"port":81,"probePort":81,"path":"/typo","timeoutSeconds":2}')
    plan, report = await made.look(serving("shop:2", ways, surge=1))
    assert names(plan) == ["RunContainer"]
    assert report.status.model_dump()["backends"] == backends


@pytest.mark.parametrize("last", [80, 8080])
async def test_one_that_listens_on_both_ports_is_routed_to_as_it_was(last: int) -> None:
    made = await world()
    await made.settle(app(surge=1))
    address = slots(made)["0"].state.networks[NETWORK]
    changed = app(image="shop:2", port=8080, surge=1, domains=[{"host": "shop.example.org"}])
    told = AppStatus(backends=(f"{address}:{last}",))
    _, report = await made.look(changed.model_copy(update={"status": told}))
    assert report.status.model_dump()["backends"] == told.backends


@pytest.mark.parametrize(
    "label",
    [
        pytest.param(None, id="an earlier release made it"),
        pytest.param("", id="empty"),
        pytest.param("80", id="an image's own"),
        pytest.param('{"port":80,"probePort":80000}', id="no port"),
        pytest.param('{"port":80,"probePort":80,"path":"/a b"}', id="no path"),
        pytest.param('{"port":80,"probePort":80,"scheme":"https"}', id="of a later release"),
    ],
)
async def test_without_a_note_that_can_be_read_the_spec_decides(label: str | None) -> None:
    ways: Ways = {"shop:1": (80, 80, "/old"), "shop:2": (80, 80, "/new")}
    made, backends = await running(ways, surge=1)
    edited(made, label)
    plan, report = await made.look(serving("shop:1", ways, surge=1))
    assert plan == Plan()
    assert report.status.model_dump()["backends"] == backends
    _, report = await made.look(serving("shop:2", ways, surge=1))
    assert not report.ready


async def test_one_made_without_a_port_serves_by_running_and_is_not_routed_to() -> None:
    made = await world()
    await made.settle(app(port=None, surge=1))
    made.probe.refuses = lambda _: True
    changed = app(image="shop:2", surge=1, domains=[{"host": "shop.example.org"}])
    plan, report = await made.look(changed)
    assert names(plan) == ["RunContainer"]
    assert report.ready
    assert report.status.model_dump()["backends"] == ()


async def test_one_that_waits_for_its_port_of_the_host_is_judged_as_it_was_made() -> None:
    made = await world()
    await made.settle(app())
    made.ports = ()
    made.probe.refuses = lambda target: target.port != 80
    _, report = await made.look(app(port=8080, publish={}))
    assert report.ready


def edited(made: World, label: str | None) -> None:
    """The note of the one container, as it would be had somebody else made it."""
    (container,) = slots(made).values()
    labels = {k: v for k, v in container.state.labels.items() if k != LABEL_REACH}
    labels |= {} if label is None else {LABEL_REACH: label}
    container.state = replace(container.state, labels=labels)
