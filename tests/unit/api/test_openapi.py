"""The published documents: complete, consistent, and readable as documentation."""

from collections.abc import Iterator
from typing import Any

import pytest

from api.metaschema import SHARED
from api.openapi import schemas, v3_document
from api.openapi_v2 import encode, v2_document
from api.protobuf import read_fields
from api.published import described
from api.served import Catalogue
from resources.kinds import KINDS

CATALOGUE = Catalogue(KINDS)
BUNKER = v3_document(CATALOGUE, "bunker.cloud", "v1")
CORE = v3_document(CATALOGUE, "", "v1")
BUNKER_APPS = "/apis/bunker.cloud/v1/namespaces/{namespace}/apps"


def refs(value: object) -> Iterator[str]:
    """Every $ref in a document."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from refs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from refs(inner)


@pytest.mark.parametrize("found", [BUNKER, CORE], ids=["bunker.cloud", "core"])
def test_every_v3_reference_leads_somewhere(found: dict[str, Any]) -> None:
    names = found["components"]["schemas"]
    assert {ref.rsplit("/", 1)[-1] for ref in refs(found)} <= names.keys()


def test_patch_of_each_kind_offers_server_side_validation() -> None:
    for found in (BUNKER, CORE):
        patches = [item["patch"] for item in found["paths"].values() if "patch" in item]
        assert patches
        for patch in patches:
            assert "fieldValidation" in {p["name"] for p in patch["parameters"]}
            assert patch["x-kubernetes-group-version-kind"]["kind"]


def test_strategic_merge_is_offered_for_core_kinds_alone() -> None:
    strategic = "application/strategic-merge-patch+json"
    item = "/apis/bunker.cloud/v1/namespaces/{namespace}/databases/{name}"
    assert strategic not in BUNKER["paths"][item]["patch"]["requestBody"]["content"]
    item = "/api/v1/namespaces/{namespace}/secrets/{name}"
    assert strategic in CORE["paths"][item]["patch"]["requestBody"]["content"]


def test_deletes_say_what_they_may_be_asked_with() -> None:
    inside = f"{BUNKER_APPS}/{{name}}"
    one, all_ = (BUNKER["paths"][path]["delete"]["parameters"] for path in (inside, BUNKER_APPS))
    for parameters in (one, all_):
        types = {p["name"]: p["schema"]["type"] for p in parameters}
        assert (types["propagationPolicy"], types["orphanDependents"]) == ("string", "boolean")
    options = BUNKER["components"]["schemas"]["io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"]
    assert options["properties"]["orphanDependents"]["type"] == "boolean"


def test_paths_follow_scope_and_subresources() -> None:
    paths = BUNKER["paths"]
    assert "/apis/bunker.cloud/v1/hosts/{name}" in paths
    assert set(paths["/apis/bunker.cloud/v1/databases"]) == {"get"}
    assert "/apis/bunker.cloud/v1/namespaces/{namespace}/apps/{name}/scale" in paths
    assert "/apis/bunker.cloud/v1/namespaces/{namespace}/databases/{name}/scale" not in paths


def test_operation_ids_are_unique() -> None:
    ids = [
        operation["operationId"]
        for found in (BUNKER, CORE)
        for item in found["paths"].values()
        for verb, operation in item.items()
        if verb != "parameters"
    ]
    assert len(ids) == len(set(ids))


def test_every_field_of_every_kind_is_documented() -> None:
    missing = [
        f"{name}: {path}"
        for name, (_, schema) in schemas(CATALOGUE).items()
        for path, text in described(schema)
        if not text
    ]
    missing += [path for schema in SHARED.values() for path, text in described(schema) if not text]
    assert missing == []


def test_quantities_read_as_strings_with_their_default() -> None:
    database = BUNKER["components"]["schemas"]["cloud.bunker.v1.Database"]["properties"]
    plan = database["spec"]["properties"]["plan"]
    assert "Default: `starter`" in plan["description"]
    assert database["spec"]["properties"]["storage"]["type"] == "string"
    assert database["metadata"]["allOf"]


def test_v2_agrees_with_v3_and_refers_within_itself() -> None:
    found = v2_document(CATALOGUE)
    assert found["definitions"].keys() >= BUNKER["components"]["schemas"].keys()
    assert found["paths"].keys() >= CORE["paths"].keys()
    assert {ref.rsplit("/", 1)[-1] for ref in refs(found)} <= found["definitions"].keys()
    assert "anyOf" not in str(found["definitions"])


def test_v2_has_each_kind_once() -> None:
    kinds = [
        (kind["group"], kind["version"], kind["kind"])
        for schema in v2_document(CATALOGUE)["definitions"].values()
        for kind in schema.get("x-kubernetes-group-version-kind", ())
    ]
    assert len(kinds) == len(set(kinds))


def test_v2_protobuf_has_every_path_and_definition() -> None:
    found = v2_document(CATALOGUE)
    parts = dict(read_fields(encode(found)))
    assert parts[1] == b"2.0"
    for number, inner, names in ((8, 2, found["paths"]), (9, 1, found["definitions"])):
        section = parts[number]
        assert isinstance(section, bytes)
        listed = [
            dict(read_fields(value))[1]
            for field, value in read_fields(section)
            if field == inner and isinstance(value, bytes)
        ]
        assert listed == [name.encode() for name in names]
