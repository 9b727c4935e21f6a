"""The control plane's metrics reach its metrics service, and nobody else."""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from prometheus_client import CollectorRegistry, Gauge

from controlplane.errors import (
    ControlPlaneError,
    SecretsUnavailableError,
    StoreUnavailableError,
    TerminalError,
)
from controlplane.records import Key, Stored
from controlplane.reporting import EVERY_S, Reporter
from drivers.fake.pushgateway import FakePushgateway
from drivers.pushgateway import HttpPushgateway
from tests.clock import ManualClock


def platform(namespace: str = "platform", service: str = "metrics", **endpoints: str) -> Stored:
    body: dict[str, Any] = {
        "metadata": {"name": service, "namespace": namespace, "uid": "u"},
        "spec": {"service": service},
        "status": {"endpoints": endpoints, "secretRef": {"name": "metrics-credentials"}},
    }
    return Stored(Key("Platform", namespace, service), "u", 1, 1, orjson.dumps(body))


class Values:
    """One Secret."""

    password = b"hush"
    away: ControlPlaneError | None = None

    async def read(self, kind: str, namespace: str, name: str, /) -> Mapping[str, bytes] | None:
        if self.away is not None:
            raise self.away
        known = (kind, namespace, name) == ("Secret", "platform", "metrics-credentials")
        return {"username": b"bunker", "password": self.password} if known else None


class World:
    """A reporter, and the only metrics service that it may tell anything."""

    def __init__(self, *records: Stored) -> None:
        self.leads = True
        self.records = list(records)
        self.values = Values()
        self.push = FakePushgateway()
        self.clock = ManualClock()
        registry = CollectorRegistry()
        self.gauge = Gauge("answer", "The answer.", registry=registry)
        self.reporter = Reporter(
            lambda: self.records,
            self.values,
            registry,
            self.push,
            self.clock,
            "home",
            leading=lambda: self.leads,
        )

    @property
    def told(self) -> list[str]:
        text = self.push.groups.get("home", b"").decode()
        return [line for line in text.splitlines() if not line.startswith("#")]


OURS = platform(push="10.0.0.5:9091")


async def run(world: World, *, intervals: int) -> None:
    task = asyncio.ensure_future(world.reporter.run())
    try:
        for _ in range(intervals):
            await world.clock.advance(EVERY_S)
        assert not task.done()
    finally:
        task.cancel()


async def test_it_tells_the_metrics_service_again_and_again() -> None:
    world = World(OURS)
    await run(world, intervals=1)
    assert world.told == ["answer 0.0"]
    world.gauge.set(42)
    await run(world, intervals=1)
    assert world.told == ["answer 42.0"]


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(platform("shop", push="10.0.0.5:9091"), id="a tenant's"),
        pytest.param(platform(service="s3", push="10.0.0.5:9091"), id="another service"),
        pytest.param(platform(), id="not running"),
    ],
)
async def test_it_tells_nobody_else(record: Stored) -> None:
    world = World(record)
    await run(world, intervals=2)
    assert world.told == []


async def test_one_that_leads_no_more_says_so_once_and_is_silent() -> None:
    world = World(OURS)
    await run(world, intervals=1)
    world.leads = False
    world.gauge.set(1)
    await run(world, intervals=1)
    assert world.told == ["answer 1.0"]
    world.gauge.set(2)
    await run(world, intervals=3)
    assert world.told == ["answer 1.0"]


async def test_a_service_that_refuses_or_is_away_harms_nothing() -> None:
    world = World(platform(push="10.0.0.9:1"), OURS)
    world.values.password = b"wrong"
    await run(world, intervals=1)
    assert world.told == []
    world.values.password = b"hush"
    await run(world, intervals=1)
    assert world.told == ["answer 0.0"]


@pytest.mark.parametrize(
    "away",
    [
        pytest.param(StoreUnavailableError("cannot read"), id="PostgreSQL"),
        pytest.param(SecretsUnavailableError("sealed"), id="the Vault"),
    ],
)
async def test_what_keeps_the_password_may_be_away(away: ControlPlaneError) -> None:
    """It runs beside the API and the agent, which would end with it."""
    world = World(OURS)
    world.values.away = away
    await run(world, intervals=2)
    assert world.told == []
    world.values.away = None
    await run(world, intervals=1)
    assert world.told == ["answer 0.0"]


async def test_a_password_that_is_no_text_harms_nothing() -> None:
    world = World(OURS)
    world.values.password = b"\xff\xfe"
    await run(world, intervals=2)
    assert world.told == []


async def test_a_name_that_no_login_can_have_is_refused_as_a_wrong_one_is() -> None:
    with pytest.raises(TerminalError):
        await HttpPushgateway().ensure_metrics("127.0.0.1:1", ("a:b", "x"), "home", b"")
