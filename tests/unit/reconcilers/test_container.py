"""The sub-plan of kinds that run a container: what is done about each way of not running."""

from dataclasses import replace

import pytest

from drivers.containers import (
    ContainerSpec,
    ContainerState,
    Limits,
    NetworkAttachment,
    Owner,
)
from drivers.fake.engine import BLANK
from reconcilers._container import (
    ContainerStep,
    EnsureImage,
    FixContainer,
    RemoveContainer,
    RunContainer,
    StartContainer,
    plan_container,
    pull,
    sealed,
)

OWNER = Owner("1f2e3d4c-uid", "App", "shop", "web")
SPEC = sealed(
    ContainerSpec(
        name="app-shop-web-1f2e3d4c-0",
        owner=OWNER,
        image="demo",
        digest="",
        limits=Limits(100, 64 * 2**20),
        networks=(NetworkAttachment("net", ("web",)),),
    )
)
RUNNING = replace(
    BLANK,
    id="c1",
    name=SPEC.name,
    owner=OWNER,
    digest=SPEC.digest,
    image=SPEC.image,
    image_id="i1",
    limits=SPEC.limits,
    networks={"net": "10.0.0.2"},
    network_ids={"net": "n1"},
    aliases={"net": ("web",)},
)
STOPPED = replace(RUNNING, running=False, exit_code=137)
ANEW = (RemoveContainer("c1", SPEC.stop_timeout_s), RunContainer(SPEC, ()))


@pytest.mark.parametrize(
    ("state", "steps"),
    [
        pytest.param(None, (RunContainer(SPEC, ()),), id="absent → run"),
        pytest.param(RUNNING, (), id="running → nothing"),
        pytest.param(STOPPED, (StartContainer("c1"),), id="stopped → start"),
        pytest.param(replace(RUNNING, paused=True), (StartContainer("c1"),), id="paused → unpause"),
        pytest.param(
            replace(STOPPED, restarting=True), (), id="restarted by the engine → let it be"
        ),
        pytest.param(
            replace(STOPPED, error="task …: already exists"),
            ANEW,
            id="the engine can't start it → a new one",
        ),
        pytest.param(
            replace(RUNNING, restarts=False),
            (FixContainer(SPEC, ()),),
            id="not restarted by the engine → told to",
        ),
        pytest.param(replace(STOPPED, dead=True), ANEW, id="half removed → a new one"),
        pytest.param(
            replace(STOPPED, dead=True, limits=Limits(1, 1)),
            ANEW,
            id="half removed → not corrected",
        ),
        pytest.param(replace(RUNNING, error="long ago"), (), id="runs after all → nothing"),
    ],
)
def test_plan_container(state: ContainerState | None, steps: tuple[ContainerStep, ...]) -> None:
    assert plan_container(SPEC, state, "n1") == steps


def test_while_an_image_is_fetched_what_can_run_is_started() -> None:
    states = (
        replace(STOPPED, id="stopped"),
        replace(RUNNING, id="paused", paused=True),
        replace(STOPPED, id="refused", error="task …: already exists"),
        replace(STOPPED, id="dead", dead=True),
        RUNNING,
    )
    assert pull("demo", ANEW, states, here=True) == ()
    assert pull("demo", ANEW, states, here=False) == (
        StartContainer("stopped"),
        StartContainer("paused"),
        EnsureImage("demo"),
    )
