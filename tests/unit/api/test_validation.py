"""Pruning, defaults and field errors, by a kind made up here and by the real ones."""

from typing import Any, ClassVar, Literal

import pytest
from pydantic import Field

from api import errors
from api.core import core_conventions
from api.errors import StatusError
from api.served import Served, serve
from api.validation import metadata_errors, prune, validate
from resources.core import ConfigMap, Secret
from resources.database import Database
from resources.kinds import KINDS
from resources.meta import KindInfo, Model, Resource, Spec, Status
from resources.quantity import Bytes


class _Part(Model):
    size: Bytes = 1024
    """How large. Example: `1Ki`."""
    note: str | None = None


class _ThingSpec(Spec):
    engine: Literal["a", "b"]
    part: _Part = _Part()
    parts: tuple[_Part, ...] = ()
    few: tuple[int, ...] = Field(default=(), max_length=4)
    env: dict[str, str] = Field(default_factory=dict)
    free: dict[str, Any] = Field(default_factory=dict)


class _Thing(Resource[_ThingSpec, Status]):
    info: ClassVar[KindInfo] = KindInfo("Thing", "things", "thing")
    spec: _ThingSpec
    status: Status = Status()


THING: Served = serve(_Thing)


def _thing(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "bunker.cloud/v1",
        "kind": "Thing",
        "metadata": {"name": "x", "namespace": "ns"},
        "spec": {"engine": "a", **spec},
    }


def test_unknown_fields_are_dropped_and_named_wherever_they_are() -> None:
    obj = _thing(bogus=1, part={"nope": 1}, parts=[{"size": "1Ki"}, {"x": 1}], env={"ANY": "1"})
    found = prune(THING, {**obj, "extra": 1, "metadata": {**obj["metadata"], "huh": 1}})
    assert sorted(found.unknown) == [
        "extra",
        "metadata.huh",
        "spec.bogus",
        "spec.part.nope",
        "spec.parts[1].x",
    ]
    assert "bogus" not in found.obj["spec"]
    assert found.obj["spec"]["env"] == {"ANY": "1"}


def test_unknown_fields_can_be_kept_beside_defaults() -> None:
    obj = _thing(bogus=1, parts=[{"x": 1}])
    spec = prune(THING, {**obj, "extra": 1}, keeps_unknown=True).obj
    assert (spec["extra"], spec["spec"]["bogus"], spec["spec"]["priority"]) == (1, 1, 0)
    assert spec["spec"]["parts"] == [{"x": 1, "size": "1Ki"}]


def test_free_form_fields_are_kept_whole() -> None:
    free = {"a": {"b": [None, 1]}}
    found = prune(THING, _thing(free=free))
    assert found.obj["spec"]["free"] == free
    assert not found.unknown


def test_defaults_are_applied_as_a_person_would_write_them() -> None:
    spec = prune(THING, _thing(parts=[{}])).obj["spec"]
    assert spec["paused"] is False
    assert spec["priority"] == 0
    assert spec["part"] == {"size": "1Ki"}
    assert spec["parts"] == [{"size": "1Ki"}]
    assert "env" not in spec
    assert "status" not in prune(THING, _thing()).obj


def test_null_means_not_given() -> None:
    spec = prune(THING, _thing(paused=None, part={"note": None})).obj["spec"]
    assert spec["paused"] is False
    assert spec["part"] == {"size": "1Ki"}


def test_defaults_can_be_left_out() -> None:
    assert prune(THING, _thing(), defaults=False).obj["spec"] == {"engine": "a"}


def test_pruning_twice_is_pruning_once() -> None:
    once = prune(THING, _thing(bogus=1, parts=[{"x": 1}])).obj
    again = prune(THING, once)
    assert again.obj == once
    assert not again.unknown


