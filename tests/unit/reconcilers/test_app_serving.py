"""App: when a replica counts as serving, and what is told of its port."""

import asyncio

import pytest

from resources.app import AppStatus
from tests.unit.reconcilers.apps import NAME, slots
from tests.unit.reconcilers.world import app, world


async def test_a_published_app_waits_for_its_port_and_tells_it() -> None:
    made = await world()
    made.ports = ()
    plan, report = await made.look(app(publish={}))
    assert plan.wait is not None
    assert plan.wait.reason == "PortPending"
    assert not report.ready
    made.ports = (30007,)
    report = await made.settle(app(publish={"address": "0.0.0.0"}))
    assert report.status.model_dump()["published"] == "0.0.0.0:30007"
    spec = slots(made)["0"].spec
    assert spec is not None
    assert [(p.container_port, p.host_port, p.address) for p in spec.ports] == [
        (80, 30007, "0.0.0.0")
    ]


@pytest.mark.parametrize(("lost", "ready"), [(2, True), (3, False)])
async def test_one_that_served_is_asked_again_before_it_counts_as_gone(
    lost: int, ready: bool
) -> None:
    made = await world()
    await made.settle(app())
    made.clock.elapsed_s = 10.0
    answers = [False] * lost
    made.probe.missing = lambda _: bool(answers) and not answers.pop()
    served = app(healthCheck={"path": "/healthz"})
    served = served.model_copy(update={"status": AppStatus(ready_replicas=1)})
    look = asyncio.create_task(made.look(served))
    await made.clock.advance(5.0)
    _, report = await look
    assert report.ready == ready
    assert answers == []


async def test_one_that_dies_while_it_is_asked_is_healed_at_once() -> None:
    """Seen running, and dead a moment later: no answer is waited for again."""
    made = await world()
    await made.settle(app())
    made.clock.elapsed_s = 10.0

    def dies(_: str) -> bool:
        made.engine.kill(f"{NAME}-0")
        return True

    made.probe.missing = dies
    served = app(healthCheck={"path": "/healthz"})
    served = served.model_copy(update={"status": AppStatus(ready_replicas=1)})
    async with asyncio.timeout(5):  # whoever waits does so for ever, on a clock that stands still
        plan, _ = await made.look(served)
    assert [type(step).__name__ for step in plan.steps] == ["StartContainer"]


@pytest.mark.parametrize("harm", ["pause", "disconnect"])
async def test_one_that_cannot_be_asked_is_healed_at_once(harm: str) -> None:
    made = await world()
    await made.settle(app())
    made.clock.elapsed_s = 10.0
    if harm == "pause":
        made.engine.pause(f"{NAME}-0")
    else:
        (network,) = made.engine.by_name(f"{NAME}-0").state.networks
        made.engine.disconnect(f"{NAME}-0", network)
    served = app().model_copy(update={"status": AppStatus(ready_replicas=1)})
    async with asyncio.timeout(5):  # whoever waits does so for ever, on a clock that stands still
        plan, _ = await made.look(served)
    assert plan.steps


async def test_one_that_does_not_answer_is_asked_less_and_less_often() -> None:
    made = await world()
    made.probe.everything = False
    report = await made.settle(app(healthCheck={"path": "/healthz"}))
    assert report.reason == "NotServing"
    waits = []
    for elapsed_s in (0.0, 0.06, 0.15, 5.0, 100.0):
        made.clock.elapsed_s = elapsed_s
        plan, _ = await made.look(app(healthCheck={"path": "/healthz"}))
        assert plan.wait is not None
        waits.append(plan.wait.recheck_after_s)
    assert waits == pytest.approx([0.005, 0.015, 0.02, 0.5, 10.0])


async def test_without_a_port_running_is_enough_once_it_stays_up() -> None:
    made = await world()
    worker = app(port=None)
    assert (await made.settle(worker)).ready
    made.engine.crash(f"{NAME}-0")
    plan, report = await made.look(worker)
    assert not report.ready
    assert plan.wait is not None
    made.clock.elapsed_s = 3.0
    assert (await made.look(worker))[1].ready
