"""Whatever is shown of Pods, Services and Deployments is explained, and nothing else is."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pytest

from api.derived import deployment, service
from api.podschema import PARTS
from api.published import described
from reconcilers._pods import pods_of
from tests.unit.api.test_derived import app
from tests.unit.reconcilers import test_pods as shown

MAPS = (
    "spec.selector.",
    "spec.template.metadata.labels.",
    "spec.template.metadata.annotations.",
    "spec.containers.resources.limits.",
    "spec.containers.resources.requests.",
)
"""What is in these is somebody's own."""


def paths(value: Any, path: str = "") -> Iterator[str]:
    """Every field of an object, lists looked through."""
    if isinstance(value, list):
        for item in value:
            yield from paths(item, path)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            here = f"{path}.{name}" if path else name
            yield here
            yield from paths(inner, here)


def objects() -> Iterator[Mapping[str, Any]]:
    """One of each, in every state they are seen in."""
    for state in shown.STATES:
        for stored in pods_of((state,), shown.READY).values():
            yield orjson.loads(stored.body)
    conditions = [
        {"type": type_, "status": "False", "reason": "R", "lastTransitionTime": "2026-01-01T00:00Z"}
        for type_ in ("Ready", "Stalled")
    ]
    spec = {"restartedAt": "2026-01-01T00:00:00Z"}
    record = app(9, spec=spec, endpoint="web:8080", replicas=2, conditions=conditions)
    for render in (service, deployment):
        found = render(record, orjson.loads(record.body))
        assert found is not None
        yield found


@pytest.mark.parametrize("kind", PARTS)
def test_every_field_shown_is_explained(kind: str) -> None:
    known = {path for path, _ in described({"properties": PARTS[kind]})}
    found = {
        path
        for obj in objects()
        if obj["kind"] == kind
        for part in ("spec", "status")
        for path in paths(obj[part], part)
        if not path.startswith(MAPS)
    }
    assert found - known - {"spec", "status"} == set()
    assert found


@pytest.mark.parametrize("kind", PARTS)
def test_every_field_says_what_it_is(kind: str) -> None:
    assert [path for path, text in described({"properties": PARTS[kind]}) if not text] == []