@pytest.mark.parametrize(
    ("spec", "field", "reason", "told"),
    [
        pytest.param({"engine": "c"}, "spec.engine", "FieldValueNotSupported", "'c'", id="enum"),
        pytest.param({"paused": "maybe"}, "spec.paused", "", "'maybe'", id="boolean"),
        pytest.param({"priority": 5000}, "spec.priority", "FieldValueInvalid", "5000", id="range"),
        pytest.param(
            {"part": {"size": 1.5}}, "spec.part.size", "FieldValueInvalid", "1.5", id="float"
        ),
        pytest.param(
            {"part": {"size": "-1"}}, "spec.part.size", "FieldValueInvalid", "'-1'", id="negative"
        ),
        pytest.param({"part": []}, "spec.part", "FieldValueTypeInvalid", "", id="list for a map"),
        pytest.param({"parts": {}}, "spec.parts", "FieldValueTypeInvalid", "", id="map for a list"),
        pytest.param({"parts": [1]}, "spec.parts[0]", "FieldValueTypeInvalid", "1", id="item"),
        pytest.param(
            {"env": {"A": 1}}, "spec.env.A", "FieldValueTypeInvalid", "1", id="number for text"
        ),
    ],
)
def test_a_wrong_value_is_named_with_its_field(
    spec: dict[str, Any], field: str, reason: str, told: str
) -> None:
    model, errors = validate(THING, prune(THING, _thing(**spec)).obj)
    assert model is None
    assert [error.field for error in errors] == [field]
    assert not reason or errors[0].reason == reason
    assert told in errors[0].message


def test_a_missing_field_is_required() -> None:
    obj = _thing()
    del obj["spec"]["engine"]
    _, errors = validate(THING, prune(THING, obj).obj)
    assert [(e.field, e.reason) for e in errors] == [("spec.engine", "FieldValueRequired")]


def test_a_secret_value_is_never_repeated() -> None:
    served = serve(Secret)
    obj = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "x", "namespace": "ns"},
        "data": {"password": "canary not base64", "bad key": "Y2FuYXJ5"},
        "stringData": {"x": 123456789},
    }
    _, errors = validate(served, prune(served, obj).obj)
    assert len(errors) >= 3
    for error in errors:
        assert "canary" not in error.message
        assert "123456789" not in error.message


@pytest.mark.parametrize(
    ("model", "field"), [pytest.param(Secret, "data"), pytest.param(ConfigMap, "binaryData")]
)
@pytest.mark.parametrize("value", ["YWJj\nZGVm\n", "YWJj\r\nZGVm\r\n", "YWJjZGV\nm", "\nYWJjZGVm"])
def test_base64_may_have_line_breaks_as_in_kubernetes(
    model: type[Secret | ConfigMap], field: str, value: str
) -> None:
    """As `base64` writes it, and a block of YAML has it; what is kept has none."""
    served = serve(model)
    obj = {"metadata": {"name": "x", "namespace": "ns"}, field: {"key": value}}
    found, wrong = validate(served, prune(served, obj).obj)
    assert wrong == []
    assert found is not None
    assert found.model_dump(by_alias=True)[field] == {"key": "YWJjZGVm"}
    assert core_conventions(served, obj)[field] == {"key": "YWJjZGVm"}


@pytest.mark.parametrize("value", ["YWJj ZGVm", "YWJj\tZGVm", "YWJ\n", "YQ==\nYQ=="])
def test_what_is_no_base64_is_none_with_line_breaks(value: str) -> None:
    served = serve(Secret)
    obj = {"metadata": {"name": "x", "namespace": "ns"}, "data": {"key": value}}
    _, wrong = validate(served, obj)
    assert [each.field for each in wrong] == ["data.key"]


@pytest.mark.parametrize(
    "name",
    [
        "A",
        "-a",
        "a-",
        "a_b",
        "a.b",
        "1a",
        "a" * 64,
        "a\r\nb",
        "a\n",
        "a\0",
        "ä",
        "a/b",
        "../x",
        " ",
    ],
)
def test_names_that_become_host_names_are_dns_labels(name: str) -> None:
    served = serve(Database)
    errors = list(metadata_errors(served, {"name": name}))
    assert [e.field for e in errors] == ["metadata.name"]
    assert "DNS label" in errors[0].message


@pytest.mark.parametrize("name", ["a.b-c.1", "1a", "a" * 253])
def test_other_names_are_dns_subdomains(name: str) -> None:
    assert not list(metadata_errors(serve(ConfigMap), {"name": name}))


@pytest.mark.parametrize("name", ["a..b", ".a", "a.", "a" * 254, "a\n", "A"])
def test_other_names_are_checked_too(name: str) -> None:
    assert list(metadata_errors(serve(ConfigMap), {"name": name}))


