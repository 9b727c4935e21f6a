"""Host ports: whose they are while a record is edited, and which of its own leads where."""

from typing import Any

import pytest

from controlplane.errors import RetryableError
from controlplane.records import Key
from tests.support.bench import Bench, box_key
from tests.support.platform import Platform
from tests.support.running import USER
from tests.support.virtual import in_virtual_time

A, B = box_key("a"), box_key("b")
MAIL = Key("Platform", "platform", "mail")
HOME = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "platform"}}
NAMES = {25: "smtp", 587: "submission", 993: "imaps"}


async def published(platform: Platform, *ports: Any) -> dict[str, int]:
    """By name: where its container listens on the host, and its status says so."""
    await platform.apply("Platform", "mail", "platform", service="mail", publish=list(ports))
    await platform.settle(60)
    specs = [each.spec for each in platform.engine.containers.values() if each.spec is not None]
    found = {NAMES[port.container_port]: port.host_port for spec in specs for port in spec.ports}
    told = platform.status(MAIL)["published"]
    assert told == {name: f"127.0.0.1:{number}" for name, number in found.items()}
    assert sorted(platform.status(MAIL)["allocation"].get("ports", ())) == sorted(found.values())
    return found


@in_virtual_time
async def test_a_port_of_a_service_keeps_its_number_when_others_come_and_go() -> None:
    smtp, submission, imaps = (
        {"name": "smtp", "port": 25},
        {"name": "submission"},
        {"name": "imaps"},
    )
    async with Platform().running() as platform:
        await platform.records.create("Namespace", HOME, actor=USER)
        await platform.settle(5)
        assert await published(platform, smtp, submission) == {"smtp": 25, "submission": 30000}
        assert await published(platform, submission) == {"submission": 30000}
        assert await published(platform, imaps, submission) == {"imaps": 30001, "submission": 30000}
        assert await published(platform, smtp) == {"smtp": 25}
        assert await published(platform, imaps) == {"imaps": 30000}


def ports(bench: Bench, key: Key = A) -> list[int]:
    found: list[int] = bench.status(key)["allocation"].get("ports", [])
    return found


def fails(bench: Bench) -> None:
    """No step works, so that what runs is as it was."""
    bench.world.errors = [RetryableError("there is none", reason="ImageNotFound")] * 1000


@pytest.mark.parametrize(
    ("edits", "held", "then"),
    [
        pytest.param([{"port": 9090}], [9090, 8080], [9090], id="another"),
        pytest.param([{"port": 9090}, {"port": 9091}], [9091, 9090, 8080], [9091], id="twice"),
        pytest.param([{"publish": False}], [8080], [], id="none"),
        pytest.param([{"port": None}], [8080], [8080], id="whichever"),
    ],
)
@in_virtual_time
async def test_a_port_that_an_edit_gives_up_is_nobody_elses_until_it_is_carried_out(
    edits: list[dict[str, Any]], held: list[int], then: list[int]
) -> None:
    bench = Bench()
    async with bench.shop("a", publish=True, port=8080):
        fails(bench)
        for nth, edit in enumerate(edits):
            await bench.edit(A, size=2 + nth, **edit)
            await bench.settle(30)
        assert bench.condition(A, "Synced")["reason"] == "ImageNotFound"
        assert ports(bench) == held
    async with bench.running():  # what the store says, too
        await bench.box("b", publish=True, port=8080)
        await bench.settle(60)
        assert bench.condition(B, "Admitted")["reason"] == "PortTaken"
        bench.world.errors = []
        await bench.settle(600)
        assert ports(bench) == then
        assert bench.ready(B) == (8080 not in then)


@in_virtual_time
async def test_a_record_may_go_back_to_a_port_until_another_is_carried_out() -> None:
    async with Bench().shop("a", publish=True, port=8080) as bench:
        await bench.box("b", publish=True, port=9090)
        fails(bench)
        await bench.edit(A, size=2, port=9091)
        await bench.settle(60)
        await bench.edit(B, port=8080)
        await bench.settle(60)
        bench.world.errors = []
        await bench.edit(A, size=1, port=8080)
        await bench.settle(60)
        assert (bench.ready(A), ports(bench)) == (True, [8080])
        assert bench.condition(B, "Admitted")["reason"] == "PortTaken"
        await bench.edit(B, port=9091)
        await bench.settle(60)
        assert (bench.ready(B), ports(bench, B)) == (True, [9091])


@in_virtual_time
async def test_a_port_that_was_given_up_goes_back_while_a_later_growth_waits() -> None:
    async with Bench().shop("a", publish=True, port=8080) as bench:
        fails(bench)
        await bench.edit(A, size=2, port=9090)
        await bench.settle(60)
        await bench.edit(A, cpu="2000")
        await bench.settle(60)
        assert bench.condition(A, "Admitted")["reason"] == "BudgetExceeded"
        assert ports(bench) == [9090, 8080]
        bench.world.errors = []
        await bench.settle(600)
        assert ports(bench) == [9090]
        await bench.box("b", publish=True, port=8080)
        await bench.settle(60)
        assert bench.ready(B)


@in_virtual_time
async def test_an_app_gives_its_port_up_with_the_last_container_that_listens_there() -> None:
    """Though the new one never answers."""
    async with Platform().running() as platform:
        await platform.settle(1)
        spec: dict[str, Any] = {"image": "web:1", "port": 80, "publish": {"port": 8080}}
        app = await platform.apply("App", "web", **spec)
        await platform.settle(30)
        assert platform.ready(app)
        platform.probe.everything = False
        await platform.apply("App", "web", image="web:2", publish={"port": 9090})
        await platform.settle(120)
        assert not platform.ready(app)
        other = await platform.apply("App", "other", **spec)
        await platform.settle(60)
        assert platform.status(other)["allocation"]["ports"] == [8080]


@in_virtual_time
async def test_a_service_gives_its_ports_up_for_a_server_that_does_not_answer() -> None:
    async with Platform().running() as platform:
        await platform.settle(1)
        await platform.records.create("Namespace", HOME, actor=USER)
        assert await published(platform, {"name": "smtp", "port": 2525}) == {"smtp": 2525}
        away = {"endpoint": "mail.test:25"}
        platform.probe.everything = False
        await platform.apply("Platform", "mail", "platform", external=away)
        await platform.settle(120)
        assert platform.condition(MAIL)["reason"] == "Unreachable"
        assert platform.status(MAIL)["allocation"].get("ports", []) == []
