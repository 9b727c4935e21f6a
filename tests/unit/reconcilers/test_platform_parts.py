"""Platform: a service of several containers, with files and variables of its settings."""

import pytest

from controlplane.errors import TerminalError
from controlplane.plan import Generated, Plan
from drivers.containers import Limits
from reconcilers._service import Facts, Health, ServiceContainer, ServiceDef, ServiceFile
from tests.unit.reconcilers.platforms import NAME, platform, settled
from tests.unit.reconcilers.world import NETWORK, UID


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
    world.values.data[("Secret", "shop-credentials")]["key"] = b"no\0text"
    with pytest.raises(TerminalError, match="NUL"):
        await world.settle(platform())
    assert world.engine.by_name(NAME).state.running


@pytest.mark.usefixtures("pair")
async def test_a_container_that_is_no_longer_part_of_it_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await settled(platform("metrics"))
    one = ServiceDef(lambda facts: _pair(facts)[:1])
    monkeypatch.setattr("reconcilers._running.SERVICES", {"metrics": one})
    await world.settle(platform("metrics"))
    assert [c.state.name for c in world.engine.containers.values()] == [NAME]
