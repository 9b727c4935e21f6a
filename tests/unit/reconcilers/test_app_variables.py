"""App: variables from Secrets and ConfigMaps, and a container that needs them anew."""

from typing import Any

import pytest

from controlplane.errors import RetryableError, TerminalError
from resources.app import App
from tests.unit.reconcilers.apps import NAME, slots
from tests.unit.reconcilers.world import World, app, names, world


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
async def test_variables_come_from_secrets_and_config_maps(kind: str) -> None:
    made = await world()
    ref = {"secretRef" if kind == "Secret" else "configMapRef": {"name": "s"}, "prefix": "X_"}
    wanted = app(envFrom=[ref])
    plan, _ = await made.look(wanted)
    assert plan.wait is not None
    assert plan.wait.reason == f"{kind}Missing"
    made.values.data[(kind, "s")] = {"KEY": b"one"}
    await made.settle(wanted)
    assert slots(made)["0"].secret_env == {"X_KEY": "one"}
    made.values.data[(kind, "s")] = {"KEY": b"canary"}
    await made.settle(wanted)
    assert slots(made)["0"].secret_env == {"X_KEY": "canary"}
    assert "canary" not in repr(slots(made)["0"].state)


async def with_variables(**spec: Any) -> tuple[World, App]:
    """An App that runs, with a variable from a Secret."""
    made = await world()
    made.values.data[("Secret", "s")] = {"KEY": b"one"}
    wanted = app(envFrom=[{"secretRef": {"name": "s"}}], **spec)
    await made.settle(wanted)
    return made, wanted


async def test_one_that_cannot_start_again_is_made_anew_with_its_variables() -> None:
    made, wanted = await with_variables()
    made.engine.set_state(f"{NAME}-0", "die", running=False, error="task already exists")
    assert (await made.settle(wanted)).ready
    assert slots(made)["0"].secret_env == {"KEY": "one"}


async def test_one_that_cannot_start_again_is_kept_until_its_variables_can_be_made() -> None:
    made, wanted = await with_variables()
    del made.values.data[("Secret", "s")]
    made.engine.set_state(f"{NAME}-0", "die", running=False, error="task already exists")
    plan, report = await made.look(wanted)
    assert not report.ready
    assert plan.wait is not None
    assert plan.wait.reason == "SecretMissing"
    made.values.data[("Secret", "s")] = {"KEY": b"one"}
    assert (await made.settle(wanted)).ready
    assert slots(made)["0"].secret_env == {"KEY": "one"}


async def test_one_that_goes_while_it_is_corrected_is_made_anew_with_its_variables() -> None:
    made, wanted = await with_variables()
    made.engine.rename(f"{NAME}-0", "another")
    plan, _ = await made.look(wanted)
    assert names(plan) == ["FixContainer"]
    made.engine.remove("another")
    for step in plan.steps:
        await made.reconciler("App").apply(step)
    assert slots(made)["0"].secret_env == {"KEY": "one"}


LONGEST = b"x" * (131_072 - len(b"KEY=\0"))
"""The kernel takes 32 pages for each variable, with its name and the NUL behind it."""
UNFIT = pytest.mark.parametrize(
    ("data", "fix"),
    [
        pytest.param({"1st": b"x"}, "no name of a variable", id="name"),
        pytest.param({"a-b": b"x", "a.b": b"y"}, "would both be it", id="two of one name"),
        pytest.param({"KEY": b"\xff"}, "not text", id="bytes"),
        pytest.param({"KEY": b"a\0b"}, "NUL", id="NUL"),
        pytest.param({"KEY": LONGEST + b"x"}, "too long", id="too long"),
    ],
)


@UNFIT
async def test_a_secret_that_cannot_be_variables_is_told_without_its_value(
    data: dict[str, bytes], fix: str
) -> None:
    made = await world()
    made.values.data[("Secret", "s")] = data
    with pytest.raises(TerminalError, match=fix):
        await made.settle(app(envFrom=[{"secretRef": {"name": "s"}}]))
    assert not made.engine.containers


@UNFIT
@pytest.mark.parametrize("spec", [{}, {"replicas": 2}, {"surge": 1}], ids=str)
async def test_one_that_runs_is_not_stopped_for_variables_that_cannot_be(
    data: dict[str, bytes], fix: str, spec: dict[str, int]
) -> None:
    made, wanted = await with_variables(**spec)
    before = slots(made)
    made.values.data[("Secret", "s")] |= data
    for _ in range(2):
        with pytest.raises(TerminalError, match=fix):
            await made.settle(wanted)
    assert slots(made) == before
    assert all(container.state.running for container in before.values())
    made.values.data[("Secret", "s")] = {"KEY": b"two"}
    assert (await made.settle(wanted)).ready
    assert {c.secret_env["KEY"] for c in slots(made).values()} == {"two"}


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("harm", ["kill", "pause"])
async def test_one_that_stops_is_started_while_its_variables_cannot_be(
    harm: str, replicas: int
) -> None:
    made, wanted = await with_variables(replicas=replicas)
    before = slots(made)
    made.values.data[("Secret", "s")] = {"1st": b"x"}
    with pytest.raises(TerminalError):
        await made.settle(wanted)
    for slot in before:
        getattr(made.engine, harm)(f"{NAME}-{slot}")
    with pytest.raises(TerminalError):
        await made.settle(wanted)
    after = slots(made)
    assert {slot: c.state.id for slot, c in after.items()} == {
        slot: c.state.id for slot, c in before.items()
    }
    assert all(c.state.running and not c.state.paused for c in after.values())


