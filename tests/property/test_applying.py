"""Server-side apply as laws: idempotent, commutative for disjoint appliers, last owner removes."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from controlplane.applying import Applied, apply
from controlplane.fields import (
    after_update,
    dump,
    from_fields_v1,
    parse,
    to_fields_v1,
    values_of,
)
from controlplane.topology import Topology, of_schema

TOPOLOGY: Topology = of_schema(
    {
        "properties": {
            "spec": {
                "properties": {
                    "users": {
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["name"],
                        "items": {},
                    },
                    "tags": {"x-kubernetes-list-type": "set"},
                }
            }
        }
    }
)

_NAMES = st.sampled_from("abcd")
_VALUES = st.integers(0, 3)


def _specs(prefix: str) -> st.SearchStrategy[dict[str, Any]]:
    names = _NAMES.map(lambda name: prefix + name)
    users = st.lists(
        st.fixed_dictionaries({"name": names}, optional={"role": _VALUES, "home": _VALUES}),
        unique_by=lambda user: user["name"],
        max_size=3,
    )
    return st.fixed_dictionaries(
        {},
        optional={
            "map": st.dictionaries(names, _VALUES, min_size=1, max_size=3),
            "users": users.filter(bool),
            "tags": st.lists(names, unique=True, min_size=1, max_size=3),
            prefix + "scalar": _VALUES,
            prefix + "order": st.lists(_VALUES, min_size=1, max_size=3),
        },
    )


def _apply(
    live: dict[str, Any] | None, managed: bytes, spec: dict[str, Any], manager: str
) -> Applied:
    return apply(
        live,
        managed,
        {"spec": spec},
        manager=manager,
        api_version="v1",
        time="2026-01-01T00:00:00Z",
        topology=TOPOLOGY,
        force=True,
    )


def _sorted(obj: dict[str, Any]) -> Any:
    """The object with the lists whose order carries no meaning sorted."""
    spec = dict(obj.get("spec", {}))
    if "users" in spec:
        spec["users"] = sorted(spec["users"], key=lambda user: user["name"])
    if "tags" in spec:
        spec["tags"] = sorted(spec["tags"])
    return spec


def _owners(managed: bytes) -> Any:
    return sorted((e["manager"], orjson.dumps(e["fieldsV1"])) for e in orjson.loads(managed))


@given(_specs("x"), _specs("x"))
def test_apply_is_idempotent(before: dict[str, Any], spec: dict[str, Any]) -> None:
    base = _apply(None, b"[]", before, "other")
    once = _apply(base.obj, base.managed_fields, spec, "me")
    twice = _apply(once.obj, once.managed_fields, spec, "me")
    assert twice.obj == once.obj
    assert twice.managed_fields == once.managed_fields


@given(_specs("x"), _specs("y"))
def test_order_of_disjoint_appliers_does_not_matter(
    one: dict[str, Any], two: dict[str, Any]
) -> None:
    def both(*order: tuple[dict[str, Any], str]) -> Applied:
        state = Applied({}, b"[]")
        for spec, manager in order:
            state = _apply(state.obj, state.managed_fields, spec, manager)
        return state

    forth, back = both((one, "1"), (two, "2")), both((two, "2"), (one, "1"))
    assert _sorted(forth.obj) == _sorted(back.obj)
    assert _owners(forth.managed_fields) == _owners(back.managed_fields)


@given(_specs("x"), _specs("x"))
def test_dropping_the_last_owner_removes_the_field(
    one: dict[str, Any], two: dict[str, Any]
) -> None:
    first = _apply(None, b"[]", one, "1")
    second = _apply(first.obj, first.managed_fields, two, "2")
    left = _apply(second.obj, second.managed_fields, {}, "1")
    gone = _apply(left.obj, left.managed_fields, {}, "2")
    assert _sorted(left.obj) == _sorted({"spec": two}) or not two
    assert not _sorted(gone.obj)
    assert all(e["fieldsV1"] == {"f:spec": {}} for e in orjson.loads(gone.managed_fields))


@given(_specs("x"))
def test_fields_v1_round_trips_whatever_apply_makes(spec: dict[str, Any]) -> None:
    for entry in orjson.loads(_apply(None, b"[]", spec, "me").managed_fields):
        assert to_fields_v1(from_fields_v1(entry["fieldsV1"])) == entry["fieldsV1"]


@given(_specs("x"))
def test_a_creator_owns_exactly_the_leaves(spec: dict[str, Any]) -> None:
    obj = {"spec": spec, "metadata": {"name": "x", "labels": {"a": "b"}}}
    managed = after_update(
        b"[]", None, obj, manager="me", api_version="v1", time="now", topology=TOPOLOGY
    )
    (entry,) = orjson.loads(managed)
    assert entry["fieldsV1"] == to_fields_v1(values_of(obj, TOPOLOGY))
    assert dump(parse(managed)) == managed
