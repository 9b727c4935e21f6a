"""Canonical bodies: metadata first, equal objects equal bytes, nothing that is kept beside them."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.errors import ConflictError, InvalidFieldError
from controlplane.records import Key, Stored
from controlplane.store import shape
from resources.kinds import KIND_INFOS

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
DATABASE = KIND_INFOS["Database"]


def obj(**meta: Any) -> dict[str, Any]:
    return {
        "apiVersion": "bunker.cloud/v1",
        "kind": "Database",
        "metadata": {"name": "db", "namespace": "shop", **meta},
        "spec": {"engine": "redis"},
    }


BASE = obj(uid="u", creationTimestamp="t", generation=3)


@given(st.dictionaries(st.text(max_size=5), JSON), st.dictionaries(st.text(max_size=5), JSON))
def test_encoding_is_canonical_and_loses_nothing(
    meta: dict[str, Any], rest: dict[str, Any]
) -> None:
    rest = {**rest, "kind": "X", "metadata": meta}
    body = shape.encode(rest)
    assert body == shape.encode(dict(reversed(rest.items())))
    assert body.startswith(b'{"metadata":{')
    beside = {"resourceVersion", "managedFields", "selfLink"}
    assert orjson.loads(body) == {
        **rest,
        "metadata": {k: v for k, v in meta.items() if k not in beside},
    }


def test_decoding_splices_in_what_is_kept_beside() -> None:
    body = shape.encode(BASE)
    key = Key("Database", "shop", "db")
    read = shape.decode(Stored(key, "u", 7, 3, body, b'[{"manager":"x"}]'))
    assert read["metadata"]["resourceVersion"] == "7"
    assert read["metadata"]["managedFields"] == [{"manager": "x"}]
    dry = shape.decode(Stored(key, "u", 0, 3, body))
    assert not {"resourceVersion", "managedFields"} & dry["metadata"].keys()


def test_what_the_server_owns_survives_an_update() -> None:
    forged = obj(
        uid="u", creationTimestamp="x", generation=99, deletionTimestamp="x", labels={"a": "b"}
    )
    made = shape.updated(DATABASE, BASE, forged, "")
    assert made["metadata"] == {**BASE["metadata"], "labels": {"a": "b"}}
    with pytest.raises(ConflictError):
        shape.updated(DATABASE, BASE, obj(uid="v"), "")


def test_generation_moves_with_the_spec_alone() -> None:
    changed = {**BASE, "spec": {"engine": "postgres"}}
    assert shape.updated(DATABASE, BASE, changed, "")["metadata"]["generation"] == 4
    status = {**changed, "status": {"x": 1}}
    assert shape.updated(DATABASE, BASE, status, "status") == {**BASE, "status": {"x": 1}}


def test_finalizers_may_go_but_not_come_while_deleting() -> None:
    going = obj(uid="u", generation=3, deletionTimestamp="t", finalizers=["a", "b"])
    fewer = shape.updated(DATABASE, going, obj(finalizers=["b"]), "")
    assert fewer["metadata"]["finalizers"] == ["b"]
    assert not shape.finished(fewer)
    assert shape.finished(shape.updated(DATABASE, going, obj(), ""))
    with pytest.raises(InvalidFieldError):
        shape.updated(DATABASE, going, obj(finalizers=["b", "c"]), "")


@pytest.mark.parametrize(
    ("propagation", "finalizers", "held"),
    [
        ("Background", [], None),
        ("Background", ["a"], ["a"]),
        ("Foreground", [], ["foregroundDeletion"]),
        ("Orphan", ["a", "foregroundDeletion"], ["a", "orphan"]),
    ],
)
def test_deleting(propagation: str, finalizers: list[str], held: list[str] | None) -> None:
    base = obj(uid="u", generation=3, finalizers=finalizers)
    marked = shape.deleting(DATABASE, base, now="now", propagation=propagation)
    if held is None:
        assert marked is None
        return
    assert marked is not None
    meta = marked["metadata"]
    assert (meta["finalizers"], meta["deletionTimestamp"], meta["generation"]) == (held, "now", 4)


def test_events_have_no_generation() -> None:
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {"namespace": "shop"}, "count": 1}
    made = shape.created(KIND_INFOS["Event"], event, name="e", uid="u", now="t")
    assert "generation" not in made["metadata"]
    again = shape.updated(KIND_INFOS["Event"], made, {**made, "count": 2}, "")
    assert "generation" not in again["metadata"]
    assert again["count"] == 2
