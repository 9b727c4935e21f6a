"""App: variables from Secrets and ConfigMaps, and a container that needs them anew."""

import pytest

from controlplane.errors import TerminalError
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


async def with_variables() -> tuple[World, App]:
    """An App that runs, with a variable from a Secret."""
    made = await world()
    made.values.data[("Secret", "s")] = {"KEY": b"one"}
    wanted = app(envFrom=[{"secretRef": {"name": "s"}}])
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


@pytest.mark.parametrize(
    ("data", "fix"),
    [
        pytest.param({"1st": b"x"}, "no name of a variable", id="name"),
        pytest.param({"a-b": b"x", "a.b": b"y"}, "would both be it", id="two of one name"),
        pytest.param({"KEY": b"\xff"}, "not text", id="bytes"),
        pytest.param({"KEY": b"a\0b"}, "NUL", id="NUL"),
    ],
)
async def test_a_secret_that_cannot_be_variables_is_told_without_its_value(
    data: dict[str, bytes], fix: str
) -> None:
    made = await world()
    made.values.data[("Secret", "s")] = data
    with pytest.raises(TerminalError, match=fix):
        await made.settle(app(envFrom=[{"secretRef": {"name": "s"}}]))
    assert not made.engine.containers


async def test_keys_that_no_variable_can_be_called_are_given_all_the_same() -> None:
    """As in the Secret of a Bucket."""
    made = await world()
    made.values.data[("Secret", "s")] = {"access-key": b"AK", "tls.crt": b"x"}
    await made.settle(app(envFrom=[{"secretRef": {"name": "s"}, "prefix": "S3_"}]))
    assert slots(made)["0"].secret_env == {"S3_access_key": "AK", "S3_tls_crt": "x"}
