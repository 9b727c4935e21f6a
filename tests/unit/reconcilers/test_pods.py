"""What a container is shown as: names, phases, readiness, and nothing secret."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from controlplane.records import Key, Stored
from drivers.containers import (
    LABEL_CONTAINER,
    LABEL_RESTARTED,
    LABEL_SLOT,
    ContainerState,
    Limits,
    Owner,
)
from drivers.fake.engine import BLANK
from reconcilers._pods import Facts, facts_of, pod_name, pods_of

OWNER = Owner("1f2e3d4c-0000-4000-8000-000000000001", "App", "shop", "web")
STATE = replace(
    BLANK,
    id="c" * 64,
    name="app-shop-web-1f2e3d4c-0",
    owner=OWNER,
    digest="v1:1",
    image="demo:1",
    image_id="sha256:1",
    started_at="2026-01-01T00:00:01.5Z",
    limits=Limits(250, 64 * 2**20),
    networks={"net": "10.0.0.2"},
    labels={LABEL_CONTAINER: "app-shop-web-1f2e3d4c-0", LABEL_SLOT: "0", "secret": "s3cr3t"},
    created_at="2026-01-01T00:00:00.25Z",
)
STATES = (
    STATE,
    replace(STATE, paused=True),
    replace(STATE, running=False, exit_code=1, finished_at="2026-01-01T00:00:09Z"),
    replace(STATE, running=False, restarting=True, restart_count=2),
    replace(STATE, restart_count=2, finished_at="2026-01-01T00:00:00Z"),
    replace(STATE, running=False, started_at="", error="no such image"),
)
"""Every way a container is seen in."""
READY = Facts(ready=True, since="2026-01-01T00:00:05Z", ports=(8080,))


def shown(state: ContainerState, facts: Facts = READY) -> dict[str, object]:
    (stored,) = pods_of((state,), facts).values()
    found: dict[str, object] = orjson.loads(stored.body)
    return found


@pytest.mark.parametrize(
    ("state", "name"),
    [
        pytest.param(STATE, "app-web-0", id="a replica"),
        pytest.param(
            replace(STATE, name="renamed-by-hand"), "app-web-0", id="renamed behind our back"
        ),
        pytest.param(
            replace(
                STATE,
                owner=replace(OWNER, kind="Database", name="db"),
                labels={LABEL_CONTAINER: "database-shop-db-1f2e3d4c"},
            ),
            "database-db",
            id="the only container",
        ),
        pytest.param(replace(STATE, labels={LABEL_CONTAINER: "odd"}), "odd", id="no name of ours"),
    ],
)
def test_pod_is_named_after_its_record(state: ContainerState, name: str) -> None:
    assert pod_name(state) == name


@pytest.mark.parametrize(
    ("state", "facts", "ready", "told"),
    [
        pytest.param(STATE, READY, "True", "running", id="serves"),
        pytest.param(STATE, Facts(), "False", "running", id="runs, and its record is not ready"),
        pytest.param(replace(STATE, paused=True), READY, "False", "running", id="paused"),
        pytest.param(
            replace(STATE, running=False, restarting=True), READY, "False", "waiting", id="loops"
        ),
        pytest.param(replace(STATE, running=False), READY, "False", "terminated", id="ended"),
        pytest.param(
            replace(STATE, running=False, started_at=""), READY, "False", "waiting", id="created"
        ),
    ],
)
def test_readiness_and_state(state: ContainerState, facts: Facts, ready: str, told: str) -> None:
    status = shown(state, facts)["status"]
    assert isinstance(status, dict)
    conditions = {c["type"]: c["status"] for c in status["conditions"]}
    assert conditions == {
        "PodScheduled": "True",
        "Initialized": "True",
        "ContainersReady": ready,
        "Ready": ready,
    }
    assert list(status["containerStatuses"][0]["state"]) == [told]


def test_nothing_else_of_the_container_is_shown() -> None:
    assert b"s3cr3t" not in orjson.dumps(shown(STATE))


def test_a_replaced_container_is_another_pod_of_the_same_name() -> None:
    newer = replace(STATE, id="d" * 64, created_at="2026-01-02T00:00:00Z")
    older, both, new = (pods_of(states, READY) for states in ((STATE,), (newer, STATE), (newer,)))
    assert older.keys() == both.keys() == new.keys()
    assert both == new
    assert older != new


def test_facts_are_the_records_own() -> None:
    body = {
        "metadata": {"name": "web"},
        "status": {
            "endpoint": "web:8080",
            "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:05Z"}
            ],
        },
    }
    stored = Stored(Key("App", "shop", "web"), OWNER.uid, 7, 1, orjson.dumps(body))
    assert facts_of(stored) == READY
    assert facts_of(None) == Facts()


def test_which_restart_it_was_made_for_is_an_annotation() -> None:
    labels = {**STATE.labels, LABEL_RESTARTED: "2026-01-31T12:00:00Z"}
    made: Any = shown(replace(STATE, labels=labels))
    assert made["metadata"]["annotations"] == {
        "bunker.cloud/container": STATE.name,
        "kubectl.kubernetes.io/restartedAt": "2026-01-31T12:00:00Z",
    }
