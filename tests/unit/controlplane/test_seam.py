"""The seam: transparent to callers, and every call of every driver passes it."""

from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry

from controlplane.errors import ConflictError, RetryableError, TerminalError
from controlplane.metrics import Metrics
from controlplane.seam import OUTCOMES, Call, Measured, outcome_of, through, verbs_of
from drivers.fake.containers import FakeContainers
from reconcilers.registry import behind
from tests.clock import ManualClock
from tests.support.platform import Platform


class Port:
    limit = 3

    async def ensure_thing(self, name: str, /, *, size: int) -> str:
        return f"{name}:{size}"

    async def observe_thing(self) -> None:
        raise RetryableError("away")

    def path_of(self, name: str) -> str:
        return f"/{name}"


class Recording:
    def __init__(self) -> None:
        self.ports: dict[str, Sequence[str]] = {}
        self.calls: list[Call] = []

    def opened(self, port: str, verbs: Sequence[str], /) -> None:
        self.ports[port] = verbs

    async def __call__(self, call: Call, /) -> object:
        self.calls.append(call)
        return await call.go()


async def test_calls_pass_with_arguments_and_replies_and_all_else_is_the_ports_own() -> None:
    seam = Recording()
    port = through(Port(), "port", seam)
    assert await port.ensure_thing("a", size=2) == "a:2"
    assert port.path_of("a") == "/a"
    assert port.limit == 3
    assert seam.ports == {"port": ("ensure_thing", "observe_thing")}
    assert [(call.port, call.verb, call.changes) for call in seam.calls] == [
        ("port", "ensure_thing", True)
    ]


async def test_errors_come_back_as_they_were_raised() -> None:
    port = through(Port(), "port", Recording())
    with pytest.raises(RetryableError):
        await port.observe_thing()


async def test_calls_are_measured_by_outcome_and_start_at_zero() -> None:
    registry = CollectorRegistry()
    clock = ManualClock()
    port = through(Port(), "port", Measured(Metrics(registry, ()).calls, clock))

    def count(verb: str, outcome: str) -> float | None:
        name = "controlplane_driver_call_duration_seconds_count"
        labels = {"driver": "port", "verb": verb, "outcome": outcome}
        return registry.get_sample_value(name, labels)

    assert [count("ensure_thing", outcome) for outcome in OUTCOMES] == [0.0] * len(OUTCOMES)
    await port.ensure_thing("a", size=1)
    with pytest.raises(RetryableError):
        await port.observe_thing()
    assert count("ensure_thing", "ok") == 1.0
    assert count("observe_thing", "retry") == 1.0


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (ConflictError("x"), "conflict"),
        (RetryableError("x"), "retry"),
        (TerminalError("x"), "terminal"),
        (ValueError("x"), "error"),
    ],
)
def test_outcome_follows_the_type_of_the_error(error: Exception, word: str) -> None:
    assert outcome_of(error) == word


async def test_every_driver_with_a_verb_is_behind_the_seam() -> None:
    seam = Recording()
    given = Platform().drivers
    drivers = behind(given, seam)
    assert drivers.clock is given.clock
    assert "ensure_container" in verbs_of(FakeContainers())
    for name, verbs in seam.ports.items():
        assert verbs
        assert getattr(drivers, name) is not getattr(given, name)
    assert seam.ports.keys() >= {"containers", "files", "values", "probe", "servers", "meter"}