@pytest.mark.parametrize(
    "meta",
    [
        {"labels": {"a b": "c"}},
        {"labels": {"a": "c d"}},
        {"labels": {"a": "x" * 64}},
        {"labels": {"x" * 64: ""}},
        {"labels": {"/a": ""}},
        {"labels": {"UPPER.example/a": ""}},
        {"labels": {"a\n": "b"}},
        {"labels": {"a": "b\n"}},
        {"annotations": {"a b": ""}},
        {"annotations": {"a": "x" * 262_145}},
        {"finalizers": ["not qualified!"]},
    ],
)
def test_metadata_that_is_refused(meta: dict[str, Any]) -> None:
    assert list(metadata_errors(THING, {"name": "x", **meta}))


def test_metadata_that_is_fine() -> None:
    meta = {
        "name": "x",
        "labels": {"a": "", "example.com/A_b.c": "X-1"},
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{ anything\n }"},
        "finalizers": ["example.com/cleanup", "foregroundDeletion"],
    }
    assert not list(metadata_errors(THING, meta))


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"parts": [0] * 10_001}, "spec.parts: Too many: 10001: must have at most 10000 items"),
        ({"few": [0] * 5}, "spec.few: Too many: 5: must have at most 4 items"),
        (
            {"env": {str(n): 0 for n in range(10_001)}},
            "spec.env: Too many: 10001: must have at most 10000 items",
        ),
    ],
)
def test_entries_beyond_what_may_be_are_not_looked_at_one_by_one(
    spec: dict[str, Any], told: str
) -> None:
    with pytest.raises(StatusError) as caught:
        prune(THING, _thing(**spec))
    assert caught.value.code == 422
    assert caught.value.message == f'Thing.bunker.cloud "x" is invalid: {told}'
    assert [cause["reason"] for cause in caught.value.details["causes"]] == ["FieldValueTooMany"]


def test_of_many_faults_some_are_told() -> None:
    _, wrong = validate(THING, _thing(parts=[0] * 5_000))
    refused = errors.invalid(THING.info, "x", wrong)
    assert len(refused.details["causes"]) == 100
    assert refused.message.endswith(", and 4900 more]")


@pytest.mark.parametrize("model", KINDS, ids=lambda model: model.info.kind)
def test_every_kinds_schema_is_structural(model: Any) -> None:
    schema = serve(model).schema
    _check_structural(schema, model.info.kind)
    assert "status" not in schema.get("required", ())


def _check_structural(schema: dict[str, Any], path: str) -> None:
    assert not {"$ref", "allOf", "title", "$defs", "const"} & schema.keys(), path
    assert schema.get("type") != "null", path
    for name, sub in schema.get("properties", {}).items():
        _check_structural(sub, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            _check_structural(schema[name], f"{path}[]")


@pytest.mark.parametrize(
    ("spec", "field", "fix"),
    [
        ({"parts": {"size": "1Ki"}}, "spec.parts", "write a list"),
        ({"part": ["x"]}, "spec.part", "write a map"),
        ({"part": {"note": 1}}, "spec.part.note", "write a string; quote"),
        ({"env": {"A": True}}, "spec.env.A", "write a string; quote"),
        ({"priority": "7"}, "spec.priority", "'7': write a whole number, without quotes"),
        ({"paused": "maybe"}, "spec.paused", "'maybe': write true or false"),
    ],
)
def test_a_value_of_another_type_is_told_in_the_words_of_a_manifest(
    spec: dict[str, Any], field: str, fix: str
) -> None:
    model, errors = validate(THING, _thing(**spec))
    assert model is None
    told = next(error for error in errors if error.field == field)
    assert fix in told.message
    assert "Input should" not in told.message


_IN: dict[str, Any] = {"domainRef": {"name": "d"}}


@pytest.mark.parametrize(
    ("kind", "name", "spec", "field"),
    [
        ("Bucket", "x", {"policy": '{"Statement": [{}]}'}, "spec.policy"),
        ("Bucket", "x", {"policy": "{"}, "spec.policy"),
        ("MailAlias", "a" * 70, {**_IN, "targets": ["x@example.org"]}, "metadata.name"),
        ("Mailbox", "a" * 70, _IN, "metadata.name"),
        ("Mailbox", "jane", {**_IN, "aliases": ["jane"]}, "spec.aliases"),
    ],
    ids=["statement", "JSON", "alias", "mailbox", "itself"],
)
def test_a_rule_about_a_whole_record_names_the_field_too(
    kind: str, name: str, spec: dict[str, Any], field: str
) -> None:
    served = serve(next(model for model in KINDS if model.info.kind == kind))
    _, wrong = validate(served, {"metadata": {"name": name, "namespace": "ns"}, "spec": spec})
    assert [each.field for each in wrong] == [field]
