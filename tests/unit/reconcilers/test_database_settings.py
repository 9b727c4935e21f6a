"""Database: the limits that Redis takes as it runs, the passwords that both take."""

from dataclasses import replace
from typing import Any

import pytest

from controlplane.errors import RetryableError, TerminalError
from controlplane.plan import Plan
from drivers.containers import Limits
from resources.database import PLANS, Database
from resources.meta import Footprint
from tests.unit.reconcilers.databases import NAME, SECRET
from tests.unit.reconcilers.world import NETWORK, UID, World, database, names, world


async def test_a_password_set_behind_its_back_is_set_to_the_secrets() -> None:
    made = await world()
    await made.settle(database())
    made.servers.passwords[(UID, 0)] = "changed by hand"
    _, report = await made.look(database())
    assert report.reason == "PasswordRejected"
    assert (await made.settle(database())).ready
    assert made.servers.passwords[(UID, 0)] == "generated-shop-credentials"
    assert made.engine.by_name(NAME).starts == 1


@pytest.mark.parametrize(
    ("plan", "first", "then"),
    [
        pytest.param("pro", ["WriteSecrets", "FixContainer"], ["LimitMemory"], id="grows"),
        pytest.param("starter", ["LimitMemory", "WriteSecrets", "FixContainer"], [], id="shrinks"),
    ],
)
async def test_redis_is_resized_as_it_runs(plan: Any, first: list[str], then: list[str]) -> None:
    """Never more for its data than the container has."""
    made = await world()
    await made.settle(database("redis", plan="basic", storage="50Gi"))
    resized = database("redis", plan=plan, storage="50Gi")
    for steps in (first, then):
        planned, report = await made.look(resized)
        assert names(planned) == steps
        assert report.ready
        await made._carry_out(made.reconciler("Database"), planned, resized)
    assert (await made.look(resized))[0] == Plan()
    container = made.engine.by_name(NAME)
    size = PLANS[plan].resources.memory
    assert (container.starts, container.state.limits.memory_bytes) == (1, size)
    assert container.told == {"maxmemory": size * 3 // 4}
    assert f"maxmemory {size * 3 // 4}\n".encode() in made.files.folders[UID].files["redis.conf"]


BASIC, STARTER = PLANS["basic"].resources, PLANS["starter"].resources
TOO_MUCH = STARTER.memory * 3 // 4 + 1


async def shrinking() -> tuple[World, Database]:
    """A Redis whose record wants less memory than it has."""
    made = await world()
    await made.settle(database("redis", plan="basic", storage="10Gi"))
    made.held = BASIC.footprint
    return made, database("redis", plan="starter", storage="10Gi")


async def test_redis_keeps_its_memory_until_its_data_fits_into_less() -> None:
    made, smaller = await shrinking()
    made.servers.used_bytes = TOO_MUCH
    report = await made.settle(smaller)
    plan, _ = await made.look(smaller)
    assert plan.wait is not None
    assert plan.wait.reason == "MemoryInUse"
    assert "spec.resources.memory to 320Mi or more" in plan.wait.message
    container = made.engine.by_name(NAME)
    assert report.ready
    # its CPU was free to follow
    assert container.state.limits == Limits(STARTER.cpu, BASIC.memory)
    assert container.told == {"maxmemory": BASIC.memory * 3 // 4}

    made.servers.used_bytes = TOO_MUCH - 1
    await made.settle(smaller)
    assert container.state.limits == Limits(STARTER.cpu, STARTER.memory)
    assert (container.told, container.starts) == ({"maxmemory": STARTER.memory * 3 // 4}, 1)


async def test_redis_that_died_before_it_got_less_memory_starts_with_what_it_had() -> None:
    made, smaller = await shrinking()
    made.servers.used_bytes = TOO_MUCH
    made.engine.kill(NAME)
    await made.settle(smaller)
    container = made.engine.by_name(NAME)
    assert (container.state.running, container.state.limits.memory_bytes) == (True, BASIC.memory)


async def test_redis_whose_container_went_keeps_its_memory_until_it_tells_what_it_holds() -> None:
    made, smaller = await shrinking()
    made.servers.used_bytes = TOO_MUCH
    await made.settle(smaller)
    made.engine.remove(NAME)
    await made.settle(smaller)
    container = made.engine.by_name(NAME)
    assert container.state.limits == Limits(STARTER.cpu, BASIC.memory)
    file = made.files.folders[UID].files["redis.conf"]
    assert f"maxmemory {BASIC.memory * 3 // 4}\n".encode() in file

    made.servers.used_bytes = TOO_MUCH - 1
    await made.settle(smaller)
    assert container.state.limits == Limits(STARTER.cpu, STARTER.memory)


async def test_nobody_else_gets_the_memory_of_a_redis_that_waits_for_its_network() -> None:
    made, smaller = await shrinking()
    made.engine.remove(NAME)
    made.engine.remove_network(NETWORK)
    plan, report = await made.look(smaller)
    assert plan.wait is not None
    # as much as is allocated
    assert report.in_use is None


async def test_a_redis_without_data_holds_no_more_than_it_asks_for() -> None:
    made = await world()
    made.held = BASIC.footprint
    _, report = await made.look(database("redis", plan="starter"))
    assert report.in_use == Footprint()


async def test_memory_that_was_never_promised_is_taken_from_a_redis() -> None:
    made = await world()
    await made.settle(database("redis"))
    made.held = STARTER.footprint
    made.servers.used_bytes = TOO_MUCH
    container = made.engine.by_name(NAME)
    container.state = replace(container.state, limits=Limits(STARTER.cpu, 8 * 2**30))
    await made.settle(database("redis"))
    assert container.state.limits.memory_bytes == STARTER.memory


async def test_redis_made_anew_is_not_resized_before() -> None:
    made = await world()
    await made.settle(database("redis", plan="basic", storage="10Gi"))
    smaller = database("redis", plan="starter", storage="10Gi", publish={})
    plan, _ = await made.look(smaller)
    assert names(plan) == ["WriteSecrets", "RemoveContainer", "RunContainer"]


async def test_a_limit_that_somebody_took_off_a_redis_is_set_again() -> None:
    made = await world()
    await made.settle(database("redis"))
    container = made.engine.by_name(NAME)
    right = dict(container.told)
    container.told["maxmemory"] = 0
    assert (await made.settle(database("redis"))).ready
    assert (container.told, container.starts) == (right, 1)


async def test_redis_reads_its_password_again_when_it_refuses_it() -> None:
    made = await world()
    await made.settle(database("redis"))
    made.servers.passwords[(UID, 1)] = "changed by hand"
    plan, _ = await made.look(database("redis"))
    assert names(plan) == ["RestartContainer"]
    assert (await made.settle(database("redis"))).ready


async def test_a_secret_edited_by_hand_is_corrected_and_its_password_used() -> None:
    made = await world()
    await made.settle(database())
    made.values.data[SECRET] |= {"host": b"elsewhere", "password": b"chosen"}
    assert (await made.settle(database())).ready
    assert made.values.data[SECRET]["host"] == b"shop"
    assert made.values.data[SECRET]["uri"] == b"postgresql://app:chosen@shop:5432/app"
    assert made.servers.passwords[(UID, 0)] == "chosen"
    assert made.files.folders[UID].files["password"] == b"chosen"


async def test_a_password_may_hold_any_character_in_a_uri() -> None:
    made = await world()
    await made.settle(database())
    made.values.data[SECRET]["password"] = "p@ss/wörd {x}".encode()
    await made.settle(database())
    assert made.values.data[SECRET]["uri"] == (
        b"postgresql://app:p%40ss%2Fw%C3%B6rd%20%7Bx%7D@shop:5432/app"
    )
    assert made.files.folders[UID].files["password"] == "p@ss/wörd {x}".encode()


@pytest.mark.parametrize("password", [b"x\nloadmodule /tmp/evil.so", b'a"b', b"", b"\xff"])
async def test_a_password_cannot_be_more_than_a_password_to_redis(password: bytes) -> None:
    made = await world()
    await made.settle(database("redis"))
    made.values.data[SECRET]["password"] = password
    with pytest.raises(TerminalError, match="'password'"):
        await made.settle(database("redis"))
    assert b"loadmodule" not in made.files.folders[UID].files["redis.conf"]


async def test_an_empty_password_is_refused_before_it_is_set_anywhere() -> None:
    """PostgreSQL would take it, and then let nobody in."""
    made = await world()
    await made.settle(database())
    before = dict(made.servers.passwords), made.files.folders[UID].files["password"]
    made.values.data[SECRET]["password"] = b""
    with pytest.raises(TerminalError, match="'password' of Secret 'shop-credentials' is empty"):
        await made.settle(database())
    assert (made.servers.passwords, made.files.folders[UID].files["password"]) == before


@pytest.mark.parametrize("left", [{"password": b""}, {}], ids=["empty", "without"])
async def test_a_password_that_goes_meanwhile_takes_no_other_away(left: dict[str, bytes]) -> None:
    made = await world()
    await made.settle(database())
    made.servers.passwords[(UID, 0)] = "changed by hand"
    plan, _ = await made.look(database())
    assert names(plan) == ["HealPassword"]
    made.values.data[SECRET] = left
    with pytest.raises(RetryableError):
        await made.reconciler("Database").apply(plan.steps[0])
    assert made.servers.passwords[(UID, 0)] == "changed by hand"
