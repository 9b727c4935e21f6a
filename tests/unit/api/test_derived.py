"""Services and Deployments: records, translated, with the records' own versions."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest

from api.derived import DerivedView, deployment, service
from controlplane.engine.cache import Cache
from controlplane.records import Change, Key, Stored, Subscription, Verb

UID = "1f2e3d4c-0000-4000-8000-000000000001"


def app(
    revision: int, *, name: str = "web", spec: Mapping[str, Any] | None = None, **status: Any
) -> Stored:
    obj = {
        "metadata": {"name": name, "namespace": "shop", "uid": UID},
        "apiVersion": "bunker.cloud/v1",
        "kind": "App",
        "spec": {"image": "demo:1", "replicas": 2, **(spec or {})},
        "status": status,
    }
    return Stored(Key("App", "shop", name), UID, revision, 3, orjson.dumps(obj))


def views(cache: Cache) -> tuple[DerivedView, DerivedView]:
    return (
        DerivedView(cache, "Service", ("App",), service),
        DerivedView(cache, "Deployment", ("App",), deployment),
    )


def test_what_says_where_it_is_reached_is_a_service() -> None:
    cache = Cache()
    services, _ = views(cache)
    cache.apply([("create", app(1))])
    assert services.list("Service") == []
    cache.apply([("update", app(2, endpoint="web:8080"))])
    (found,) = services.list("Service", "shop")
    assert (found.key, found.revision) == (Key("Service", "shop", "web"), 2)
    spec = orjson.loads(found.body)["spec"]
    assert spec["selector"] == {"bunker.cloud/kind": "App", "bunker.cloud/name": "web"}
    assert [port["port"] for port in spec["ports"]] == [8080]
    assert services.get(found.key) == found
    assert services.get(Key("Service", "shop", "other")) is None


NO_PORTS = [f"web:{port}" for port in ("9" * 20, "9" * 5000, "65536", "0", "\u0663")]


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "elsewhere:80",
        "web",
        "web:http",
        "https://web:80",
        *(f"web:{each}" for each in NO_PORTS),
    ],
)
def test_other_endpoints_are_none(endpoint: str) -> None:
    obj = orjson.loads(app(1, endpoint=endpoint).body)
    assert service(app(1), obj) is None


async def test_a_watch_sees_services_appear_and_go_with_their_endpoints() -> None:
    cache = Cache()
    services, _ = views(cache)
    changes = services.watch(frozenset({"Service"}), 0)
    states = [
        ("create", app(1)),
        ("update", app(2, endpoint="web:8080")),
        ("update", app(3, endpoint="web:8080", replicas=1)),
        ("update", app(4, endpoint="web:9090")),
        ("update", app(5)),
        ("update", app(6, endpoint="web:9090")),
        ("delete", app(7, endpoint="web:9090")),
    ]
    for verb, stored in states:
        cache.apply([(verb, stored)])  # type: ignore[list-item]  # literals widen in a list
    seen = [await anext(changes) for _ in range(5)]
    assert [(c.verb, c.revision, c.after.revision) for c in seen] == [
        ("create", 2, 2),
        ("update", 4, 4),
        ("delete", 5, 5),
        ("create", 6, 6),
        ("delete", 7, 7),
    ]
    assert changes.position == 7


@pytest.mark.parametrize(
    ("stalled", "reason"),
    [("True", "ProgressDeadlineExceeded"), ("False", "NewReplicaSetAvailable")],
)
def test_a_deployment_tells_a_rollout(stalled: str, reason: str) -> None:
    stored = app(
        9,
        replicas=3,
        updatedReplicas=1,
        readyReplicas=1,
        observedGeneration=3,
        conditions=[{"type": "Stalled", "status": stalled}],
    )
    found = deployment(stored, orjson.loads(stored.body))
    assert found is not None
    assert found["metadata"]["generation"] == 3
    status = found["status"]
    assert (status["replicas"], status["updatedReplicas"], status["availableReplicas"]) == (3, 1, 1)
    assert [c["reason"] for c in status["conditions"] if c["type"] == "Progressing"] == [reason]


@pytest.mark.parametrize("number", [2**31, 2**63, 1e20, "9" * 20, "9" * 5000, "1.0", -1, "many"])
def test_a_number_that_no_client_can_read_is_not_told(number: float | str) -> None:
    told: dict[str, Any] = dict.fromkeys(["replicas", "updatedReplicas", "readyReplicas"], number)
    cache = Cache()
    stored = app(1, observedGeneration=number, **told)
    cache.apply([("create", stored), ("create", app(2, name="other", readyReplicas="2"))])
    _, deployments = views(cache)
    other, wrong = (orjson.loads(each.body)["status"] for each in deployments.list("Deployment"))
    assert other["availableReplicas"] == 2
    assert [wrong[name] for name in told] == [0, 0, 0]
    assert wrong["unavailableReplicas"] == 2


@pytest.mark.parametrize("when", [None, "2026-01-31T13:00:00+01:00"])
def test_a_restart_is_told_where_kubectl_looks_for_it(when: str | None) -> None:
    stored = app(9, spec={"restartedAt": when} if when else None)
    found = deployment(stored, orjson.loads(stored.body))
    assert found is not None
    told = found["spec"]["template"]["metadata"].get("annotations")
    assert told == ({"kubectl.kubernetes.io/restartedAt": when} if when else None)


def database(revision: int, port: int) -> Stored:
    made = app(revision, endpoint=f"web:{port}")
    return replace(made, key=made.key._replace(kind="Database"))


Seen = tuple[str, int] | None
"""A verb and a port, or that nothing is told."""


async def test_two_records_of_one_name_are_one_service_in_a_watch_as_in_a_list() -> None:
    cache = Cache()
    services = DerivedView(cache, "Service", ("App", "Database"), service)
    changes = services.watch(frozenset({"Service"}), 0)
    steps: list[tuple[Verb, Stored, Seen]] = [
        ("create", database(1, 5432), ("create", 5432)),
        ("create", app(2), None),
        ("update", app(3, endpoint="web:8080"), ("update", 8080)),
        ("update", database(4, 5433), None),
        ("update", app(5), ("update", 5433)),
        ("update", app(6, endpoint="web:8081"), ("update", 8081)),
        ("delete", app(7, endpoint="web:8081"), ("update", 5433)),
        ("delete", database(8, 5433), ("delete", 5433)),
    ]
    coming = asyncio.ensure_future(_next_of(changes))
    for verb, stored, seen in steps:
        await asyncio.sleep(0)
        cache.apply([(verb, stored)])
        if seen is None:
            continue  # what comes next is of a later one
        change = await coming
        coming = asyncio.ensure_future(_next_of(changes))
        (port,) = orjson.loads(change.after.body)["spec"]["ports"]
        assert (change.verb, port["port"]) == seen
        assert change.revision == change.after.revision == stored.revision
        left = [] if change.verb == "delete" else [change.after.body]
        assert [each.body for each in services.list("Service", "shop")] == left
    coming.cancel()


async def _next_of(changes: Subscription) -> Change:
    return await anext(changes)


async def test_a_watch_that_is_behind_ends_at_the_one_that_is_left() -> None:
    cache = Cache()
    services = DerivedView(cache, "Service", ("App", "Database"), service)
    changes = services.watch(frozenset({"Service"}), 0)
    cache.apply([("create", app(1, endpoint="web:8080")), ("create", database(2, 5432))])
    cache.apply([("delete", app(3, endpoint="web:8080")), ("create", other(4))])
    last: dict[str, Change] = {}
    while "other" not in last:
        change = await anext(changes)
        last[change.after.key.name] = change
    left = services.get(Key("Service", "shop", "web"))
    assert left is not None
    assert (last["web"].verb, last["web"].after.body) == ("update", left.body)


def other(revision: int) -> Stored:
    return app(revision, name="other", endpoint="other:80")