async def test_one_that_stops_is_started_while_another_cannot_be_made() -> None:
    made, wanted = await with_variables(replicas=2)
    made.values.data[("Secret", "s")] = {"1st": b"x"}
    made.engine.remove(f"{NAME}-0")
    made.engine.kill(f"{NAME}-1")
    with pytest.raises(TerminalError):
        await made.settle(wanted)
    assert slots(made)["1"].state.running


async def test_one_that_stops_is_started_while_its_successor_waits_for_a_secret() -> None:
    made, _ = await with_variables()
    before = slots(made)["0"].state.id
    del made.values.data[("Secret", "s")]
    made.engine.kill(f"{NAME}-0")
    edited = app(image="shop:2", envFrom=[{"secretRef": {"name": "s"}}])
    report = await made.settle(edited)
    assert report.ready
    assert slots(made)["0"].state.id == before


async def test_one_that_runs_is_not_stopped_for_a_secret_that_goes_just_then() -> None:
    made, wanted = await with_variables()
    before = slots(made)
    made.values.data[("Secret", "s")] = {"KEY": b"two"}
    plan, _ = await made.look(wanted)
    del made.values.data[("Secret", "s")]
    with pytest.raises(RetryableError):
        await made.reconciler("App").apply(plan.steps[0])
    assert names(plan)[1:] == ["RemoveContainer", "RunContainer"]
    assert slots(made) == before


async def test_one_that_cannot_start_again_stays_while_its_variables_cannot_be_made() -> None:
    """Its container may start after all, and another can't."""
    made = await world()
    made.bind("db")
    wanted = app(databaseRefs=[{"name": "db", "envPrefix": "DB"}])
    await made.settle(wanted)
    before = slots(made)["0"].state.id
    del made.values.data[("Secret", "db-credentials")]["host"]
    made.engine.set_state(f"{NAME}-0", "die", running=False, error="task already exists")
    with pytest.raises(TerminalError, match="'host'"):
        await made.settle(wanted)
    assert slots(made)["0"].state.id == before


async def test_a_variable_may_be_as_long_as_the_kernel_takes() -> None:
    made, wanted = await with_variables()
    made.values.data[("Secret", "s")] = {"KEY": LONGEST}
    await made.settle(wanted)
    assert slots(made)["0"].secret_env == {"KEY": LONGEST.decode()}


@pytest.mark.parametrize("by", ["env", "envFrom", "databaseRefs"])
async def test_one_that_is_too_long_does_no_harm_where_another_value_is_given(by: str) -> None:
    made = await world()
    made.bind("db")
    made.values.data[("Secret", "s")] = {"DB_HOST": LONGEST, "KEY": b"one"}
    made.values.data[("ConfigMap", "c")] = {"DB_HOST": b"other"}
    sources = [{"secretRef": {"name": "s"}}]
    overriding: dict[str, Any] = {
        "env": [{"name": "DB_HOST", "value": "other"}],
        "envFrom": [*sources, {"configMapRef": {"name": "c"}}],
        "databaseRefs": [{"name": "db", "envPrefix": "DB"}],
    }
    spec = {"envFrom": sources, by: overriding[by]}
    for image in ("shop:1", "shop:2"):
        wanted = app(image=image, **spec)
        assert (await made.settle(wanted)).ready
        (container,) = slots(made).values()
        assert container.state.image == image
        assert container.secret_env["KEY"] == "one"
        if by != "env":
            assert container.secret_env["DB_HOST"] in ("other", "db")


async def test_one_that_is_too_long_is_refused_though_it_overrides_another() -> None:
    made = await world()
    made.values.data[("Secret", "s")] = {"KEY": LONGEST + b"x"}
    made.values.data[("ConfigMap", "c")] = {"KEY": b"one"}
    sources = [{"configMapRef": {"name": "c"}}, {"secretRef": {"name": "s"}}]
    with pytest.raises(TerminalError, match="too long"):
        await made.settle(app(envFrom=sources))
    assert not made.engine.containers


async def test_keys_that_no_variable_can_be_called_are_given_all_the_same() -> None:
    """As in the Secret of a Bucket."""
    made = await world()
    made.values.data[("Secret", "s")] = {"access-key": b"AK", "tls.crt": b"x"}
    await made.settle(app(envFrom=[{"secretRef": {"name": "s"}, "prefix": "S3_"}]))
    assert slots(made)["0"].secret_env == {"S3_access_key": "AK", "S3_tls_crt": "x"}
